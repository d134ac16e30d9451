//! Spill runs: written when memory or replay bounds ask for it, applied when due, dropped after a keymap sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shard;
use crate::class::{Class, ClassName};
use crate::completion::Completion;
use crate::events::Output;
use crate::head::RowHead;
use crate::ids::{Lsn, RunId, Slot, Timestamp};
use crate::keymap::{Mutation, run_mutation};
use crate::rows::RowId;
use crate::run::{RunEntry, RunInfo};

/// One entry of a run on its way into the keymap.
pub(super) struct RunWork {
    pub(super) run: RunId,
    pub(super) row: RowId,
    pub(super) head: Arc<RowHead>,
    pub(super) completions: Vec<Completion>,
}

/// How far a run is.
enum Phase {
    /// Being written; its entries are still in memory.
    Writing,
    /// Readers merge it.
    Live,
    /// Being applied.
    Applying {
        /// Entries up to this row are loaded.
        cursor: Option<RowId>,
        /// Loaded and not yet applied.
        left: u64,
        loading: bool,
        end: bool,
    },
    /// Applied; waits for a sync with its removal.
    Applied,
}

struct Run {
    info: RunInfo,
    phase: Phase,
    /// LSNs of pending writes in it: first and count.
    lsns: BTreeMap<Lsn, u32>,
    ops: Vec<Lsn>,
}

/// All runs, by number.
#[derive(Default)]
pub(super) struct Runs {
    all: BTreeMap<RunId, Run>,
    made: u64,
    not_before: Timestamp,
}

/// LSNs as ranges.
pub(super) fn ranges(lsns: impl IntoIterator<Item = Lsn>) -> Vec<(u64, u32)> {
    let mut ranges: Vec<(u64, u32)> = Vec::new();
    for lsn in lsns {
        match ranges.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == lsn.0 => *count += 1,
            _ => ranges.push((lsn.0, 1)),
        }
    }
    ranges
}

impl Runs {
    pub(super) fn recover(infos: Vec<RunInfo>) -> Self {
        let run = |info: RunInfo| {
            let lsns = info.lsns.iter().map(|(first, count)| (Lsn(*first), *count)).collect();
            (info.run, Run { info, phase: Phase::Live, lsns, ops: Vec::new() })
        };
        Self { all: infos.into_iter().map(run).collect(), ..Self::default() }
    }

    /// Those that readers merge.
    pub(super) fn readable(&self) -> Arc<[RunId]> {
        let readable = self.all.iter().filter(|(_, run)| !matches!(run.phase, Phase::Writing));
        readable.map(|(id, _)| *id).collect()
    }

    /// The least LSN in any run.
    pub(super) fn lsn_min(&self) -> Option<Lsn> {
        self.all.values().map(|run| run.info.lsn_min).min()
    }

    fn unapplied(&self) -> impl Iterator<Item = &Run> {
        self.all.values().filter(|run| !matches!(run.phase, Phase::Writing | Phase::Applied))
    }

    /// Entries of a class in runs.
    pub(super) fn spilled(&self, class: ClassName) -> u64 {
        self.unapplied().filter(|run| run.info.class == class).map(|run| run.info.entries).sum()
    }

    /// Entries in runs.
    pub(super) fn spilled_total(&self) -> u64 {
        self.unapplied().map(|run| run.info.entries).sum()
    }

    /// When the oldest entry of a class in runs was accepted.
    pub(super) fn oldest(&self, class: ClassName) -> Option<Timestamp> {
        self.unapplied().filter(|run| run.info.class == class).map(|run| run.info.accepted).min()
    }

    /// The least LSN of a class in runs.
    pub(super) fn least(&self, class: ClassName) -> Option<Lsn> {
        self.unapplied().filter(|run| run.info.class == class).map(|run| run.info.lsn_min).min()
    }

