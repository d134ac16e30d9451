//! What every drive of a mirror knows of the set: the file `members`.
//!
//! ```text
//! version u8 · "TRNMBR\0" · store u128 · own identifier u128 · epoch u64 · phase u8 · count of members u8 ·
//! count of overrides u8 · 0 · members u128… · overrides u64… · checksum (CRC32C) of all before u32
//! ```
//! Integers are little-endian. The file holds the record twice, 4 KiB apart, so that one rotten block
//! does not make a drive unable to say what it is.

use crate::disk::{Disk, Open};
use crate::frame::{u32_at, u64_at};
use crc_fast::{CrcAlgorithm, checksum};
use std::fmt;
use std::io;

/// Newest format that this program knows, and the one it writes.
const VERSION: u8 = 1;
const MAGIC: &[u8; 7] = b"TRNMBR\0";
/// Bytes before the lists.
const HEAD: usize = 52;
/// Where the second copy of the record starts.
const SECOND: usize = 4096;
/// The most drives in a mirror.
pub const MAX_DRIVES: usize = 16;
/// How often an operator may have accepted a loss.
pub(super) const MAX_OVERRIDES: usize = 64;

pub(super) const NAME: &str = "members";
const TEMPORARY: &str = "members.new";

/// Identifier of a drive as a member of one set, or of a mirror as a whole. Drawn at random; a drive that was
/// copied anew is a new member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId(pub u128);

impl fmt::Display for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a drive is to the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The mirror is being made; nothing was ever served from it.
    Forming = 0,
    /// Files are being copied to the drive; it has not all of them unless a member's record names it.
    Copying = 1,
    /// A member of the set of its epoch.
    Member = 2,
}

/// The record of one drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The mirror.
    pub store: MirrorId,
    /// This drive.
    pub member: MirrorId,
    /// Grows with every change of the set; 0 before there is one.
    pub epoch: u64,
    /// What this drive is.
    pub phase: Phase,
    /// All members of the set, this drive included if it is one.
    pub members: Vec<MirrorId>,
    /// One random number for each time that an operator went on without a drive that might have been needed.
    pub overrides: Vec<u64>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Written by a newer version of this program.
    #[error("its format is {0}; this program reads up to {VERSION}")]
    Newer(u8),
    /// Anything else.
    #[error("it is damaged")]
    Damaged,
}

impl Record {
    /// The record's bytes. Lists longer than their limits are cut, which callers prevent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let members = &self.members[..self.members.len().min(MAX_DRIVES)];
        let overrides = &self.overrides[..self.overrides.len().min(MAX_OVERRIDES)];
        let mut out = vec![VERSION];
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.store.0.to_le_bytes());
        out.extend_from_slice(&self.member.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&[self.phase as u8, members.len() as u8, overrides.len() as u8, 0]);
        members.iter().for_each(|id| out.extend_from_slice(&id.0.to_le_bytes()));
        overrides.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &out) as u32;
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a record from the start of `bytes`; what follows it is ignored. Any bytes may be given.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let head = bytes.get(..HEAD).ok_or(BadRecord::Damaged)?;
        if &head[1..8] != MAGIC || head[0] == 0 {
            return Err(BadRecord::Damaged);
        }
        if head[0] > VERSION {
            // Its checksum cannot be known, so that this may also be damage; a start is refused in both cases.
            return Err(BadRecord::Newer(head[0]));
        }
        let (count, overrides) = (usize::from(head[49]), usize::from(head[50]));
        if count > MAX_DRIVES || overrides > MAX_OVERRIDES || head[51] != 0 {
            return Err(BadRecord::Damaged);
        }
        let end = HEAD + 16 * count + 8 * overrides;
        let crc = bytes.get(end..end + 4).ok_or(BadRecord::Damaged)?;
        if checksum(CrcAlgorithm::Crc32Iscsi, &bytes[..end]) as u32 != u32_at(crc, 0) {
            return Err(BadRecord::Damaged);
        }
        let phase = match head[48] {
            0 => Phase::Forming,
            1 => Phase::Copying,
            2 => Phase::Member,
            _ => return Err(BadRecord::Damaged),
        };
        Ok(Self {
            store: id_at(bytes, 8),
            member: id_at(bytes, 24),
            epoch: u64_at(bytes, 40),
            phase,
            members: (0..count).map(|n| id_at(bytes, HEAD + 16 * n)).collect(),
            overrides: (0..overrides).map(|n| u64_at(bytes, HEAD + 16 * count + 8 * n)).collect(),
        })
    }

    /// Reads the record from the whole file, from whichever of its two copies is intact.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode_file(bytes: &[u8]) -> Result<Self, BadRecord> {
        let first = Self::decode(bytes);
        match (&first, bytes.get(SECOND..).map(Self::decode)) {
            (Err(_), Some(Ok(second))) => Ok(second),
            _ => first,
        }
    }

    /// Makes this the drive's record, wholly and durably or not at all. Takes two syncs or three.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(TEMPORARY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Durably, so that the rename below can never bring back what an earlier attempt left.
            removed => removed.and_then(|()| disk.sync_dir())?,
        }
        let bytes = self.encode();
        let file = disk.open(TEMPORARY, Open::Create)?;
        file.write_at(&bytes, 0)?;
        file.write_at(&bytes, SECOND as u64)?;
        file.sync_data()?;
        disk.rename(TEMPORARY, NAME)?;
        disk.sync_dir()
    }

    /// The drive's record; `None` if it never had one.
    pub(super) fn read(disk: &dyn Disk) -> io::Result<Option<Result<Self, BadRecord>>> {
        let file = match disk.open(NAME, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let len = file.len()?.min(2 * SECOND as u64);
        let mut bytes = vec![0; len as usize];
        // Each copy by itself, so that an unreadable block costs one of them only.
        let (first, second) = bytes.split_at_mut(SECOND.min(len as usize));
        let reads = [file.read_at(first, 0), file.read_at(second, SECOND as u64)];
        let record = Self::decode_file(&bytes);
        match reads.into_iter().find_map(Result::err) {
            Some(error) if record.is_err() && error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(Some(record)),
        }
    }
}

