//! The set in use, and how it changes.

use super::fan::{Fan, Job, Outcomes};
use super::open::Ids;
use super::record::{MirrorId, Phase, Record};
use super::{DriveState, MirrorConfig};
use crate::disk::Disk;
use crate::error::is_full;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Which drives everything is written to.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) epoch: u64,
    pub(super) overrides: Vec<u64>,
    /// The members, as numbers of drives in ascending order.
    pub(super) members: Vec<usize>,
    /// The drive that is being copied to, if any: gets all writes, and nothing is read from it.
    pub(super) joining: Option<usize>,
}

impl Set {
    /// All drives that get writes.
    pub(super) fn targets(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.iter().copied().chain(self.joining)
    }
}

/// A configured drive while the mirror runs.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) now: RwLock<Now>,
}

/// What changes about a drive.
pub(super) struct Now {
    pub(super) disk: Option<Arc<dyn Disk>>,
    pub(super) id: Option<MirrorId>,
    /// It failed, so it is about to leave the set or has left it: why.
    pub(super) failed: Option<String>,
    /// What it is when it neither is in the set nor failed.
    pub(super) idle: DriveState,
}

/// What all handles of a mirror share.
pub(super) struct Inner {
    pub(super) store: MirrorId,
    pub(super) drives: Vec<Member>,
    set: RwLock<Arc<Set>>,
    /// Held while the set changes.
    pub(super) change: Mutex<()>,
    /// Open files by name. Held while names change, so that all members agree on them.
    pub(super) names: Mutex<BTreeMap<String, Weak<super::file::Shared>>>,
    /// Held while names are synced: a failed sync is not followed by one that seems to succeed before the
    /// drive is known to have failed.
    pub(super) syncing: Mutex<()>,
    pub(super) fan: Fan,
    pub(super) ids: Mutex<Ids>,
    pub(super) config: MirrorConfig,
    pub(super) healed: AtomicU64,
    pub(super) read_around: AtomicU64,
}

/// What an error of a drive means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// A full drive answers for all: the caller undoes the operation.
    FullIsAnswer,
    /// Any error of one drive while another succeeds takes it out of the set.
    AnyIsFailure,
}

