//! Adding a drive: copying everything to it while the log goes on.

use super::disk::{COPY_PREFIX, mirrored_names};
use super::equalise::{CHUNK, heal_chain};
use super::file::Shared;
use super::record::{Phase, Record};
use super::set::{Inner, Member};
use super::{DriveState, MirrorDisk, MirrorError};
use crate::disk::{Disk, DiskFile, Open};
use crate::recover::parse_name;
use std::io;
use std::sync::Arc;

/// A copy in progress. Dropped before its end, it is given up and the drive is not used.
///
/// From the beginning on all changes are made on the new drive, too. What was there before is copied in pieces;
/// no file changes while a piece of it is copied, so that each ends up the same. Then a set with the drive is
/// made durable.
pub struct Resync {
    mirror: MirrorDisk,
    drive: usize,
    disk: Arc<dyn Disk>,
    /// Still to be copied; the last one first.
    names: Vec<String>,
    /// The newest segment of the beginning: those before it are sealed.
    newest: Option<u64>,
    current: Option<Current>,
    done: u64,
    finished: bool,
}

/// The file being copied.
struct Current {
    from: Arc<dyn DiskFile>,
    shared: Arc<Shared>,
    at: u64,
}

impl MirrorDisk {
    /// Adds a configured drive that is not in the set (new, back, or replaced), on `disk`, which is opened anew
    /// by the caller: copies everything to it and makes it a member. What files of a log the drive has are
    /// removed first.
    ///
    /// # Errors
    /// [`MirrorError::Drive`], [`MirrorError::InUse`], [`MirrorError::Foreign`],
    /// [`MirrorError::Unclaimed`], [`MirrorError::Newer`].
    pub fn resync(&self, drive: usize, disk: Arc<dyn Disk>) -> Result<(), MirrorError> {
        let mut resync = self.begin_resync(drive, disk)?;
        while resync.step()? {}
        Ok(())
    }

    /// As [`MirrorDisk::resync`], for callers that take the steps themselves.
    ///
    /// # Errors
    /// As [`MirrorDisk::resync`].
    pub fn begin_resync(&self, drive: usize, disk: Arc<dyn Disk>) -> Result<Resync, MirrorError> {
        let mirror = &self.0;
        let member =
            mirror.drives.get(drive).ok_or(MirrorError::Config("there is no drive of this number"))?;
        let failed = |doing| move |source| drive_error(mirror, drive, doing, source);
        claim(mirror, drive)?;
        let mut resync = Resync {
            mirror: self.clone(),
            drive,
            disk: disk.clone(),
            names: Vec::new(),
            newest: None,
            current: None,
            done: 0,
            finished: false,
        };
        check_record(mirror, &member.name, &*disk, drive)?;
        let id = mirror.ids.lock().draw();
        let record = Record {
            store: mirror.store,
            member: id,
            epoch: 0,
            phase: Phase::Copying,
            members: Vec::new(),
            overrides: Vec::new(),
        };
        // Before anything is removed: from here on nobody takes the drive for what it was.
        record.write(&*disk).map_err(failed("write its record"))?;
        wipe(&*disk).map_err(failed("remove what it had"))?;
        let mut now = member.now.write();
        (now.disk, now.id, now.failed) = (Some(disk), Some(id), None);
        drop(now);
        resync.attach().map_err(failed("make its files"))?;
        Ok(resync)
    }
}

fn drive_error(mirror: &Inner, drive: usize, doing: &'static str, source: io::Error) -> MirrorError {
    MirrorError::Drive { drive: mirror.drives[drive].name.clone(), doing, source: Arc::new(source) }
}

/// Takes a drive that is not in the set, if no other is being copied to. It gets no writes yet.
fn claim(mirror: &Inner, drive: usize) -> Result<(), MirrorError> {
    let _changing = mirror.change.lock();
    let set = mirror.set();
    if set.members.iter().all(|member| mirror.has_failed(*member)) {
        // What the drives' records say now is not certain, so that this one must stay what it is.
        let none = io::Error::other("all members have failed");
        return Err(drive_error(mirror, drive, "find a member to copy from", none));
    }
    let busy = |member: &Member| matches!(member.now.read().idle, DriveState::Resyncing { .. });
    if set.targets().any(|target| target == drive) || mirror.drives.iter().any(busy) {
        return Err(MirrorError::InUse { drive: mirror.drives[drive].name.clone() });
    }
    mirror.drives[drive].now.write().idle = DriveState::Resyncing { done: 0, total: 0 };
    Ok(())
}

/// The drive may be taken: it is blank, or was of this mirror.
fn check_record(mirror: &Inner, name: &str, disk: &dyn Disk, drive: usize) -> Result<(), MirrorError> {
    let failed = |source| drive_error(mirror, drive, "read its record", source);
    match Record::read(disk).map_err(failed)? {
        Some(Ok(record)) if record.store == mirror.store => Ok(()),
        Some(Ok(record)) => Err(MirrorError::Foreign {
            drive: name.into(),
            found: record.store,
            other: "the other drives".into(),
            expected: mirror.store,
        }),
        Some(Err(why @ super::BadRecord::Newer(_))) => Err(MirrorError::Newer { drive: name.into(), why }),
        Some(Err(super::BadRecord::Damaged)) => Ok(()),
        None if mirrored_names(disk).map_err(failed)?.is_empty() => Ok(()),
        None => Err(MirrorError::Unclaimed { drive: name.into() }),
    }
}

