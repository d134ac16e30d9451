//! What the engine asks of a drive: a flat directory of small files ([`Disk`]) and sparse files with the copies.
//!
//! [`FsMedia`] is a directory of the host. [`OverDisk`] puts the same on any [`Disk`], the simulator's above all.

use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
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
}

/// A sparse file, addressed by position.
pub trait DataFile: Send + Sync {
    /// Fills `buf` from `offset` on; holes read as zeros.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, or what the host says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// The same, if the kernel has all of it in memory. False: it has not, or cannot tell; `buf` has anything.
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

/// A directory of the host.
#[derive(Debug)]
pub struct FsMedia(Arc<FsDisk>);

impl FsMedia {
    /// Opens a directory and makes it if it is not there.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(FsDisk::open(dir)?)))
    }
}

impl Media for FsMedia {
    fn disk(&self) -> Arc<dyn Disk> {
        self.0.clone()
    }

    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read).create_new(how == Open::Create);
        Ok(Arc::new(FsData(options.open(self.0.dir().join(name))?)))
    }
}

struct FsData(File);

/// An offset as the host takes it.
fn offset_of(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DataFile for FsData {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let len = buf.len();
        match preadv2(&self.0, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == len),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        // The unit of `st_blocks` is 512 bytes, whatever the file system's blocks are.
        Ok(self.0.metadata()?.blocks() * 512)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        Ok(fallocate(&self.0, mode, offset_of(offset)?, offset_of(len)?)?)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(posix_fadvise(&self.0, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
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
