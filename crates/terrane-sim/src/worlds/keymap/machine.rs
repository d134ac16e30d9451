//! The process: the real shard and the real log, and everything between them and the simulated world.

use std::collections::BTreeMap;

use bytes::Bytes;
use terrane_keymap::config::ShardConfig;
use terrane_keymap::keymap::{KeymapMeta, ReplayPoint, plan};
use terrane_keymap::reader::{ReadError, RowReader};
use terrane_keymap::record::{Data, Record, RowState};
use terrane_keymap::{
    Batch, Extent, Input, Locator, Lsn, Output, Overlay, Recovery, Shard, Slot, Timestamp, View, WorkerId,
};
use terrane_log::{Log, LogConfig, LogError, LogReader, Preallocate, RecordLocator};

use super::engine::{Engine, Runs, with_rows};
use super::model::State;
use crate::disk::SimDisk;
use crate::rng::SimRng;
use crate::runner::Violation;
use terrane_keymap::keymap::MemoryKeymap;

/// What is on the machine's disks, and outlives the process.
pub(super) struct Disks {
    pub(super) log: SimDisk,
    pub(super) keymap: Engine,
    pub(super) runs: Runs,
    /// Data segments: what was stored at which offset.
    pub(super) data: BTreeMap<u64, BTreeMap<u64, u64>>,
    pub(super) starts: u32,
}

/// A view with the snapshots that the driver adds, and what the model says of it.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) view: View,
    pub(super) keymap: MemoryKeymap,
    pub(super) runs: Runs,
    pub(super) model: State,
}

impl Seen {
    pub(super) fn rows<T>(&self, work: impl FnOnce(&dyn RowReader) -> T) -> T {
        with_rows(&self.view.overlay, &self.runs, &self.keymap, work)
    }
}

/// The process.
pub(super) struct Machine {
    pub(super) shard: Shard,
    pub(super) log: Log,
    pub(super) reader: LogReader,
    /// The last record in the log's buffer.
    pub(super) appended: Lsn,
    pub(super) released: ReplayPoint,
    /// Live workers.
    pub(super) workers: Vec<WorkerId>,
    pub(super) workers_wanted: usize,
    pub(super) next_worker: u64,
    /// The log had no room: what follows is dropped until the shard knows.
    pub(super) failing: bool,
    pub(super) sync_scheduled: bool,
}

pub(super) fn place(at: RecordLocator) -> Locator {
    Locator { segment: at.segment, offset: at.offset, len: at.len }
}

pub(super) fn record_at(at: Locator) -> RecordLocator {
    RecordLocator { segment: at.segment, offset: at.offset, len: at.len }
}

pub(super) fn read_record(reader: &LogReader, at: Locator) -> Result<Bytes, ReadError> {
    reader.read(record_at(at)).map_err(|error| ReadError::Storage(error.to_string().into()))
}

/// The extents of a row that has several.
pub(super) fn extents_of(
    reader: &LogReader,
    head: &terrane_keymap::head::RowHead,
) -> Result<Vec<Extent>, ReadError> {
    let bytes = read_record(reader, head.record)?;
    let record = Record::decode(&bytes).map_err(|error| ReadError::Storage(error.to_string().into()))?;
    let states = record.changes.into_iter().map(|change| change.state);
    let extents = states.filter_map(|state| match state {
        RowState::Object(payload) | RowState::Part(payload) => match payload.data {
            Data::Extents(extents) => Some(extents),
            _ => None,
        },
        _ => None,
    });
    Ok(extents.flatten().collect())
}

/// Why a start did not come to an end.
pub(super) enum StartError {
    /// The machine crashed again meanwhile.
    Crashed,
    /// It must not fail like this.
    Violation(Violation),
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        Self::Violation(Violation(format!("start: {error}")))
    }
}

impl From<ReadError> for StartError {
    fn from(error: ReadError) -> Self {
        Self::Violation(Violation(format!("start: {error}")))
    }
}

/// What a start found in the log.
pub(super) struct Started {
    pub(super) machine: Machine,
    /// LSNs replayed.
    pub(super) replayed: Vec<Lsn>,
    /// Replay began here.
    pub(super) from: Lsn,
    /// Where replay began and what the keymap knew of spill runs.
    pub(super) found: String,
}

