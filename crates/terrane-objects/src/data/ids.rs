//! Segment numbers, which are never used twice, and the names of segments' files.
//!
//! A whole segment's file is called `NUMBER.seg`, a shard's `NUMBER-K+M-SHARD.seg`: where the shards of a segment
//! are is known from names alone. A number is `epoch << 32 | count`. Every opening of the directory takes a new epoch, durably, before it
//! hands out numbers; so a number also tells whether its writer can still be alive.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::drives::Drive;
use crate::redundancy::Redundancy;

const FILE: &str = "epoch";
const VERSION: u8 = 1;
/// End of the name of a shard that is being rebuilt.
pub(super) const UNFINISHED: &str = ".new";
/// Added to the greatest epoch in sight when the file is lost: far more openings than can have gone unseen.
const EPOCH_LEAP: u32 = 1 << 16;

/// A shard's file in a drive's directory of data.
pub(super) fn path(dir: &Path, segment: u64, redundancy: Redundancy, shard: usize) -> PathBuf {
    if redundancy == Redundancy::SINGLE {
        return dir.join(format!("{segment:016x}.seg"));
    }
    let (data, spare) = (redundancy.data_shards(), redundancy.spare_shards());
    dir.join(format!("{segment:016x}-{data}+{spare}-{shard}.seg"))
}

/// A shard's file as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) segment: u64,
    pub(super) redundancy: Redundancy,
    pub(super) shard: usize,
}

/// Reads a name; `None` if the file is none of ours.
pub(super) fn parse(name: &str) -> Option<Named> {
    let stem = name.strip_suffix(".seg")?;
    let mut words = stem.split('-');
    let segment = words.next().filter(|hex| hex.len() == 16)?;
    let segment = u64::from_str_radix(segment, 16).ok()?;
    let (redundancy, shard) = match (words.next(), words.next(), words.next()) {
        (None, None, None) => (Redundancy::SINGLE, 0),
        (Some(layout), Some(shard), None) => {
            let (data, spare) = layout.split_once('+')?;
            (Redundancy::new(data.parse().ok()?, spare.parse().ok()?)?, shard.parse().ok()?)
        }
        _ => return None,
    };
    let known =
        shard < redundancy.shards() && path(Path::new(""), segment, redundancy, shard) == Path::new(name);
    known.then_some(Named { segment, redundancy, shard })
}

pub(super) fn epoch_of(segment: u64) -> u32 {
    (segment >> 32) as u32
}

pub(super) fn compose(epoch: u32, count: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(count)
}

/// A shard that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) named: Named,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

/// The shards in a directory, made if absent. Foreign files are left alone; a shard whose making
/// was cut short is removed.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Found>> {
    fs::create_dir_all(dir)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(named) = parse(name) {
            let metadata = entry.metadata()?;
            found.push(Found { named, len: metadata.len(), modified: metadata.modified()? });
        } else if name.strip_suffix(UNFINISHED).is_some_and(|name| parse(name).is_some()) {
            fs::remove_file(entry.path())?;
        }
    }
    found.sort_by_key(|found| (found.named.segment, found.named.shard));
    Ok(found)
}

/// Takes the next epoch and makes that durable in every directory; a drive that fails leaves the set. `seen` is the
/// greatest epoch of any segment's number.
pub(super) fn next_epoch(drives: &[Arc<Drive>], seen: Option<u32>) -> io::Result<u32> {
    let mut known = None;
    for drive in drives {
        known = known.max(read(&drive.data_dir())?);
    }
    let seen = seen.unwrap_or(0);
    let epoch = match known {
        Some(epoch) => epoch.max(seen).checked_add(1),
        None if seen == 0 => Some(1),
        None => seen.checked_add(EPOCH_LEAP),
    };
    let epoch = epoch.ok_or_else(|| io::Error::other("segment epochs are used up"))?;
    for drive in drives {
        if let Err(error) = write(&drive.data_dir(), epoch) {
            drive.fail(&error);
            if drive.is_live() {
                return Err(error);
            }
        }
    }
    Ok(epoch)
}

fn write(dir: &Path, epoch: u32) -> io::Result<()> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(&super::format::crc32c(&bytes).to_le_bytes());
    let temporary = dir.join("epoch.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// The epoch on record; `None` if there is none or it is damaged.
fn read(dir: &Path) -> io::Result<Option<u32>> {
    let bytes = match fs::read(dir.join(FILE)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let [VERSION, a, b, c, d, crc @ ..] = bytes.as_slice() else { return Ok(None) };
    let intact = crc == super::format::crc32c(&[VERSION, *a, *b, *c, *d]).to_le_bytes();
    Ok(intact.then(|| u32::from_le_bytes([*a, *b, *c, *d])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drives::DriveSet;

    #[test]
    fn epochs_grow_even_when_their_file_is_lost_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let set = DriveSet::plain(dir.path());
        let next = |seen| next_epoch(set.all(), seen).unwrap();
        let file = dir.path().join("data").join(FILE);
        assert_eq!(list(&dir.path().join("data")).unwrap().len(), 0);
        assert_eq!((next(None), next(None)), (1, 2));
        fs::write(&file, b"rubbish").unwrap();
        assert_eq!(next(Some(2)), 2 + EPOCH_LEAP);
        fs::remove_file(&file).unwrap();
        assert_eq!(next(Some(2 + EPOCH_LEAP)), 2 + 2 * EPOCH_LEAP);
    }

    #[test]
    fn names_have_one_form_and_foreign_files_are_not_segments() {
        let dir = tempfile::tempdir().unwrap();
        let rs: Redundancy = "rs:4+2".parse().unwrap();
        for (segment, redundancy, shard) in
            [(1 << 32, Redundancy::SINGLE, 0), (7, Redundancy::MIRROR, 1), (7, rs, 5)]
        {
            let path = path(dir.path(), segment, redundancy, shard);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(parse(name), Some(Named { segment, redundancy, shard }), "{name}");
        }
        for name in [
            "0000000100000000.seg",
            "0000000000000007-4+2-5.seg",
            "0000000000000007-4+2-0.seg.new",
            "0000000000000007-4+2-6.seg",
            "0000000000000007-04+2-1.seg",
            "0000000000000007-1+0-0.seg",
            "0000000000000007-4-1.seg",
            "1.seg",
            "zzzzzzzzzzzzzzzz.seg",
            "+000000000000001.seg",
            "epoch",
            "notes.new",
        ] {
            fs::write(dir.path().join(name), b"abc").unwrap();
        }
        let found: Vec<u64> = list(dir.path()).unwrap().iter().map(|found| found.named.segment).collect();
        assert_eq!(found, [7, 1 << 32]);
        assert!(!dir.path().join("0000000000000007-4+2-0.seg.new").exists());
        assert!(dir.path().join("notes.new").exists());
    }
}
