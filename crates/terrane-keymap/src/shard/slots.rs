//! Slots: their queues, their owner, and how far each class is applied.

use std::collections::{BTreeSet, VecDeque};

use super::pending::Pending;
use super::runs::RunWork;
use crate::batch::SlotPart;
use crate::class::{Class, ClassName};
use crate::ids::{BatchId, Epoch, Lsn, SLOTS, Slot, Timestamp, WorkerId};
use crate::keymap::{KeymapMeta, SlotProgress};

/// One fixed range of keys.
#[derive(Default)]
pub(super) struct SlotState {
    /// Pending writes by class, in the order of LSNs; completed ones are skipped and dropped lazily.
    queues: Vec<(Class, VecDeque<Lsn>)>,
    /// Applied beyond the watermark of their class.
    exceptions: BTreeSet<(Class, Lsn)>,
    /// Entries of spill runs to be applied.
    pub(super) run_work: VecDeque<RunWork>,
    pub(super) owner: Option<WorkerId>,
    pub(super) epoch: Epoch,
    pub(super) outstanding: Option<BatchId>,
    /// A batch of a former owner may still be committed: the next one of this slot rules that out.
    pub(super) fence_wanted: bool,
    /// The next batch purges tombstones.
    pub(super) purge_wanted: bool,
    /// There may be tombstones that no mark covers.
    pub(super) tombstones: bool,
    /// Tombstones may go once every class has passed that LSN.
    purge_mark: Option<Lsn>,
}

impl SlotState {
    pub(super) fn push(&mut self, class: Class, lsn: Lsn) {
        match self.queues.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => self.queues[at].1.push_back(lsn),
            Err(at) => self.queues.insert(at, (class, VecDeque::from([lsn]))),
        }
    }

    /// Drops what is complete from the fronts, and empty queues.
    pub(super) fn trim(&mut self, pending: &Pending) {
        self.queues.retain_mut(|(_, queue)| {
            while queue.front().is_some_and(|lsn| !pending.contains(*lsn)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
    }

    /// Entries in all queues, those that are complete and not dropped yet included.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    /// The queues of a class by name, each in the order of LSNs.
    pub(super) fn queues(&self, name: ClassName) -> impl Iterator<Item = (Class, &VecDeque<Lsn>)> {
        self.queues
            .iter()
            .filter(move |(class, _)| class.name() == name)
            .map(|(class, queue)| (*class, queue))
    }

    /// The oldest pending write of each queue.
    pub(super) fn fronts<'a>(&'a self, pending: &'a Pending) -> impl Iterator<Item = (Class, Lsn)> + 'a {
        self.queues.iter().filter_map(|(class, queue)| {
            queue.iter().find(|lsn| pending.contains(**lsn)).map(|lsn| (*class, *lsn))
        })
    }

    /// Every class is applied up to here.
    fn watermark(&self, pending: &Pending, visible: Lsn) -> Lsn {
        self.fronts(pending).map(|(_, lsn)| lsn.prev()).min().unwrap_or(visible)
    }

    /// From time to time: wants a purge once all classes have passed the tombstones seen last time, and so has `limit`.
    pub(super) fn want_purge(&mut self, pending: &Pending, visible: Lsn, limit: Lsn) {
        match self.purge_mark {
            Some(mark) if self.watermark(pending, visible).min(limit) >= mark => {
                self.purge_wanted = true;
                self.purge_mark = None;
            }
            None if std::mem::take(&mut self.tombstones) => self.purge_mark = Some(visible),
            _ => {}
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.queues.is_empty() || !self.run_work.is_empty() || self.purge_wanted || self.fence_wanted
    }

    /// Progress once the writes in `completing` are applied too. `visible` is the last durable LSN.
    pub(super) fn part(
        &mut self,
        slot: Slot,
        pending: &Pending,
        completing: &BTreeSet<Lsn>,
        visible: Lsn,
    ) -> SlotPart {
        self.trim(pending);
        let mut behind = Vec::new();
        for (class, queue) in &self.queues {
            let left = queue.iter().find(|lsn| pending.contains(**lsn) && !completing.contains(lsn));
            behind.extend(left.map(|lsn| (*class, lsn.prev())));
        }
        let progress = SlotProgress { epoch: self.epoch, base: visible, behind };
        let passed = |(class, lsn): &(Class, Lsn)| *lsn <= progress.watermark(*class);
        let added = completing.iter().filter_map(|lsn| Some((pending.get(*lsn)?.class, *lsn)));
        SlotPart {
            slot,
            epoch: self.epoch,
            base: visible,
            exceptions_added: added.filter(|entry| !passed(entry)).collect(),
            exceptions_removed: self.exceptions.iter().filter(|entry| passed(entry)).copied().collect(),
            purge_upto: Lsn::ZERO,
            behind: progress.behind,
        }
    }

    /// The batch with this part is in the keymap.
    pub(super) fn applied(&mut self, part: &SlotPart) {
        for entry in &part.exceptions_removed {
            self.exceptions.remove(entry);
        }
        self.exceptions.extend(part.exceptions_added.iter().copied());
    }
}

/// All slots.
pub(super) struct Slots {
    pub(super) states: Vec<SlotState>,
}

impl Slots {
    pub(super) fn new(meta: &KeymapMeta) -> Self {
        let mut states: Vec<SlotState> = (0..SLOTS).map(|_| SlotState::default()).collect();
        for (slot, class, lsn) in &meta.exceptions {
            states[slot.index()].exceptions.insert((*class, *lsn));
        }
        Self { states }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut SlotState {
        &mut self.states[slot.index()]
    }

    /// When the oldest entry of a class was accepted.
    pub(super) fn oldest(&self, name: ClassName, pending: &Pending) -> Option<Timestamp> {
        let fronts = self.states.iter().flat_map(|slot| slot.fronts(pending));
        let ops = fronts.filter(|(class, _)| class.name() == name).filter_map(|(_, lsn)| pending.get(lsn));
        ops.map(|op| op.accepted).min()
    }

    /// The least pending LSN of a class.
    pub(super) fn least(&self, name: ClassName, pending: &Pending) -> Option<Lsn> {
        let fronts = self.states.iter().flat_map(|slot| slot.fronts(pending));
        fronts.filter(|(class, _)| class.name() == name).map(|(_, lsn)| lsn).min()
    }
}
