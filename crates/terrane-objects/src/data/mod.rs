//! Bulk bytes: append-only segments, leased to one writer at a time.
//!
//! A segment is one file, or as many *shards* as its [`Redundancy`] asks for, each on a drive of its own. All that
//! follows is true of the shards together: they are written, synced, cut and removed alike, and a body is durable
//! when all files that its segment was made with are. A drive that fails ends the segments that have a shard on it:
//! bodies under way begin again in a segment on other drives.
//!
//! A body longer than what is logged inline becomes a few [`Extent`]s. The writer of a body holds a *lease* of a
//! segment: nobody else appends to it meanwhile, so extents are contiguous, an aborted body is cut off again,
//! and one `fdatasync` covers exactly one body. Bytes are durable before the log record that names them is
//! written; a crash in between leaves a tail that no record names, which the next start removes.
//!
//! Whether an extent is live is not known here: [`DataStore::condemn`] is told. What is known here is which extents are
//! *in flight* (staged and not yet visible in any view, or being copied), and those cannot be condemned.

mod code;
mod format;
mod ids;
mod reader;
mod repair;
mod segment;
mod table;
mod writer;

pub(crate) use format::crc32c;
pub(crate) use reader::ExtentReader;
pub(crate) use repair::{Damage, Mended};
pub(crate) use segment::Segment;
pub use table::SegmentStatus;
pub(crate) use table::StagedExtents;
pub(crate) use terrane_keymap::Extent;
pub(crate) use writer::SegmentWriter;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::drives::DriveSet;
use crate::redundancy::Redundancy;
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
    /// A drive has left the set; what was to be written has to begin anew on others.
    #[error("drive {0} is lost")]
    DriveLost(usize),
    /// Fewer drives are in use than the redundancy needs for a write.
    #[error("{redundancy} needs {} drives in use to write, there are {live}", redundancy.shards_at_least())]
    TooFewDrives { redundancy: Redundancy, live: usize },
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
    drives: Arc<DriveSet>,
    config: DataConfig,
    epoch: u32,
    table: Mutex<Table>,
    leases: Arc<Semaphore>,
    space: Arc<SpaceGuard>,
    damage: Arc<Damage>,
}

impl DataStore {
    /// Opens the drives' directories (made if absent) under a new epoch; all segments found are of dead incarnations
    /// and never written again.
    pub(crate) fn open(
        drives: Arc<DriveSet>,
        config: DataConfig,
        space: Arc<SpaceGuard>,
    ) -> io::Result<Self> {
        let mut found = Vec::new();
        for drive in drives.all().iter().filter(|drive| drive.is_live()) {
            match ids::list(&drive.data_dir()) {
                Ok(files) => found.extend(files.into_iter().map(|file| (drive.clone(), file))),
                Err(error) => {
                    drive.fail(&error);
                    if drive.is_live() {
                        return Err(error);
                    }
                }
            }
        }
        let seen = found.iter().map(|(_, file)| ids::epoch_of(file.named.segment)).max();
        let live: Vec<_> = drives.live().cloned().collect();
        let epoch = ids::next_epoch(&live, seen)?;
        let leases = Arc::new(Semaphore::new(config.leases_max));
        let (table, twice) = Table::new(found);
        for (drive, named) in twice {
            let path = ids::path(&drive.data_dir(), named.segment, named.redundancy, named.shard);
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed a shard that was rebuilt elsewhere")
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a shard that was rebuilt elsewhere")
                }
            }
        }
        let (table, damage) = (Mutex::new(table), Arc::default());
        Ok(Self { shared: Arc::new(Shared { drives, config, epoch, table, leases, space, damage }) })
    }

    /// A handle that keeps a segment readable, even after its file is removed.
    pub(crate) fn pin(&self, segment: u64) -> Result<Arc<Segment>, DataError> {
        self.shared.table.lock().pin(segment, &self.shared.damage)
    }

    /// How a segment is laid over drives.
    pub(crate) fn redundancy_of(&self, segment: u64) -> Option<Redundancy> {
        self.shared.table.lock().redundancy(segment)
    }

    /// Bytes of each file that an extent occupies.
    pub(crate) fn stored_len(&self, extent: &Extent) -> u64 {
        let redundancy = self.redundancy_of(extent.segment).unwrap_or(Redundancy::SINGLE);
        format::framed_len(redundancy, extent.len)
    }

    /// How a segment is laid out, and on which drives.
    #[cfg(test)]
    fn places(&self, segment: u64) -> Option<(Redundancy, segment::Places)> {
        self.shared.table.lock().places(segment)
    }

    /// The drives.
    pub(crate) fn drives(&self) -> &Arc<DriveSet> {
        &self.shared.drives
    }

    /// Segments found damaged, and reads that went around damage.
    pub(crate) fn damage(&self) -> &Damage {
        &self.shared.damage
    }

    /// Bytes of shards on each drive, by number.
    pub(crate) fn bytes_on(&self, drive: usize) -> u64 {
        self.shared.table.lock().bytes_on(drive)
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

    /// Removes a condemned segment's files. Pinned handles go on reading. Gives the bytes freed. A shard on a drive that
    /// is not in use stays there; it is garbage without referrers when the drive comes back.
    pub(crate) fn remove(&self, segment: u64) -> io::Result<u64> {
        let forgotten = self.shared.table.lock().forget_condemned(segment);
        let Some((bytes, redundancy, places)) = forgotten else { return Ok(0) };
        let mut freed = 0;
        for (shard, drive) in places.iter().enumerate() {
            let Some(drive) = drive.as_ref().filter(|drive| drive.is_live()) else { continue };
            match std::fs::remove_file(ids::path(&drive.data_dir(), segment, redundancy, shard)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => freed += bytes,
            }
        }
        Ok(freed)
    }

    /// Cuts what lies behind the last live byte off a segment of a dead incarnation.
    pub(crate) fn truncate_dead(&self, segment: u64, live_end: u64) -> io::Result<u64> {
        self.shared.table.lock().truncate_dead(segment, live_end)
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

/// For fuzzing: names of files, and pieces of a block that may be anything.
pub(crate) fn decode_anything(input: &[u8]) {
    if let Ok(name) = std::str::from_utf8(input)
        && let Some(named) = ids::parse(name)
    {
        let path = ids::path(std::path::Path::new(""), named.segment, named.redundancy, named.shard);
        assert_eq!(path.to_str(), Some(name), "a shard has one name");
    }
    let [data, spare, len, rest @ ..] = input else { return };
    let Some(redundancy) = Redundancy::new(data % 17, spare % 9) else { return };
    let mut pieces = code::Pieces::none(redundancy);
    for (piece, chunk) in pieces.0.iter_mut().zip(rest.chunks(usize::from(*len).max(1))) {
        *piece = (chunk[0] % 3 > 0).then(|| bytes::Bytes::copy_from_slice(chunk));
    }
    let _ = pieces.join(redundancy, usize::from(*len) * redundancy.data_shards());
}

#[cfg(test)]
mod tests;
