//! Making the members equal before they are served from.
//!
//! Every member of the set has everything that was acknowledged. What else there is may differ after a crash, and
//! is made the same on all, so that what a start has seen, or has seen to be gone, stays so whichever drive
//! answers later:
//! * *Segments*: one that only some have was being started or removed; it is copied to the others (bringing back
//!   an unacknowledged removal is allowed, dropping a segment that one drive lost for other reasons is not).
//! * *The newest segment* is the only one with bytes that may not have been acknowledged, for the next one is
//!   named only after the seal of the one before is durable. The first member's copy is read by its checksums and
//!   healed from the others as far as any copy goes on; then all others are made equal to it, byte by byte.
//! * *Older segments* are equal as far as drives keep what they have synced. They are compared by their sizes
//!   only: what rotted is found by the checksums at every read, and by a scrub.
//! * *Spares* hold nothing, so they may differ in their bytes. Those that are not of one size everywhere are
//!   removed.

use super::MirrorDisk;
use super::disk::{COPY_PREFIX, mirrored_names};
use super::set::{Inner, Set};
use crate::disk::{Disk, DiskFile, Open};
use crate::error::LogError;
use crate::reader::segment_name;
use crate::recover::parse_name;
use crate::scan::{Scanner, Step};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes compared or copied at once.
pub(super) const CHUNK: usize = 1 << 20;

/// What was done to make the members equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Equalised {
    /// Segments copied to a member that had none or one of another size.
    pub copied: u64,
    /// Bytes of the newest segment, in pieces of up to 1 MiB, rewritten on a member.
    pub rewritten: u64,
    /// Spares removed.
    pub removed: u64,
}

/// A drive failed, and leaves.
struct Failed(usize, &'static str, io::Error);

/// Makes them equal. Drives that fail leave the set.
///
/// # Errors
/// No drive of the set works.
pub(super) fn equalise(mirror: &Arc<Inner>) -> io::Result<Equalised> {
    loop {
        let set = mirror.set();
        let mut round = Round { mirror, set: &set, done: Equalised::default() };
        match round.run() {
            Ok(()) if mirror.set().epoch == set.epoch => return Ok(round.done),
            // A drive left on the way; the others may not be through.
            Ok(()) => {}
            Err(Failed(drive, doing, error)) => {
                mirror.fail(drive, doing, &error);
                mirror.settle(doing)?;
            }
        }
    }
}

struct Round<'a> {
    mirror: &'a Arc<Inner>,
    set: &'a Set,
    done: Equalised,
}

