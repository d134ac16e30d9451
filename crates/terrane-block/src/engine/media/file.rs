//! Files of the host, by single system calls or through rings.

use super::DataFile;
use super::ring::{Request, Ring};
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use parking_lot::Mutex;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

/// How bytes get to the drive and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPath {
    /// One system call each, on the calling thread: everywhere.
    Portable,
    /// What waits for the drive goes through io_uring, many requests at the same time.
    Ring,
}

impl DataPath {
    /// The best one that works here.
    #[must_use]
    pub fn best() -> Self {
        match Ring::new() {
            Ok(_) => Self::Ring,
            Err(error) => {
                tracing::info!(%error, "no io_uring here: drives are used by single system calls");
                Self::Portable
            }
        }
    }

    /// As metrics and configuration call it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Ring => "io_uring",
        }
    }
}

/// Writes of up to so many bytes go to the page cache by themselves: a copy in memory, which the kernel would hand to
/// another thread if it came through a ring.
const CACHED_MAX: usize = 64 << 10;
/// Rings that are kept while nobody uses them.
const RINGS_KEPT: usize = 16;

/// Rings of a pool: as many as there are threads that wait for its drive.
#[derive(Default)]
pub(super) struct Rings(Mutex<Vec<Ring>>);

impl fmt::Debug for Rings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rings({} idle)", self.0.lock().len())
    }
}

impl Rings {
    /// None of the answers if there is no ring to be had; see [`Ring::run`].
    fn run(&self, file: &File, requests: &mut [Request<'_>]) -> Vec<io::Result<usize>> {
        let mut answers = Vec::with_capacity(requests.len());
        let idle = self.0.lock().pop();
        let ran = idle.map_or_else(Ring::new, Ok).and_then(|mut ring| {
            ring.run(file, requests, &mut answers)?;
            let mut kept = self.0.lock();
            if kept.len() < RINGS_KEPT {
                kept.push(ring);
            }
            Ok(())
        });
        if let Err(error) = ran {
            tracing::warn!(%error, "a ring cannot be used");
        }
        answers
    }
}

/// A file. With rings: what they do not do, or not all of, single system calls do.
pub(super) struct FsData {
    pub(super) file: File,
    pub(super) rings: Option<Arc<Rings>>,
}

impl FsData {
    /// What the ring does of them; no answers where there is none.
    fn run<'a>(&self, requests: impl Iterator<Item = Request<'a>>) -> Answers {
        let answers =
            self.rings.as_ref().map(|rings| rings.run(&self.file, &mut requests.collect::<Vec<_>>()));
        Answers(answers.unwrap_or_default().into_iter())
    }
}

/// Bytes that requests have moved, in their order.
struct Answers(std::vec::IntoIter<io::Result<usize>>);

impl Answers {
    /// Of so many bytes. What the ring left is still to be done.
    fn next(&mut self, len: usize) -> io::Result<usize> {
        match self.0.next() {
            Some(Err(error)) if !is_refused(&error) => Err(error),
            Some(Ok(done)) => Ok(done.min(len)),
            Some(Err(_)) | None => Ok(0),
        }
    }
}

/// An offset as the host takes it.
fn offset_of(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl DataFile for FsData {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_many(&mut [(buf, offset)])
    }

    fn read_many(&self, parts: &mut [(&mut [u8], u64)]) -> io::Result<()> {
        let mut answers = self.run(parts.iter_mut().map(|(buf, offset)| Request::Read(buf, *offset)));
        for (buf, offset) in parts {
            let done = answers.next(buf.len())?;
            if done < buf.len() {
                self.file.read_exact_at(&mut buf[done..], *offset + done as u64)?;
            }
        }
        Ok(())
    }

    fn read_cached(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let len = buf.len();
        match preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == len),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_many(&[(buf, offset)])
    }

    fn write_many(&self, parts: &[(&[u8], u64)]) -> io::Result<()> {
        let large = parts.iter().map(|(buf, _)| buf.len()).sum::<usize>() > CACHED_MAX;
        let mut answers = if large {
            self.run(parts.iter().map(|(buf, offset)| Request::Write(buf, *offset)))
        } else {
            Answers(Vec::new().into_iter())
        };
        for (buf, offset) in parts {
            let done = answers.next(buf.len())?;
            if done < buf.len() {
                self.file.write_all_at(&buf[done..], *offset + done as u64)?;
            }
        }
        Ok(())
    }

    fn write_out(&self, offset: u64, len: u64) {
        // An error shows at the sync.
        drop(self.run(std::iter::once(Request::WriteOut(offset, len))));
    }

    /// Without a ring: the kernel would only hand it to another thread of its own.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        // The unit of `st_blocks` is 512 bytes, whatever the file system's blocks are.
        Ok(self.file.metadata()?.blocks() * 512)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        Ok(fallocate(&self.file, mode, offset_of(offset)?, offset_of(len)?)?)
    }

    fn forget(&self) -> io::Result<()> {
        Ok(posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }
}

/// Whether a request was not carried out although nothing is wrong with it: an earlier one fell short, or the kernel
/// wants it again.
fn is_refused(error: &io::Error) -> bool {
    let passing = matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
    passing || error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}
