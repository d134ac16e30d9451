//! A disk that keeps what was synced apart from what was not.
//!
//! Reads see every write at once, as on a real machine. [`SimDisk::crash`] is a power
//! failure: of what was written since the last successful sync, each sector survives or
//! not by itself (so writes are lost, torn and reordered), and changes of names survive
//! as a prefix or, on a worse file system, in any selection. A failed sync behaves as on
//! Linux: some of the bytes reach the disk, the others are believed clean and go with the power,
//! although reads see them until then.
//!
//! Everything is decided by the seed; nothing here sleeps or reads a clock.

mod file;
mod names;
#[cfg(test)]
mod tests;

use crate::coverage::Coverage;
use crate::rng::SimRng;
use file::Inode;
use names::Names;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use terrane_log::disk::{Disk, DiskFile, Open};

/// Bytes that a power failure keeps or loses together.
pub const SECTOR: u64 = 512;

/// What goes wrong between crashes. Chances are "one in n" operations, 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// [`DiskFile::sync_data`] fails.
    pub sync_fails: u32,
    /// [`Disk::sync_dir`] fails.
    pub sync_dir_fails: u32,
    /// A write fails with an I/O error after a part of it.
    pub write_fails: u32,
    /// A read fails with an I/O error.
    pub read_fails: u32,
    /// A write to room that is already taken finds the disk full (as on a disk that never overwrites).
    pub overwrite_full: u32,
}

/// What a power failure leaves of unsynced writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them: the process died, not the machine.
    Nothing,
    /// None of them.
    Everything,
    /// Each sector by itself.
    AnySector,
    /// The oldest ones, the last of them torn.
    Tail,
}

/// A flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The byte's place in its file.
    pub at: u64,
    /// The bit.
    pub mask: u8,
}

/// What several disks of one machine share: when it goes, it goes for all.
#[derive(Clone, Default)]
struct Power(Arc<Mutex<Option<u64>>>);

/// The names of the counters that a disk under all faults hits.
pub const DISK_COVERAGE: &[&str] = &[
    "disk.crash_kept_all",
    "disk.crash_lost_all",
    "disk.crash_lost_sectors",
    "disk.crash_lost_tail",
    "disk.sector_lost",
    "disk.sector_torn",
    "disk.resize_lost",
    "disk.name_lost",
    "disk.sync_failed",
    "disk.sync_dir_failed",
    "disk.write_failed",
    "disk.read_failed",
    "disk.power_off",
    "disk.full",
    "disk.rotted",
];

/// A simulated directory. Cheap to clone; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    rng: SimRng,
    coverage: Coverage,
    faults: DiskFaults,
    capacity: u64,
    /// Grows with every crash: handles from before it are dead.
    boot: u64,
    /// Changes until the power goes.
    fuse: Power,
    plugged: bool,
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    next_inode: u64,
}

impl SimDisk {
    /// An empty disk without faults. `capacity` in bytes.
    #[must_use]
    pub fn new(rng: &mut SimRng, capacity: u64, coverage: Coverage) -> Self {
        Self::on(Power::default(), rng, capacity, coverage)
    }

    /// Another disk of the same machine: what [`SimDisk::power_off_after`] is told of one holds for both.
    #[must_use]
    pub fn beside(&self, rng: &mut SimRng, capacity: u64) -> Self {
        let (power, coverage) = {
            let state = self.0.lock();
            (state.fuse.clone(), state.coverage.clone())
        };
        Self::on(power, rng, capacity, coverage)
    }

