//! Start: from what the keymap has recorded, and the log behind it; or from the log alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::buckets::Buckets;
use super::inflight::InFlight;
use super::load::{Load, Rate};
use super::pending::{Pending, PendingOp};
use super::runs::Runs;
use super::slots::Slots;
use super::status::Counters;
use super::sync::SyncState;
use super::workers::Workers;
use crate::batch::Batch;
use crate::bucket::BucketState;
use crate::class::{Class, ClassName};
use crate::config::ShardConfig;
use crate::events::{Input, Output, Overlay};
use crate::head::RowKind;
use crate::ids::{Incarnation, Locator, Lsn, Slot, Timestamp, WorkerId};
use crate::keymap::{KeymapMeta, SlotProgress};
use crate::reader::{Merged, ReadError, RowReader, Rows};
use crate::record::{Record, RecordError, RowState};
use crate::rows::{RowId, Space, prefix_end, space_prefix};

/// Why a shard cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A log record does not decode. The log's checksum holds, so it is of a later format or a bug.
    #[error("log record at {at:?}: {source}")]
    Record {
        /// Where.
        at: Locator,
        /// Why not.
        source: RecordError,
    },
    /// Rows or a bucket's record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A bucket row points to a record of something else.
    #[error("the record at {0:?} is not the bucket's that its row says")]
    NotABucket(Locator),
}

/// A shard that is reading its log.
///
/// First [`Recovery::new`] with what [`KeymapMeta::load`] has read. Then every record from [`Recovery::replay_from`] on
/// to [`Recovery::record`], each time committing what [`Recovery::next_batch`] gives and telling
/// [`Recovery::batch_applied`]. Last, [`Recovery::finish`].
pub struct Recovery {
    shard: Shard,
    replay: (Option<Locator>, Lsn),
    progress: Vec<SlotProgress>,
    exceptions: BTreeSet<(Slot, Class, Lsn)>,
    worker: WorkerId,
}

struct NoRows;

impl RowReader for NoRows {
    fn get(&self, _row: &RowId) -> Result<Option<Arc<crate::head::RowHead>>, ReadError> {
        Ok(None)
    }

    fn scan<'a>(&'a self, _from: &[u8], _to: &[u8]) -> Rows<'a> {
        Box::new(std::iter::empty())
    }
}

impl Recovery {
    /// Begins. The driver has deleted run files that `meta.runs` does not name.
    pub fn new(config: ShardConfig, meta: KeymapMeta, now: Timestamp) -> Self {
        let mut meta = meta;
        meta.slots.resize(crate::ids::SLOTS, SlotProgress::default());
        let runs_end = |run: &crate::run::RunInfo| run.lsns.last().map_or(0, |(at, n)| at + u64::from(*n));
        let known = meta.runs.iter().map(runs_end).chain(meta.slots.iter().map(|slot| slot.base.0 + 1));
        let next_lsn = Lsn(known.max().unwrap_or(0).max(meta.replay.next_lsn.0).max(1));
        let mut pending = Pending::default();
        pending.one_entry_per_key = config.bugs.one_entry_per_key;
        let rate = || Rate::new(5_000, now);
        let shard = Shard {
            now,
            next_lsn,
            visible: next_lsn.prev(),
            inflight: InFlight::default(),
            buckets: Buckets::default(),
            pending,
            slots: Slots::new(&meta),
            workers: Workers::new(config.start),
            batches: BTreeMap::new(),
            batches_made: u64::from(config.start) << 40,
            limbo: Vec::new(),
            rotation: 0,
            runs: Runs::recover(meta.runs),
            sync: SyncState::new(config.replay_bytes_max, meta.replay, now),
            load: Load::new(config.thresholds.clone(), config.load_half_life_ms, now),
            rates: ClassName::ALL.iter().map(|_| rate()).collect(),
            paused: [false; ClassName::ALL.len()],
            early_upto: Lsn::ZERO,
            drains: Vec::new(),
            condemned: BTreeSet::new(),
            disk_low: false,
            stopped: None,
            outbox: meta.outbox,
            cursor: u64::from(config.start) << 40,
            waiters: BTreeMap::new(),
            views: 0,
            purges_at: now,
            counters: Counters::default(),
            dirty: false,
            unsettled: false,
            out: Default::default(),
            answers: Vec::new(),
            late: Vec::new(),
            config,
        };
        let exceptions = meta.exceptions.into_iter().collect();
        let replay = (meta.replay.from, meta.replay.lsn);
        Self { shard, replay, progress: meta.slots, exceptions, worker: WorkerId(0) }
    }

