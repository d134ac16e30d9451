//! Batches: which entries are applied next, by whom, and what follows once they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shard;
use super::pick::Picks;
use super::runs::RunWork;
use crate::batch::{Batch, BatchRow, SlotPart};
use crate::completion::Completion;
use crate::events::Output;
use crate::ids::{BatchId, Lsn, RunId, SLOTS, Slot, Timestamp, WorkerId};
use crate::rows::RowId;

/// A batch that is with a worker.
pub(super) struct Outstanding {
    pub(super) worker: WorkerId,
    pub(super) since: Timestamp,
    parts: Vec<SlotPart>,
    rows: Arc<[BatchRow]>,
    /// How many rows of each write it settles.
    touched: BTreeMap<Lsn, u32>,
    completing: BTreeSet<Lsn>,
    /// Writes known when it was made: later ones of the same rows stay pending.
    upto: Lsn,
    run_work: Vec<(Slot, RunWork)>,
    first_cursor: Option<u64>,
    completions: u64,
}

impl Outstanding {
    pub(super) fn touches(&self, lsn: Lsn) -> bool {
        self.touched.contains_key(&lsn)
    }
}

impl Shard {
    /// Hands batches to idle workers as long as there is work.
    pub(super) fn dispatch(&mut self) {
        self.rebalance();
        let idle = |w: &super::workers::Worker| w.busy.is_none() && !w.retiring && w.not_before <= self.now;
        let idle: Vec<WorkerId> =
            self.workers.all.iter().filter(|(_, w)| idle(w)).map(|(id, _)| *id).collect();
        for worker in idle {
            let slots: Vec<Slot> = Slot::all()
                .filter(|slot| {
                    let state = &self.slots.states[slot.index()];
                    state.owner == Some(worker) && state.outstanding.is_none() && state.has_work()
                })
                .collect();
            let picks = self.pick(&slots);
            if picks.count > 0 {
                self.send(worker, picks);
            }
        }
    }

    fn send(&mut self, worker: WorkerId, picks: Picks) {
        self.batches_made += 1;
        let id = BatchId(self.batches_made);
        let mut rows: BTreeMap<RowId, BatchRow> = BTreeMap::new();
        let mut touched = BTreeMap::new();
        for (slot, lsns) in &picks.ops {
            for lsn in lsns {
                self.collect_rows(*slot, *lsn, &mut rows, &mut touched);
            }
        }
        for (slot, work) in &picks.run_work {
            self.collect_run_work(*slot, work, &mut rows, &mut touched);
        }
        let settles = |lsn: &Lsn, n: &u32| {
            self.pending.get(*lsn).is_some_and(|op| op.done as usize + *n as usize == op.rows().len())
        };
        let completing: BTreeSet<Lsn> =
            touched.iter().filter(|(l, n)| settles(l, n)).map(|(l, _)| *l).collect();
        let mut completions: Vec<Completion> =
            completing.iter().filter_map(|lsn| self.completion_of(*lsn, &rows)).collect();
        completions.extend(picks.run_work.iter().flat_map(|(_, work)| work.completions.iter().cloned()));
        let first_cursor = self.number_completions(&mut completions);
        let mut slots: BTreeSet<Slot> = picks.ops.keys().copied().collect();
        slots.extend(picks.run_work.iter().map(|(slot, _)| *slot));
        slots.extend(&picks.purges);
        let parts: Vec<SlotPart> =
            slots.into_iter().map(|slot| self.part(slot, id, &completing, &rows)).collect();
        let rows: Arc<[BatchRow]> = rows.into_values().collect();
        if self.config.bugs.drop_overlay_early {
            for row in rows.iter() {
                self.pending.overlay.remove(&row.row);
            }
            self.dirty = true;
        }
        if let Some(worker) = self.workers.all.get_mut(&worker) {
            worker.busy = Some(id);
        }
        self.counters.batches += 1;
        let outstanding = Outstanding {
            worker,
            since: self.now,
            parts: parts.clone(),
            rows: Arc::clone(&rows),
            touched,
            completing,
            upto: self.visible,
            run_work: picks.run_work,
            first_cursor,
            completions: completions.len() as u64,
        };
        self.batches.insert(id, outstanding);
        let unguarded = self.config.bugs.skip_guard;
        self.out.push_back(Output::Apply(Batch { id, worker, slots: parts, rows, completions, unguarded }));
    }

