//! What the table says of a block.
//!
//! An entry names three contents, each a state with a checksum: the *new* one, the one *before* it, and the one that
//! the last completed flush made durable (as far as is known). Entry and data go to the kernel one after the other
//! and to the drive in any order, so after a crash the block may be any of the three, and the data itself tells
//! which. An entry carries a check of its own; one that fails it says nothing.
//!
//! ```text
//! states u8 (new | before << 2 | flushed << 4) · check u24 · sum of new u32 · of before u32 · of flushed u32
//! ```
//!
//! All zeros is a block that was never touched. Sums and checks depend on the copy's salt and the block's number, so
//! that bytes which belong elsewhere never fit.

use super::codec::crc32c;
use super::layout::ENTRY;

/// State of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody has ever said what it holds.
    #[default]
    Absent = 0,
    /// Zeros, whatever lies on the drive.
    Zero = 1,
    /// What lies on the drive, if its checksum fits.
    Data = 2,
    /// Known to be lost.
    Invalid = 3,
}

impl State {
    pub(crate) fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Absent,
            1 => Self::Zero,
            2 => Self::Data,
            _ => Self::Invalid,
        }
    }

    /// Whether the block is this state whatever lies on the drive.
    pub(crate) fn is_nothing(self) -> bool {
        matches!(self, Self::Absent | Self::Zero)
    }
}

/// A content that a block may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) state: State,
    /// Checksum of what lies on the drive. For what is nothing: of what a TRIM left there, or 0.
    pub(crate) sum: u32,
}

impl Content {
    pub(crate) const INVALID: Self = Self { state: State::Invalid, sum: 0 };
    /// What an entry that fails its check stands for. Never written.
    pub(crate) const BROKEN: Self = Self { state: State::Invalid, sum: u32::MAX };

    pub(crate) fn data(sum: u32) -> Self {
        Self { state: State::Data, sum }
    }

    /// Whether it lies on the drive.
    pub(crate) fn has_data(self) -> bool {
        self.state == State::Data
    }

    /// Zeros, over a block that had this content.
    pub(crate) fn zero_over(self) -> Self {
        let sum = if self.state == State::Invalid { 0 } else { self.sum };
        Self { state: State::Zero, sum }
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) new: Content,
    pub(crate) before: Content,
    pub(crate) flushed: Content,
}

impl Entry {
    /// An entry that fails its check.
    pub(crate) const BROKEN: Self =
        Self { new: Content::BROKEN, before: Content::BROKEN, flushed: Content::BROKEN };

    pub(crate) fn encode(&self, salt: u64, block: u64) -> [u8; ENTRY] {
        if *self == Self::default() {
            return [0; ENTRY];
        }
        let mut out = [0; ENTRY];
        out[0] = self.new.state as u8 | (self.before.state as u8) << 2 | (self.flushed.state as u8) << 4;
        for (content, at) in [(self.new, 4), (self.before, 8), (self.flushed, 12)] {
            out[at..at + 4].copy_from_slice(&content.sum.to_le_bytes());
        }
        let check = check(&out, salt, block);
        out[1..4].copy_from_slice(&check);
        out
    }

    /// `None` if the bytes are no entry of this block.
    pub(crate) fn decode(bytes: &[u8; ENTRY], salt: u64, block: u64) -> Option<Self> {
        if bytes == &[0; ENTRY] {
            return Some(Self::default());
        }
        if bytes[1..4] != check(bytes, salt, block) || bytes[0] >> 6 != 0 {
            return None;
        }
        let content = |shift: u8, at: usize| Content {
            state: State::of(bytes[0] >> shift),
            sum: u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]),
        };
        Some(Self { new: content(0, 4), before: content(2, 8), flushed: content(4, 12) })
    }

    /// The content becomes `new`. `is_flushed`: the one before it is durable.
    pub(crate) fn push(&mut self, new: Content, is_flushed: bool) {
        if is_flushed {
            self.flushed = self.new;
        }
        self.before = self.new;
        self.new = new;
    }

    /// Which of its contents the block has, after a crash, if this is what lies on the drive.
    pub(crate) fn resolve(&self, lies: &[u8], sum: u32) -> Content {
        if self.new.state.is_nothing() {
            return self.new;
        }
        let is_empty = lies.iter().all(|byte| *byte == 0);
        let fits = |content: &Content| match content.state {
            State::Data => content.sum == sum,
            State::Zero | State::Absent => is_empty || (content.sum != 0 && content.sum == sum),
            State::Invalid => false,
        };
        let is_lost = self.new.state == State::Invalid;
        let mut candidates = [self.new, self.before, self.flushed].into_iter();
        candidates.find(fits).filter(|_| !is_lost).unwrap_or(Content::INVALID)
    }
}

/// 24 bits of the checksum of an entry's other bytes.
fn check(bytes: &[u8; ENTRY], salt: u64, block: u64) -> [u8; 3] {
    let mut covered = *bytes;
    covered[1..4].fill(0);
    let [a, b, c, _] = (crc32c(&covered) ^ place(salt.rotate_left(32), block)).to_le_bytes();
    [a, b, c]
}

/// Checksum of a block's bytes at its place.
pub(crate) fn sum(bytes: &[u8], salt: u64, block: u64) -> u32 {
    crc32c(bytes) ^ place(salt, block)
}

/// A number that differs from place to place (the mixing step of SplitMix64).
fn place(salt: u64, block: u64) -> u32 {
    let mut mixed = salt ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(states: u8, sums: [u32; 3]) -> Entry {
        let content = |shift: u8, sum| Content { state: State::of(states >> shift), sum };
        Entry { new: content(0, sums[0]), before: content(2, sums[1]), flushed: content(4, sums[2]) }
    }

    #[test]
    fn bytes_are_pinned() {
        let entry = entry(0b01_00_10, [0x0102_0304, 0x0506_0708, 0x090a_0b0c]);
        let bytes = entry.encode(7, 9);
        assert_eq!(bytes, PINNED);
        assert_eq!(sum(b"abc", 7, 9), PINNED_SUM);
    }

    const PINNED: [u8; 16] = [18, 198, 99, 101, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9];
    const PINNED_SUM: u32 = 40_492_439;

    /// The check is linear in the bytes, so what holds for one entry holds for all.
    #[test]
    fn every_flip_of_one_or_two_bits_is_noticed() {
        let bytes = entry(0b10_01_10, [77, 88, 99]).encode(1, 2);
        for first in 0..128 {
            for second in first..128 {
                let mut damaged = bytes;
                damaged[first / 8] ^= 1 << (first % 8);
                if first != second {
                    damaged[second / 8] ^= 1 << (second % 8);
                }
                assert_eq!(Entry::decode(&damaged, 1, 2), None, "bits {first} and {second}");
            }
        }
    }

    proptest! {
        #[test]
        fn round_trips_at_its_place_only(states in 0..64_u8, sums: [u32; 3], salt: u64, block in 0..1_u64 << 36) {
            let entry = entry(states, sums);
            let bytes = entry.encode(salt, block);
            prop_assert_eq!(Entry::decode(&bytes, salt, block), Some(entry));
            if entry != Entry::default() {
                prop_assert_eq!(Entry::decode(&bytes, salt, block + 1), None);
            }
        }

        #[test]
        fn decodes_anything(bytes: [u8; 16], salt: u64, block: u64) {
            if let Some(entry) = Entry::decode(&bytes, salt, block) {
                prop_assert_eq!(entry.encode(salt, block), bytes);
            }
        }
    }
}
