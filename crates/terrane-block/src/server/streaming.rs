//! Large writes one behind the other: the drive begins with them before a FLUSH waits for all at once.

use super::reactor::Reactor;
use crate::engine;
use terrane_block_core::Extent;

/// Blocks of a stream that are handed to the drive together: 8 MiB.
const PIECE: u64 = 2048;
/// Writes of a stream come in this order, but for so many blocks: those under way at the same time.
const AHEAD: u64 = 4096;

/// Where the large writes of late lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    start: u64,
    end: u64,
    written: u64,
}

impl Stream {
    /// A large write is with the kernel. Returns what the drive should begin with, if that is worth it.
    fn written(&mut self, extent: Extent) -> Option<Extent> {
        let belongs = extent.start >= self.start.saturating_sub(AHEAD) && extent.start <= self.end + AHEAD;
        if !belongs || self.written == 0 {
            *self = Self { start: extent.start, end: extent.start, written: 0 };
        }
        self.start = self.start.min(extent.start);
        self.end = self.end.max(extent.end());
        self.written += extent.len;
        if self.written < PIECE {
            return None;
        }
        let piece = Extent { start: self.start, len: self.end - self.start };
        *self = Self { start: self.end, end: self.end, written: 0 };
        // Writes that leave out most of what lies between them are none.
        (piece.len <= 2 * PIECE + AHEAD).then_some(piece)
    }
}

impl Reactor {
    /// A large write of a copy is with the kernel.
    pub(super) fn streamed(&mut self, slot: usize, extent: Extent) {
        let Some(hosted) = self.copy(slot) else { return };
        let life = hosted.life;
        if let Some(piece) = hosted.stream.written(extent) {
            let work = move |copy: &engine::Copy| copy.write_out(piece.start, piece.len);
            self.work_on(slot, life, work, |_, ()| {});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(stream: &mut Stream, start: u64) -> Option<Extent> {
        stream.written(Extent { start, len: 256 })
    }

    #[test]
    fn a_stream_is_handed_on_piece_by_piece() {
        let mut stream = Stream::default();
        let order = [0, 256, 768, 512, 1280, 1024, 1536];
        assert!(order.iter().all(|start| write(&mut stream, *start).is_none()));
        assert_eq!(write(&mut stream, 1792), Some(Extent { start: 0, len: 2048 }));
        assert_eq!(write(&mut stream, 2048), None);
    }

    #[test]
    fn writes_here_and_there_are_no_stream() {
        let mut stream = Stream::default();
        assert!((0..100).all(|n| write(&mut stream, n * 100_000).is_none()));
    }
}