    fn holding(&self, lsn: Lsn) -> Option<&Run> {
        self.unapplied().find(|run| {
            let range = run.lsns.range(..=lsn).next_back();
            range.is_some_and(|(first, count)| lsn.0 < first.0 + u64::from(*count))
        })
    }

    /// Whether a write waits in a run.
    pub(super) fn holds(&self, lsn: Lsn) -> bool {
        self.holding(lsn).is_some()
    }

    /// When the run is due that a write waits in.
    pub(super) fn due_of(&self, lsn: Lsn) -> Option<Timestamp> {
        self.holding(lsn).map(|run| run.info.due)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn writing(&self) -> bool {
        self.all.values().any(|run| matches!(run.phase, Phase::Writing))
    }

    /// Runs whose removal the next sync records.
    pub(super) fn applied(&self) -> Vec<RunId> {
        self.all.iter().filter(|(_, run)| matches!(run.phase, Phase::Applied)).map(|(id, _)| *id).collect()
    }

    pub(super) fn forget(&mut self, run: RunId) {
        self.all.remove(&run);
    }

    /// No run or chunk goes out before this time (after a failure).
    fn hold(&mut self, until: Timestamp) {
        self.not_before = until;
    }

    pub(super) fn held(&self, now: Timestamp) -> bool {
        now < self.not_before
    }

    fn fresh(&mut self, start: u32) -> RunId {
        self.made += 1;
        RunId((u64::from(start) << 40) + self.made)
    }
}

/// Removal rows of runs.
pub(super) fn removals(runs: &[RunId]) -> impl Iterator<Item = Mutation> {
    runs.iter().map(|run| run_mutation(*run, None))
}

impl Shard {
    /// Has a run written of these entries; they stay visible in memory until it is durable.
    pub(super) fn write_run(&mut self, class: ClassName, ops: Vec<Lsn>, entries: Vec<RunEntry>) {
        let run = self.runs.fresh(self.config.start);
        let pending = |lsn: &Lsn| self.pending.get(*lsn);
        let accepted = ops.iter().filter_map(pending).map(|op| op.accepted).min().unwrap_or(self.now);
        let due = ops.iter().filter_map(pending).filter_map(|op| op.due()).min().unwrap_or(accepted);
        let least_guard = entries.iter().map(|entry| entry.head.guard.lsn).min();
        let lsn_min = ops.first().copied().into_iter().chain(least_guard).min().unwrap_or(Lsn::ZERO);
        let lsns = ranges(ops.iter().copied());
        let info = RunInfo { run, class, entries: entries.len() as u64, lsn_min, due, accepted, lsns };
        for lsn in &ops {
            if let Some(op) = self.pending.get_mut(*lsn) {
                op.spilling = true;
            }
        }
        let mutations = vec![run_mutation(run, Some(&info))];
        let lsns = info.lsns.iter().map(|(first, count)| (Lsn(*first), *count)).collect();
        self.runs.all.insert(run, Run { info, phase: Phase::Writing, lsns, ops });
        self.counters.spills += 1;
        self.counters.spilled_entries += entries.len() as u64;
        self.out.push_back(Output::Spill { run, entries, mutations });
    }

    pub(super) fn spill_failed(&mut self, id: RunId) {
        let Some(run) = self.runs.all.remove(&id) else { return };
        for lsn in run.ops {
            if let Some(op) = self.pending.get_mut(lsn) {
                op.spilling = false;
            }
        }
        self.runs.hold(self.now.plus_ms(RETRY_MS));
    }