fn wipe(disk: &dyn Disk) -> io::Result<()> {
    for name in disk.list()? {
        if super::disk::is_mirrored(&name) || name.starts_with(COPY_PREFIX) {
            disk.remove(&name)?;
        }
    }
    disk.sync_dir()
}

impl Resync {
    /// Makes the names, and lets the drive have all changes from now on.
    fn attach(&mut self) -> io::Result<()> {
        let mirror = &self.mirror.0;
        let mut names = mirror.names.lock();
        let listed = self.mirror.list()?;
        let mut total = 0;
        for name in &listed {
            let handle = self.disk.open(name, Open::Create)?;
            if let Some(shared) = names.get(name).and_then(std::sync::Weak::upgrade) {
                let _order = shared.order.lock();
                shared.attach(mirror, self.drive, handle);
            }
        }
        {
            let _changing = mirror.change.lock();
            let mut set = (*mirror.set()).clone();
            set.joining = Some(self.drive);
            mirror.publish(set);
        }
        names.retain(|_, open| open.strong_count() > 0);
        drop(names);
        for name in &listed {
            total += self.mirror.open(name, Open::Read).and_then(|file| file.len()).unwrap_or(0);
        }
        mirror.drives[self.drive].now.write().idle = DriveState::Resyncing { done: 0, total };
        self.newest = listed.iter().filter_map(|name| parse_name(name)).max();
        self.names = listed;
        Ok(())
    }

    /// Copies a piece. Whether there is more to be done; if not, the drive is a member.
    ///
    /// # Errors
    /// As [`MirrorDisk::resync`].
    pub fn step(&mut self) -> Result<bool, MirrorError> {
        let mirror = self.mirror.0.clone();
        let drive = self.drive;
        let failed = |doing, source| drive_error(&mirror, drive, doing, source);
        if self.finished {
            return Ok(false);
        }
        if let Some(why) = mirror.failure(self.drive) {
            return Err(failed("follow the log", io::Error::other(why)));
        }
        if self.current.is_some() {
            self.copy_piece().map_err(|e| failed("copy a file", e))?;
            return Ok(true);
        }
        while let Some(name) = self.names.pop() {
            match self.start(&name) {
                Ok(current) => {
                    self.current = Some(current);
                    return Ok(true);
                }
                // Removed meanwhile, there as well.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("open a file to be copied", error)),
            }
        }
        self.finish().map_err(|e| failed("make it a member", e))?;
        Ok(false)
    }

    fn start(&self, name: &str) -> io::Result<Current> {
        let (from, shared) = self.mirror.open_shared(name, Open::Write)?;
        // What is copied is good; whether it is, only a sealed segment can tell while the log goes on.
        if let Some(id) = parse_name(name).filter(|id| Some(*id) < self.newest) {
            heal_chain(&*from, id)?;
        }
        Ok(Current { from, shared, at: 0 })
    }

    fn copy_piece(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let Some(to) = current.shared.handle(&self.mirror.0, self.drive) else {
            // Its name was gone before the drive was attached.
            self.current = None;
            return Ok(());
        };
        let order = current.shared.order.lock();
        let len = current.from.len()?;
        let piece = usize::try_from(len.saturating_sub(current.at)).map_or(CHUNK, |rest| rest.min(CHUNK));
        if piece > 0 {
            let mut buf = vec![0; piece];
            current.from.read_at(&mut buf, current.at)?;
            to.write_at(&buf, current.at)?;
            current.at += piece as u64;
            self.done += piece as u64;
        }
        let complete = current.at >= len;
        if complete && to.len()? != len {
            to.set_len(len)?;
        }
        drop(order);
        if complete {
            to.sync_data()?;
            self.current = None;
        }
        let mut now = self.mirror.0.drives[self.drive].now.write();
        if let DriveState::Resyncing { done, .. } = &mut now.idle {
            *done = self.done;
        }
        Ok(())
    }

    /// All that was acknowledged is on the drive: makes it a member.
    fn finish(&mut self) -> io::Result<()> {
        let mirror = &self.mirror.0;
        {
            let _syncing = mirror.syncing.lock();
            self.disk.sync_dir()?;
        }
        let _changing = mirror.change.lock();
        let check = || mirror.failure(self.drive).map_or(Ok(()), |why| Err(io::Error::other(why)));
        check()?;
        let mut next = (*mirror.set()).clone();
        next.joining = None;
        next.members.push(self.drive);
        next.members.sort_unstable();
        mirror.commit(next, Some(self.drive))?;
        self.finished = true;
        mirror.drives[self.drive].now.write().idle = DriveState::Stale;
        check()
    }
}

impl Drop for Resync {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mirror = &self.mirror.0;
        let _changing = mirror.change.lock();
        let mut set = (*mirror.set()).clone();
        if set.joining == Some(self.drive) {
            set.joining = None;
            mirror.publish(set);
        }
        mirror.drives[self.drive].now.write().idle = DriveState::Stale;
    }
}
