//! The sequencer: takes a request, decides it by everything assigned so far, gives it an LSN and logs it.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::decide::{Decision, Draft};
use super::inflight::InFlightRecord;
use crate::bucket::BucketState;
use crate::class::{Class, ClassName, ExplicitMode, ModeRequest, Priority, WriteMode};
use crate::completion::OperationKey;
use crate::events::Output;
use crate::ids::{Locator, Lsn, OpRef};
use crate::reader::{Merged, RowReader};
use crate::record::Record;
use crate::write::{KeymapState, Op, WriteError, WriteRequest, Written};

/// Fixed part of what a record in flight is reckoned at, in bytes.
const RECORD_COST: u64 = 256;

impl Shard {
    pub(super) fn write(&mut self, op_ref: OpRef, request: WriteRequest, rows: &dyn RowReader) {
        self.counters.requests += 1;
        if let Err(error) = self.admit(&request.op) {
            self.counters.refused_by_bounds += 1;
            self.answers.push((op_ref, Err(error)));
            return;
        }
        let mode = request.mode;
        let decisions = {
            let reader = Merged::new(&self.pending.overlay, vec![&self.inflight, rows]);
            self.decide(&request.op, &reader)
        };
        match decisions {
            Decision::Log(drafts) => self.log(op_ref, mode, drafts),
            Decision::Done(written) => self.answer_when_durable(op_ref, Ok(written)),
            Decision::Refuse(error) => self.answer_when_durable(op_ref, Err(error)),
        }
    }

    /// Bounds that need no look at any row.
    fn admit(&mut self, op: &Op) -> Result<(), WriteError> {
        if let Some(why) = &self.stopped {
            return Err(WriteError::Unavailable(Arc::clone(why)));
        }
        let frees = matches!(op, Op::Delete { .. } | Op::Abort { .. } | Op::DeleteBucket { .. });
        if matches!(op, Op::Move { .. }) {
            return Ok(());
        }
        if self.disk_low && !frees {
            return Err(WriteError::NoSpace);
        }
        let slow = |what| Err(WriteError::SlowDown { what, retry_after_ms: 1_000 });
        let kept = if frees { 0 } else { self.config.delete_share_percent.min(100) };
        let share = |bound: u64| bound / 100 * (100 - kept) + bound % 100 * (100 - kept) / 100;
        if self.inflight.bytes() > share(self.config.inflight_bytes_max) {
            return slow("bytes waiting for the log");
        }
        if self.pending.bytes() + self.inflight.bytes() > share(self.config.pending_bytes_hard) {
            return slow("memory of pending entries");
        }
        if self.pending.len() as u64 + self.runs.spilled_total() > share(self.config.pending_count_hard) {
            return slow("number of pending entries");
        }
        let stuck = self.runs.len() >= self.config.runs_max;
        if stuck && self.replay_bytes() > share(self.config.replay_bytes_max.saturating_mul(2)) {
            return slow("spill runs");
        }
        Ok(())
    }

    /// A refusal, or a success without a record, follows from what is assigned so far: it waits until that is durable.
    fn answer_when_durable(&mut self, op_ref: OpRef, result: Result<Box<Written>, WriteError>) {
        match self.inflight.last() {
            Some(last) => {
                self.counters.waited_for_durable += 1;
                self.inflight.wait(last, op_ref, result);
            }
            None => self.answers.push((op_ref, result)),
        }
    }

    fn log(&mut self, op_ref: OpRef, mode: ModeRequest, drafts: Vec<Draft>) {
        let count = drafts.len();
        for (index, draft) in drafts.into_iter().enumerate() {
            let class = match self.class_of(mode, &draft) {
                Ok(class) => class,
                Err(error) => {
                    self.answers.push((op_ref, Err(error)));
                    return;
                }
            };
            let asker = (index + 1 == count).then_some(op_ref);
            self.log_one(asker, class, draft);
        }
    }

    fn class_of(&mut self, mode: ModeRequest, draft: &Draft) -> Result<Class, WriteError> {
        if let Some(class) = draft.class {
            return Ok(class);
        }
        let by_load = self.load.write(self.now);
        let asynchronous = match mode.priority {
            Some(Priority::Low) => WriteMode::Low,
            _ => WriteMode::High,
        };
        let (mode, forced) = match mode.explicit {
            Some(ExplicitMode::Sync) => (WriteMode::Sync, true),
            Some(ExplicitMode::Delay(ms)) => (WriteMode::Delay { ms }, true),
            Some(ExplicitMode::Async) => {
                // The load may still say that everything is low by now.
                let low = by_load == WriteMode::Low && mode.priority.is_none();
                (if low { WriteMode::Low } else { asynchronous }, true)
            }
            None => {
                let default = self.buckets.sequenced.find(draft.incarnation);
                let default = default.and_then(|(bucket, _)| bucket.default_mode);
                let chosen = default.unwrap_or(by_load);
                let prefers = mode.priority.is_some() && matches!(chosen, WriteMode::High | WriteMode::Low);
                (if prefers { asynchronous } else { chosen }, false)
            }
        };
        let sync_paused = self.paused[ClassName::Sync.index()];
        Ok(match mode {
            WriteMode::Sync if sync_paused && forced => {
                return Err(WriteError::SlowDown {
                    what: "keymap workers are paused",
                    retry_after_ms: 1_000,
                });
            }
            WriteMode::Sync if sync_paused => Class::High,
            WriteMode::Sync => Class::Sync,
            WriteMode::High => Class::High,
            WriteMode::Low => Class::Low,
            WriteMode::Delay { ms } => Class::delay(ms),
        })
    }