/// Starts on what the disks hold. `crash_after`: so many records are read before the next crash.
pub(super) fn start(
    disks: &mut Disks,
    config: &ShardConfig,
    log_config: &LogConfig,
    now: Timestamp,
    crash_after: Option<u64>,
) -> Result<Started, StartError> {
    disks.starts += 1;
    let meta = KeymapMeta::load(&disks.keymap.current)?;
    disks.runs.retain(|id, _| meta.runs.iter().any(|info| info.run == *id));
    let (from, mut replayed) = (meta.replay, Vec::new());
    let runs: Vec<_> = meta.runs.iter().map(|info| (info.run, info.lsns.clone())).collect();
    let found = format!("{from:?}, runs {runs:?}");
    let replay_from = from.from.map(|at| record_at(at).start());
    let config = ShardConfig { start: disks.starts, ..config.clone() };
    let log_config = LogConfig {
        replay_from,
        epoch_nonce: Some(disks.starts),
        preallocate: Preallocate::Inline,
        ..log_config.clone()
    };
    let (log, _) = Log::open(disks.log.as_disk(), log_config)?;
    let reader = log.reader();
    let mut recovery = Recovery::new(config, meta, now);
    let mut left = crash_after;
    log.replay(replay_from, |at, payload| {
        if left.as_mut().is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) == 0) {
            return Err(StartError::Crashed);
        }
        recovery.record(place(at), payload).map_err(|error| StartError::Violation(Violation::new(error)))?;
        let (record, _) =
            Record::decode_header(payload).map_err(|error| StartError::Violation(Violation::new(error)))?;
        replayed.push(record.lsn);
        while let Some(batch) = recovery.next_batch() {
            commit(&mut disks.keymap, &reader, &batch)
                .map_err(|error| StartError::Violation(Violation(format!("rebuild: {error}"))))?;
            recovery.batch_applied(&batch);
        }
        Ok(())
    })?;
    let mut read = |at: Locator| read_record(&reader, at);
    let shard = with_rows(&Overlay::new(), &disks.runs, &disks.keymap.current, |rows| {
        recovery.finish(rows, &mut read)
    });
    let shard = shard.map_err(|error| StartError::Violation(Violation::new(error)))?;
    let machine = Machine {
        appended: shard.visible(),
        shard,
        log,
        reader,
        released: ReplayPoint::default(),
        workers: Vec::new(),
        workers_wanted: 1,
        next_worker: 0,
        failing: false,
        sync_scheduled: false,
    };
    Ok(Started { machine, replayed, from: from.lsn, found })
}

/// Commits a batch as a worker does; gives the slots that have more to purge.
pub(super) fn commit(
    keymap: &mut Engine,
    reader: &LogReader,
    batch: &Batch,
) -> Result<Vec<Slot>, terrane_keymap::keymap::PlanError> {
    let planned = plan(batch, &keymap.current, &mut |head| extents_of(reader, head))?;
    keymap.commit(planned.mutations);
    Ok(planned.unpurged)
}

impl Machine {
    /// Gives the shard an input.
    pub(super) fn feed(&mut self, disks: &Disks, now: Timestamp, input: Input) {
        let shard = &mut self.shard;
        with_rows(&Overlay::new(), &disks.runs, &disks.keymap.current, |rows| shard.handle(now, input, rows));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.shard.poll_output()
    }

    /// Appends a record, unless the log has just refused one.
    pub(super) fn append(
        &mut self,
        header: &[u8],
        payload: &[u8],
        reserved: bool,
    ) -> Result<Option<Locator>, LogError> {
        if self.failing {
            return Ok(None);
        }
        let parts = [header, payload];
        let mut appended = if reserved { self.log.append_reserved(&parts) } else { self.log.append(&parts) };
        if matches!(appended, Err(LogError::BatchFull { .. })) {
            self.log.sync()?;
            appended = if reserved { self.log.append_reserved(&parts) } else { self.log.append(&parts) };
        }
        match appended {
            Ok(at) => Ok(Some(place(at))),
            Err(error) if error.is_no_space() => {
                self.failing = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn ready(&mut self, rng: &mut SimRng) -> Option<WorkerId> {
        if self.workers.len() >= self.workers_wanted || rng.one_in(4) {
            return None;
        }
        self.next_worker += 1;
        self.workers.push(WorkerId(self.next_worker));
        self.workers.last().copied()
    }
}