    /// The newest states of a write's rows, and which writes they settle.
    fn collect_rows(
        &self,
        slot: Slot,
        lsn: Lsn,
        rows: &mut BTreeMap<RowId, BatchRow>,
        touched: &mut BTreeMap<Lsn, u32>,
    ) {
        let Some(op) = self.pending.get(lsn) else { return };
        for (row, own) in op.rows() {
            if rows.contains_key(row) {
                continue;
            }
            let writes = self.pending.writes_of(row);
            if !writes.contains(&lsn) {
                continue;
            }
            let shown = self.pending.overlay.get(row).unwrap_or(own);
            rows.insert(row.clone(), BatchRow { slot, row: row.clone(), head: Arc::clone(shown) });
            for write in writes {
                *touched.entry(write).or_default() += 1;
            }
        }
    }

    /// A run's row, or what has been written to it since: the newest state takes over the earliest due time, and the
    /// record of the older one may be gone. After a restart it is the run's that may be the newer one, because replay
    /// has found entries again that had been spilled along with it.
    fn collect_run_work(
        &self,
        slot: Slot,
        work: &RunWork,
        rows: &mut BTreeMap<RowId, BatchRow>,
        touched: &mut BTreeMap<Lsn, u32>,
    ) {
        if !rows.contains_key(&work.row) {
            for write in self.pending.writes_of(&work.row) {
                *touched.entry(write).or_default() += 1;
            }
        }
        let shown = self.pending.overlay.get(&work.row).unwrap_or(&work.head);
        let newest = if shown.guard < work.head.guard { &work.head } else { shown };
        let (row, head) = (work.row.clone(), Arc::clone(newest));
        rows.insert(row.clone(), BatchRow { slot, row, head });
    }

    fn completion_of(&self, lsn: Lsn, rows: &BTreeMap<RowId, BatchRow>) -> Option<Completion> {
        let op = self.pending.get(lsn)?;
        let mut completion = op.completion(lsn)?;
        let (row, own) = op.rows().first()?;
        let shown = rows.get(row).map(|row| &row.head).or_else(|| self.pending.overlay.get(row));
        completion.superseded = shown.is_none_or(|shown| shown.guard != own.guard);
        Some(completion)
    }

    /// Gives cursors; what does not fit into the outbox is dropped and counted.
    fn number_completions(&mut self, completions: &mut Vec<Completion>) -> Option<u64> {
        let room = self.config.outbox_max.saturating_sub(self.outbox);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if completions.len() > room {
            self.counters.dead_letters += (completions.len() - room) as u64;
            completions.truncate(room);
        }
        self.outbox += completions.len() as u64;
        for completion in completions.iter_mut() {
            self.cursor += 1;
            completion.cursor = self.cursor;
        }
        completions.first().map(|completion| completion.cursor)
    }

    fn part(
        &mut self,
        slot: Slot,
        batch: BatchId,
        completing: &BTreeSet<Lsn>,
        rows: &BTreeMap<RowId, BatchRow>,
    ) -> SlotPart {
        let purge_limit = self.purge_limit();
        let in_slot = |lsn: &&Lsn| self.pending.get(**lsn).is_some_and(|op| op.slot == slot);
        let completing: BTreeSet<Lsn> = completing.iter().filter(in_slot).copied().collect();
        let visible = self.visible;
        let state = &mut self.slots.states[slot.index()];
        state.outstanding = Some(batch);
        let mut part = state.part(slot, &self.pending, &completing, visible);
        if self.config.bugs.max_lsn_progress {
            part.base = completing.last().copied().unwrap_or(part.base);
            part.behind.clear();
            part.exceptions_added.clear();
        }
        if state.purge_wanted {
            let watermark = part.behind.iter().map(|(_, lsn)| *lsn).min().unwrap_or(part.base).min(part.base);
            part.purge_upto = watermark.min(purge_limit);
            state.purge_wanted = part.purge_upto > Lsn::ZERO;
        }
        state.tombstones |= rows.values().any(|row| row.slot == slot && row.head.is_tombstone());
        part
    }

