//! Keymap syncs and the replay point: what recovery has to read, and which logs are free.

use std::collections::VecDeque;

use super::Shard;
use super::runs::removals;
use crate::events::Output;
use crate::ids::{Locator, Lsn, OpRef, RunId, Timestamp};
use crate::keymap::{ReplayPoint, replay_mutation};

/// Log bytes counted for a record beyond its payload.
const FRAME: u64 = 40;

/// Taking in a record takes a start as long as reading so many bytes (about a microsecond; see docs/performance.md):
/// what bounds replay counts them too, or millions of tiny records would fit into the bound.
const RECORD_COST: u64 = 256;

/// Pause after a failed sync.
const RETRY_MS: u64 = 500;

/// How far the keymap is durable, and what asks for more.
pub(super) struct SyncState {
    /// Cost of replaying what lies before a record, in bytes; one in so many bytes.
    checkpoints: VecDeque<(Lsn, u64)>,
    checkpoint_bytes: u64,
    total: u64,
    last: Option<Locator>,
    bytes_since: u64,
    pub(super) applied_since: bool,
    pub(super) wanted: bool,
    began: Timestamp,
    tokens: u64,
    outstanding: Option<Outstanding>,
    pub(super) requests: Vec<OpRef>,
    /// No sync before this time (after a failure).
    not_before: Timestamp,
    /// Recorded in a keymap that is durable.
    pub(super) synced: ReplayPoint,
}

struct Outstanding {
    token: u64,
    replay: ReplayPoint,
    runs: Vec<RunId>,
    requests: Vec<OpRef>,
}

impl SyncState {
    pub(super) fn new(replay_bytes_max: u64, synced: ReplayPoint, now: Timestamp) -> Self {
        Self {
            checkpoints: VecDeque::new(),
            checkpoint_bytes: (replay_bytes_max / 256).max(1),
            total: 0,
            last: synced.from,
            bytes_since: 0,
            applied_since: false,
            wanted: false,
            began: now,
            tokens: 0,
            outstanding: None,
            requests: Vec::new(),
            not_before: now,
            synced,
        }
    }

    /// A record is durable.
    pub(super) fn logged(&mut self, lsn: Lsn, record: Locator) {
        let due =
            self.checkpoints.back().is_none_or(|(_, bytes)| self.total - bytes >= self.checkpoint_bytes);
        if due {
            self.checkpoints.push_back((lsn, self.total));
        }
        self.total += u64::from(record.len) + RECORD_COST;
        self.bytes_since += u64::from(record.len) + FRAME;
        self.last = Some(record);
    }

    /// Cost of replay from a record on, in bytes, to within a checkpoint.
    fn bytes_from(&self, lsn: Lsn) -> u64 {
        let after = self.checkpoints.partition_point(|(at, _)| *at <= lsn);
        let before = after.checked_sub(1).and_then(|index| self.checkpoints.get(index));
        before.or(self.checkpoints.front()).map_or(0, |(_, bytes)| self.total - bytes)
    }

    /// The LSN after which replay costs about so many bytes.
    pub(super) fn lsn_before_last(&self, bytes: u64) -> Lsn {
        let before = self.checkpoints.partition_point(|(_, at)| self.total - at > bytes);
        before.checked_sub(1).and_then(|index| self.checkpoints.get(index)).map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }
}

impl Shard {
    /// Where replay would begin if the keymap were synced now.
    fn replay_point(&self) -> ReplayPoint {
        let next_lsn = self.next_lsn;
        let oldest = self.pending.first().and_then(|(lsn, op)| Some((lsn, op.rows().first()?.1.record)));
        match oldest {
            Some((lsn, record)) => ReplayPoint { from: Some(record), lsn, next_lsn },
            None => ReplayPoint { from: self.sync.last, lsn: self.visible.next(), next_lsn },
        }
    }

    /// What recovery would cost if the keymap were synced now, in bytes.
    pub(super) fn replay_bytes(&self) -> u64 {
        self.pending.first().map_or(0, |(lsn, _)| self.sync.bytes_from(lsn))
    }

    /// Asks for a sync if it is time for one.
    pub(super) fn sync_keymap(&mut self) {
        if self.config.bugs.release_log_before_sync {
            let replay = self.replay_point();
            self.late.push(Output::ReleaseLog { replay });
            let asked = std::mem::take(&mut self.sync.requests);
            self.late.extend(asked.into_iter().map(|op_ref| Output::Synced { op_ref }));
        }
        let sync = &self.sync;
        let changed = sync.applied_since || sync.bytes_since > 0;
        let overdue = changed && self.now.since_ms(sync.began) >= self.config.sync_interval_ms;
        let asked = sync.wanted || !sync.requests.is_empty() || sync.bytes_since >= self.config.sync_bytes;
        if sync.outstanding.is_some() || !(asked || overdue) || self.now < sync.not_before {
            return;
        }
        let replay = self.replay_point();
        let runs = self.runs.applied();
        let mut mutations = vec![replay_mutation(&replay)];
        mutations.extend(removals(&runs));
        let sync = &mut self.sync;
        sync.tokens += 1;
        let (token, requests) = (sync.tokens, std::mem::take(&mut sync.requests));
        sync.outstanding = Some(Outstanding { token, replay, runs, requests });
        sync.began = self.now;
        sync.bytes_since = 0;
        sync.applied_since = false;
        sync.wanted = false;
        self.counters.syncs += 1;
        self.out.push_back(Output::SyncKeymap { token, mutations, replay });
    }

    pub(super) fn keymap_synced(&mut self, token: u64) {
        let Some(done) = self.sync.outstanding.take_if(|sync| sync.token == token) else { return };
        self.sync.synced = done.replay;
        let keep =
            self.sync.checkpoints.partition_point(|(lsn, _)| *lsn <= done.replay.lsn).saturating_sub(1);
        self.sync.checkpoints.drain(..keep);
        for run in done.runs {
            self.runs.forget(run);
            self.late.push(Output::DropRun { run });
            self.dirty = true;
        }
        self.late.push(Output::ReleaseLog { replay: done.replay });
        self.late.extend(done.requests.into_iter().map(|op_ref| Output::Synced { op_ref }));
    }

    pub(super) fn keymap_sync_failed(&mut self, token: u64) {
        let Some(failed) = self.sync.outstanding.take_if(|sync| sync.token == token) else { return };
        self.counters.syncs_failed += 1;
        self.sync.requests.extend(failed.requests);
        self.sync.applied_since = true;
        self.sync.wanted |= !failed.runs.is_empty();
        self.sync.not_before = self.now.plus_ms(RETRY_MS);
    }
}
