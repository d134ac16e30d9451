//! Bulk bytes: append-only segment files, leased to one writer at a time.
//!
//! A body longer than what is logged inline becomes a few [`Extent`]s. The writer of a body holds a *lease* of a
//! segment: nobody else appends to it meanwhile, so extents are contiguous, an aborted body is cut off again,
//! and one `fdatasync` covers exactly one body. Bytes are durable before the log record that names them is
//! written; a crash in between leaves a tail that no record names, which the next start removes.
//!
//! Whether an extent is live is not known here: [`DataStore::condemn`] is told. What is known here is which extents are
//! *in flight* (staged and not yet visible in any view, or being copied), and those cannot be condemned.

mod format;
mod ids;
mod reader;
mod segment;
mod table;
mod writer;

pub(crate) use format::{crc32c, framed_len};
pub(crate) use reader::ExtentReader;
pub(crate) use segment::Segment;
pub use table::SegmentStatus;
pub(crate) use table::StagedExtents;
pub(crate) use terrane_keymap::Extent;
pub(crate) use writer::SegmentWriter;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::space::SpaceGuard;
use table::Table;

/// How segments are written.
#[derive(Clone, Debug)]
pub(crate) struct DataConfig {
    /// A segment takes no further extent once it has this many bytes.
    pub(crate) segment_bytes: u64,
    /// Most segments leased at a time; further writers wait.
    pub(crate) leases_max: usize,
}

/// Why bulk bytes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// The operating system refused.
    #[error("segment {segment:016x}: {doing}")]
    Io {
        segment: u64,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    /// The file is gone: a reader's view is older than a compaction.
    #[error("segment {0:016x} is gone")]
    Gone(u64),
    /// A checksum does not match.
    #[error("segment {segment:016x}: damaged block at {offset}")]
    Corrupt { segment: u64, offset: u64 },
    /// Disk full, or nearly so.
    #[error("no space for bulk data")]
    NoSpace,
    /// The body ended with an error.
    #[error(transparent)]
    Body(#[from] crate::service::BodyError),
}

/// The directory of segments.
#[derive(Clone)]
pub(crate) struct DataStore {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    config: DataConfig,
    epoch: u32,
    table: Mutex<Table>,
    leases: Arc<Semaphore>,
    space: Arc<SpaceGuard>,
}

impl DataStore {
    /// Opens the directory (made if absent) under a new epoch; all segments found are of dead incarnations and never
    /// written again.
    pub(crate) fn open(dir: PathBuf, config: DataConfig, space: Arc<SpaceGuard>) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let found = ids::list(&dir)?;
        let epoch = ids::next_epoch(&dir, &found)?;
        let leases = Arc::new(Semaphore::new(config.leases_max));
        let table = Mutex::new(Table::new(found));
        Ok(Self { shared: Arc::new(Shared { dir, config, epoch, table, leases, space }) })
    }

    /// A handle that keeps a segment readable, even after its file is removed.
    pub(crate) fn pin(&self, segment: u64) -> Result<Arc<Segment>, DataError> {
        self.shared.table.lock().pin(&self.shared.dir, segment)
    }

    /// All segments, for metrics, tests and the choice of what to compact.
    pub(crate) fn segments(&self) -> Vec<SegmentStatus> {
        self.shared.table.lock().status()
    }

    /// Marks extents as in flight for a copy of them, unless one of their segments is condemned (`None`: the
    /// copier has to copy bytes).
    pub(crate) fn hold(&self, extents: &[Extent]) -> Option<StagedExtents> {
        if !self.shared.table.lock().hold(extents) {
            return None;
        }
        Some(StagedExtents::held(self.clone(), extents.to_vec()))
    }

    /// Notes how many bytes of a segment are live: metrics and victims are computed from it.
    pub(crate) fn set_live(&self, segment: u64, bytes: u64) {
        self.shared.table.lock().set_live(segment, bytes);
    }

    /// Has no further body follow in a segment, so that it can be compacted.
    pub(crate) fn seal(&self, segment: u64) {
        self.shared.table.lock().seal(segment);
    }

    /// Forbids further copies of a segment's extents, if it is sealed and nothing in it is in flight.
    pub(crate) fn condemn(&self, segment: u64) -> bool {
        self.shared.table.lock().condemn(segment)
    }

    /// Takes [`DataStore::condemn`] back.
    pub(crate) fn reprieve(&self, segment: u64) {
        self.shared.table.lock().reprieve(segment);
    }

    /// Removes a condemned segment's file. Pinned handles go on reading. Gives the bytes freed.
    pub(crate) fn remove(&self, segment: u64) -> io::Result<u64> {
        let Some(bytes) = self.shared.table.lock().forget_condemned(segment) else { return Ok(0) };
        match std::fs::remove_file(ids::path(&self.shared.dir, segment)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(bytes),
        }
    }

    /// Cuts what lies behind the last live byte off a segment of a dead incarnation.
    pub(crate) fn truncate_dead(&self, segment: u64, live_end: u64) -> io::Result<u64> {
        let path = ids::path(&self.shared.dir, segment);
        self.shared.table.lock().truncate_dead(segment, live_end, &path)
    }

    /// The number of this opening; grows with every one.
    pub(crate) fn epoch(&self) -> u32 {
        self.shared.epoch
    }

    /// Whether a segment was written by an earlier run.
    pub(crate) fn is_of_dead_incarnation(&self, segment: u64) -> bool {
        ids::epoch_of(segment) < self.shared.epoch
    }
}

#[cfg(test)]
mod tests;
