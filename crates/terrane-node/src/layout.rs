//! Where a byte of the volume lies: which stripe, which block of it.
//!
//! A volume of one stripe lies in it as it is. In one of several, `stripe_bytes` lie in the first, the next ones in the
//! second, and so on, again and again.

use terrane_block_core::Extent;
use terrane_block_wire::control::AttachmentOrder;

/// Bytes of a block: the grain of everything that is sent to a stripe.
pub(crate) const BLOCK: u64 = terrane_block_wire::data::BLOCK as u64;
/// Blocks of data in one request to a stripe.
pub(crate) const DATA_BLOCKS_MAX: u64 = (terrane_block_wire::data::CONTENT_BYTES_MAX as u64) / BLOCK;
/// Blocks that one request makes zero: 32 MiB. More would keep other requests waiting.
pub(crate) const ZERO_BLOCKS_MAX: u64 = 8192;

/// Why an attachment's layout makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// There must be a stripe.
    #[error("a volume without stripes")]
    NoStripes,
    /// Stripes change within a block.
    #[error("{0} bytes of a stripe, which is no multiple of {BLOCK}")]
    StripeBytes(u64),
    /// The end is within a block.
    #[error("a volume of {0} bytes, which is no multiple of {BLOCK}")]
    Size(u64),
}

/// How a volume's blocks are spread over its stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    stripes: u64,
    /// Blocks that lie in one stripe before the next one goes on.
    run: u64,
}

/// Consecutive blocks of the volume, as whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The first one.
    pub(crate) start: u64,
    /// How many; at least one.
    pub(crate) len: u64,
}

impl Blocks {
    /// The blocks that a range of bytes touches.
    pub(crate) fn touched(offset: u64, len: u64) -> Self {
        let start = offset / BLOCK;
        Self { start, len: offset.saturating_add(len).div_ceil(BLOCK).saturating_sub(start) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// A part of the volume that lies in one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The stripe's number.
    pub(crate) stripe: usize,
    /// Where in it.
    pub(crate) extent: Extent,
}

impl Layout {
    /// The layout that the manager has ordered.
    pub(crate) fn of(order: &AttachmentOrder) -> Result<Self, LayoutError> {
        let stripes = order.stripes.len() as u64;
        let run = order.stripe_bytes / BLOCK;
        if stripes == 0 {
            return Err(LayoutError::NoStripes);
        }
        if stripes > 1 && (run == 0 || !order.stripe_bytes.is_multiple_of(BLOCK)) {
            return Err(LayoutError::StripeBytes(order.stripe_bytes));
        }
        if !order.size.is_multiple_of(BLOCK) {
            return Err(LayoutError::Size(order.size));
        }
        Ok(Self { stripes, run })
    }

    /// The pieces of these blocks in the order of the volume, each of at most `most` blocks.
    pub(crate) fn pieces(self, blocks: Blocks, most: u64) -> impl Iterator<Item = Piece> + Send {
        let mut at = blocks.start;
        std::iter::from_fn(move || {
            let left = blocks.end().saturating_sub(at).min(most);
            if left == 0 {
                return None;
            }
            let (stripe, start, len) = match self.stripes {
                1 => (0, at, left),
                _ => {
                    let (run, within) = (at / self.run, at % self.run);
                    let start = run / self.stripes * self.run + within;
                    (run % self.stripes, start, left.min(self.run - within))
                }
            };
            at += len;
            Some(Piece { stripe: stripe as usize, extent: Extent { start, len } })
        })
    }

    /// The same blocks, but in as few pieces as possible: what these blocks are in a stripe is consecutive there.
    pub(crate) fn spans(self, blocks: Blocks, most: u64) -> impl Iterator<Item = Piece> + Send {
        (0..self.stripes).flat_map(move |stripe| {
            let (first, end) = (self.before(blocks.start, stripe), self.before(blocks.end(), stripe));
            let starts = (first..end).step_by(most as usize);
            starts.map(move |start| {
                let extent = Extent { start, len: (end - start).min(most) };
                Piece { stripe: stripe as usize, extent }
            })
        })
    }

    /// How many of the volume's first `blocks` blocks lie in a stripe.
    fn before(self, blocks: u64, stripe: u64) -> u64 {
        if self.stripes == 1 {
            return blocks;
        }
        let row = self.run * self.stripes;
        let last = (blocks % row).saturating_sub(stripe * self.run).min(self.run);
        blocks / row * self.run + last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Block by block, as the words at the top say it.
    fn model(layout: Layout, block: u64) -> (usize, u64) {
        let (mut stripe, mut base, mut left) = (0, 0, block);
        while layout.stripes > 1 && left >= layout.run {
            left -= layout.run;
            stripe += 1;
            if stripe == layout.stripes {
                (stripe, base) = (0, base + layout.run);
            }
        }
        (stripe as usize, base + left)
    }

    fn expand(pieces: impl Iterator<Item = Piece>, most: u64) -> Vec<(usize, u64)> {
        let pieces = pieces.inspect(|piece| assert!((1..=most).contains(&piece.extent.len)));
        pieces.flat_map(|piece| piece.extent.blocks().map(move |block| (piece.stripe, block))).collect()
    }

    proptest! {
        #[test]
        fn every_block_has_its_place(
            stripes in 1_u64..5, run in 1_u64..9, start in 0_u64..200, len in 1_u64..100, most in 1_u64..20,
        ) {
            let layout = Layout { stripes, run };
            let blocks = Blocks { start, len };
            let expected: Vec<_> = (start..start + len).map(|block| model(layout, block)).collect();
            let pieces = expand(layout.pieces(blocks, most), most);
            prop_assert_eq!(&pieces, &expected);
            let spans = expand(layout.spans(blocks, most), most);
            prop_assert_eq!(spans.len(), expected.len());
            prop_assert_eq!(spans.into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect());
        }

        #[test]
        fn touched_blocks_cover_the_bytes(offset in 0_u64..100_000, len in 1_u64..100_000) {
            let blocks = Blocks::touched(offset, len);
            let (first, end) = (blocks.start * BLOCK, blocks.end() * BLOCK);
            prop_assert!(first <= offset && offset < first + BLOCK);
            prop_assert!(end - BLOCK < offset + len && offset + len <= end);
        }
    }

    #[test]
    fn zeroes_of_a_striped_volume_are_few_pieces() {
        let layout = Layout { stripes: 4, run: 16 };
        let blocks = Blocks { start: 3, len: 1 << 20 };
        assert_eq!(layout.spans(blocks, u64::MAX >> 1).count(), 4);
    }
}