    fn on(fuse: Power, rng: &mut SimRng, capacity: u64, coverage: Coverage) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: rng.fork(),
            coverage,
            faults: DiskFaults::default(),
            capacity,
            boot: 0,
            fuse,
            plugged: true,
            inodes: BTreeMap::new(),
            names: Names::default(),
            next_inode: 1,
        })))
    }

    /// The disk as the log takes it.
    #[must_use]
    pub fn as_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.0.lock().faults = faults;
    }

    /// Changes the capacity; less than what is taken means full.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Lets the power go in the middle of the `changes`-th change from now (write, sync, change of size or name):
    /// that and all later ones fail until [`SimDisk::crash`].
    pub fn power_off_after(&self, changes: u64) {
        *self.0.lock().fuse.0.lock() = Some(changes);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self.0.lock().fuse.0.lock() == Some(0)
    }

    /// Pulls the disk out: of what was not synced it keeps what `loss` says, and everything fails from now on.
    pub fn unplug(&self, loss: Loss) {
        let state = &mut *self.0.lock();
        state.lose(loss);
        state.plugged = false;
        state.coverage.hit("disk.unplugged");
    }

    /// Puts it back. What was open on it stays dead.
    pub fn plug(&self) {
        self.0.lock().plugged = true;
    }

    /// Whether the disk is in its place.
    #[must_use]
    pub fn is_plugged(&self) -> bool {
        self.0.lock().plugged
    }

    /// Bytes taken by files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Ends all handles and keeps of the unsynced what `loss` says.
    pub fn crash(&self, loss: Loss) {
        let state = &mut *self.0.lock();
        *state.fuse.0.lock() = None;
        state.lose(loss);
    }

    /// Names of the files, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.live().keys().cloned().collect()
    }

    /// Flips one bit of a file within `range`, on the disk and in what reads see.
    /// `None` if there is no such file or it ends before.
    pub fn rot(&self, name: &str, range: Range<u64>) -> Option<Rot> {
        let state = &mut *self.0.lock();
        let inode = state.inodes.get_mut(state.names.live().get(name)?)?;
        let range = range.start..range.end.min(inode.len());
        if range.is_empty() {
            return None;
        }
        let rot = Rot { at: state.rng.range(range), mask: 1 << state.rng.below(8) };
        inode.flip(rot.at, rot.mask);
        state.coverage.hit("disk.rotted");
        Some(rot)
    }

    /// Undoes a rot, as restoring a copy of the file would.
    pub fn heal(&self, name: &str, rot: Rot) {
        let state = &mut *self.0.lock();
        if let Some(id) = state.names.live().get(name)
            && let Some(inode) = state.inodes.get_mut(id)
        {
            inode.flip(rot.at, rot.mask);
        }
    }

    /// What a read of the whole file would see; `None` if there is none.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let inode = state.inodes.get(state.names.live().get(name)?)?;
        Some(inode.bytes().to_vec())
    }
}

impl State {
    fn lose(&mut self, loss: Loss) {
        self.boot += 1;
        self.coverage.hit(match loss {
            Loss::Nothing => "disk.crash_kept_all",
            Loss::Everything => "disk.crash_lost_all",
            Loss::AnySector => "disk.crash_lost_sectors",
            Loss::Tail => "disk.crash_lost_tail",
        });
        if loss != Loss::Nothing {
            for inode in self.inodes.values_mut() {
                inode.crash(loss, &mut self.rng, &self.coverage);
            }
            self.names.crash(loss, &mut self.rng, &self.coverage);
        }
        let names = &self.names;
        self.inodes.retain(|id, inode| {
            inode.handles = 0;
            names.refers(*id)
        });
    }

