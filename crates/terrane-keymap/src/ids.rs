//! The numbers that order and find things.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Log sequence number: the order of all writes of one shard. Assigned by the sequencer, grows, may have gaps.
/// Zero is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The one before (zero stays zero).
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What decides between two states of one row: the LSN of the write that made the state, then how often its
/// bytes were moved since. The greater guard wins, wherever and whenever the two meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Guard {
    /// The write.
    pub lsn: Lsn,
    /// Moves of its record or its bytes.
    pub moved: u32,
}

impl Guard {
    /// The guard of a fresh write.
    pub fn new(lsn: Lsn) -> Self {
        Self { lsn, moved: 0 }
    }

    /// The guard after one more move.
    pub fn moved(self) -> Self {
        Self { lsn: self.lsn, moved: self.moved.saturating_add(1) }
    }
}

/// Which life of a bucket's name a row belongs to. Random; zero is reserved for the rows of buckets themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Where bucket rows live: their key is the bucket's name.
    pub const BUCKETS: Self = Self(0);
}

/// Milliseconds since 1970-01-01 UTC. Decides when delayed entries are applied and what clients are told;
/// orders nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// So many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, zero if that is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where a record lies in the log: segment, byte offset and length of its payload. Ordered by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Locator {
    /// Log segment.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u32,
    /// Payload length in bytes.
    pub len: u32,
}

/// Bulk bytes in a data segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extent {
    /// Data segment; IDs are never reused.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u64,
    /// Payload bytes.
    pub len: u64,
    /// CRC32C over the payload.
    pub crc: u32,
}

/// Fixed number of key ranges (by hash) of a shard. Part of the stored format.
pub const SLOTS: usize = 64;

/// One fixed range of keys; all rows of one key are in one slot, which at any time one worker owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot(pub u8);

impl Slot {
    /// The slot of a key: FNV-1a over incarnation and key, folded. Never changes: stored progress is per slot.
    pub fn of(incarnation: Incarnation, key: &[u8]) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in incarnation.0.to_be_bytes().iter().chain(key) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let folded = hash ^ (hash >> 32);
        Self((folded ^ (folded >> 16)) as u8 % SLOTS as u8)
    }

    /// All slots.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS as u8).map(Slot)
    }

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Identity of a keymap worker: given by the driver, never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// Fencing token of a slot's owner: a batch with an older epoch than the slot has seen is refused at commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Identity of a batch handed to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// Identity of a spill run, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(pub u64);

/// The driver's own reference to a request; comes back in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpRef(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_function_never_changes() {
        let slots: Vec<u8> = [(0, "bucket"), (1, ""), (1, "a"), (2, "a"), (u64::MAX, "some/longer/key")]
            .map(|(i, k)| Slot::of(Incarnation(i), k.as_bytes()).0)
            .to_vec();
        assert_eq!(slots, [49, 61, 31, 23, 10]);
    }

    #[test]
    fn slots_share_the_load() {
        let mut counts = [0u32; SLOTS];
        for i in 0..64_000u32 {
            counts[Slot::of(Incarnation(7), format!("key-{i:08}").as_bytes()).index()] += 1;
        }
        assert!(counts.iter().all(|n| (700..1300).contains(n)), "{counts:?}");
    }
}