impl Inner {
    pub(super) fn new(
        store: MirrorId,
        drives: Vec<Member>,
        set: Set,
        fan: Fan,
        ids: Ids,
        config: MirrorConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            drives,
            set: RwLock::new(Arc::new(set)),
            change: Mutex::new(()),
            names: Mutex::default(),
            syncing: Mutex::new(()),
            fan,
            ids: Mutex::new(ids),
            config,
            healed: AtomicU64::new(0),
            read_around: AtomicU64::new(0),
        })
    }

    pub(super) fn set(&self) -> Arc<Set> {
        self.set.read().clone()
    }

    pub(super) fn publish(&self, set: Set) {
        *self.set.write() = Arc::new(set);
    }

    pub(super) fn disk(&self, drive: usize) -> io::Result<Arc<dyn Disk>> {
        self.drives[drive].now.read().disk.clone().ok_or_else(|| io::Error::other("the drive is not there"))
    }

    /// What a drive is called in records.
    pub(super) fn id(&self, drive: usize) -> Option<MirrorId> {
        self.drives[drive].now.read().id
    }

    pub(super) fn ids_of(&self, set: &Set) -> Vec<MirrorId> {
        set.members.iter().filter_map(|drive| self.id(*drive)).collect()
    }

    pub(super) fn has_failed(&self, drive: usize) -> bool {
        self.drives[drive].now.read().failed.is_some()
    }

    /// Why a drive failed, if it did.
    pub(super) fn failure(&self, drive: usize) -> Option<String> {
        self.drives[drive].now.read().failed.clone()
    }

    /// Notes that a drive failed. It leaves the set with the next [`Inner::settle`], which must come before any
    /// success is reported.
    pub(super) fn fail(&self, drive: usize, doing: &str, error: &io::Error) {
        let member = &self.drives[drive];
        let failed = &mut member.now.write().failed;
        if failed.is_none() {
            tracing::error!(drive = %member.name, doing, %error, "a drive failed and leaves the mirror");
            *failed = Some(format!("{doing}: {error}"));
        }
    }

    /// Judges what came of an operation on the targets of `set`: which drives leave, and what the caller is told.
    /// If all failed, nothing has changed: the operation failed, as it would on a single drive.
    pub(super) fn judge(
        &self,
        set: &Set,
        doing: &'static str,
        judge: Judge,
        outcomes: Outcomes,
    ) -> io::Result<()> {
        let answer = self.note(set, doing, judge, outcomes);
        self.settle_if_failed(set, doing)?;
        answer
    }

    /// Notes which drives failed and what the caller is to be told, once the set is settled.
    pub(super) fn note(
        &self,
        set: &Set,
        doing: &'static str,
        judge: Judge,
        outcomes: Outcomes,
    ) -> io::Result<()> {
        let full = |error: &io::Error| judge == Judge::FullIsAnswer && is_full(error);
        let member = |drive: usize| Some(drive) != set.joining;
        let any_alive =
            outcomes.iter().any(|(drive, outcome)| member(*drive) && outcome.as_ref().err().is_none_or(full));
        let mut answer = Ok(());
        for (drive, outcome) in outcomes {
            match outcome {
                Err(error) if !member(drive) => {
                    // What no member could do, it need not.
                    if any_alive {
                        self.fail(drive, doing, &error);
                    }
                }
                Err(error) if full(&error) => answer = Err(error),
                Err(error) if any_alive => self.fail(drive, doing, &error),
                Err(error) if answer.is_ok() => answer = Err(error),
                // The members are where they were, and this one is not.
                Ok(()) if !any_alive && !member(drive) => {
                    self.fail(drive, doing, &io::Error::other("it went ahead of the members"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        answer
    }

    /// Also when another operation noticed the failure: no success before the new set is durable.
    pub(super) fn settle_if_failed(&self, set: &Set, doing: &'static str) -> io::Result<()> {
        if set.targets().any(|drive| self.has_failed(drive)) { self.settle(doing) } else { Ok(()) }
    }

    /// Makes a set without the drives that failed, durably.
    ///
    /// # Errors
    /// No member is left.
    pub(super) fn settle(&self, doing: &'static str) -> io::Result<()> {
        let _changing = self.change.lock();
        let mut next = (*self.set()).clone();
        if next.joining.is_some_and(|drive| self.has_failed(drive)) {
            next.joining = None;
            self.publish(next.clone());
        }
        if next.members.iter().all(|drive| !self.has_failed(*drive)) {
            return Ok(());
        }
        if self.config.bugs.ack_before_set_durable {
            next.members.retain(|drive| !self.has_failed(*drive));
            next.epoch += 1;
            self.publish(next);
            return Ok(());
        }
        self.commit(next, None).map_err(|error| io::Error::new(error.kind(), format!("{doing}: {error}")))
    }

    /// Makes `next` (without those of its members that have failed) the set with the next epoch: durable on all
    /// its members, then in use. The drive that `joins` is written last, so that no drive knows of a set that
    /// those before it do not. The caller holds `change`.
    pub(super) fn commit(&self, mut next: Set, joins: Option<usize>) -> io::Result<()> {
        loop {
            next.members.retain(|drive| !self.has_failed(*drive));
            let (stay, last): (Vec<usize>, Vec<usize>) =
                next.members.iter().partition(|drive| Some(**drive) != joins);
            if stay.is_empty() {
                return Err(io::Error::other("no drive of the mirror's set is left"));
            }
            next.epoch += 1;
            let all_written = self.write_records(&next, &stay) && self.write_records(&next, &last);
            if all_written {
                break;
            }
        }
        let names = |drive: &usize| self.drives[*drive].name.as_str();
        let members: Vec<_> = next.members.iter().map(names).collect();
        tracing::info!(epoch = next.epoch, ?members, "the mirror's set");
        self.publish(next);
        Ok(())
    }

    /// Writes the record of `set` to these drives; those that fail are noted. Whether none did.
    fn write_records(&self, set: &Set, drives: &[usize]) -> bool {
        let _syncing = self.syncing.lock();
        let members = self.ids_of(set);
        let job = |drive: usize| -> Option<(usize, Job)> {
            let disk = self.disk(drive);
            let record = Record {
                store: self.store,
                member: self.id(drive)?,
                epoch: set.epoch,
                phase: Phase::Member,
                members: members.clone(),
                overrides: set.overrides.clone(),
            };
            Some((drive, Box::new(move || record.write(&*disk?))))
        };
        let outcomes = self.fan.run(drives.iter().filter_map(|drive| job(*drive)).collect());
        let mut all = true;
        for (drive, outcome) in outcomes {
            if let Err(error) = outcome {
                self.fail(drive, "write the record of the set", &error);
                all = false;
            }
        }
        all
    }

    /// Does something on each target in turn.
    pub(super) fn each(
        &self,
        set: &Set,
        doing: &'static str,
        judge: Judge,
        mut what: impl FnMut(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let outcomes = set.targets().map(|drive| (drive, what(drive))).collect();
        self.judge(set, doing, judge, outcomes)
    }

    /// Syncs something on each target, all at once, and notes failures, which are final. The caller settles the
    /// set.
    pub(super) fn sync_each(
        &self,
        set: &Set,
        doing: &'static str,
        sync: impl Fn(usize) -> io::Result<()> + Clone + Send + 'static,
    ) -> io::Result<()> {
        let retry = self.config.bugs.retry_failed_fsync;
        let job = |drive: usize| -> (usize, Job) {
            let sync = sync.clone();
            (
                drive,
                Box::new(move || sync(drive).or_else(|error| if retry { sync(drive) } else { Err(error) })),
            )
        };
        let outcomes = self.fan.run(set.targets().map(job).collect());
        self.note(set, doing, Judge::AnyIsFailure, outcomes)
    }

    /// Asks one member after the other until one answers. Those that failed a moment ago are the last resort.
    pub(super) fn ask<T>(&self, mut question: impl FnMut(usize) -> Option<io::Result<T>>) -> io::Result<T> {
        let set = self.set();
        let (mut order, failed): (Vec<usize>, Vec<usize>) =
            set.members.iter().partition(|drive| !self.has_failed(**drive));
        order.extend(failed);
        let mut first_error = None;
        for answer in order.into_iter().filter_map(&mut question) {
            match answer {
                Ok(answer) => {
                    if first_error.is_some() {
                        self.read_around.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| io::Error::other("the mirror has no members")))
    }

    pub(super) fn count_healed(&self, pieces: usize) {
        self.healed.fetch_add(pieces as u64, Ordering::Relaxed);
    }
}
