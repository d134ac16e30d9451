//! What the engine asks of a drive: a flat directory of small files ([`Disk`]) and sparse files with the copies.
//!
//! [`FsMedia`] is a directory of the host. [`OverDisk`] puts the same on any [`Disk`], the simulator's above all.

mod file;
mod ring;

pub use file::DataPath;

use super::layout::BLOCK;
use file::{FsData, Rings};
use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use terrane_log::disk::{Disk, DiskFile, FsDisk, Open};

/// A directory on a drive.
pub trait Media: Send + Sync + 'static {
    /// Names, small files and the journal.
    fn disk(&self) -> Arc<dyn Disk>;
    /// Opens or creates a sparse file in the same directory.
    ///
    /// # Errors
    /// As [`Disk::open`].
    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>>;
    /// Has the drive do something small that no cache can answer, and returns when it has. For a medium that never
    /// hangs there is nothing to do.
    ///
    /// # Errors
    /// What the host says.
    fn probe(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A sparse file, addressed by position.
pub trait DataFile: Send + Sync {
    /// Fills `buf` from `offset` on; holes read as zeros.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, or what the host says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Fills all of these, at the same time where the drive can.
    ///
    /// # Errors
    /// As [`DataFile::read_at`].
    fn read_many(&self, parts: &mut [(&mut [u8], u64)]) -> io::Result<()> {
        parts.iter_mut().try_for_each(|(buf, offset)| self.read_at(buf, *offset))
    }
    /// Reads, if the kernel has all of it in memory. False: it has not, or cannot tell; `buf` has anything.
    ///
    /// # Errors
    /// As [`DataFile::read_at`].
    fn read_cached(&self, _buf: &mut [u8], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }
    /// Hands all of `buf` to the kernel. After an error any part may have been written.
    ///
    /// # Errors
    /// `StorageFull`, or what the host says.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Hands over all of these, in order: a later one only when those before it have been.
    ///
    /// # Errors
    /// As [`DataFile::write_at`].
    fn write_many(&self, parts: &[(&[u8], u64)]) -> io::Result<()> {
        parts.iter().try_for_each(|(buf, offset)| self.write_at(buf, *offset))
    }
    /// Has the kernel begin to write a range to the drive, so that the next sync finds less to do. A hint: whatever
    /// becomes of it, the sync tells.
    fn write_out(&self, _offset: u64, _len: u64) {}
    /// Makes the bytes and the size durable. A failure must not be retried.
    ///
    /// # Errors
    /// What the host says.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file or extends it with a hole.
    ///
    /// # Errors
    /// What the host says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size in bytes, holes included.
    ///
    /// # Errors
    /// What the host says.
    fn size(&self) -> io::Result<u64>;
    /// Bytes that the file takes on the drive.
    ///
    /// # Errors
    /// What the host says.
    fn allocated(&self) -> io::Result<u64>;
    /// Gives the room of a range back; it reads as zeros.
    ///
    /// # Errors
    /// `Unsupported`, or what the host says.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Forgets what is cached and clean, so that reads see what the drive really has. After a failed sync the cache
    /// has bytes that the drive has not.
    ///
    /// # Errors
    /// What the host says.
    fn forget(&self) -> io::Result<()>;
}

/// The file that [`Media::probe`] writes.
const PROBE: &str = "pool.probe";

/// A directory of the host.
#[derive(Debug)]
pub struct FsMedia {
    disk: Arc<FsDisk>,
    rings: Option<Arc<Rings>>,
}

impl FsMedia {
    /// Opens a directory and makes it if it is not there; its copies' bytes take the best path there is.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        Self::open_by(dir, DataPath::best())
    }

    /// The same by this path.
    ///
    /// # Errors
    /// What the host says.
    pub fn open_by(dir: impl Into<PathBuf>, path: DataPath) -> io::Result<Arc<Self>> {
        let rings = (path == DataPath::Ring).then(Arc::default);
        Ok(Arc::new(Self { disk: FsDisk::open(dir)?, rings }))
    }
}

impl Media for FsMedia {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read).create_new(how == Open::Create);
        let file = options.open(self.disk.dir().join(name))?;
        Ok(Arc::new(FsData { file, rings: self.rings.clone() }))
    }

    fn probe(&self) -> io::Result<()> {
        write_through(&self.disk.dir().join(PROBE))
    }
}

/// Writes one block at the start of a file past the page cache; through it and with a sync where the file system
/// knows no other way.
fn write_through(path: &Path) -> io::Result<()> {
    let open = |flags: OFlag| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(flags.bits()).open(path)
    };
    let memory = vec![0_u8; 2 * BLOCK];
    // What goes past the page cache begins at a multiple of a block, in memory as on the drive.
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = memory.get(start..start + BLOCK).ok_or(io::ErrorKind::Unsupported)?;
    match open(OFlag::O_DIRECT).and_then(|file| file.write_all_at(block, 0)) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let file = open(OFlag::empty())?;
            file.write_all_at(block, 0)?;
            file.sync_data()
        }
        direct => direct,
    }
}

/// Sparse files on a [`Disk`] that knows no holes: what is punched is overwritten with zeros.
pub struct OverDisk(Arc<dyn Disk>);

impl OverDisk {
    /// Over this disk.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Self(disk))
    }
}

impl Media for OverDisk {
    fn disk(&self) -> Arc<dyn Disk> {
        self.0.clone()
    }

    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        Ok(Arc::new(Plain(self.0.open(name, how)?)))
    }
}

struct Plain(Arc<dyn DiskFile>);

impl DataFile for Plain {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0.write_at(&vec![0; len], offset)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}