impl Round<'_> {
    fn run(&mut self) -> Result<(), Failed> {
        // By name: who has it, and how long it is there.
        let mut files: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
        for drive in self.set.members.iter().copied() {
            let disk = self.disk(drive)?;
            remove_copies(&*disk).map_err(|e| Failed(drive, "remove an unfinished copy", e))?;
            let names = mirrored_names(&*disk).map_err(|e| Failed(drive, "list files", e))?;
            for name in names {
                let len = disk.open(&name, Open::Read).and_then(|file| file.len());
                let len = len.map_err(|e| Failed(drive, "measure a file", e))?;
                files.entry(name).or_default().push((drive, len));
            }
        }
        let newest = files.keys().filter_map(|name| parse_name(name)).max();
        for (name, holders) in &files {
            let same_size = holders.iter().all(|(_, len)| *len == holders[0].1);
            let complete = holders.len() == self.set.members.len();
            match parse_name(name) {
                Some(id) if !complete || (!same_size && newest != Some(id)) => self.copy(id, holders)?,
                None if !complete || !same_size => self.remove(name, holders)?,
                _ => {}
            }
        }
        if let Some(id) = newest {
            self.level(id)?;
        }
        for drive in self.set.members.iter().copied() {
            self.disk(drive)?.sync_dir().map_err(|e| Failed(drive, "sync names", e))?;
        }
        Ok(())
    }

    fn disk(&self, drive: usize) -> Result<Arc<dyn Disk>, Failed> {
        self.mirror.disk(drive).map_err(|e| Failed(drive, "use the drive", e))
    }

    fn open(&self, drive: usize, name: &str) -> Result<Arc<dyn DiskFile>, Failed> {
        self.disk(drive)?.open(name, Open::Write).map_err(|e| Failed(drive, "open a file", e))
    }

    fn remove(&mut self, name: &str, holders: &[(usize, u64)]) -> Result<(), Failed> {
        for (drive, _) in holders {
            self.disk(*drive)?.remove(name).map_err(|e| Failed(*drive, "remove a spare", e))?;
        }
        self.done.removed += 1;
        Ok(())
    }

    /// Gives a segment to those that have none, or one of another size than an intact one has.
    fn copy(&mut self, id: u64, holders: &[(usize, u64)]) -> Result<(), Failed> {
        let name = segment_name(id);
        let mut source = None;
        for (drive, len) in holders {
            if is_intact(&*self.open(*drive, &name)?, id, *len) {
                source = Some((*drive, *len));
                break;
            }
        }
        let intact = source.is_some();
        let Some((source, len)) = source.or(holders.iter().copied().max_by_key(|(_, len)| *len)) else {
            return Ok(());
        };
        for target in self.set.members.iter().copied() {
            let has = holders.iter().find(|(drive, _)| *drive == target);
            // Nothing is overwritten by what is not known to be better.
            if has.is_none_or(|(_, other)| intact && *other != len) {
                self.copy_file(&name, source, target)?;
                self.done.copied += 1;
            }
        }
        Ok(())
    }

    /// Copies a file to a drive: under another name until it is complete and durable.
    fn copy_file(&self, name: &str, source: usize, target: usize) -> Result<(), Failed> {
        let from = self.open(source, name)?;
        let read = |e| Failed(source, "read a file to be copied", e);
        let write = |e| Failed(target, "copy a file", e);
        let disk = self.disk(target)?;
        let temporary = format!("{COPY_PREFIX}{name}");
        let to = disk.open(&temporary, Open::Create).map_err(write)?;
        let len = from.len().map_err(read)?;
        let mut buf = vec![0; CHUNK];
        for (at, piece) in pieces(len) {
            from.read_at(&mut buf[..piece], at).map_err(read)?;
            to.write_at(&buf[..piece], at).map_err(write)?;
        }
        to.sync_data().and_then(|()| disk.rename(&temporary, name)).map_err(write)
    }

    /// Makes the newest segment the same on all: what any copy has of the log's chain, and then what the first
    /// has.
    fn level(&mut self, id: u64) -> Result<(), Failed> {
        let name = segment_name(id);
        let all = MirrorDisk(self.mirror.clone()).open(&name, Open::Write);
        let first = self.set.members[0];
        let opened = all.map_err(|e| Failed(first, "open the newest segment", e));
        heal_chain(&*opened?, id).map_err(|e| Failed(first, "read the newest segment", e))?;
        let from = self.open(first, &name)?;
        let read = |e| Failed(first, "read the newest segment", e);
        let len = from.len().map_err(read)?;
        let mut good = vec![0; CHUNK];
        let mut found = vec![0; CHUNK];
        for target in self.set.members[1..].iter().copied() {
            let to = self.open(target, &name)?;
            let write = |e| Failed(target, "level the newest segment", e);
            if to.len().map_err(write)? != len {
                to.set_len(len).map_err(write)?;
            }
            for (at, piece) in pieces(len) {
                from.read_at(&mut good[..piece], at).map_err(read)?;
                let same =
                    to.read_at(&mut found[..piece], at).is_ok_and(|()| found[..piece] == good[..piece]);
                if !same {
                    to.write_at(&good[..piece], at).map_err(write)?;
                    self.done.rewritten += piece as u64;
                }
            }
            to.sync_data().map_err(write)?;
        }
        Ok(())
    }
}

fn remove_copies(disk: &dyn Disk) -> io::Result<()> {
    disk.list()?.iter().filter(|name| name.starts_with(COPY_PREFIX)).try_for_each(|name| disk.remove(name))
}

/// Offsets and lengths of the pieces of a file.
pub(super) fn pieces(len: u64) -> impl Iterator<Item = (u64, usize)> {
    let piece = move |at| (at, usize::try_from(len - at).map_or(CHUNK, |rest| rest.min(CHUNK)));
    (0..len).step_by(CHUNK).map(piece)
}

/// Whether a copy of a sealed segment has all its records.
fn is_intact(file: &dyn DiskFile, id: u64, len: u64) -> bool {
    let scan = || -> Option<bool> {
        let mut scanner = Scanner::open(file, id, u32::try_from(len).ok()?).ok()?.ok()?;
        loop {
            match scanner.step().ok()? {
                Step::Record { .. } => {}
                Step::Sealed => return Some(true),
                Step::End(_) => return Some(false),
            }
        }
    };
    scan().unwrap_or(false)
}

/// Reads a segment's chain as far as any copy goes on. The scanner heals the other copies on its way.
pub(super) fn heal_chain(file: &dyn DiskFile, id: u64) -> io::Result<()> {
    let scan = || -> Result<(), LogError> {
        let len = file.len().map_err(|e| LogError::io("measure a segment", e))?;
        // A segment too long or without a header on any copy is judged by the log.
        let Ok(len) = u32::try_from(len) else { return Ok(()) };
        let Ok(mut scanner) = Scanner::open(file, id, len)? else { return Ok(()) };
        while let Step::Record { .. } = scanner.step()? {}
        Ok(())
    };
    scan().map_err(io::Error::other)
}
