//! Where things lie in a copy's file.
//!
//! ```text
//! header, 16 KiB:  version, pool, copy, salt, shape, checksum; never rewritten
//! group 0:         table (16 bytes per block, whole pages) · data
//! group 1:         …
//! ```
//!
//! A group is also one extent of the activity log: 1 MiB of data in new copies, whose table is one page; copies made
//! earlier have 4 MiB, and their headers say so.

use super::codec::{Reader, Writer};
use super::error::EngineError;
use super::identity::PoolId;
use super::record::CopyKey;
use std::ops::Range;

/// Bytes of a block: the smallest thing that is written, checked, and marked.
pub const BLOCK: usize = 4096;

/// Bytes of one table entry.
pub(crate) const ENTRY: usize = 16;
/// Bytes before the first group.
const HEADER: u64 = 16 << 10;
/// Bytes of the header that carry something.
pub(crate) const HEADER_BYTES: usize = 72;

/// Blocks of a snapshot's chunk.
const CHUNK_BLOCKS: u64 = 128;

const VERSION: u8 = 1;
const MAGIC: &[u8; 7] = b"TRNCOPY";

/// Shape of a copy's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of a group: a power of two from 8 to 1,024.
    pub group_blocks: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Self { group_blocks: 256 }
    }
}

impl Geometry {
    /// Whether the shape is one that this program handles.
    pub(crate) fn check(self) -> Result<Self, EngineError> {
        if self.group_blocks.is_power_of_two() && (8..=1024).contains(&self.group_blocks) {
            return Ok(self);
        }
        Err(EngineError::Config("groups have a power of two of blocks, from 8 to 1,024"))
    }

    pub(crate) fn group_of(self, block: u64) -> u64 {
        block / u64::from(self.group_blocks)
    }

    /// Index of a block in its group.
    pub(crate) fn index_of(self, block: u64) -> usize {
        (block % u64::from(self.group_blocks)) as usize
    }

    pub(crate) fn blocks(self) -> usize {
        self.group_blocks as usize
    }

    /// Groups of a copy of that many blocks.
    pub(crate) fn groups(self, blocks: u64) -> u64 {
        blocks.div_ceil(u64::from(self.group_blocks))
    }

    /// Blocks of a chunk, in which changes since a cut are told: 512 KiB, or an eighth of a group that is small.
    pub(crate) fn chunk_blocks(self) -> u64 {
        let group = u64::from(self.group_blocks);
        if group < CHUNK_BLOCKS { group / 8 } else { CHUNK_BLOCKS }
    }

    /// Chunks of a group: at most 8.
    pub(crate) fn chunks(self) -> u64 {
        u64::from(self.group_blocks) / self.chunk_blocks()
    }

    fn table_bytes(self) -> u64 {
        (u64::from(self.group_blocks) * ENTRY as u64).next_multiple_of(BLOCK as u64)
    }

    fn group_at(self, group: u64) -> u64 {
        HEADER + group * (self.table_bytes() + u64::from(self.group_blocks) * BLOCK as u64)
    }

    /// Offset of a table entry in the file, by group and index in it.
    #[must_use]
    pub fn entry_at(self, group: u64, index: usize) -> u64 {
        self.group_at(group) + (index * ENTRY) as u64
    }

    /// Offset of a block's data in the file, by group and index in it.
    #[must_use]
    pub fn data_at(self, group: u64, index: usize) -> u64 {
        self.group_at(group) + self.table_bytes() + (index * BLOCK) as u64
    }

    /// Bytes of the file of a copy of that many blocks.
    pub(crate) fn file_bytes(self, blocks: u64) -> u64 {
        self.group_at(self.groups(blocks))
    }

    /// The most blocks that a copy may have: 256 TiB, far below where offsets would overflow.
    pub(crate) const MAX_BLOCKS: u64 = 1 << 36;