    fn answers(&self) -> io::Result<()> {
        if self.plugged { Ok(()) } else { Err(io::Error::other("the disk is unplugged")) }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(Inode::allocated).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// Drops files that have no name any more. (An open handle keeps its file on a real
    /// machine; here as well, because the handle's inode is only dropped once it is closed.)
    fn drop_unlinked(&mut self, inode: u64) {
        if !self.names.refers(inode)
            && let Some(file) = self.inodes.get(&inode)
            && file.handles == 0
        {
            self.inodes.remove(&inode);
        }
    }

    /// Counts a change. The power is off from the one on that burns the fuse.
    fn change(&mut self) -> io::Result<()> {
        self.answers()?;
        let mut fuse = self.fuse.0.lock();
        match *fuse {
            None => return Ok(()),
            Some(0) => {}
            Some(left) => {
                *fuse = Some(left - 1);
                if left > 1 {
                    return Ok(());
                }
                self.coverage.hit("disk.power_off");
            }
        }
        Err(io::Error::other("the power is off"))
    }

    fn full(&self) -> io::Error {
        self.coverage.hit("disk.full");
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn fail(&self, counter: &'static str) -> io::Error {
        self.coverage.hit(counter);
        io::Error::other(counter)
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.answers()?;
        let inode = match (state.names.live().get(name).copied(), how) {
            (Some(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Open::Create) => {
                state.change()?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.names.create(name, inode);
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        if let Some(file) = state.inodes.get_mut(&inode) {
            file.handles += 1;
        }
        let writable = how != Open::Read;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, boot: state.boot, writable }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.answers()?;
        Ok(state.names.live().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.change()?;
        let inode = state.names.remove(name)?;
        state.drop_unlinked(inode);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.change()?;
        if let Some(replaced) = state.names.rename(from, to)? {
            state.drop_unlinked(replaced);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.change()?;
        if state.rng.one_in(state.faults.sync_dir_fails) {
            return Err(state.fail("disk.sync_dir_failed"));
        }
        for inode in state.names.sync() {
            state.drop_unlinked(inode);
        }
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.0.lock();
        state.answers().map(|()| state.free())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    boot: u64,
    writable: bool,
}

impl SimFile {
    fn with<T>(
        &self,
        writes: bool,
        work: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>,
    ) -> io::Result<T> {
        let state = &mut *self.disk.0.lock();
        state.answers()?;
        if self.boot != state.boot || (writes && !self.writable) {
            return Err(io::Error::other("a handle from before the crash, or one only for reading"));
        }
        // Taken out, so that the work can use the rest of the state beside it.
        let mut inode = state.inodes.remove(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let result = work(state, &mut inode);
        state.inodes.insert(self.inode, inode);
        result
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let state = &mut *self.disk.0.lock();
        if self.boot == state.boot
            && let Some(inode) = state.inodes.get_mut(&self.inode)
        {
            inode.handles -= 1;
            state.drop_unlinked(self.inode);
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(false, |state, inode| {
            if state.rng.one_in(state.faults.read_fails) {
                return Err(state.fail("disk.read_failed"));
            }
            inode.read(buf, offset)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.with(true, |state, inode| {
            if *state.fuse.0.lock() == Some(0) {
                return state.change();
            }
            let end = offset + buf.len() as u64;
            // The inode itself is not in the table now, so its room is counted here.
            let more = end.saturating_sub(inode.allocated());
            let free = state.free().saturating_sub(inode.allocated());
            let full = more > free || state.rng.one_in(state.faults.overwrite_full);
            let off = state.change();
            if full || off.is_err() || state.rng.one_in(state.faults.write_fails) {
                let room = inode.allocated().saturating_add(free).saturating_sub(offset);
                let part = state.rng.below(buf.len() + 1).min(usize::try_from(room).unwrap_or(usize::MAX));
                inode.write(&buf[..part], offset);
                off?;
                return Err(if full { state.full() } else { state.fail("disk.write_failed") });
            }
            inode.write(buf, offset);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(true, |state, inode| {
            state.change()?;
            if state.rng.one_in(state.faults.sync_fails) {
                inode.sync_in_part(&mut state.rng);
                return Err(state.fail("disk.sync_failed"));
            }
            inode.sync();
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(true, |state, inode| {
            state.change()?;
            inode.set_len(len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(false, |_, inode| Ok(inode.len()))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.with(true, |state, inode| {
            let more = len.saturating_sub(inode.allocated());
            let free = state.free().saturating_sub(inode.allocated());
            if more > free {
                return Err(state.full());
            }
            state.change()?;
            let at = inode.len();
            if at < len {
                inode.write(&vec![0; usize::try_from(len - at).unwrap_or(0)], at);
            }
            Ok(())
        })
    }
}
