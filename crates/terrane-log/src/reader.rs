//! Reading what is durable.

use crate::disk::{Disk, DiskFile, Open};
use crate::error::LogError;
use crate::frame::{Frame, SEGMENT_HEADER};
use crate::position::{FRAME_HEADER, Position, RecordLocator};
use crate::scan::{Scanner, Step, header_error};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

/// Files of sealed segments kept open.
const OPEN_FILES: usize = 256;

/// What is known of one segment without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Identifier; grows, never used twice.
    pub id: u64,
    /// Durable bytes, frames and header included.
    pub bytes: u64,
    /// The first record's place.
    pub first: Position,
    /// The place behind the last durable record.
    pub end: Position,
    /// Whether the segment takes no more records (then it may be removed, unless it is the newest).
    pub sealed: bool,
}

/// What [`LogReader::scrub_segment`] went through and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes of the segment that were compared on all copies.
    pub bytes: u64,
    /// Pieces of copies that were rewritten.
    pub healed: u64,
}

/// What the writer publishes and readers see.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    table: RwLock<BTreeMap<u64, Extent>>,
    files: Mutex<Files>,
}

/// The durable part of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) end: u32,
    pub(crate) sealed: bool,
}

#[derive(Default)]
struct Files {
    open: HashMap<u64, (u64, Arc<dyn DiskFile>)>,
    clock: u64,
}

pub(crate) fn segment_name(id: u64) -> String {
    format!("{id:016x}.log")
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, table: BTreeMap<u64, Extent>) -> Arc<Self> {
        Arc::new(Self { disk, table: RwLock::new(table), files: Mutex::default() })
    }

    pub(crate) fn publish(&self, id: u64, extent: Extent) {
        self.table.write().insert(id, extent);
    }

    /// Forgets a segment. Its file, if nobody is reading it.
    pub(crate) fn forget(&self, id: u64) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let mut table = self.table.write();
        let file = self.files.lock().open.remove(&id);
        table.remove(&id);
        // Readers take files only under the table's lock: who has none now gets none any more.
        match file {
            Some((_, file)) if Arc::strong_count(&file) > 1 => Ok(None),
            _ => self.disk.open(&segment_name(id), Open::Write).map(Some),
        }
    }

    pub(crate) fn extents(&self) -> Vec<(u64, Extent)> {
        self.table.read().iter().map(|(id, extent)| (*id, *extent)).collect()
    }

    pub(crate) fn extent(&self, id: u64) -> Option<Extent> {
        self.table.read().get(&id).copied()
    }

    /// The file of a segment and how far it is durable.
    pub(crate) fn file(&self, id: u64) -> Result<(Arc<dyn DiskFile>, Extent), LogError> {
        let table = self.table.read();
        let extent = *table.get(&id).ok_or(LogError::NotFound { at: Position { segment: id, offset: 0 } })?;
        let mut files = self.files.lock();
        files.clock += 1;
        let now = files.clock;
        if let Some((used, file)) = files.open.get_mut(&id) {
            *used = now;
            return Ok((file.clone(), extent));
        }
        let opened = self.disk.open(&segment_name(id), Open::Read);
        let file = opened.map_err(|e| LogError::io("open a segment", e))?;
        if files.open.len() >= OPEN_FILES {
            // A file in use stays, so that `forget` knows of it.
            let idle = files.open.iter().filter(|(_, (_, file))| Arc::strong_count(file) == 1);
            let oldest = idle.min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| files.open.remove(&id));
        }
        files.open.insert(id, (now, file.clone()));
        Ok((file, extent))
    }
}

/// Reads durable records. Cheap to clone; outlives the log's owner.
#[derive(Clone)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

impl LogReader {
    /// One record's payload, its checksum verified.
    ///
    /// # Errors
    /// [`LogError::NotFound`] when nothing durable lies there, [`LogError::Corrupt`] when what lies there is damaged.
    pub fn read(&self, locator: RecordLocator) -> Result<Bytes, LogError> {
        let not_found = LogError::NotFound { at: locator.start() };
        let corrupt = |what| LogError::Corrupt { at: locator.start(), what };
        let (file, extent) = self.shared.file(locator.segment)?;
        let start = locator.offset.checked_sub(FRAME_HEADER).filter(|start| *start >= SEGMENT_HEADER);
        let end = locator.offset.checked_add(locator.len).filter(|end| *end <= extent.end);
        let (Some(start), Some(_)) = (start, end) else { return Err(not_found) };
        let mut bytes = vec![0; (FRAME_HEADER + locator.len) as usize];
        file.read_at(&mut bytes, u64::from(start)).map_err(|e| LogError::io("read a record", e))?;
        if let Err(what) = verify(locator, start, &bytes) {
            self.rescue(&*file, locator, start, &mut bytes).ok_or_else(|| corrupt(what))?;
        }
        Ok(Bytes::from(bytes).slice(FRAME_HEADER as usize..))
    }

