//! The pool's journal: changes of all copies share syncs; snapshots bound replay.
//!
//! Whoever waits for a change may become the one who writes: it takes all that is queued, appends it, syncs once,
//! and reports to the others. While that sync runs the next batch gathers.

use super::bugs::Bugs;
use super::config::PoolConfig;
use super::error::EngineError;
use super::identity::PoolId;
use super::record::{CopyKey, CopyState, Record};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use terrane_log::disk::Disk;
use terrane_log::{Log, LogError};

/// What is told when a record is durable, or not going to be. Runs in the order of the records, on the thread that
/// wrote them, and must not use the journal.
pub(crate) type Done = Box<dyn FnOnce(Result<(), EngineError>) + Send>;

/// All copies of the pool, as they are durable.
pub(crate) type Table = BTreeMap<CopyKey, CopyState>;

pub(crate) struct Journal {
    queue: Mutex<Vec<(Record, Done)>>,
    writer: Mutex<Writer>,
}

struct Writer {
    log: Log,
    pool: PoolId,
    table: Table,
    /// Bytes appended since the last snapshot, and bytes of that snapshot.
    since: u64,
    snapshot: u64,
    replay_bytes: u64,
    bugs: Bugs,
}

/// What [`Journal::open`] went through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// There was no journal; an empty one was started.
    pub(crate) is_new: bool,
}

impl Journal {
    /// Opens the journal. `may_be_new`: there is nothing yet that an empty journal would contradict.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        pool: PoolId,
        config: &PoolConfig,
        may_be_new: bool,
    ) -> Result<(Self, Replayed), EngineError> {
        let (log, _) = Log::open(disk, config.journal.clone())?;
        let mut replay = Replay { pool, table: None, staged: None };
        let mut replayed = Replayed::default();
        let report = log.replay(None, |_, payload| replay.take(Record::decode(payload)?))?;
        (replayed.records, replayed.bytes) = (report.records, report.bytes);
        replayed.is_new = replay.table.is_none();
        if replayed.is_new && !may_be_new {
            return Err(EngineError::Corrupt { what: "the journal", found: "no snapshot".into() });
        }
        let mut writer = Writer {
            log,
            pool,
            table: replay.table.unwrap_or_default(),
            since: report.bytes,
            snapshot: 0,
            replay_bytes: config.replay_bytes,
            bugs: config.bugs,
        };
        if replayed.is_new {
            writer.write_snapshot()?;
        }
        Ok((Self { queue: Mutex::default(), writer: Mutex::new(writer) }, replayed))
    }

    /// Queues a record. Its place in the order is settled; nothing happens before somebody calls [`Journal::drive`].
    pub(crate) fn submit(&self, record: Record, done: Done) {
        self.queue.lock().push((record, done));
    }

    /// Makes durable what is queued. When it returns, all that was queued before the call has been reported.
    pub(crate) fn drive(&self) {
        let mut writer = self.writer.lock();
        let batch = std::mem::take(&mut *self.queue.lock());
        if !batch.is_empty() {
            writer.commit(batch);
        }
    }

    /// Makes a record durable.
    pub(crate) fn commit(&self, record: Record) -> Result<(), EngineError> {
        let slot = Arc::new(Mutex::new(None));
        let told = slot.clone();
        self.submit(record, Box::new(move |result| *told.lock() = Some(result)));
        self.drive();
        slot.lock().take().expect("drive reports all that was queued before it")
    }

    /// Looks at what is durable.
    pub(crate) fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.writer.lock().table)
    }
}

impl Writer {
    fn commit(&mut self, batch: Vec<(Record, Done)>) {
        let mut waiting = Vec::with_capacity(batch.len());
        for (record, done) in batch {
            let payload = record.encode();
            let mut appended = self.append(&record, &payload);
            if matches!(appended, Err(LogError::BatchFull { .. })) {
                self.finish(&mut waiting);
                appended = self.append(&record, &payload);
            }
            match appended {
                Ok(()) => waiting.push((record, payload.len(), done)),
                Err(error) => done(Err(error.into())),
            }
        }
        self.finish(&mut waiting);
        if self.since > self.replay_bytes.max(2 * self.snapshot)
            && let Err(error) = self.write_snapshot()
        {
            // The journal goes on growing, or is poisoned and says so at the next change.
            tracing::warn!(%error, pool = %self.pool, "no snapshot of the journal");
        }
    }

    /// What shrinks the log or gives room back may use the reserve.
    fn append(&mut self, record: &Record, payload: &[u8]) -> Result<(), LogError> {
        match record {
            Record::Create { .. } => self.log.append(&[payload]),
            _ => self.log.append_reserved(&[payload]),
        }
        .map(|_| ())
    }