    /// A batch is in the keymap: what it settles leaves the overlay with the next view.
    pub(super) fn batch_applied(&mut self, id: BatchId, unpurged: &[Slot]) {
        let Some(batch) = self.batches.remove(&id) else {
            self.counters.stale_batches += 1;
            return;
        };
        self.release_worker(&batch);
        for part in &batch.parts {
            // Any one slot's later epoch shuts an earlier batch out as a whole.
            self.limbo.retain(|(_, slots)| !slots.contains(&part.slot));
            let state = self.slots.get_mut(part.slot);
            state.applied(part);
            state.outstanding = None;
            state.fence_wanted = false;
            if part.purge_upto > Lsn::ZERO {
                state.purge_wanted = unpurged.contains(&part.slot);
                self.counters.purges += 1;
            }
        }
        for row in batch.rows.iter() {
            self.pending.settle_row(&row.row, |lsn| lsn <= batch.upto && batch.touched.contains_key(&lsn));
        }
        for (lsn, rows) in &batch.touched {
            if batch.completing.contains(lsn) {
                self.complete(*lsn);
            } else if let Some(op) = self.pending.get_mut(*lsn) {
                op.done += rows;
            }
        }
        let loaded: BTreeMap<RunId, u64> =
            batch.run_work.iter().fold(BTreeMap::new(), |mut counts, (_, work)| {
                *counts.entry(work.run).or_default() += 1;
                counts
            });
        for (run, entries) in loaded {
            self.run_entries_applied(run, entries);
        }
        self.counters.completions += batch.completions;
        self.sync.applied_since = true;
        self.dirty = true;
    }

    fn complete(&mut self, lsn: Lsn) {
        let Some(op) = self.pending.remove(lsn) else { return };
        self.counters.applied += 1;
        self.rates[op.class.name().index()].add(self.now, 1);
        if op.due().is_some_and(|due| self.now > due) {
            self.counters.applied_late += 1;
        }
        if let Some((op_ref, mut written)) = self.waiters.remove(&lsn) {
            written.keymap = crate::write::KeymapState::Applied;
            self.answers.push((op_ref, Ok(written)));
        }
    }

    fn release_worker(&mut self, batch: &Outstanding) {
        if let Some(worker) = self.workers.all.get_mut(&batch.worker) {
            worker.busy = None;
        }
    }

    /// A batch left no trace, or nobody knows: its entries are handed out again, under a later epoch.
    /// If it may still be committed, consumers of completions do not go past it until a later epoch shuts it out.
    pub(super) fn forget_batch(&mut self, id: BatchId, may_commit: bool) {
        let Some(batch) = self.batches.remove(&id) else { return };
        if may_commit && let Some(first) = batch.first_cursor {
            let slots: Vec<Slot> = batch.parts.iter().map(|part| part.slot).collect();
            for slot in &slots {
                self.slots.get_mut(*slot).fence_wanted = true;
            }
            self.limbo.push((first, slots));
        }
        self.release_worker(&batch);
        self.counters.batches_forgotten += 1;
        self.outbox = self.outbox.saturating_sub(batch.completions);
        for part in &batch.parts {
            let epoch = self.workers.fresh_epoch();
            let state = self.slots.get_mut(part.slot);
            state.outstanding = None;
            state.epoch = epoch;
        }
        for (slot, work) in batch.run_work.into_iter().rev() {
            self.slots.get_mut(slot).run_work.push_front(work);
        }
    }

    pub(super) fn batch_failed(&mut self, id: BatchId) {
        let Some(worker) = self.batches.get(&id).map(|batch| batch.worker) else { return };
        self.forget_batch(id, false);
        let not_before = self.now.plus_ms(RETRY_MS);
        if let Some(worker) = self.workers.all.get_mut(&worker) {
            worker.not_before = not_before;
        }
    }

    /// Completions up to here are all in the keymap.
    pub(super) fn completions_upto(&self) -> u64 {
        let outstanding = self.batches.values().filter_map(|batch| batch.first_cursor);
        let limbo = self.limbo.iter().map(|(first, _)| *first);
        outstanding.chain(limbo).min().map_or(self.cursor, |first| first - 1)
    }
}

/// Pause after a batch that could not be committed.
const RETRY_MS: u64 = 100;

const _: () = assert!(SLOTS <= 256, "a slot is one byte");