    /// Reads a record from any copy that is good, and heals the others.
    fn rescue(
        &self,
        file: &dyn DiskFile,
        locator: RecordLocator,
        start: u32,
        bytes: &mut [u8],
    ) -> Option<()> {
        let copies = file.copies();
        let mut good = |copy| {
            file.read_copy_at(copy, bytes, u64::from(start)).is_ok() && verify(locator, start, bytes).is_ok()
        };
        if copies < 2 || !(0..copies).any(&mut good) {
            return None;
        }
        if let Err(error) = file.heal(bytes, u64::from(start)) {
            tracing::error!(%error, record = %locator, "a rotten record was not healed");
        }
        Some(())
    }

    /// All durable records of a segment in order, the chain of checksums verified (for compaction and rebuilds).
    /// The segment's file stays readable during the call even if it is removed meanwhile.
    ///
    /// # Errors
    /// As [`LogReader::read`], and whatever `visit` returns.
    pub fn scan_segment<E: From<LogError>>(
        &self,
        id: u64,
        mut visit: impl FnMut(RecordLocator, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (file, extent) = self.shared.file(id)?;
        let mut scanner = Scanner::open(&*file, id, extent.end)?.map_err(|bad| header_error(id, bad))?;
        scan_durable(&mut scanner, id, extent, &mut visit)
    }

    /// Compares every copy of a segment's durable part with what its checksums prove, and heals the copies that
    /// differ or cannot be read. With one copy it only verifies.
    ///
    /// # Errors
    /// [`LogError::NotFound`]; [`LogError::Corrupt`] when no copy of a record is good; [`LogError::Io`].
    pub fn scrub_segment(&self, id: u64) -> Result<ScrubReport, LogError> {
        let (file, extent) = self.shared.file(id)?;
        let heal = |bytes: &[u8], at: u32| {
            file.heal(bytes, u64::from(at)).map_err(|e| LogError::io("heal a segment", e))
        };
        let mut scanner = Scanner::open(&*file, id, extent.end)?.map_err(|bad| header_error(id, bad))?;
        let mut report = ScrubReport { bytes: u64::from(extent.end), healed: 0 };
        report.healed += heal(&scanner.header.encode().0, 0)? as u64;
        while extent.sealed || scanner.at < extent.end {
            let start = scanner.at;
            let at = Position { segment: id, offset: start };
            let sealed = match scanner.step()? {
                Step::Record { .. } => false,
                Step::Sealed if extent.sealed => true,
                Step::Sealed => return Err(LogError::Corrupt { at, what: "an unexpected seal" }),
                Step::End(what) => return Err(LogError::Corrupt { at, what }),
            };
            report.healed += heal(scanner.verified(start)?, start)? as u64;
            if sealed {
                break;
            }
        }
        Ok(report)
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |(id, extent): (u64, Extent)| SegmentInfo {
            id,
            bytes: u64::from(extent.end),
            first: Position { segment: id, offset: SEGMENT_HEADER },
            end: Position { segment: id, offset: extent.end },
            sealed: extent.sealed,
        };
        self.shared.extents().into_iter().map(info).collect()
    }

    /// The place behind the last durable record; the default in an empty log.
    #[must_use]
    pub fn durable(&self) -> Position {
        let table = self.shared.table.read();
        let newest = table.last_key_value();
        newest.map(|(id, extent)| Position { segment: *id, offset: extent.end }).unwrap_or_default()
    }

    /// Bytes of the log from `from` to its durable end (for the replay bound).
    #[must_use]
    pub fn bytes_since(&self, from: Position) -> u64 {
        let after = |(id, extent): (u64, Extent)| match id.cmp(&from.segment) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => u64::from(extent.end.saturating_sub(from.offset)),
            std::cmp::Ordering::Greater => u64::from(extent.end),
        };
        self.shared.extents().into_iter().map(after).sum()
    }
}

/// Whether `bytes`, which lie at `start`, are the frame of this record.
fn verify(locator: RecordLocator, start: u32, bytes: &[u8]) -> Result<(), &'static str> {
    let head = bytes.first_chunk().ok_or("no frame")?;
    let frame = Frame::parse(head)?;
    if frame.len != locator.len || frame.segment != locator.segment {
        return Err("another record than the one looked for");
    }
    if frame.verify(start, bytes) { Ok(()) } else { Err("a wrong checksum") }
}

/// Hands out the records up to the durable end; anything else than reaching it is damage.
pub(crate) fn scan_durable<E: From<LogError>>(
    scanner: &mut Scanner<'_>,
    id: u64,
    extent: Extent,
    visit: &mut impl FnMut(RecordLocator, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        if !extent.sealed && scanner.at >= extent.end {
            return Ok(());
        }
        let at = Position { segment: id, offset: scanner.at };
        match scanner.step()? {
            Step::Record { locator, payload } => visit(locator, payload)?,
            Step::Sealed if extent.sealed => return Ok(()),
            Step::Sealed => return Err(LogError::Corrupt { at, what: "an unexpected seal" }.into()),
            Step::End(what) => return Err(LogError::Corrupt { at, what }.into()),
        }
    }
}