    /// Syncs and reports.
    fn finish(&mut self, waiting: &mut Vec<(Record, usize, Done)>) {
        if waiting.is_empty() {
            return;
        }
        let early = self.bugs.data_before_log;
        let synced = if early { Ok(()) } else { self.log.sync().map(|_| ()) };
        for (record, bytes, done) in waiting.drain(..) {
            if synced.is_ok() {
                self.since += bytes as u64;
                apply(&mut self.table, record);
            }
            done(synced.clone().map_err(EngineError::from));
        }
    }

    /// Writes all states into a segment of their own and removes the older ones.
    fn write_snapshot(&mut self) -> Result<(), LogError> {
        self.log.seal()?;
        let mut bytes = 0;
        let mut put = |log: &mut Log, record: Record| {
            let payload = record.encode();
            bytes += payload.len() as u64;
            match log.append_reserved(&[&payload]) {
                Err(LogError::BatchFull { .. }) => {
                    log.sync()?;
                    log.append_reserved(&[&payload])
                }
                other => other,
            }
        };
        let first = put(&mut self.log, Record::Begin { pool: self.pool })?.segment;
        if self.bugs.drop_journal_early {
            self.log.sync()?;
            self.remove_before(first)?;
        }
        for (key, state) in &self.table {
            let mut state = state.clone();
            if self.bugs.snapshot_forgets_bitmaps {
                state.bitmaps.clear();
            }
            put(&mut self.log, Record::State { key: *key, state })?;
        }
        let copies = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        put(&mut self.log, Record::End { copies })?;
        self.log.sync()?;
        (self.since, self.snapshot) = (0, bytes);
        self.remove_before(first)
    }

    /// Removes the segments before this one, oldest first, so that what is left of them is never without its start.
    fn remove_before(&mut self, first: u64) -> Result<(), LogError> {
        for segment in self.log.reader().segments() {
            if segment.id < first {
                self.log.remove_segment(segment.id)?;
            }
        }
        Ok(())
    }
}

fn apply(table: &mut Table, record: Record) -> bool {
    match record {
        Record::Create { key, state } => table.insert(key, state).is_none(),
        Record::Change { key, cold, ops } => match table.get_mut(&key) {
            Some(state) => {
                state.apply(cold, &ops);
                true
            }
            None => false,
        },
        Record::Delete { key } => table.remove(&key).is_some(),
        Record::Begin { .. } | Record::State { .. } | Record::End { .. } => true,
    }
}

/// Goes through the journal at open.
struct Replay {
    pool: PoolId,
    /// None before the first complete snapshot: what comes before it was superseded by it, and may lack its start.
    table: Option<Table>,
    /// A snapshot that has started and not ended.
    staged: Option<Table>,
}

impl Replay {
    fn take(&mut self, record: Record) -> Result<(), EngineError> {
        let corrupt = |found: String| Err(EngineError::Corrupt { what: "the journal", found });
        match record {
            Record::Begin { pool } if pool != self.pool => {
                Err(EngineError::Foreign { what: "the journal", found: format!("a journal of pool {pool}") })
            }
            Record::Begin { .. } => {
                self.staged = Some(Table::new());
                Ok(())
            }
            Record::State { key, state } => match &mut self.staged {
                Some(staged) => {
                    staged.insert(key, state);
                    Ok(())
                }
                None if self.table.is_none() => Ok(()),
                None => corrupt(format!("a state of copy {key} outside a snapshot")),
            },
            Record::End { copies } => match self.staged.take() {
                Some(staged) if staged.len() as u64 == u64::from(copies) => {
                    self.table = Some(staged);
                    Ok(())
                }
                None if self.table.is_none() => Ok(()),
                _ => corrupt("a snapshot that does not add up".into()),
            },
            record => {
                // A crash cut the snapshot short; what it was to replace goes on.
                self.staged = None;
                let fits = self.table.as_mut().is_none_or(|table| apply(table, record));
                if fits { Ok(()) } else { corrupt("a change of a copy that is not there".into()) }
            }
        }
    }
}

/// Feeds a journal that holds these payloads to recovery.
pub(crate) fn replay_payloads(payloads: &[&[u8]]) -> Result<Table, EngineError> {
    let mut replay = Replay { pool: PoolId(1), table: None, staged: None };
    for payload in payloads {
        replay.take(Record::decode(payload)?)?;
    }
    Ok(replay.table.unwrap_or_default())
}
