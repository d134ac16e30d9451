//! The layout of segment files.
//!
//! ```text
//! whole (version 1): the one file of a segment that has no redundancy
//! header   16 bytes: magic "TRSG" · version u8 · 3 × 0 · segment ID u64
//!
//! shard (version 2): one of several files of a segment, each on a drive of its own
//! header   24 bytes: magic "TRSG" · version u8 · data shards u8 · spare shards u8 · this shard u8
//!          · segment ID u64 · 4 × 0 · CRC-32C of these 20 bytes u32
//!
//! extents  any number, each starting where the one before ended
//! extent   pieces, one per block of 64 KiB of payload, each followed by a u32: CRC-32C of the piece, xor a
//!          value made of segment ID, the piece's offset and, in a code, the shard's number  (little endian)
//! piece    a whole file and a mirror's copies: the block itself, the last one of an extent shorter;
//!          a code of K + M: the block cut in K equal pieces of even length, padded with zeros, or one of M of parity
//! ```
//! The place in the checksum means that an intact piece in the wrong place (a misdirected write, a stale sector
//! of a truncated tail) is as bad as a damaged one. All shards of a segment have their pieces at equal offsets, so
//! one offset names an extent. A read of a range touches the pieces of the blocks that it overlaps, no others.

use std::ops::Range;

use crate::redundancy::Redundancy;

/// Payload bytes of a full block.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of a piece's checksum.
pub(crate) const CRC_BYTES: u64 = 4;
/// Bytes of the header of a whole file.
const HEADER_BYTES: u64 = 16;
/// Bytes of the header of a shard.
const SHARD_HEADER_BYTES: u64 = 24;

const MAGIC: [u8; 4] = *b"TRSG";
const VERSION: u8 = 1;
const SHARD_VERSION: u8 = 2;

/// The header of one of a segment's files.
pub(crate) fn header(segment: u64, redundancy: Redundancy, shard: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    if redundancy == Redundancy::SINGLE {
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.extend_from_slice(&segment.to_le_bytes());
        return bytes;
    }
    let numbers = [redundancy.data_shards(), redundancy.spare_shards(), shard];
    bytes.push(SHARD_VERSION);
    bytes.extend(numbers.map(|number| u8::try_from(number).unwrap_or(u8::MAX)));
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Where the first extent begins.
pub(crate) fn header_len(redundancy: Redundancy) -> u64 {
    if redundancy == Redundancy::SINGLE { HEADER_BYTES } else { SHARD_HEADER_BYTES }
}

/// A piece's checksum as stored.
pub(crate) fn seal(segment: u64, offset: u64, stream: usize, payload_crc: u32) -> u32 {
    let place = segment.rotate_left(32) ^ offset ^ (stream as u64).rotate_left(56);
    let mixed = (place ^ (place >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    payload_crc ^ (mixed >> 32) as u32
}

/// CRC-32C (Castagnoli; iSCSI).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Bytes of each piece of a block of so many payload bytes.
pub(crate) fn piece_len(redundancy: Redundancy, block: u64) -> u64 {
    if redundancy.is_copies() {
        return block;
    }
    // The code works on pairs of bytes.
    block.div_ceil(redundancy.data_shards() as u64).next_multiple_of(2)
}

/// Bytes of each file that an extent of so many payload bytes occupies.
pub(crate) fn framed_len(redundancy: Redundancy, payload: u64) -> u64 {
    let tail = payload % BLOCK_BYTES;
    let tail = if tail == 0 { 0 } else { piece_len(redundancy, tail) + CRC_BYTES };
    block_offset(redundancy, payload / BLOCK_BYTES) + tail
}

/// Which blocks of an extent hold a payload range.
pub(crate) fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

/// Where a piece of block `index` begins, relative to its extent.
pub(crate) fn block_offset(redundancy: Redundancy, index: u64) -> u64 {
    index * (piece_len(redundancy, BLOCK_BYTES) + CRC_BYTES)
}

/// Payload bytes of block `index` in an extent of `len` payload bytes.
pub(crate) fn block_len(len: u64, index: u64) -> u64 {
    len.saturating_sub(index * BLOCK_BYTES).min(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redundancy(text: &str) -> Redundancy {
        text.parse().unwrap()
    }

    #[test]
    fn layout_is_pinned() {
        let id = 0x0102_0304_0506_0708;
        assert_eq!(hex::encode(header(id, Redundancy::SINGLE, 0)), "54525347010000000807060504030201");
        assert_eq!(
            hex::encode(header(id, redundancy("rs:4+2"), 5)),
            "5452534702040205080706050403020100000000a657b941"
        );
        assert_eq!((crc32c(b"123456789"), seal(7, 16, 0, 0)), (0xe306_9283, 1_885_791_905));
        assert_eq!((seal(7, 16, 1, 0), seal(7, 16, 5, 0)), (693_997_928, 221_789_313));
        let lens = |text| [0, 1, 65536, 65537].map(|len| framed_len(redundancy(text), len));
        assert_eq!(lens("single"), [0, 5, 65540, 65545]);
        assert_eq!(lens("mirror:3"), [0, 5, 65540, 65545]);
        assert_eq!(lens("rs:4+2"), [0, 6, 16388, 16394]);
        assert_eq!(lens("rs:3+1"), [0, 6, 21850, 21856]);
    }

    #[test]
    fn ranges_cover_the_right_blocks() {
        assert_eq!(blocks_of(&(0..1)), 0..1);
        assert_eq!(blocks_of(&(65535..65537)), 0..2);
        assert_eq!(blocks_of(&(65536..131_072)), 1..2);
        assert_eq!((block_len(65537, 0), block_len(65537, 1), block_len(65537, 2)), (65536, 1, 0));
    }
}
