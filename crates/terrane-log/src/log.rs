//! The log and its one writer.

use crate::batch::{Active, Batch, Part};
use crate::config::{LogConfig, Preallocate};
use crate::disk::Disk;
use crate::error::{LogError, is_full};
use crate::frame::{Kind, SEGMENT_HEADER, SegmentHeader};
use crate::position::{FRAME_HEADER, Position, RecordLocator};
use crate::reader::{Extent, LogReader, Shared, scan_durable, segment_name};
use crate::recover;
use crate::scan::{Chain, Scanner, header_error};
use crate::spares::{Spare, Spares};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What [`Log::open`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The place behind the last record.
    pub tail: Position,
    /// The oldest record's place (equal to `tail` in an empty log).
    pub oldest: Position,
    /// Bytes behind the tail that were not zero and have been erased durably.
    pub erased_bytes: u64,
    /// This open's start epoch; every record appended carries it.
    pub epoch: u64,
}

/// What [`Log::replay`] went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records handed out.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// A log, owned by its one writer.
pub struct Log {
    shared: Arc<Shared>,
    spares: Arc<Spares>,
    maker: Option<JoinHandle<()>>,
    config: LogConfig,
    /// The segment that takes records; none in an empty log and after a seal.
    active: Option<Active>,
    next_id: u64,
    chain: Chain,
    /// The segment before the next one to be started.
    newest: u64,
    batch: Batch,
    /// What to go back to when a batch finds no room.
    mark: Mark,
    /// Less than the reserve was free at the last look.
    low: bool,
    poison: Option<LogError>,
}

/// The writer's place after the last successful sync.
#[derive(Clone)]
struct Mark {
    active: Option<Active>,
    chain: Chain,
    newest: u64,
}

