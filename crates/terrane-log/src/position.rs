//! Places in a log.

use std::fmt;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: u32 = 32;

/// A place between records: a segment and an offset in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Identifier of the segment.
    pub segment: u64,
    /// Byte offset in the segment's file.
    pub offset: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

/// Where the payload of one record lies. Ordered by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordLocator {
    /// Identifier of the segment; never used twice in one log.
    pub segment: u64,
    /// Byte offset of the payload in the segment's file.
    pub offset: u32,
    /// Length of the payload in bytes.
    pub len: u32,
}

impl RecordLocator {
    /// Size of the encoded form.
    pub const ENCODED: usize = 16;

    /// The place at which the record's frame starts: replaying from here yields this record first.
    #[must_use]
    pub fn start(&self) -> Position {
        Position { segment: self.segment, offset: self.offset.saturating_sub(FRAME_HEADER) }
    }

    /// The place right behind the record: replaying from here yields the next one first.
    #[must_use]
    pub fn end(&self) -> Position {
        Position { segment: self.segment, offset: self.offset.saturating_add(self.len) }
    }

    /// 16 bytes, big-endian, ordered like the locators: segment, offset, length.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED] {
        let mut out = [0; Self::ENCODED];
        out[..8].copy_from_slice(&self.segment.to_be_bytes());
        out[8..12].copy_from_slice(&self.offset.to_be_bytes());
        out[12..].copy_from_slice(&self.len.to_be_bytes());
        out
    }

    /// The inverse of [`RecordLocator::encode`]; every 16 bytes are some locator.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::ENCODED]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { segment: (u64::from(word(0)) << 32) | u64::from(word(4)), offset: word(8), len: word(12) }
    }
}

impl fmt::Display for RecordLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.segment, self.offset, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoding_is_pinned() {
        let at = RecordLocator { segment: 0x0102_0304_0506_0708, offset: 0x090a_0b0c, len: 0x0d0e_0f10 };
        assert_eq!(at.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    }

    proptest! {
        #[test]
        fn encoding_round_trips_and_keeps_order(a: (u64, u32, u32), b: (u64, u32, u32)) {
            let a = RecordLocator { segment: a.0, offset: a.1, len: a.2 };
            let b = RecordLocator { segment: b.0, offset: b.1, len: b.2 };
            prop_assert_eq!(RecordLocator::decode(&a.encode()), a);
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }
    }
}
