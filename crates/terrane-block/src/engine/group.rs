//! A group of blocks that is in the activity log: its table in memory, written through.

use super::entry::{Content, Entry};
use super::layout::{ENTRY, Geometry};
use std::ops::Range;

/// A group in the activity log.
pub(crate) struct Group {
    pub(crate) number: u64,
    pub(crate) entries: Box<[Entry]>,
    /// The flush that will make the block durable: at most the last completed one if it is.
    pub(crate) labels: Box<[u64]>,
    /// After a crash: the data must tell which of the entry's contents the block has.
    pub(crate) unsettled: Bits,
    /// Blocks that are nothing and may still take room.
    pub(crate) stale: Bits,
    /// It is leaving the log: no more writes.
    pub(crate) retiring: bool,
    /// Chunks that may have changed since the newest durable cut.
    pub(crate) changed: u8,
    /// Those that changed since the cut that is not durable yet, and which one that was.
    pub(crate) late: (u64, u8),
}

/// The chunks, as bits, that have some of these blocks. Ranges are not empty.
fn chunks(range: &Range<usize>, shape: Geometry) -> u8 {
    let chunk = shape.chunk_blocks() as usize;
    (range.start / chunk..=(range.end - 1) / chunk).fold(0, |bits, at| bits | 1 << at)
}

impl Group {
    /// From the table's bytes. `crashed`: it was in the log when the last life of the copy ended, so anything that is
    /// not flushed may be missing, and nothing is known of what is.
    pub(crate) fn load(number: u64, table: &[u8], salt: u64, shape: Geometry, crashed: bool) -> Self {
        let first = number * u64::from(shape.group_blocks);
        let (chunks, _) = table.as_chunks::<ENTRY>();
        let mut group = Self {
            number,
            entries: vec![Entry::default(); shape.blocks()].into(),
            labels: vec![u64::from(crashed); shape.blocks()].into(),
            unsettled: Bits::new(shape.blocks(), crashed),
            stale: Bits::new(shape.blocks(), false),
            retiring: false,
            changed: if crashed { u8::MAX } else { 0 },
            late: (0, 0),
        };
        for (index, bytes) in chunks.iter().enumerate().take(shape.blocks()) {
            let entry = Entry::decode(bytes, salt, first + index as u64).unwrap_or(Entry::BROKEN);
            let new = entry.new;
            if new.state.is_nothing() && (crashed || new.sum != 0) {
                group.stale.set(index);
            }
            // A flushed block is its newest content and no other.
            group.entries[index] = if crashed { entry } else { Entry { new, before: new, flushed: new } };
        }
        group
    }

    /// The block's new content.
    pub(crate) fn push(&mut self, index: usize, new: Content, flushed: u64) {
        let is_flushed = self.labels[index] <= flushed;
        self.entries[index].push(new, is_flushed);
    }

    /// Notes what changes. `round`: how many cuts have been taken.
    pub(crate) fn note_changed(&mut self, range: &Range<usize>, shape: Geometry, round: u64) {
        let bits = chunks(range, shape);
        self.changed |= bits;
        self.late = (round, self.late_since(round) | bits);
    }

    /// Chunks that changed since this cut was taken, the newest one.
    pub(crate) fn late_since(&self, round: u64) -> u8 {
        if self.late.0 == round { self.late.1 } else { 0 }
    }

    /// The numbers of chunks that are bits of this group.
    pub(crate) fn numbered(&self, bits: u8, shape: Geometry) -> impl Iterator<Item = u64> {
        let first = self.number * shape.chunks();
        (0..shape.chunks()).filter(move |at| bits & (1 << at) != 0).map(move |at| first + at)
    }

    /// Whether what lies on the drive for some of the blocks must be looked at before they are changed.
    pub(crate) fn must_ask(&self, range: &Range<usize>) -> bool {
        let is_invalid = |entry: &Entry| entry.new.state == super::entry::State::Invalid;
        self.unsettled.any(range.clone()) || self.entries[range.clone()].iter().any(is_invalid)
    }

    /// Blocks with data.
    pub(crate) fn data_blocks(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.new.state == super::entry::State::Data).count() as u64
    }

    /// Whether all of it is flushed and known.
    pub(crate) fn is_quiet(&self, flushed: u64) -> bool {
        self.labels.iter().all(|label| *label <= flushed) && self.unsettled.is_empty()
    }
}

/// One bit per block of a group.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Box<[u64]>,
    count: usize,
}

impl Bits {
    pub(crate) fn new(blocks: usize, all: bool) -> Self {
        let mut bits = Self { words: vec![0; blocks.div_ceil(64)].into(), count: 0 };
        if all {
            (0..blocks).for_each(|index| bits.set(index));
        }
        bits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.words[index / 64] & (1 << (index % 64)) != 0
    }

    pub(crate) fn set(&mut self, index: usize) {
        if !self.has(index) {
            self.words[index / 64] |= 1 << (index % 64);
            self.count += 1;
        }
    }

    pub(crate) fn clear(&mut self, index: usize) {
        if self.has(index) {
            self.words[index / 64] &= !(1 << (index % 64));
            self.count -= 1;
        }
    }

    /// Whether there is one in the range.
    pub(crate) fn any(&self, mut range: Range<usize>) -> bool {
        self.count > 0 && range.any(|index| self.has(index))
    }

    /// Runs of set bits that also satisfy `also`.
    pub(crate) fn runs(&self, also: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for index in (0..self.words.len() * 64).filter(|index| self.has(*index) && also(*index)) {
            match runs.last_mut() {
                Some(run) if run.end == index => run.end = index + 1,
                _ => runs.push(index..index + 1),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_set() {
        let mut bits = Bits::new(100, false);
        [3, 4, 64, 99, 4].into_iter().for_each(|index| bits.set(index));
        assert_eq!(bits.runs(|_| true), vec![3..5, 64..65, 99..100]);
        assert_eq!(bits.runs(|index| index != 3), vec![4..5, 64..65, 99..100]);
        assert!(bits.any(4..64) && !bits.any(5..64));
        [3, 3, 4, 64, 99].into_iter().for_each(|index| bits.clear(index));
        assert!(bits.is_empty() && Bits::new(100, true).count == 100);
    }
}