impl Log {
    /// Opens the log in a directory of its own (an empty one becomes an empty log), finds the
    /// tail and durably erases what follows it.
    ///
    /// Checks the headers of the segments from `config.replay_from` on and the records of the last one; the others
    /// are verified by [`Log::replay`].
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::MissingSegment`] (at or after `config.replay_from`),
    /// [`LogError::NewerFormat`], [`LogError::Config`], [`LogError::Io`].
    pub fn open(disk: Arc<dyn Disk>, config: LogConfig) -> Result<(Self, OpenReport), LogError> {
        config.check()?;
        let found = recover::recover(&disk, &config)?;
        let spares = Arc::new(found.spares);
        let maker = match config.preallocate {
            Preallocate::Inline => None,
            Preallocate::Background => {
                Some(spares.keep_ready().map_err(|e| LogError::io("start a thread", e))?)
            }
        };
        let shared = Shared::new(disk, found.table);
        let mark = Mark { active: found.active, chain: found.chain, newest: found.newest };
        let reader = LogReader { shared: shared.clone() };
        let report = OpenReport {
            tail: reader.durable(),
            oldest: reader.segments().first().map(|s| s.first).unwrap_or_default(),
            erased_bytes: found.erased_bytes,
            epoch: found.chain.epoch,
        };
        let mut log = Self {
            shared,
            spares,
            maker,
            config,
            active: mark.active.clone(),
            next_id: found.next_id,
            chain: mark.chain,
            newest: mark.newest,
            batch: Batch::default(),
            mark,
            low: false,
            poison: None,
        };
        log.look_for_room();
        Ok((log, report))
    }

    /// Hands out every durable record from `from` (the start or end of a record; `None`: the oldest) in order.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::MissingSegment`], [`LogError::NotFound`] when `from` lies behind the tail,
    /// [`LogError::Io`], and whatever `visit` returns.
    pub fn replay<E: From<LogError>>(
        &self,
        from: Option<Position>,
        mut visit: impl FnMut(RecordLocator, &[u8]) -> Result<(), E>,
    ) -> Result<ReplayReport, E> {
        let mut report = ReplayReport::default();
        let mut counted = |locator: RecordLocator, payload: &[u8]| {
            report.records += 1;
            report.bytes += u64::from(locator.len);
            visit(locator, payload)
        };
        let extents = self.shared.extents();
        let start = from.unwrap_or_default();
        recover::check_start(&extents, from)?;
        let mut before: Option<(u64, Chain)> = None;
        for (id, extent) in extents.into_iter().filter(|(id, _)| *id >= start.segment) {
            let (file, _) = self.shared.file(id)?;
            let opened = Scanner::open(&*file, id, extent.end)?;
            let mut scanner = opened.map_err(|bad| header_error(id, bad))?;
            if let Some((prev_id, chain)) = before {
                recover::check_link(&scanner.header, prev_id, chain)?;
            }
            if self.config.bugs.accept_stale_tail {
                scanner.trust_stale();
            }
            if id == start.segment {
                scanner.resume_at(start.offset);
            }
            scan_durable(&mut scanner, id, extent, &mut counted)?;
            before = Some((id, scanner.chain()));
        }
        Ok(report)
    }

    /// Buffers one record, the concatenation of `parts`, and names its place. Not durable before [`Log::sync`].
    /// On an error nothing was buffered and all that was buffered before stays so.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::BatchFull`], [`LogError::NoSpace`] (also when only the reserve is left),
    /// [`LogError::Poisoned`].
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<RecordLocator, LogError> {
        self.append_with(parts, false)
    }

    /// As [`Log::append`], but may use the reserve: for deletes and whatever makes room.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_reserved(&mut self, parts: &[&[u8]]) -> Result<RecordLocator, LogError> {
        self.append_with(parts, true)
    }

    fn append_with(&mut self, parts: &[&[u8]], reserved: bool) -> Result<RecordLocator, LogError> {
        self.check_poison()?;
        let len = self.payload_len(parts)?;
        let limit = u64::from(self.config.max_batch_bytes);
        if !self.batch.is_empty() && self.batch.bytes + u64::from(FRAME_HEADER + len) > limit {
            return Err(LogError::BatchFull { limit });
        }
        if self.low && !reserved {
            self.look_for_room();
            if self.low {
                return Err(self.no_room());
            }
        }
        let mut active = match self.active.take() {
            Some(active) if self.fits(&active, len) => active,
            full => {
                self.active = full;
                self.roll(reserved)?
            }
        };
        let locator = self.batch.push(&mut active, &mut self.chain, Kind::Data, len, parts);
        self.active = Some(active);
        Ok(locator)
    }

    fn payload_len(&self, parts: &[&[u8]]) -> Result<u32, LogError> {
        let limit = self.config.max_record_bytes;
        let len = parts.iter().map(|p| p.len() as u64).sum::<u64>();
        match u32::try_from(len) {
            Ok(len) if len <= limit => Ok(len),
            _ => Err(LogError::TooLarge { len, limit: u64::from(limit) }),
        }
    }

    /// Whether a payload of `len` bytes and a seal fit.
    fn fits(&self, active: &Active, len: u32) -> bool {
        active.end + FRAME_HEADER + len + FRAME_HEADER <= self.config.segment_bytes
    }

    /// Seals the active segment and starts the next one, all in the batch.
    fn roll(&mut self, reserved: bool) -> Result<Active, LogError> {
        let spare = self.spares.take(reserved)?;
        self.push_seal();
        let id = self.take_id();
        let mut active = Active { id, file: spare.file, end: 0 };
        let header =
            SegmentHeader { id, epoch: self.chain.epoch, prev_segment: self.newest, prev: self.chain.prev };
        self.chain = self.batch.start_segment(&mut active, spare.name, header);
        self.newest = id;
        Ok(active)
    }

    fn push_seal(&mut self) {
        if let Some(mut full) = self.active.take() {
            self.batch.push(&mut full, &mut self.chain, Kind::Seal, 0, &[]);
        }
    }

    fn take_id(&mut self) -> u64 {
        if self.config.bugs.reuse_segment_id {
            let used = self.shared.extents();
            let free = (1..).find(|id| *id != self.newest && used.iter().all(|(other, _)| other != id));
            return free.unwrap_or(self.next_id);
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Writes all that was appended and makes it durable. Returns the durable end.
    ///
    /// # Errors
    /// [`LogError::NoSpace`]: all that was appended since the last successful sync is dropped, not stored, and the log
    /// goes on. [`LogError::Poisoned`]: it may or may not be durable, and the log must be opened anew.
    pub fn sync(&mut self) -> Result<Position, LogError> {
        self.check_poison()?;
        let mut parts = self.batch.take();
        let mut durable_records = 0;
        for index in 0..parts.len() {
            if let Err((doing, error)) = self.write(&parts[index]) {
                let unwritten = parts.split_off(index);
                return Err(self.batch_failed(doing, error, durable_records, unwritten));
            }
            durable_records += parts[index].records;
        }
        let end = parts.last().map(Part::position);
        if let Some(mut part) = parts.pop() {
            part.bytes.clear();
            self.batch.buffer = part.bytes;
        }
        if self.active.is_none() {
            // Sealed: the buffer of a whole segment's batch need not stay.
            self.batch.buffer = Vec::new();
        }
        self.mark = Mark { active: self.active.clone(), chain: self.chain, newest: self.newest };
        self.look_for_room();
        Ok(end.unwrap_or_else(|| self.reader().durable()))
    }

    /// Writes one part and makes it durable and visible.
    fn write(&self, part: &Part) -> Result<(), (&'static str, io::Error)> {
        let file = &part.target.file;
        if let Some(spare) = &part.spare {
            let disk = &self.shared.disk;
            disk.rename(spare, &segment_name(part.target.id)).map_err(|e| ("name a segment", e))?;
            // The name is durable before any byte carries the segment's identifier.
            disk.sync_dir().map_err(|e| (SYNC_NAME, e))?;
        }
        file.write_at(&part.bytes, u64::from(part.start)).map_err(|e| ("write a batch", e))?;
        if part.seals {
            // Only a hint that saves a scan for the segment's end: the seal decides.
            if let Err(error) = file.set_len(u64::from(part.end())) {
                tracing::debug!(%error, segment = part.target.id, "sealed segment not cut");
            }
        }
        if !self.config.bugs.ack_before_fsync {
            file.sync_data().map_err(|e| (SYNC_BATCH, e))?;
        }
        self.shared.publish(part.target.id, Extent { end: part.end(), sealed: part.seals });
        Ok(())
    }

    /// Goes back to the last sync if the batch found no room and left no trace, else poisons the log.
    fn batch_failed(
        &mut self,
        doing: &'static str,
        error: io::Error,
        durable_records: u32,
        unwritten: Vec<Part>,
    ) -> LogError {
        let needed = unwritten.iter().map(|p| p.bytes.len() as u64).sum();
        let synced = matches!(doing, SYNC_BATCH | SYNC_NAME);
        if synced || !is_full(&error) || durable_records > 0 {
            return self.set_poison(doing, error);
        }
        let mut unwritten = unwritten.into_iter();
        if let Some(first) = unwritten.next()
            && let Err(error) = self.take_back(first)
        {
            return self.set_poison("take a batch back", error);
        }
        for part in unwritten {
            if let Some(name) = part.spare {
                self.spares.put(Spare { name, file: part.target.file });
            }
        }
        let mark = self.mark.clone();
        let sealed = |active: &Active| self.shared.extent(active.id).is_some_and(|e| e.sealed);
        if mark.active.as_ref().is_some_and(sealed) {
            // Only the seal was written. What followed is dropped, so the chain goes on from the seal.
            return self.set_poison(doing, error);
        }
        (self.active, self.chain, self.newest) = (mark.active, mark.chain, mark.newest);
        let free = self.shared.disk.free_space().unwrap_or(0);
        LogError::NoSpace { needed, free, reserved: self.config.reserve_bytes }
    }

    /// Durably erases what may have been written of a part.
    fn take_back(&self, part: Part) -> io::Result<()> {
        let Some(spare) = part.spare else {
            let file = &part.target.file;
            file.write_at(&vec![0; part.bytes.len()], u64::from(part.start))?;
            return file.sync_data();
        };
        let disk = &self.shared.disk;
        let name = segment_name(part.target.id);
        if disk.list()?.contains(&name) {
            // Not made a spare again: it may hold an intact header, and the next start may give its
            // identifier out again, so that a torn first write would make that stale header a segment.
            disk.remove(&name)?;
            return disk.sync_dir();
        }
        self.spares.put(Spare { name: spare, file: part.target.file });
        Ok(())
    }

    fn set_poison(&mut self, doing: &'static str, source: io::Error) -> LogError {
        let error = LogError::Poisoned { doing, source: Arc::new(source) };
        self.poison = Some(error.clone());
        self.batch = Batch::default();
        error
    }

    fn check_poison(&self) -> Result<(), LogError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn look_for_room(&mut self) {
        let reserve = self.config.reserve_bytes;
        // A disk that does not answer is not taken for a full one.
        self.low = reserve > 0 && self.shared.disk.free_space().is_ok_and(|free| free < reserve);
    }

    fn no_room(&self) -> LogError {
        let free = self.shared.disk.free_space().unwrap_or(0);
        LogError::NoSpace { needed: 0, free, reserved: self.config.reserve_bytes }
    }

    /// Bytes (frames included) that wait for a sync.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.batch.bytes
    }

    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// Removes a sealed segment durably; its file becomes a spare if spares are wanted and nobody reads it.
    /// The caller has made sure that nothing refers to it and that replay starts behind it.
    /// The newest segment stays, sealed or not: it carries the identifiers on.
    ///
    /// # Errors
    /// [`LogError::NotSealed`], [`LogError::NotFound`], [`LogError::Poisoned`].
    pub fn remove_segment(&mut self, id: u64) -> Result<(), LogError> {
        self.check_poison()?;
        let extent = self.shared.extent(id);
        let extent = extent.ok_or(LogError::NotFound { at: Position { segment: id, offset: 0 } })?;
        if !extent.sealed || self.shared.extents().last().is_some_and(|(last, _)| *last == id) {
            return Err(LogError::NotSealed { segment: id });
        }
        let removed = self
            .shared
            .forget(id)
            .and_then(|file| self.spares.recycle(&segment_name(id), file))
            .and_then(|()| self.shared.disk.sync_dir());
        removed.map_err(|e| self.set_poison("remove a segment", e))
    }

    /// Ends the current segment, so that it can be compacted and, once the next one has started, removed.
    /// Syncs what is pending. Does nothing to an empty log.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn seal(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        if self.active.as_ref().is_some_and(|a| a.end > SEGMENT_HEADER) {
            self.push_seal();
        }
        self.sync().map(|_| ())
    }
}

const SYNC_BATCH: &str = "sync a batch";
const SYNC_NAME: &str = "sync a segment's name";

impl Drop for Log {
    fn drop(&mut self) {
        self.spares.stop();
        if let Some(maker) = self.maker.take() {
            // It ends by itself; a panic there has been reported by the runtime.
            let _ = maker.join();
        }
    }
}
