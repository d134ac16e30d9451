//! The embedded engine without threads: validate → append to the log → one sync → apply → publish.
//!
//! The engine's thread and the simulator drive the same code; only the disk and the view differ.
//!
//! Invariants:
//! 1. A commit is acknowledged after the log's sync covered it, and only then becomes visible.
//! 2. The view has only what the log has durably. It may be behind; it never is ahead.
//! 3. A log segment is removed after a sync of the view that has all its commits.

use std::sync::Arc;

use terrane_log::disk::Disk;
use terrane_log::{Log, LogConfig, Position, RecordLocator};
use terrane_types::RandomId;

use super::record::{DATA_FORMAT, LogRecord};
use super::rows::{Applied, RowBatch, Rows};
use crate::committer::{Bugs, CommitRequest, Committer, Decision, Limits, Version};
use crate::{Result, StoreError};

/// Bytes of rows that replay applies at a time.
const REPLAY_BATCH_BYTES: usize = 4 << 20;

/// Configuration of a [`Pipeline`].
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The log's configuration; its replay start and test switches are set from the rest.
    pub log: LogConfig,
    /// How much the committer remembers.
    pub limits: Limits,
    /// Test-only switches.
    pub bugs: Bugs,
    /// The identity of the store if it has to be made.
    pub new_incarnation: RandomId,
}

/// See the [module](self).
pub struct Pipeline<R> {
    log: Log,
    rows: R,
    committer: Committer,
    applied: Applied,
    /// The view lacks commits that the log has.
    behind: bool,
    /// Why nothing can be committed any more.
    failed: Option<String>,
    bugs: Bugs,
}

impl<R: Rows> Pipeline<R> {
    /// Opens the log, brings the view up to it, or makes a new store if both are empty.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the log does not reach back to where the view is.
    pub fn open(disk: Arc<dyn Disk>, rows: R, config: PipelineConfig) -> Result<Self> {
        let mut log_config = config.log;
        log_config.bugs.ack_before_fsync |= config.bugs.ack_before_fsync;
        let found = rows.applied()?;
        log_config.replay_from = found.map(|applied| applied.position);
        let (mut log, report) = Log::open(disk, log_config)?;
        if found.is_none() && report.oldest == report.tail {
            begin(&mut log, config.new_incarnation)?;
        }
        let mut replay = Replay::new(&rows, found.unwrap_or(NOTHING));
        replay.run(&log)?;
        let applied = replay.batch.applied;
        check_format(applied.format)?;
        let mut committer = Committer::new(applied.version, applied.ids_floor, config.limits, config.bugs);
        for (version, id) in rows.ids()? {
            committer.remember_id(id, version);
        }
        Ok(Self { log, rows, committer, applied, behind: false, failed: None, bugs: config.bugs })
    }

    /// Decides and stores commits, all with one sync. The results are in the order of the requests.
    ///
    /// When this returns, what is acknowledged is visible in [`Pipeline::rows`].
    pub fn commit(&mut self, requests: &[CommitRequest]) -> Vec<Result<Version>> {
        if let Err(error) = self.ready() {
            return requests.iter().map(|_| Err(error.clone())).collect();
        }
        let mut stored = Vec::new();
        let mut results: Vec<Result<Version>> =
            requests.iter().map(|request| self.submit(request, &mut stored)).collect();
        if let Err(error) = self.store(&stored) {
            // Also of duplicates: of commits in this very batch, and of any while the view lacks them.
            let lost =
                |version: &Version| self.behind || stored.iter().any(|commit| commit.version == *version);
            for result in results.iter_mut().filter(|result| result.as_ref().is_ok_and(lost)) {
                *result = Err(error.clone());
            }
        }
        results
    }

    /// The view, which has everything acknowledged.
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// How far the view is, or was before it failed.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The version that [`Pipeline::rows`] shows; `None` while it lacks commits that the log has: then
    /// readers stay with what they saw last.
    pub fn visible(&self) -> Option<Version> {
        (!self.behind).then_some(self.applied.version)
    }

    /// The log, for checks.
    pub fn log_reader(&self) -> terrane_log::LogReader {
        self.log.reader()
    }

    /// Bytes of the log that would be replayed if the view went back to `synced`.
    pub fn log_bytes_since(&self, synced: &Applied) -> u64 {
        self.log.reader().bytes_since(synced.position)
    }

