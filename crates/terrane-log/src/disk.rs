//! The few things that a log asks of a disk: one flat directory of files.
//!
//! [`FsDisk`] is a directory of the host. The simulator has its own, which
//! keeps what was synced apart from what was not.

mod fs;

pub use fs::FsDisk;

use std::io;
use std::sync::Arc;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    Create,
}

/// A flat directory. Names contain no separators.
///
/// Changes of names (create, remove, rename) are durable only after [`Disk::sync_dir`];
/// bytes of a file only after [`DiskFile::sync_data`].
pub trait Disk: Send + Sync + 'static {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `StorageFull`, or what the host says.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of all files, sorted.
    ///
    /// # Errors
    /// What the host says.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a name; who has the file open keeps it.
    ///
    /// # Errors
    /// `NotFound`, or what the host says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file a new name, replacing what had that name.
    ///
    /// # Errors
    /// `NotFound`, or what the host says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes all changes of names durable. A failure must not be retried.
    ///
    /// # Errors
    /// What the host says.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the host says.
    fn free_space(&self) -> io::Result<u64>;
}

/// An open file, addressed by position.
pub trait DiskFile: Send + Sync {
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, or what the host says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`. After an error any part may have been written.
    ///
    /// # Errors
    /// `StorageFull`, or what the host says.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the bytes (and the size) durable. A failure must not be retried:
    /// the host may have dropped the bytes.
    ///
    /// # Errors
    /// What the host says.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file or extends it with zeros (without reserving room).
    ///
    /// # Errors
    /// What the host says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size in bytes.
    ///
    /// # Errors
    /// What the host says.
    fn len(&self) -> io::Result<u64>;
    /// Whether the size is zero.
    ///
    /// # Errors
    /// What the host says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Extends the file to at least `len` bytes of zeros with room really taken,
    /// so that overwriting them changes no metadata.
    ///
    /// # Errors
    /// `StorageFull`, or what the host says.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// How many copies of the file there are, each on a drive of its own.
    fn copies(&self) -> usize {
        1
    }
    /// As [`DiskFile::read_at`], from the copy of this number (below [`DiskFile::copies`]) only.
    ///
    /// # Errors
    /// As [`DiskFile::read_at`]; `NotFound` when there is no such copy.
    fn read_copy_at(&self, _copy: usize, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }
    /// Makes every copy have these bytes at `offset`, durably, and says how many did not have them. The caller has
    /// verified them by their checksum, and they are not about to be changed.
    ///
    /// # Errors
    /// What the host says.
    fn heal(&self, _good: &[u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }
}