fn id_at(bytes: &[u8], at: usize) -> MirrorId {
    MirrorId(u128::from(u64_at(bytes, at)) | (u128::from(u64_at(bytes, at + 8)) << 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_pinned() {
        let record = Record {
            store: MirrorId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            member: MirrorId(2),
            epoch: 0x0001_0000_0003,
            phase: Phase::Member,
            members: vec![MirrorId(2), MirrorId(3)],
            overrides: vec![7],
        };
        let hex: String = record.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [
            "01",
            "54524e4d425200",
            "100f0e0d0c0b0a090807060504030201",
            "02000000000000000000000000000000",
            "0300000001000000",
            "02020100",
            "02000000000000000000000000000000",
            "03000000000000000000000000000000",
            "0700000000000000",
        ];
        assert_eq!(hex[..hex.len() - 8], parts.concat());
        assert_eq!(hex[hex.len() - 8..], *"bd4c3591");
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let ids = proptest::collection::vec(any::<u128>().prop_map(MirrorId), 0..=MAX_DRIVES);
        let phase = prop_oneof![Just(Phase::Forming), Just(Phase::Copying), Just(Phase::Member)];
        let overrides = proptest::collection::vec(any::<u64>(), 0..=MAX_OVERRIDES);
        (any::<(u128, u128, u64)>(), phase, ids, overrides).prop_map(
            |((store, member, epoch), phase, members, overrides)| Record {
                store: MirrorId(store),
                member: MirrorId(member),
                epoch,
                phase,
                members,
                overrides,
            },
        )
    }

    proptest! {
        #[test]
        fn records_round_trip(record in any_record(), after in proptest::collection::vec(any::<u8>(), 0..20)) {
            let bytes = [record.encode(), after].concat();
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }

        #[test]
        fn a_flipped_bit_is_noticed_and_the_second_copy_taken(
            record in any_record(),
            at in any::<proptest::sample::Index>(),
            bit in 0u32..8,
        ) {
            let good = record.encode();
            let mut file = vec![0; SECOND];
            file[..good.len()].copy_from_slice(&good);
            file.extend_from_slice(&good);
            file[at.index(good.len())] ^= 1u8 << bit;
            prop_assert!(Record::decode(&file).is_err());
            prop_assert_eq!(Record::decode_file(&file), Ok(record));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Record::decode(&bytes);
            // Past the magic, too.
            let bytes = [&[VERSION], &MAGIC[..], &bytes].concat();
            let _ = Record::decode_file(&bytes);
        }
    }
}
