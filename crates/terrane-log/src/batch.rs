//! What was appended and not yet synced.

use crate::disk::DiskFile;
use crate::frame::{Frame, Kind, SegmentHeader};
use crate::position::{FRAME_HEADER, Position, RecordLocator};
use crate::scan::Chain;
use std::sync::Arc;

/// A segment that takes records.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) id: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Behind its last frame, pending ones included.
    pub(crate) end: u32,
}

/// The part of a batch that goes to one segment.
pub(crate) struct Part {
    pub(crate) target: Active,
    /// The spare that becomes the segment with this part.
    pub(crate) spare: Option<String>,
    pub(crate) start: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: u32,
    pub(crate) seals: bool,
}

/// All that waits for a sync, and what to go back to if it cannot be written.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) parts: Vec<Part>,
    pub(crate) bytes: u64,
    /// A buffer of an earlier batch, to be used again.
    pub(crate) buffer: Vec<u8>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The part for the active segment, which is started if there is none.
    fn part(&mut self, active: &Active) -> &mut Part {
        let fresh = self.parts.last().is_none_or(|p| p.target.id != active.id);
        if fresh {
            self.parts.push(Part {
                target: active.clone(),
                spare: None,
                start: active.end,
                bytes: std::mem::take(&mut self.buffer),
                records: 0,
                seals: false,
            });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// Starts a segment with its header.
    pub(crate) fn start_segment(
        &mut self,
        active: &mut Active,
        spare: String,
        header: SegmentHeader,
    ) -> Chain {
        let (bytes, crc) = header.encode();
        let part = self.part(active);
        part.spare = Some(spare);
        part.bytes.extend_from_slice(&bytes);
        active.end = bytes.len() as u32;
        self.bytes += bytes.len() as u64;
        Chain { epoch: header.epoch, prev: crc }
    }

    /// Adds a frame to the active segment, which has room for it.
    pub(crate) fn push(
        &mut self,
        active: &mut Active,
        chain: &mut Chain,
        kind: Kind,
        len: u32,
        parts: &[&[u8]],
    ) -> RecordLocator {
        // In a new segment the header starts the batch.
        let batch_start = self.parts.is_empty();
        let (segment, at) = (active.id, active.end);
        let frame = Frame { kind, batch_start, len, segment, epoch: chain.epoch, prev: chain.prev, crc: 0 };
        let part = self.part(active);
        part.bytes.reserve((FRAME_HEADER + len) as usize);
        chain.prev = frame.write(at, len, parts, &mut part.bytes);
        match kind {
            Kind::Data => part.records += 1,
            Kind::Seal => part.seals = true,
        }
        active.end += FRAME_HEADER + len;
        self.bytes += u64::from(FRAME_HEADER + len);
        RecordLocator { segment, offset: at + FRAME_HEADER, len }
    }

    /// Takes all parts; the batch is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<Part> {
        self.bytes = 0;
        std::mem::take(&mut self.parts)
    }
}

impl Part {
    /// Behind the part's last byte. A segment's size fits into 32 bits, so this does.
    pub(crate) fn end(&self) -> u32 {
        self.start + self.bytes.len() as u32
    }

    pub(crate) fn position(&self) -> Position {
        Position { segment: self.target.id, offset: self.end() }
    }
}
