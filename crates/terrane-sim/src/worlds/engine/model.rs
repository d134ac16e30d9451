//! What must be true of a copy.

use super::machine::{BLOCKS, GROUP};
use std::collections::{BTreeMap, BTreeSet};
use terrane_block::engine::{CopyState, Kind};

/// Content of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Absent,
    Zero,
    /// The number that the block is full of; no two writes have the same.
    Data(u64),
    /// Reported as lost.
    Lost,
}

/// What is known of a block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// What it is, while the process lives.
    pub(super) now: Value,
    /// What it may be after a power failure.
    pub(super) may_be: Vec<Value>,
    /// Its table entry may be on its way to the disk, so it may be lost in a power failure.
    pub(super) fragile: bool,
    /// The last write of it failed in the middle: it is anything that it may be until it is read.
    pub(super) unknown: bool,
    /// And may be lost as well.
    pub(super) torn: bool,
}

impl Block {
    fn new() -> Self {
        let now = Value::Absent;
        Self { now, may_be: vec![now], fragile: false, unknown: false, torn: false }
    }

    pub(super) fn change(&mut self, to: Value, outcome: Outcome) {
        self.fragile = true;
        self.may_be.push(to);
        match outcome {
            Outcome::Done => {
                self.now = to;
                (self.unknown, self.torn) = (false, false);
            }
            Outcome::Unknown { torn } => {
                self.may_be.push(self.now);
                self.unknown = true;
                self.torn |= torn;
            }
        }
    }

    pub(super) fn flushed(&mut self) {
        if !self.unknown {
            self.may_be = vec![self.now];
            self.fragile = false;
        }
    }

    /// A read found this while the process lived, or after it was only killed.
    pub(super) fn see(&mut self, found: Value) -> bool {
        if self.unknown {
            let fits = self.may_be.contains(&found) || (self.torn && found == Value::Lost);
            self.now = found;
            self.may_be.push(found);
            (self.unknown, self.torn) = (false, false);
            return fits;
        }
        found == self.now
    }

    /// A read found this after a power failure. It stays so.
    pub(super) fn see_after_power_failure(&mut self, found: Value) -> bool {
        let fits = self.may_be.contains(&found) || (self.fragile && found == Value::Lost);
        self.now = found;
        self.may_be = vec![found];
        (self.unknown, self.torn) = (false, false);
        fits
    }
}

/// How a change ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Done,
    /// Nobody knows. `torn`: a block may have a part of it.
    Unknown {
        torn: bool,
    },
}

/// What is known of a copy.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) blocks: Vec<Block>,
    /// Extents that are in the activity log for sure, and those that may be.
    pub(super) log: BTreeSet<u64>,
    pub(super) log_may: BTreeSet<u64>,
    /// Records: the acknowledged one, and those that nobody knows of.
    pub(super) records: Vec<Vec<u8>>,
    /// Blocks that are in bitmaps for sure, and those that may be.
    pub(super) marked: BTreeMap<u64, BTreeSet<u64>>,
    pub(super) marked_may: BTreeMap<u64, BTreeSet<u64>>,
}

impl Model {
    pub(super) fn new(record: Vec<u8>) -> Self {
        Self {
            blocks: vec![Block::new(); BLOCKS as usize],
            log: BTreeSet::new(),
            log_may: BTreeSet::new(),
            records: vec![record],
            marked: BTreeMap::new(),
            marked_may: BTreeMap::new(),
        }
    }

    /// Blocks of an extent.
    pub(super) fn extent(&self, extent: u64) -> &[Block] {
        &self.blocks[(extent * GROUP) as usize..((extent + 1) * GROUP) as usize]
    }

    /// Takes what a restart found, and says what does not fit.
    pub(super) fn take_state(&mut self, state: &CopyState) -> Result<(), String> {
        if !state.log.is_superset(&self.log) || !state.log.is_subset(&self.log_may) {
            let (least, most) = (&self.log, &self.log_may);
            return Err(format!("the activity log is {:?}, between {least:?} and {most:?}", state.log));
        }
        if !self.records.contains(&state.record) {
            return Err(format!("the record is {:?}, one of {:?}", state.record, self.records));
        }
        let marked: BTreeMap<u64, BTreeSet<u64>> =
            state.bitmaps.iter().map(|(peer, bits)| (*peer, bits.runs().flatten().collect())).collect();
        let least =
            self.marked.iter().all(|(peer, bits)| marked.get(peer).is_some_and(|m| m.is_superset(bits)));
        let none = BTreeSet::new();
        let most =
            marked.iter().all(|(peer, bits)| bits.is_subset(self.marked_may.get(peer).unwrap_or(&none)));
        if !least || !most {
            return Err(format!(
                "bitmaps are {marked:?}, between {:?} and {:?}",
                self.marked, self.marked_may
            ));
        }
        (self.log, self.log_may) = (state.log.clone(), state.log.clone());
        self.records = vec![state.record.clone()];
        (self.marked, self.marked_may) = (marked.clone(), marked);
        Ok(())
    }
}

/// Bytes of a block.
pub(super) fn fill(value: Value) -> Vec<u8> {
    let word = match value {
        Value::Data(number) => number,
        _ => 0,
    };
    word.to_le_bytes().repeat(terrane_block::engine::BLOCK / 8)
}

/// What a read of one block found; none if bytes and kind contradict each other, or it is corrupt.
pub(super) fn value(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let words = || bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let first = words().next()?;
    if words().any(|word| word != first) || (first == 0) == (kind == Kind::Data) {
        return None;
    }
    match kind {
        Kind::Absent | Kind::Unfetched => Some(Value::Absent),
        Kind::Zero => Some(Value::Zero),
        Kind::Data => Some(Value::Data(first)),
        Kind::Invalid => Some(Value::Lost),
        Kind::Corrupt => None,
    }
}