    fn log_one(&mut self, asker: Option<OpRef>, class: Class, draft: Draft) {
        let lsn = self.next_lsn;
        self.next_lsn = lsn.next();
        let origin = draft.event.and_then(|_| self.origin_of(&draft));
        let record = Record {
            lsn,
            class,
            accepted: self.now,
            event: draft.event,
            origin: origin.clone(),
            incarnation: draft.incarnation,
            key: draft.key,
            changes: draft.changes,
            inline: draft.inline,
        };
        let header = record.encode_header();
        let rows: Vec<_> = record
            .changes
            .iter()
            .map(|change| (record.row(change), record.head(change, Locator::default())))
            .collect();
        if let Some(effect) = &draft.bucket {
            self.buckets.sequenced.apply(effect);
        }
        let slot = record.slot();
        let sub = match record.changes.first() {
            Some(change) => change.sub,
            None => return,
        };
        let written = Written {
            operation: Some(OperationKey { slot, class, lsn }),
            sub,
            delete_marker: draft.delete_marker,
            mtime: draft.mtime,
            keymap: KeymapState::Pending,
            bucket: draft.answer_bucket,
        };
        let bytes = RECORD_COST + (header.len() + record.inline.len()) as u64;
        let payload: Bytes = record.inline;
        self.inflight.push(InFlightRecord {
            lsn,
            slot,
            class,
            accepted: self.now,
            event: draft.event,
            origin,
            rows,
            bytes,
            bucket: draft.bucket,
            reply: asker.map(|op_ref| (op_ref, Box::new(written))),
            appended: false,
        });
        self.counters.logged += 1;
        self.out.push_back(Output::Append { lsn, header, payload, reserved: draft.reserved });
    }

    fn origin_of(&self, draft: &Draft) -> Option<Arc<crate::completion::Origin>> {
        self.buckets.sequenced.find(draft.incarnation).map(|(_, origin)| Arc::clone(origin))
    }

    /// The bucket that a request names, as sequenced.
    pub(super) fn bucket_of(&self, op: &Op) -> Option<&Arc<BucketState>> {
        let incarnation = match op {
            Op::Put { bucket, .. }
            | Op::Delete { bucket, .. }
            | Op::Change { bucket, .. }
            | Op::CreateUpload { bucket, .. }
            | Op::PutPart { bucket, .. }
            | Op::Complete { bucket, .. }
            | Op::Abort { bucket, .. }
            | Op::Move { bucket, .. } => bucket,
            Op::CreateBucket { .. } => return None,
            Op::DeleteBucket { name, incarnation } | Op::ChangeBucket { name, incarnation, .. } => {
                return self.buckets.sequenced.get(name).filter(|state| state.incarnation == *incarnation);
            }
        };
        self.buckets.sequenced.find(*incarnation).map(|(state, _)| state)
    }

    /// Everything appended so far that `upto` covers is durable: it becomes visible, in the order of LSNs.
    pub(super) fn durable(&mut self, upto: Lsn) {
        if self.stopped.is_some() {
            // Given up and answered so; only a recovery tells what is there.
            return;
        }
        while let Some(record) = self.inflight.pop_durable(upto) {
            debug_assert!(record.appended, "durable before appended");
            self.show(record);
        }
        self.visible = self.visible.max(upto);
        while let Some((op_ref, result)) = self.inflight.pop_answer(upto) {
            self.answers.push((op_ref, result));
        }
        self.dirty = true;
    }

    fn show(&mut self, record: InFlightRecord) {
        let InFlightRecord { lsn, slot, class, accepted, event, origin, rows, bucket, reply, .. } = record;
        let rows: Vec<_> = rows.into_iter().map(|(row, head)| (row, Arc::new(head))).collect();
        if let Some((_, head)) = rows.first() {
            self.sync.logged(lsn, head.record);
        }
        self.visible = lsn;
        if let Some(effect) = &bucket {
            self.buckets.visible.apply(effect);
        }
        self.enqueue(lsn, slot, (class, accepted), event.zip(origin), rows);
        let Some((op_ref, written)) = reply else { return };
        match class {
            Class::Sync | Class::Move => {
                self.waiters.insert(lsn, (op_ref, written));
            }
            _ => self.answers.push((op_ref, Ok(written))),
        }
    }

    pub(super) fn appended(&mut self, lsn: Lsn, locator: Locator) {
        self.inflight.appended(lsn, locator);
        if self.config.bugs.ack_before_fsync {
            self.durable(lsn);
        }
    }

    /// The log holds nothing that was not reported durable; whoever waits for it is told so.
    pub(super) fn append_failed(&mut self, error: &WriteError) {
        self.buckets.roll_back();
        for op_ref in self.inflight.fail() {
            self.answers.push((op_ref, Err(error.clone())));
        }
        self.counters.appends_failed += 1;
    }
}
