//! The simulated disk as the engine takes it, with a process that can be killed between two changes of a file.

use crate::disk::SimDisk;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use terrane_block::engine::media::{DataFile, Media, OverDisk};
use terrane_log::disk::{Disk, Open};

/// Never.
const NEVER: u64 = u64::MAX;

/// When the process dies. Clones are the same.
#[derive(Clone)]
pub(super) struct Kill(Arc<AtomicU64>);

impl Kill {
    pub(super) fn never() -> Self {
        Self(Arc::new(AtomicU64::new(NEVER)))
    }

    /// After so many more changes of copies' files.
    pub(super) fn after(&self, changes: u64) {
        self.0.store(changes, Ordering::Relaxed);
    }

    pub(super) fn disarm(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn change(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => Ok(()),
            0 => Err(io::Error::other("the process is dead")),
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                if left > 1 { Ok(()) } else { Err(io::Error::other("the process dies")) }
            }
        }
    }
}

/// See the module.
pub(super) struct SimMedia {
    pub(super) disk: SimDisk,
    pub(super) kill: Kill,
}

impl Media for SimMedia {
    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.as_disk()
    }

    fn open_data(&self, name: &str, how: Open) -> io::Result<Arc<dyn DataFile>> {
        let file = OverDisk::new(self.disk.as_disk()).open_data(name, how)?;
        Ok(Arc::new(Killable { file, kill: self.kill.clone() }))
    }
}

struct Killable {
    file: Arc<dyn DataFile>,
    kill: Kill,
}

impl DataFile for Killable {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.kill.change()?;
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.kill.change()?;
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.kill.change()?;
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.kill.change()?;
        self.file.punch(offset, len)
    }

    fn forget(&self) -> io::Result<()> {
        self.file.forget()
    }
}
