//! Segment numbers, which are never used twice.
//!
//! A number is `epoch << 32 | count`. Every opening of the directory takes a new epoch, durably, before it
//! hands out numbers; so a number also tells whether its writer can still be alive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "epoch";
const VERSION: u8 = 1;
/// Added to the greatest epoch in sight when the file is lost: far more openings than can have gone unseen.
const EPOCH_LEAP: u32 = 1 << 16;

pub(super) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.seg"))
}

pub(super) fn epoch_of(segment: u64) -> u32 {
    (segment >> 32) as u32
}

pub(super) fn compose(epoch: u32, count: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(count)
}

/// The segments in a directory and their lengths. Foreign files are left alone.
pub(super) fn list(dir: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|n| n.strip_suffix(".seg")).filter(|n| n.len() == 16);
        if let Some(id) = id.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            found.insert(id, entry.metadata()?.len());
        }
    }
    Ok(found)
}

/// Takes the next epoch and makes that durable.
pub(super) fn next_epoch(dir: &Path, found: &BTreeMap<u64, u64>) -> io::Result<u32> {
    let seen = found.keys().map(|id| epoch_of(*id)).max().unwrap_or(0);
    let epoch = match read(dir)? {
        Some(epoch) => epoch.max(seen).checked_add(1),
        None if found.is_empty() => Some(1),
        None => seen.checked_add(EPOCH_LEAP),
    };
    let epoch = epoch.ok_or_else(|| io::Error::other("segment epochs are used up"))?;
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(&super::format::crc32c(&bytes).to_le_bytes());
    let temporary = dir.join("epoch.new");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(epoch)
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

    #[test]
    fn epochs_grow_even_when_their_file_is_lost_or_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let none = BTreeMap::new();
        assert_eq!(next_epoch(dir.path(), &none).unwrap(), 1);
        assert_eq!(next_epoch(dir.path(), &none).unwrap(), 2);
        let found = BTreeMap::from([(compose(2, 5), 100)]);
        fs::write(dir.path().join(FILE), b"rubbish").unwrap();
        assert_eq!(next_epoch(dir.path(), &found).unwrap(), 2 + EPOCH_LEAP);
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let found = BTreeMap::from([(compose(2 + EPOCH_LEAP, 0), 100)]);
        assert_eq!(next_epoch(dir.path(), &found).unwrap(), 2 + 2 * EPOCH_LEAP);
    }

    #[test]
    fn foreign_files_are_not_segments() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0000000100000000.seg", "1.seg", "zzzzzzzzzzzzzzzz.seg", "epoch", "notes.txt"] {
            fs::write(dir.path().join(name), b"abc").unwrap();
        }
        assert_eq!(list(dir.path()).unwrap(), BTreeMap::from([(1 << 32, 3)]));
    }
}
