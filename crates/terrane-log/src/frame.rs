//! Bytes of a segment: its header and the frames of its records.
//!
//! All integers are little-endian. A checksum (CRC32C) also covers the offset at
//! which the bytes lie, so that a copy of a log stored *inside* a record is
//! never taken for part of the log.
//!
//! ```text
//! segment header, 64 bytes:  version u8 · "TRNLOG\0" · id u64 · epoch u64 · previous segment u64 ·
//!                            its last checksum u32 · zeros · checksum u32
//! frame, 32 bytes + payload: version u8 · kind u8 · flags u8 · 0 · length u32 · segment u64 · epoch u64 ·
//!                            previous checksum u32 · checksum u32 · payload
//! ```

use crate::position::FRAME_HEADER;
use crc_fast::{CrcAlgorithm, Digest};

/// Newest format of segments and frames that this program knows, and the one it writes.
pub(crate) const VERSION: u8 = 1;
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: u32 = 64;

const MAGIC: &[u8; 7] = b"TRNLOG\0";
/// The frame is the first that was written after a successful sync: whatever lies before it was durable.
const BATCH_START: u8 = 1;

/// Offset of the segment identifier in a frame.
pub(crate) const SEGMENT_AT: usize = 8;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record.
    Data = 1,
    /// The last frame of a segment.
    Seal = 2,
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) batch_start: bool,
    pub(crate) len: u32,
    pub(crate) segment: u64,
    pub(crate) epoch: u64,
    pub(crate) prev: u32,
    pub(crate) crc: u32,
}

impl Frame {
    /// Appends the frame of `parts` to `out`, which will lie at `offset`; returns its checksum.
    /// `len` is the sum of the parts' lengths; `self.len` and `self.crc` are ignored.
    pub(crate) fn write(&self, offset: u32, len: u32, parts: &[&[u8]], out: &mut Vec<u8>) -> u32 {
        let mut head = [0u8; FRAME_HEADER as usize];
        head[0] = VERSION;
        head[1] = self.kind as u8;
        head[2] = if self.batch_start { BATCH_START } else { 0 };
        head[4..8].copy_from_slice(&len.to_le_bytes());
        head[8..16].copy_from_slice(&self.segment.to_le_bytes());
        head[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        head[24..28].copy_from_slice(&self.prev.to_le_bytes());
        let crc = checksum(offset, &head[..28], parts);
        head[28..].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&head);
        for part in parts {
            out.extend_from_slice(part);
        }
        crc
    }

    /// Reads a frame's header; says what is wrong with it. The checksum is not verified here.
    pub(crate) fn parse(head: &[u8; FRAME_HEADER as usize]) -> Result<Self, &'static str> {
        let kind = match (head[0], head[1]) {
            (VERSION, 1) => Kind::Data,
            (VERSION, 2) => Kind::Seal,
            (VERSION, _) => return Err("a frame of unknown kind"),
            (0, _) if head.iter().all(|b| *b == 0) => return Err("zeros"),
            _ => return Err("no frame"),
        };
        if head[2] & !BATCH_START != 0 || head[3] != 0 {
            return Err("a frame with unknown flags");
        }
        Ok(Self {
            kind,
            batch_start: head[2] & BATCH_START != 0,
            len: u32_at(head, 4),
            segment: u64_at(head, SEGMENT_AT),
            epoch: u64_at(head, 16),
            prev: u32_at(head, 24),
            crc: u32_at(head, 28),
        })
    }

    /// Whether the checksum is right for a frame whose bytes, header included, lie at `offset`.
    pub(crate) fn verify(&self, offset: u32, frame: &[u8]) -> bool {
        frame.len() >= FRAME_HEADER as usize
            && checksum(offset, &frame[..28], &[&frame[FRAME_HEADER as usize..]]) == self.crc
    }
}

/// Header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: u64,
    pub(crate) epoch: u64,
    /// The segment before, 0 if this is the first one.
    pub(crate) prev_segment: u64,
    /// The checksum of its last frame.
    pub(crate) prev: u32,
}

/// Why a segment's header is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Intact, but of a later format.
    Newer(u8),
    /// Torn, rotten, or never written.
    Damaged,
}

impl SegmentHeader {
    /// The header's bytes, and their checksum: what the first frame continues.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER as usize], u32) {
        let mut out = [0u8; SEGMENT_HEADER as usize];
        out[0] = VERSION;
        out[1..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        out[24..32].copy_from_slice(&self.prev_segment.to_le_bytes());
        out[32..36].copy_from_slice(&self.prev.to_le_bytes());
        let crc = checksum(0, &out[..60], &[]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// Reads a header and its checksum.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER as usize]) -> Result<(Self, u32), BadHeader> {
        let crc = u32_at(bytes, 60);
        if &bytes[1..8] != MAGIC || checksum(0, &bytes[..60], &[]) != crc {
            return Err(BadHeader::Damaged);
        }
        match bytes[0] {
            0 => return Err(BadHeader::Damaged),
            VERSION => {}
            newer => return Err(BadHeader::Newer(newer)),
        }
        let header = Self {
            id: u64_at(bytes, 8),
            epoch: u64_at(bytes, 16),
            prev_segment: u64_at(bytes, 24),
            prev: u32_at(bytes, 32),
        };
        Ok((header, crc))
    }
}

fn checksum(offset: u32, head: &[u8], parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut first = [0u8; 64];
    first[..4].copy_from_slice(&offset.to_le_bytes());
    first[4..4 + head.len()].copy_from_slice(head);
    digest.update(&first[..4 + head.len()]);
    for part in parts {
        digest.update(part);
    }
    // A CRC32 fits into 32 bits.
    digest.finalize() as u32
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests;
