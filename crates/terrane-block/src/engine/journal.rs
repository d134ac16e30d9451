//! The pool's journal: changes of all copies share syncs; snapshots bound replay.
//!
//! Whoever waits for a change may become the one who writes: it takes all that is queued, appends it, syncs once,
//! and reports to the others. While that sync runs the next batch gathers.
//!
//! A journal starts small. The first record that is too large for it (the state of a copy with a long log and many
//! absent copies) has it opened again with larger segments, for as long as the pool is open.
//!
//! A sync that failed leaves open what is durable: the journal refuses everything from then on, until
//! [`Journal::reopen`] has read again what is there.

use super::bitmap::Bitmap;
use super::config::PoolConfig;
use super::error::EngineError;
use super::identity::PoolId;
use super::record::{CopyKey, CopyState, Record};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use terrane_log::disk::Disk;
use terrane_log::{Log, LogConfig, LogError};

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
    disk: Arc<dyn Disk>,
    config: PoolConfig,
    /// Or why there is none.
    log: Result<Log, LogError>,
    /// It was opened with larger segments.
    roomy: bool,
    pool: PoolId,
    table: Table,
    /// Bytes appended since the last snapshot, and bytes of that snapshot.
    since: u64,
    snapshot: u64,
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
        let (log, _) = Log::open(disk.clone(), config.journal.clone())?;
        let (table, mut replayed) = replay(&log, pool)?;
        replayed.is_new = table.is_none();
        if replayed.is_new && !may_be_new {
            return Err(EngineError::Corrupt { what: "the journal", found: "no snapshot".into() });
        }
        let mut writer = Writer {
            disk,
            config: config.clone(),
            log: Ok(log),
            roomy: false,
            pool,
            table: table.unwrap_or_default(),
            since: replayed.bytes,
            snapshot: 0,
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

    /// Why it refuses everything, if it does.
    pub(crate) fn failure(&self) -> Option<LogError> {
        self.writer.lock().log.as_ref().err().cloned()
    }

    /// After a failure: reads again what is there, and goes on with that. What was queued is refused. On an error
    /// it goes on refusing, and this may be tried again.
    pub(crate) fn reopen(&self) -> Result<(), EngineError> {
        let mut writer = self.writer.lock();
        let batch = std::mem::take(&mut *self.queue.lock());
        if let Err(error) = &writer.log {
            batch.into_iter().for_each(|(_, done)| done(Err(error.clone().into())));
        } else {
            writer.commit(batch);
            return Ok(());
        }
        let (log, _) = Log::open(writer.disk.clone(), writer.log_config())?;
        let (table, replayed) = replay(&log, writer.pool)?;
        let found = || EngineError::Corrupt { what: "the journal", found: "no snapshot".into() };
        (writer.table, writer.since, writer.snapshot) = (table.ok_or_else(found)?, replayed.bytes, 0);
        writer.log = Ok(log);
        Ok(())
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
            // Somebody still works on a copy that is being deleted.
            if let Some(key) = record.concerns().filter(|key| !self.knows(*key, &waiting)) {
                done(Err(EngineError::NoCopy(key)));
                continue;
            }
            let payload = record.encode();
            let mut appended = self.append(&record, &payload);
            if let Err(error) = &appended {
                let settle = |writer: &mut Self| {
                    writer.finish(&mut waiting);
                    Ok(())
                };
                match self.makes_room(error, settle) {
                    Ok(true) => appended = self.append(&record, &payload),
                    Ok(false) => {}
                    Err(error) => appended = Err(error),
                }
            }
            match appended {
                Ok(()) => waiting.push((record, payload.len(), done)),
                Err(error) => done(Err(error.into())),
            }
        }
        self.finish(&mut waiting);
        if self.since > self.config.replay_bytes.max(2 * self.snapshot)
            && let Err(error) = self.write_snapshot()
        {
            // The journal goes on growing, or is poisoned and says so at the next change.
            tracing::warn!(%error, pool = %self.pool, "no snapshot of the journal");
        }
    }

    /// Whether there is such a copy once these are durable.
    fn knows(&self, key: CopyKey, waiting: &[(Record, usize, Done)]) -> bool {
        let last = waiting.iter().rev().find_map(|(record, ..)| match record {
            Record::Create { key: made, .. } if *made == key => Some(true),
            Record::Delete { key: gone } if *gone == key => Some(false),
            _ => None,
        });
        last.unwrap_or_else(|| self.table.contains_key(&key))
    }

    fn log_config(&self) -> LogConfig {
        if self.roomy { self.config.roomy_journal() } else { self.config.journal.clone() }
    }

    /// Does something with the log. One that is poisoned is closed.
    fn with_log<T>(&mut self, work: impl FnOnce(&mut Log) -> Result<T, LogError>) -> Result<T, LogError> {
        let result = work(self.log.as_mut().map_err(|error| error.clone())?);
        if let Err(error @ LogError::Poisoned { .. }) = &result {
            self.log = Err(error.clone());
        }
        result
    }

    /// Makes the log one that takes larger records. Nothing may wait for a sync.
    fn make_roomy(&mut self) -> Result<(), LogError> {
        self.roomy = true;
        // The old one ends before the new one begins: a log has one owner.
        self.log = Err(LogError::Config("the journal is being opened"));
        self.log = Log::open(self.disk.clone(), self.config.roomy_journal()).map(|(log, _)| log);
        self.with_log(|_| Ok(()))
    }

    /// What shrinks the log or gives room back may use the reserve.
    fn append(&mut self, record: &Record, payload: &[u8]) -> Result<(), LogError> {
        let grows = matches!(record, Record::Create { .. });
        let append = |log: &mut Log| {
            if grows { log.append(&[payload]) } else { log.append_reserved(&[payload]) }
        };
        self.with_log(append).map(|_| ())
    }

    /// Whether a record that was refused goes in once what is before it is durable, and that it is told to by
    /// `settle`; then it may be appended again.
    fn makes_room(
        &mut self,
        error: &LogError,
        settle: impl FnOnce(&mut Self) -> Result<(), LogError>,
    ) -> Result<bool, LogError> {
        let too_large = matches!(error, LogError::TooLarge { .. }) && !self.roomy;
        if !too_large && !matches!(error, LogError::BatchFull { .. }) {
            return Ok(false);
        }
        settle(self)?;
        if too_large {
            self.make_roomy()?;
        }
        Ok(true)
    }

    /// Syncs and reports.
    fn finish(&mut self, waiting: &mut Vec<(Record, usize, Done)>) {
        if waiting.is_empty() {
            return;
        }
        let early = self.config.bugs.data_before_log;
        let synced = if early { Ok(()) } else { self.with_log(Log::sync).map(|_| ()) };
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
        self.with_log(Log::seal)?;
        let first = self.put(&Record::Begin { pool: self.pool })?;
        let mut bytes = first.1;
        if self.config.bugs.drop_journal_early {
            self.with_log(Log::sync)?;
            self.remove_before(first.0)?;
        }
        let keys: Vec<CopyKey> = self.table.keys().copied().collect();
        for key in keys {
            let Some(mut state) = self.table.get(&key).cloned() else { continue };
            if self.config.bugs.snapshot_forgets_bitmaps {
                state.bitmaps.clear();
            }
            if self.config.bugs.snapshot_forgets_cuts {
                state.cuts.cuts.clear();
            }
            if self.config.bugs.snapshot_forgets_changes {
                state.cuts.changes.iter_mut().for_each(|(_, changed)| *changed = Bitmap::default());
            }
            bytes += self.put(&Record::State { key, state })?.1;
        }
        let copies = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        bytes += self.put(&Record::End { copies })?.1;
        self.with_log(Log::sync)?;
        (self.since, self.snapshot) = (0, bytes);
        self.remove_before(first.0)
    }

    /// Appends a record of a snapshot. Returns its segment, and its bytes.
    fn put(&mut self, record: &Record) -> Result<(u64, u64), LogError> {
        let payload = record.encode();
        let appended = match self.with_log(|log| log.append_reserved(&[&payload])) {
            Err(error) if self.makes_room(&error, |writer| writer.with_log(Log::sync).map(|_| ()))? => {
                self.with_log(|log| log.append_reserved(&[&payload]))
            }
            other => other,
        };
        Ok((appended?.segment, payload.len() as u64))
    }

    /// Removes the segments before this one, oldest first, so that what is left of them is never without its start.
    fn remove_before(&mut self, first: u64) -> Result<(), LogError> {
        self.with_log(|log| {
            let segments = log.reader().segments();
            segments.iter().filter(|old| old.id < first).try_for_each(|old| log.remove_segment(old.id))
        })
    }
}

fn apply(table: &mut Table, record: Record) -> bool {
    match record {
        Record::Create { key, state } => table.insert(key, state).is_none(),
        Record::Change { key, cold, ops, changed } => match table.get_mut(&key) {
            Some(state) => {
                state.cuts.note_changed(&changed);
                state.apply(cold, &ops);
                true
            }
            None => false,
        },
        Record::Delete { key } => table.remove(&key).is_some(),
        Record::Cut { key, op } => match table.get_mut(&key) {
            Some(state) => {
                state.cuts.apply(&op);
                true
            }
            None => false,
        },
        Record::Begin { .. } | Record::State { .. } | Record::End { .. } => true,
    }
}

/// Goes through all of the journal. No table: there is no complete snapshot.
fn replay(log: &Log, pool: PoolId) -> Result<(Option<Table>, Replayed), EngineError> {
    let mut replay = Replay { pool, table: None, staged: None };
    let report = log.replay(None, |_, payload| replay.take(Record::decode(payload)?))?;
    let replayed = Replayed { records: report.records, bytes: report.bytes, is_new: false };
    Ok((replay.table, replayed))
}

/// What the journal says so far.
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
