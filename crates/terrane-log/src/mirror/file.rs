//! A file of a mirror: one on each member.

use super::record::MirrorId;
use super::set::{Inner, Judge};
use crate::disk::DiskFile;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::sync::Arc;

type Handle = Arc<dyn DiskFile>;

/// What all who have a file open share.
pub(super) struct Shared {
    /// Held while the file changes or is synced, so that all drives see the same order, a copy in progress misses
    /// nothing, and a failed sync is not followed by one that seems to succeed.
    pub(super) order: Mutex<()>,
    /// By number of the drive, with what it was when the file was opened there.
    handles: RwLock<Vec<Option<(MirrorId, Handle)>>>,
}

impl Shared {
    pub(super) fn new(drives: usize) -> Self {
        Self { order: Mutex::new(()), handles: RwLock::new(vec![None; drives]) }
    }

    /// The file on a drive. None if the drive, as the member that it is now, never had it: the name was gone when
    /// the drive was added.
    pub(super) fn handle(&self, mirror: &Inner, drive: usize) -> Option<Handle> {
        let (id, handle) = self.handles.read().get(drive).cloned().flatten()?;
        (mirror.id(drive) == Some(id)).then_some(handle)
    }

    /// From now on the file is on this drive, too.
    pub(super) fn attach(&self, mirror: &Inner, drive: usize, handle: Handle) {
        if let (Some(place), Some(id)) = (self.handles.write().get_mut(drive), mirror.id(drive)) {
            *place = Some((id, handle));
        }
    }
}

/// An open file.
pub(super) struct MirrorFile {
    pub(super) mirror: Arc<Inner>,
    pub(super) shared: Arc<Shared>,
    pub(super) writable: bool,
}

impl MirrorFile {
    /// Changes the file on all members.
    fn change(
        &self,
        doing: &'static str,
        judge: Judge,
        what: impl Fn(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        self.check_writable()?;
        let _order = self.shared.order.lock();
        let set = self.mirror.set();
        self.mirror.each(&set, doing, judge, |drive| {
            self.shared.handle(&self.mirror, drive).map_or(Ok(()), |file| what(&*file))
        })
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Asks one member after the other until one answers.
    fn ask<T>(&self, mut question: impl FnMut(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        self.mirror.ask(|drive| self.shared.handle(&self.mirror, drive).map(|file| question(&*file)))
    }
}

impl DiskFile for MirrorFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.ask(|file| file.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change("write", Judge::FullIsAnswer, |file| file.write_at(buf, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_writable()?;
        let _order = self.shared.order.lock();
        let set = self.mirror.set();
        let shared = &self.shared;
        let handles: Vec<_> =
            (0..self.mirror.drives.len()).map(|drive| shared.handle(&self.mirror, drive)).collect();
        let sync = move |drive: usize| handles[drive].as_ref().map_or(Ok(()), |file| file.sync_data());
        let synced = self.mirror.sync_each(&set, "sync", sync);
        self.mirror.settle_if_failed(&set, "sync")?;
        synced
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change("set a file's size", Judge::AnyIsFailure, |file| file.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.ask(|file| file.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change("preallocate", Judge::FullIsAnswer, |file| file.allocate(len))
    }

    fn copies(&self) -> usize {
        self.mirror.set().members.len()
    }

    fn read_copy_at(&self, copy: usize, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let drive = *self.mirror.set().members.get(copy).ok_or(io::ErrorKind::NotFound)?;
        self.shared.handle(&self.mirror, drive).ok_or(io::ErrorKind::NotFound)?.read_at(buf, offset)
    }

    fn heal(&self, good: &[u8], offset: u64) -> io::Result<usize> {
        let _order = self.shared.order.lock();
        let set = self.mirror.set();
        let mut healed = 0;
        let mut found = vec![0; good.len()];
        self.mirror.each(&set, "rewrite a rotten piece", Judge::AnyIsFailure, |drive| {
            let Some(file) = self.shared.handle(&self.mirror, drive) else { return Ok(()) };
            if file.read_at(&mut found, offset).is_ok_and(|()| found == good) {
                return Ok(());
            }
            file.write_at(good, offset)?;
            file.sync_data()?;
            healed += 1;
            Ok(())
        })?;
        self.mirror.count_healed(healed);
        Ok(healed)
    }
}