    /// The run appears in the view in which its entries leave the overlay.
    pub(super) fn spill_done(&mut self, id: RunId) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        run.phase = Phase::Live;
        let mut slots = BTreeSet::new();
        for lsn in std::mem::take(&mut run.ops) {
            let Some(op) = self.pending.get_mut(lsn) else { continue };
            op.spilling = false;
            let outstanding = self.slots.states[op.slot.index()].outstanding;
            if outstanding.and_then(|id| self.batches.get(&id)).is_some_and(|batch| batch.touches(lsn)) {
                // A later write of the same row has drawn it into a batch: that settles it.
                continue;
            }
            if let Some(op) = self.pending.remove(lsn) {
                for (row, _) in op.rows() {
                    self.pending.settle_row(row, |write| write == lsn);
                }
                slots.insert(op.slot);
                // Nobody waits for what is spilled any longer.
                self.answer_pending(lsn);
            }
        }
        // At once: while a queue is paused no batch comes by to do it, and whoever looks for work would go through all
        // that was ever spilled.
        for slot in slots {
            self.slots.get_mut(slot).trim(&self.pending);
        }
        self.dirty = true;
    }

    /// Starts applying the run that is due first, and goes on with the one being applied.
    pub(super) fn work_on_runs(&mut self) {
        if self.runs.held(self.now) {
            return;
        }
        let applying = self.runs.all.iter().find(|(_, run)| matches!(run.phase, Phase::Applying { .. }));
        let id = match applying {
            Some((id, _)) => Some(*id),
            None => {
                let live = self.runs.all.iter().filter(|(_, run)| matches!(run.phase, Phase::Live));
                let wanted = live.filter(|(_, run)| self.run_may_apply(&run.info));
                wanted.min_by_key(|(id, run)| (run.info.due, **id)).map(|(id, _)| *id)
            }
        };
        let max = self.config.run_chunk_entries.max(1);
        let Some(run) = id.and_then(|id| self.runs.all.get_mut(&id)) else { return };
        if matches!(run.phase, Phase::Live) {
            run.phase = Phase::Applying { cursor: None, left: 0, loading: false, end: false };
        }
        if let Phase::Applying { cursor, left: 0, loading, end: false } = &mut run.phase
            && !*loading
        {
            *loading = true;
            self.out.push_back(Output::LoadRun { run: run.info.run, after: cursor.clone(), max });
        }
    }

    fn run_may_apply(&self, info: &RunInfo) -> bool {
        if self.drained_upto(info.class) >= info.lsn_min {
            return true;
        }
        if self.paused[info.class.index()] {
            return false;
        }
        // A run takes a while: two entries per millisecond are planned for.
        let lead = self.config.due_lead_ms + info.entries / 2;
        let due_in = info.due.since_ms(self.now);
        info.class != ClassName::Delay
            || due_in <= lead
            || self.is_nearly_due(Class::delay(info.due.since_ms(info.accepted)), info.due)
            || info.lsn_min <= self.early_upto
    }

    pub(super) fn run_chunk(&mut self, id: RunId, entries: Vec<RunEntry>, last: bool) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        let Phase::Applying { cursor, left, loading, end } = &mut run.phase else { return };
        *loading = false;
        *end = last;
        *left += entries.len() as u64;
        if let Some(entry) = entries.last() {
            *cursor = Some(entry.row.clone());
        }
        for RunEntry { row, head, completions } in entries {
            let slot = row.parse().map_or(Slot(0), |name| name.slot());
            self.slots.get_mut(slot).run_work.push_back(RunWork { run: id, row, head, completions });
        }
        self.run_entries_applied(id, 0);
    }

    pub(super) fn run_load_failed(&mut self, id: RunId) {
        if let Some(run) = self.runs.all.get_mut(&id)
            && let Phase::Applying { loading, .. } = &mut run.phase
        {
            *loading = false;
            self.runs.hold(self.now.plus_ms(RETRY_MS));
        }
    }

    pub(super) fn run_entries_applied(&mut self, id: RunId, entries: u64) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        if let Phase::Applying { left, end, .. } = &mut run.phase {
            *left = left.saturating_sub(entries);
            if *left == 0 && *end {
                run.phase = Phase::Applied;
                run.lsns.clear();
                self.counters.runs_applied += 1;
                self.sync.wanted = true;
            }
        }
    }
}

/// Pause after a run that could not be written or read.
const RETRY_MS: u64 = 500;