    /// Cuts blocks into pieces that lie in one group and are at most `max` long: group, indices, offset from the start.
    pub(crate) fn pieces(self, first: u64, blocks: u64, max: usize) -> impl Iterator<Item = Piece> {
        let end = first.saturating_add(blocks);
        let mut at = first;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (group, index) = (self.group_of(at), self.index_of(at));
            let len = (self.blocks() - index).min(max).min(usize::try_from(end - at).unwrap_or(max));
            let piece = Piece { group, range: index..index + len, block: at, skip: (at - first) as usize };
            at += len as u64;
            Some(piece)
        })
    }
}

/// Consecutive blocks of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) group: u64,
    /// Indices in the group.
    pub(crate) range: Range<usize>,
    /// The first block's number in the copy.
    pub(crate) block: u64,
    /// Blocks before it in what was cut.
    pub(crate) skip: usize,
}

/// The first bytes of a copy's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) pool: PoolId,
    pub(crate) key: CopyKey,
    pub(crate) salt: u64,
    pub(crate) geometry: Geometry,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_version(VERSION);
        out.bytes(MAGIC);
        out.u128(self.pool.0);
        out.u128(self.key.0);
        out.u64(self.salt);
        out.u32(self.geometry.group_blocks);
        out.bytes(&[0; 16]);
        out.seal()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let mut reader = Reader::sealed("a copy's header", bytes, VERSION)?;
        let magic = reader.array::<7>()?;
        if &magic != MAGIC {
            return Err(reader.broken("other magic bytes"));
        }
        let (pool, key) = (PoolId(reader.u128()?), CopyKey(reader.u128()?));
        let (salt, group_blocks) = (reader.u64()?, reader.u32()?);
        reader.array::<16>()?;
        reader.end()?;
        let geometry = Geometry { group_blocks }.check()?;
        Ok(Self { pool, key, salt, geometry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap() {
        let shape = Geometry::default();
        assert_eq!(shape.entry_at(0, 0), 16 << 10);
        assert_eq!(shape.data_at(0, 0), 20 << 10);
        assert_eq!(shape.data_at(0, 255) + 4096, shape.entry_at(1, 0));
        assert_eq!(shape.file_bytes(257), shape.entry_at(2, 0));
        let large = Geometry { group_blocks: 1024 };
        assert_eq!((large.data_at(0, 0), large.data_at(0, 1023) + 4096), (32 << 10, large.entry_at(1, 0)));
        let small = Geometry { group_blocks: 8 };
        assert_eq!(small.data_at(0, 0) - small.entry_at(0, 0), 4096);
        let chunks = |blocks| Geometry { group_blocks: blocks }.chunks();
        assert_eq!([8, 64, 128, 256, 1024].map(chunks), [8, 8, 1, 2, 8]);
    }

    #[test]
    fn pieces_cover_and_stay_in_groups() {
        let shape = Geometry { group_blocks: 8 };
        let pieces: Vec<_> = shape.pieces(5, 20, 6).collect();
        let flat: Vec<u64> =
            pieces.iter().flat_map(|p| p.range.clone().map(|i| p.group * 8 + i as u64)).collect();
        assert_eq!(flat, (5..25).collect::<Vec<_>>());
        assert!(pieces.iter().all(|p| p.range.len() <= 6 && p.range.end <= 8));
        assert!(pieces.iter().all(|p| p.block == 5 + p.skip as u64));
    }

    #[test]
    fn the_header_is_pinned() {
        let header = Header {
            pool: PoolId(0x0102),
            key: CopyKey(0x0304),
            salt: 0x0506,
            geometry: Geometry { group_blocks: 1024 },
        };
        let bytes = header.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, PINNED);
        assert_eq!(Header::decode(&bytes).unwrap(), header);
        assert_eq!(bytes.len(), HEADER_BYTES);
    }

    const PINNED: &str = concat!(
        "0154524e434f505902010000000000000000000000000000040300000000000000000000000000000605000000000000",
        "000400000000000000000000000000000000000035bb9109"
    );
}
