//! One shard: inputs in, outputs out, no I/O.

mod buckets;
mod decide;
mod decide_bucket;
mod decide_upload;
mod dispatch;
mod inflight;
mod load;
mod optable;
mod pending;
mod pick;
mod recovery;
mod runs;
mod sequence;
mod slots;
mod spill;
mod status;
mod sync;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use buckets::Buckets;
use dispatch::Outstanding;
use inflight::InFlight;
use load::{Load, Rate};
use pending::{Pending, PendingOp};
use runs::Runs;
use slots::Slots;
use sync::SyncState;
use workers::Workers;

pub use recovery::{Recovery, RecoveryError};
pub use status::{Counters, QueueStatus};

use crate::class::{Class, ClassName};
use crate::completion::{EventKind, Origin};
use crate::config::ShardConfig;
use crate::events::{Input, Output, View};
use crate::head::RowHead;
use crate::ids::{BatchId, Lsn, OpRef, Slot, Timestamp};
use crate::reader::RowReader;
use crate::rows::RowId;
use crate::write::{WriteError, Written};

/// The owner of one log's order of writes. Made by [`Recovery`], also for an empty disk.
pub struct Shard {
    config: ShardConfig,
    now: Timestamp,
    next_lsn: Lsn,
    /// Everything up to here is durable and seen.
    visible: Lsn,
    inflight: InFlight,
    buckets: Buckets,
    pending: Pending,
    slots: Slots,
    workers: Workers,
    batches: BTreeMap<BatchId, Outstanding>,
    batches_made: u64,
    /// Batches that were given up and may still be committed: first completion cursor, slots.
    limbo: Vec<(u64, Vec<Slot>)>,
    rotation: usize,
    runs: Runs,
    sync: SyncState,
    load: Load,
    rates: Vec<Rate>,
    paused: [bool; ClassName::ALL.len()],
    /// Delayed entries up to here are applied before their time.
    early_upto: Lsn,
    drains: Vec<Drain>,
    condemned: BTreeSet<u64>,
    disk_low: bool,
    stopped: Option<Arc<str>>,
    outbox: u64,
    cursor: u64,
    /// Who waits for the application of a write.
    waiters: BTreeMap<Lsn, (OpRef, Box<Written>)>,
    views: u64,
    purges_at: Timestamp,
    counters: Counters,
    dirty: bool,
    unsettled: bool,
    out: VecDeque<Output>,
    /// Answers that follow the next view.
    answers: Vec<(OpRef, Result<Box<Written>, WriteError>)>,
    /// Outputs that follow the next view.
    late: Vec<Output>,
}

struct Drain {
    class: Option<ClassName>,
    upto: Lsn,
    op_ref: OpRef,
}

/// How often purges of tombstones are considered.
const PURGE_INTERVAL_MS: u64 = 500;

impl Shard {
    /// Takes an input. `rows` reads spill runs and the keymap as of now (at least everything told as applied).
    pub fn handle(&mut self, now: Timestamp, input: Input, rows: &dyn RowReader) {
        self.now = self.now.max(now);
        self.unsettled = true;
        match input {
            Input::Write { op_ref, request } => self.write(op_ref, *request, rows),
            Input::Appended { lsn, locator } => self.appended(lsn, locator),
            Input::Durable { upto } => self.durable(upto),
            Input::AppendFailed => self.append_failed(&WriteError::NoSpace),
            Input::LogFailed { why } => self.stop(why),
            Input::WorkerReady { worker } => self.worker_ready(worker),
            Input::WorkerLost { worker } => self.worker_lost(worker),
            Input::BatchApplied { batch, unpurged } => self.batch_applied(batch, &unpurged),
            Input::BatchFailed { batch } => self.batch_failed(batch),
            Input::KeymapSynced { token } => self.keymap_synced(token),
            Input::KeymapSyncFailed { token } => self.keymap_sync_failed(token),
            Input::SpillDone { run } => self.spill_done(run),
            Input::SpillFailed { run } => self.spill_failed(run),
            Input::RunChunk { run, entries, end } => self.run_chunk(run, entries, end),
            Input::RunLoadFailed { run } => self.run_load_failed(run),
            Input::RequestSync { op_ref } => self.sync.requests.push(op_ref),
            Input::Drain { class, op_ref } => {
                self.drains.push(Drain { class, upto: self.next_lsn.prev(), op_ref });
            }
            Input::Pause { class, paused } => self.pause(class, paused),
            Input::Condemn { segment, condemned: true } => {
                self.condemned.insert(segment);
            }
            Input::Condemn { segment, condemned: false } => {
                self.condemned.remove(&segment);
            }
            Input::DiskPressure { low } => self.disk_low = low,
            Input::OutboxTrimmed { count } => self.outbox = self.outbox.saturating_sub(count),
            Input::Tick => self.tick(),
        }
    }

