//! The names of a mirror: the same on all members.

use super::MirrorDisk;
use super::file::{MirrorFile, Shared};
use super::set::{Inner, Judge, Set};
use crate::disk::{Disk, DiskFile, Open};
use crate::{recover, spares};
use nix::errno::Errno;
use std::io;
use std::sync::Arc;

/// How a file that is being copied is called until it is complete.
pub(super) const COPY_PREFIX: &str = "copy-";

/// Whether a name is one of a log's. All others on a drive are none of the mirror's business.
pub(super) fn is_mirrored(name: &str) -> bool {
    recover::parse_name(name).is_some() || name.starts_with(spares::PREFIX)
}

/// Names of a log's files on one drive.
pub(super) fn mirrored_names(disk: &dyn Disk) -> io::Result<Vec<String>> {
    Ok(disk.list()?.into_iter().filter(|name| is_mirrored(name)).collect())
}

/// Whether the error is this process's, not the drive's.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    ours.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Opens a file on all targets. The caller holds the lock of names.
fn open_everywhere(mirror: &Inner, set: &Set, name: &str, how: Open) -> io::Result<Shared> {
    let shared = Shared::new(mirror.drives.len());
    let mut made = Vec::new();
    let open = |drive: usize| mirror.disk(drive)?.open(name, how);
    let mut ours = None;
    let mut outcomes = Vec::new();
    for drive in set.targets() {
        match open(drive) {
            Ok(handle) => {
                shared.attach(mirror, drive, handle);
                made.push(drive);
                outcomes.push((drive, Ok(())));
            }
            Err(error) if is_ours(&error) => ours = Some(error),
            Err(error) => outcomes.push((drive, Err(error))),
        }
    }
    let opened = match ours {
        Some(error) => Err(error),
        None if how == Open::Create => mirror.judge(set, "create a file", Judge::FullIsAnswer, outcomes),
        // Nothing has changed, so that a drive that fails may leave with the next change.
        None => mirror.note(set, "open a file", Judge::AnyIsFailure, outcomes),
    };
    if opened.is_err() && how == Open::Create {
        // Made on some: the others have no room for it.
        let take_back = |drive| if made.contains(&drive) { mirror.disk(drive)?.remove(name) } else { Ok(()) };
        // What cannot be taken back takes its drive out of the set; the error that is told is the first one.
        let _ = mirror.each(set, "take a new file back", Judge::AnyIsFailure, take_back);
    }
    opened.map(|()| shared)
}

impl MirrorDisk {
    /// Opens a file, and what all who have it open share.
    pub(super) fn open_shared(&self, name: &str, how: Open) -> io::Result<(Arc<dyn DiskFile>, Arc<Shared>)> {
        if !is_mirrored(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a mirror holds files of a log only"));
        }
        let mirror = &self.0;
        let mut names = mirror.names.lock();
        let open = names.get(name).and_then(std::sync::Weak::upgrade);
        let shared = match (open, how) {
            (Some(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(shared), _) => shared,
            (None, _) => {
                // Members' files are opened for writing even if this one only reads: rot is healed where it is
                // found.
                let member_how = if how == Open::Create { Open::Create } else { Open::Write };
                let shared = Arc::new(open_everywhere(mirror, &mirror.set(), name, member_how)?);
                names.retain(|_, open| open.strong_count() > 0);
                names.insert(name.into(), Arc::downgrade(&shared));
                shared
            }
        };
        let writable = how != Open::Read;
        let file = Arc::new(MirrorFile { mirror: mirror.clone(), shared: shared.clone(), writable });
        Ok((file, shared))
    }
}

impl Disk for MirrorDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.open_shared(name, how).map(|(file, _)| file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.ask(|drive| Some(self.0.disk(drive).and_then(|disk| mirrored_names(&*disk))))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mirror = &self.0;
        let mut names = mirror.names.lock();
        let set = mirror.set();
        mirror.each(&set, "remove a file", Judge::AnyIsFailure, |drive| mirror.disk(drive)?.remove(name))?;
        names.remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mirror = &self.0;
        let mut names = mirror.names.lock();
        let set = mirror.set();
        let rename = |drive| mirror.disk(drive)?.rename(from, to);
        mirror.each(&set, "rename a file", Judge::AnyIsFailure, rename)?;
        names.remove(to);
        if let Some(open) = names.remove(from) {
            names.insert(to.into(), open);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mirror = &self.0;
        let set = mirror.set();
        let synced = {
            let _syncing = mirror.syncing.lock();
            let disks: Vec<_> = (0..mirror.drives.len()).map(|drive| mirror.disk(drive).ok()).collect();
            mirror.sync_each(&set, "sync names", move |drive| match &disks[drive] {
                Some(disk) => disk.sync_dir(),
                None => Err(io::Error::other("the drive is not there")),
            })
        };
        mirror.settle_if_failed(&set, "sync names")?;
        synced
    }

    /// Of the fullest member.
    fn free_space(&self) -> io::Result<u64> {
        let set = self.0.set();
        let free = set.members.iter().map(|drive| self.0.disk(*drive)?.free_space());
        let (mut least, mut error) = (None, None);
        for free in free {
            match free {
                Ok(free) => least = Some(least.map_or(free, |least: u64| least.min(free))),
                Err(failed) => error = Some(failed),
            }
        }
        least.ok_or_else(|| error.unwrap_or_else(|| io::Error::other("the mirror has no members")))
    }
}
