//! Modifications carried out in pretended time: what the workflow engine does, step by step, without its log.

use std::collections::BTreeMap;

use terrane_ec2::service::{ServiceError, VolumeChange};
use terrane_store::Store;
use terrane_types::VolumeId;
use terrane_workflow::{RunView, Wish, Workflows};

use super::Fleet;
use crate::admin::{Change, ModificationDetail};
use crate::db;
use crate::jobs::Rules;
use crate::leader::Sight;
use crate::modify::{After, Stage, Target, Trouble, run_of, templates};
use crate::rows::{MODIFICATIONS, ModificationRow, modification_key};

/// How far each modification is: the step, and whether it goes back.
#[derive(Debug, Default)]
pub(super) struct Works {
    at: BTreeMap<(VolumeId, u64), (usize, bool)>,
    /// Somebody else carries them out.
    left_alone: bool,
}

pub(super) async fn publish(store: &Store) {
    for template in templates() {
        Workflows::new(store.clone()).publish(&template).await.unwrap();
    }
}

impl Fleet {
    /// Modifications that have not ended.
    pub(super) async fn unfinished(&self) -> Vec<ModificationRow> {
        let all = self.store.read(|tx| async move { db::all(&MODIFICATIONS, &tx).await }).await.unwrap();
        all.into_iter().map(|(_, row)| row).filter(|row| row.ended.is_none()).collect()
    }

    async fn is_cancelled(&self, row: &ModificationRow) -> bool {
        let run = run_of(&row.volume, row.number).unwrap();
        let run = &run;
        let view = self.store.read(|tx| async move { RunView::read(&tx, run).await }).await.unwrap();
        view.is_some_and(|view| view.wish == Wish::Cancel)
    }

    /// Everything that can be done now.
    pub(super) async fn carry_on(&mut self) {
        if self.works.left_alone {
            return;
        }
        for row in self.unfinished().await {
            let cancelled = self.is_cancelled(&row).await;
            let sight = self.leader.sight(&row.volume, self.now);
            let key = (row.volume.clone(), row.number);
            let (mut at, mut back) = self.works.at.get(&key).copied().unwrap_or_default();
            let pivot = Stage::ALL.iter().position(|stage| *stage == Stage::Switch).unwrap();
            back |= cancelled && at < pivot;
            while let Some(next) = self.step(&row, at, back, &sight).await {
                (at, back) = next;
                self.works.at.insert(key.clone(), (at, back));
            }
            self.works.at.insert(key, (at, back));
        }
    }

    /// One look; where to go on at once, if the step is done.
    async fn step(
        &mut self,
        row: &ModificationRow,
        at: usize,
        back: bool,
        sight: &Sight,
    ) -> Option<(usize, bool)> {
        let stage = *Stage::ALL.get(at)?;
        let target = Target { volume: row.volume.clone(), number: row.number, engine: self.term };
        if back {
            let done = stage.take_back(&self.store, &target).await.unwrap();
            return (done == After::Done).then(|| at.checked_sub(1).map(|at| (at, true)))?;
        }
        match stage.carry_out(&self.store, &target, Rules { overcommit: 20 }, sight).await {
            Ok(After::Done) => Some((at + 1, false)),
            Ok(After::Wait { .. }) => None,
            Err(Trouble::Refused(reason)) => {
                // The engine's log would tell it.
                let row = ModificationRow { message: Some(reason), ..row.clone() };
                let row = &row;
                let tell = |tx| async move {
                    MODIFICATIONS.put(&tx, &modification_key(&row.volume, row.number), row).await
                };
                self.store.transact(tell).await.unwrap();
                Some((at, true))
            }
            Err(Trouble::Failed(reason)) => panic!("{stage:?}: {reason}"),
        }
    }

    pub(crate) fn leave_changes_alone(&mut self) {
        self.works.left_alone = true;
    }

    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    pub(crate) fn sight(&self, volume: &VolumeId) -> Sight {
        self.leader.sight(volume, self.now)
    }

    pub(crate) async fn modify(
        &mut self,
        id: &VolumeId,
        change: Change,
    ) -> Result<ModificationDetail, ServiceError> {
        self.manager.modify(&self.caller.account, id, &change).await
    }

    /// The latest modification of a volume.
    pub(in crate::leader::tests) async fn modification(&self, id: &VolumeId) -> ModificationDetail {
        self.manager.modifications(&self.caller.account, Some(id)).await.unwrap().remove(0)
    }

    pub(in crate::leader::tests) async fn resize(
        &mut self,
        id: &VolumeId,
        size_gib: u32,
    ) -> Result<(), ServiceError> {
        let settings = VolumeChange { size_gib: Some(size_gib), ..VolumeChange::default() };
        self.modify(id, Change { settings, ..Change::default() }).await.map(drop)
    }
}