    /// The next thing to do. Call until `None` after every (group of) [`Shard::handle`].
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.out.is_empty() && std::mem::take(&mut self.unsettled) {
            self.settle();
        }
        self.out.pop_front()
    }

    /// What follows from all inputs since the last time: batches, runs, syncs, one view, and then answers.
    fn settle(&mut self) {
        if self.stopped.is_none() {
            self.find_pressure();
            self.dispatch();
            self.work_on_runs();
            self.spill();
            self.sync_keymap();
            self.finish_drains();
        }
        if std::mem::take(&mut self.dirty) {
            let view = self.view();
            self.out.push_back(Output::Publish(view));
        }
        let answers = self.answers.drain(..);
        self.out.extend(answers.map(|(op_ref, result)| Output::Reply { op_ref, result }));
        self.out.extend(self.late.drain(..));
    }

    fn view(&mut self) -> View {
        self.views += 1;
        View {
            seq: self.views,
            lsn: self.visible,
            overlay: self.pending.overlay.clone(),
            buckets: self.buckets.visible.by_name().clone(),
            runs: self.runs.readable(),
            completions_upto: self.completions_upto(),
        }
    }

    fn enqueue(
        &mut self,
        lsn: Lsn,
        slot: Slot,
        (class, accepted): (Class, Timestamp),
        event: Option<(EventKind, Arc<Origin>)>,
        rows: Vec<(RowId, Arc<RowHead>)>,
    ) {
        let op = PendingOp::new(slot, class, accepted, event, rows);
        self.counters.coalesced += self.pending.insert(lsn, op);
        self.slots.get_mut(slot).push(class, lsn);
    }

    /// Somebody who waits for the application of a write is told that it is pending.
    fn answer_pending(&mut self, lsn: Lsn) {
        if let Some((op_ref, written)) = self.waiters.remove(&lsn) {
            self.answers.push((op_ref, Ok(written)));
        }
    }

    fn stop(&mut self, why: Arc<str>) {
        self.append_failed(&WriteError::Unavailable(Arc::clone(&why)));
        // Durable, but nobody will apply them here any more.
        let waiters = std::mem::take(&mut self.waiters);
        self.answers.extend(waiters.into_values().map(|(op_ref, written)| (op_ref, Ok(written))));
        self.late.push(Output::Stopped { why: Arc::clone(&why) });
        self.stopped = Some(why);
    }

    fn pause(&mut self, class: Option<ClassName>, paused: bool) {
        for name in ClassName::ALL {
            if class.map_or(name != ClassName::Move, |class| class == name) {
                self.paused[name.index()] = paused;
            }
        }
    }

    fn tick(&mut self) {
        self.scale();
        self.time_out_batches();
        self.time_out_waiters();
        if self.now.since_ms(self.purges_at) >= PURGE_INTERVAL_MS {
            self.purges_at = self.now;
            let limit = self.purge_limit();
            for slot in &mut self.slots.states {
                slot.want_purge(&self.pending, self.visible, limit);
            }
        }
    }

    fn time_out_batches(&mut self) {
        let timeout = self.config.batch_timeout_ms;
        let late = self.batches.values().filter(|batch| self.now.since_ms(batch.since) > timeout);
        let lost: Vec<_> = late.map(|batch| batch.worker).collect();
        for worker in lost {
            self.worker_lost(worker);
            self.out.push_back(Output::Retire { worker });
        }
    }

    fn time_out_waiters(&mut self) {
        let timeout = self.config.sync_timeout_ms;
        // Moves have nobody impatient behind them.
        let sync = |lsn: &Lsn| self.pending.get(*lsn).filter(|op| op.class == Class::Sync);
        let accepted = |lsn: &Lsn| sync(lsn).map(|op| op.accepted);
        let late: Vec<Lsn> = self
            .waiters
            .keys()
            .filter(|lsn| accepted(lsn).is_some_and(|accepted| self.now.since_ms(accepted) > timeout))
            .copied()
            .collect();
        for lsn in late {
            self.counters.sync_timeouts += 1;
            self.answer_pending(lsn);
        }
    }

    /// Up to which LSN a class is being drained.
    fn drained_upto(&self, class: ClassName) -> Lsn {
        let of_class = self.drains.iter().filter(|drain| drain.class.is_none_or(|c| c == class));
        of_class.map(|drain| drain.upto).max().unwrap_or(Lsn::ZERO)
    }

    fn finish_drains(&mut self) {
        if self.drains.is_empty() {
            return;
        }
        let left = |class: ClassName| {
            let pending = self.slots.least(class, &self.pending);
            pending.into_iter().chain(self.runs.least(class)).min()
        };
        let left: Vec<Option<Lsn>> = ClassName::ALL.into_iter().map(left).collect();
        let inflight = self.inflight.first();
        let done = |drain: &Drain| {
            let of_class = |name: &&ClassName| drain.class.is_none_or(|class| class == **name);
            let least = ClassName::ALL.iter().filter(of_class).filter_map(|name| left[name.index()]).min();
            inflight.is_none_or(|first| first > drain.upto) && least.is_none_or(|least| least > drain.upto)
        };
        let (finished, open) = std::mem::take(&mut self.drains).into_iter().partition(done);
        self.drains = open;
        let finished: Vec<Drain> = finished;
        self.late.extend(finished.into_iter().map(|drain| Output::Drained { op_ref: drain.op_ref }));
    }
}

#[cfg(test)]
mod tests;