    /// Removes log segments that a view synced at `synced` does not need; returns how many.
    ///
    /// # Errors
    /// The log's.
    pub fn recycle(&mut self, synced: &Applied) -> Result<usize> {
        let mut removed = 0;
        for segment in self.log.reader().segments() {
            if segment.id < synced.position.segment && segment.sealed {
                self.log.remove_segment(segment.id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Syncs the view and removes what the log no longer needs.
    ///
    /// # Errors
    /// The view's and the log's.
    pub fn checkpoint(&mut self) -> Result<usize> {
        let synced = if self.bugs.recycle_before_sync { Some(self.applied) } else { self.rows.sync()? };
        synced.map_or(Ok(0), |synced| self.recycle(&synced))
    }

    fn ready(&mut self) -> Result<()> {
        if let Some(why) = &self.failed {
            return Err(StoreError::Unavailable(why.clone()));
        }
        if self.behind {
            self.catch_up()?;
        }
        Ok(())
    }

    /// Validates one commit and buffers its record.
    fn submit<'a>(&mut self, request: &'a CommitRequest, stored: &mut Vec<Stored<'a>>) -> Result<Version> {
        let version = match self.committer.submit(request) {
            Decision::Accepted(version) => version,
            decision => return super::memory::outcome(decision),
        };
        match self.append(version, request) {
            Ok(locator) => {
                stored.push(Stored { version, end: locator.end(), request });
                Ok(version)
            }
            Err(error) => {
                self.committer.abort_last();
                Err(error)
            }
        }
    }

    fn append(&mut self, version: Version, request: &CommitRequest) -> Result<RecordLocator> {
        let writes = request.writes.clone();
        // Deletes make room: they may use what is kept free for them.
        let only_deletes = writes.iter().all(|(_, value)| value.is_none());
        let record = LogRecord::Commit { version, id: request.id, writes }.encode()?;
        let appended =
            if only_deletes { self.log.append_reserved(&[&record]) } else { self.log.append(&[&record]) };
        Ok(appended?)
    }

    /// Makes what was buffered durable, then visible. An error is that of every commit in it.
    fn store(&mut self, stored: &[Stored<'_>]) -> Result<()> {
        let Some(last) = stored.last() else { return Ok(()) };
        match self.log.sync() {
            Ok(_) => {}
            Err(error) if error.is_no_space() => {
                self.committer.abort();
                return Err(error.into());
            }
            Err(error) => {
                tracing::error!(%error, "the store's log failed; no commits until the next start");
                self.failed = Some(error.to_string());
                return Err(StoreError::UnknownOutcome(error.to_string()));
            }
        }
        let forgotten = self.committer.durable();
        let ids_floor = self.committer.ids_floor();
        let applied = Applied { version: last.version, position: last.end, ids_floor, ..self.applied };
        let mut batch = RowBatch::new(applied);
        batch.forgotten = forgotten;
        for commit in stored {
            batch.writes.extend(commit.request.writes.iter().cloned());
            batch.ids.extend(commit.request.id.map(|id| (commit.version, id)));
        }
        if let Err(error) = self.rows.apply(batch) {
            tracing::warn!(%error, "the store's view failed; rebuilding it from the log");
            self.behind = true;
            return self.catch_up().map_err(|error| StoreError::UnknownOutcome(error.to_string()));
        }
        self.applied = applied;
        Ok(())
    }

    /// Rebuilds the end of the view from the log.
    fn catch_up(&mut self) -> Result<()> {
        self.rows.recover()?;
        let found = self.rows.applied()?.unwrap_or(NOTHING);
        let mut replay = Replay::new(&self.rows, found);
        replay.run(&self.log)?;
        self.applied = replay.batch.applied;
        self.behind = false;
        Ok(())
    }
}

/// A commit whose record is in the log's buffer.
struct Stored<'a> {
    version: Version,
    end: Position,
    request: &'a CommitRequest,
}

/// An empty view.
const NOTHING: Applied = Applied {
    format: 0,
    incarnation: RandomId(0),
    version: 0,
    position: Position { segment: 0, offset: 0 },
    ids_floor: 0,
};

/// Begins a new store's log.
fn begin(log: &mut Log, incarnation: RandomId) -> Result<()> {
    log.append(&[&LogRecord::Genesis { format: DATA_FORMAT, incarnation }.encode()?])?;
    log.sync()?;
    Ok(())
}

fn check_format(found: u32) -> Result<()> {
    match found {
        DATA_FORMAT => Ok(()),
        0 => Err(StoreError::Damaged("the log has no beginning".into())),
        newer => Err(StoreError::NewerFormat { found: newer, supported: DATA_FORMAT }),
    }
}

/// Carries the log's records into the view, from where the view is.
struct Replay<'a, R> {
    rows: &'a R,
    /// Not applied yet.
    batch: RowBatch,
    bytes: usize,
}

impl<'a, R: Rows> Replay<'a, R> {
    fn new(rows: &'a R, from: Applied) -> Self {
        Self { rows, batch: RowBatch::new(from), bytes: 0 }
    }

    fn run(&mut self, log: &Log) -> Result<()> {
        let from = self.batch.applied;
        // The log may have been cut before where an empty view would start: `record` notices.
        let start = (from.version > 0).then_some(from.position);
        log.replay(start, |locator, payload| self.record(locator, payload))?;
        if self.batch.applied != from {
            self.apply()?;
        }
        Ok(())
    }

    fn record(&mut self, locator: RecordLocator, payload: &[u8]) -> Result<()> {
        let applied = &mut self.batch.applied;
        match LogRecord::decode(payload)? {
            LogRecord::Genesis { format, incarnation } if applied.version == 0 => {
                check_format(format)?;
                *applied = Applied { format, incarnation, version: 1, position: locator.end(), ids_floor: 0 };
            }
            LogRecord::Commit { version, id, writes } if applied.version > 0 => {
                if version > applied.version {
                    applied.version = version;
                    applied.position = locator.end();
                    self.bytes += payload.len();
                    self.batch.ids.extend(id.map(|id| (version, id)));
                    self.batch.writes.extend(writes);
                }
            }
            LogRecord::Genesis { .. } => {
                return Err(StoreError::Damaged(format!("a second beginning at {locator}")));
            }
            LogRecord::Commit { .. } => {
                return Err(StoreError::Damaged(
                    "the view is gone and the log does not reach back to the store's beginning".into(),
                ));
            }
        }
        if self.bytes >= REPLAY_BATCH_BYTES { self.apply() } else { Ok(()) }
    }

    fn apply(&mut self) -> Result<()> {
        let next = RowBatch::new(self.batch.applied);
        self.bytes = 0;
        self.rows.apply(std::mem::replace(&mut self.batch, next))
    }
}
