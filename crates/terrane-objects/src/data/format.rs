//! The layout of a segment file.
//!
//! ```text
//! header   16 bytes: magic "TRSG" · version u8 · 3 × 0 · segment ID u64 (little endian)
//! extents  any number, each starting where the one before ended
//! extent   blocks of 64 KiB payload, the last one shorter, each followed by a u32 (little endian):
//!          CRC-32C of the payload, xor a value made of segment ID and the block's offset
//! ```
//! The position in the checksum means that an intact block in the wrong place (a misdirected write, a stale
//! sector of a truncated tail) is as bad as a damaged one.

use std::ops::Range;

/// Payload bytes of a full block.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of a block's checksum.
pub(crate) const CRC_BYTES: u64 = 4;
/// File bytes of a full block.
const FRAME_BYTES: u64 = BLOCK_BYTES + CRC_BYTES;
/// Bytes of the header; the first extent begins here.
pub(crate) const HEADER_BYTES: u64 = 16;

const MAGIC: [u8; 4] = *b"TRSG";
const VERSION: u8 = 1;

/// The header of a segment.
pub(crate) fn header(segment: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[8..].copy_from_slice(&segment.to_le_bytes());
    bytes
}

/// The block checksum as stored.
pub(crate) fn seal(segment: u64, offset: u64, payload_crc: u32) -> u32 {
    let place = segment.rotate_left(32) ^ offset;
    let mixed = (place ^ (place >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    payload_crc ^ (mixed >> 32) as u32
}

/// CRC-32C (Castagnoli; iSCSI).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// File bytes that an extent of so many payload bytes occupies.
pub(crate) fn framed_len(payload: u64) -> u64 {
    payload + payload.div_ceil(BLOCK_BYTES) * CRC_BYTES
}

/// Which blocks of an extent of `len` payload bytes hold a payload range.
pub(crate) fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

/// Where block `index` begins, relative to its extent.
pub(crate) fn block_offset(index: u64) -> u64 {
    index * FRAME_BYTES
}

/// Payload bytes of block `index` in an extent of `len` payload bytes.
pub(crate) fn block_len(len: u64, index: u64) -> u64 {
    len.saturating_sub(index * BLOCK_BYTES).min(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pinned() {
        assert_eq!(hex::encode(header(0x0102_0304_0506_0708)), "54525347010000000807060504030201");
        assert_eq!((crc32c(b"123456789"), seal(7, 16, 0)), (0xe306_9283, 1_885_791_905));
        assert_eq!(
            (framed_len(0), framed_len(1), framed_len(65536), framed_len(65537)),
            (0, 5, 65540, 65545)
        );
    }

    #[test]
    fn ranges_cover_the_right_blocks() {
        assert_eq!(blocks_of(&(0..1)), 0..1);
        assert_eq!(blocks_of(&(65535..65537)), 0..2);
        assert_eq!(blocks_of(&(65536..131_072)), 1..2);
        assert_eq!((block_len(65537, 0), block_len(65537, 1), block_len(65537, 2)), (65536, 1, 0));
    }
}