    /// The record to begin with; `None`: the log's oldest.
    pub fn replay_from(&self) -> Option<Locator> {
        self.replay.0
    }

    /// One durable record, in the order of the log.
    pub fn record(&mut self, locator: Locator, payload: &[u8]) -> Result<(), RecoveryError> {
        let decoded = Record::decode_header(payload);
        let (record, _) = decoded.map_err(|source| RecoveryError::Record { at: locator, source })?;
        let shard = &mut self.shard;
        shard.next_lsn = shard.next_lsn.max(record.lsn.next());
        // Not what the keymap has recorded as given out: a batch made now must not claim what is still to be read.
        shard.visible = record.lsn;
        shard.sync.logged(record.lsn, locator);
        if record.lsn < self.replay.1 {
            return Ok(());
        }
        shard.counters.replayed += 1;
        let (slot, class) = (record.slot(), record.class);
        let passed = self.progress[slot.index()].watermark(class) >= record.lsn;
        if passed || self.exceptions.contains(&(slot, class, record.lsn)) {
            shard.counters.replayed_applied += 1;
            return Ok(());
        }
        let head = |change| (record.row(change), Arc::new(record.head(change, locator)));
        let rows: Vec<_> = record.changes.iter().map(head).collect();
        if !rows.is_empty() {
            let event = record.event.zip(record.origin);
            let op = PendingOp::new(slot, class, record.accepted, event, rows);
            shard.pending.insert_late(record.lsn, op);
            shard.slots.get_mut(slot).push(class, record.lsn);
        }
        Ok(())
    }

    /// Something to commit before going on: more is pending than memory may hold. Only a rebuild gets here.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let shard = &mut self.shard;
        if shard.pending.bytes() <= shard.config.pending_bytes_soft || !shard.batches.is_empty() {
            return None;
        }
        shard.show_late();
        shard.worker_ready(self.worker);
        shard.early_upto = shard.visible;
        shard.dispatch();
        match shard.out.pop_front() {
            Some(Output::Apply(batch)) => Some(batch),
            _ => None,
        }
    }

    /// The last batch is in the keymap.
    pub fn batch_applied(&mut self, batch: &Batch) {
        let applied = Input::BatchApplied { batch: batch.id, unpurged: Vec::new() };
        self.shard.handle(self.shard.now, applied, &NoRows);
    }

    /// Everything is read: `rows` shows the keymap and the runs, `read_record` reads records of buckets.
    pub fn finish(
        mut self,
        rows: &dyn RowReader,
        read_record: &mut dyn FnMut(Locator) -> Result<Bytes, ReadError>,
    ) -> Result<Shard, RecoveryError> {
        let shard = &mut self.shard;
        shard.show_late();
        shard.visible = shard.next_lsn.prev();
        if shard.workers.all.contains_key(&self.worker) {
            shard.worker_lost(self.worker);
        }
        let states = bucket_states(&shard.pending.overlay, rows, read_record)?;
        shard.buckets.load(states);
        for slot in &mut shard.slots.states {
            // Whatever an earlier start has left to purge.
            slot.tombstones = true;
        }
        shard.early_upto = Lsn::ZERO;
        shard.dirty = true;
        shard.unsettled = true;
        // A first sync fixes what replay has found.
        shard.sync.applied_since = true;
        Ok(self.shard)
    }
}

impl Shard {
    fn show_late(&mut self) {
        self.counters.coalesced += self.pending.show_late();
    }
}

fn bucket_states(
    overlay: &Overlay,
    rows: &dyn RowReader,
    read_record: &mut dyn FnMut(Locator) -> Result<Bytes, ReadError>,
) -> Result<BTreeMap<String, Arc<BucketState>>, RecoveryError> {
    let reader = Merged::new(overlay, vec![rows]);
    let from = space_prefix(Incarnation::BUCKETS, Space::Object);
    let mut states = BTreeMap::new();
    for row in reader.scan(&from, &prefix_end(&from)) {
        let (_, head) = row?;
        if head.kind != RowKind::Bucket {
            continue;
        }
        let at = head.record;
        let bytes = read_record(at)?;
        let decoded = Record::decode_header(&bytes);
        let (record, _) = decoded.map_err(|source| RecoveryError::Record { at, source })?;
        match record.changes.into_iter().next().map(|change| change.state) {
            Some(RowState::Bucket(state)) => states.insert(state.name.clone(), Arc::new(*state)),
            _ => return Err(RecoveryError::NotABucket(at)),
        };
    }
    Ok(states)
}
