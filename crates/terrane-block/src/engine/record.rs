//! Records of the pool's journal: what is durable of each copy besides its file.
//!
//! Every record starts with a version byte and a kind. All integers are little-endian. The version is the oldest one
//! that has all that is in the record: 2 if it says something of cuts or restored copies, else 1.

mod cuts;

pub use cuts::{CutId, CutState, Origin};
pub(crate) use cuts::{CutOp, MAX_CHANGES, MAX_CUTS, MAX_ORIGIN};

use super::bitmap::Bitmap;
use super::codec::{Reader, Writer};
use super::error::EngineError;
use super::identity::PoolId;
use super::layout::Geometry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

const VERSION: u8 = 2;

/// Names a copy for ever; chosen by whoever places it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyKey(pub u128);

impl fmt::Display for CopyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for CopyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One part of a durable change of a copy. The parts of one change take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Replaces the replication core's record.
    Record(Vec<u8>),
    /// Extents enter the activity log; those in it already stay.
    Enter(Vec<u64>),
    /// Extents leave the activity log. All of them must be flushed.
    Retire(Vec<u64>),
    /// Adds blocks to the bitmap of an absent copy, which is made if there is none; no runs make an empty one.
    Mark {
        /// The absent copy, as the core numbers it.
        peer: u64,
        /// Blocks.
        runs: Vec<Range<u64>>,
    },
    /// Drops the bitmap of a copy.
    Forget {
        /// The copy.
        peer: u64,
    },
    /// The copy has this many blocks from now on, not fewer than before.
    Grow(u64),
}

/// What is durable of a copy besides its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyState {
    /// Makes the copy's checksums its own.
    pub salt: u64,
    /// Shape of its file.
    pub geometry: Geometry,
    /// How many blocks it has.
    pub blocks: u64,
    /// Blocks with data in extents that are not in the activity log.
    pub cold_blocks: u64,
    /// The replication core's record, opaque here.
    pub record: Vec<u8>,
    /// The activity log: extents (groups of blocks) that may have something not flushed on all copies.
    pub log: BTreeSet<u64>,
    /// Per absent copy the blocks that it may lack.
    pub bitmaps: BTreeMap<u64, Bitmap>,
    /// Its cuts, what changed between them, and where absent blocks come from.
    pub cuts: CutState,
}

/// The part of a change that tells of chunks; those from 1 to 6 are [`Op`]s.
const CHANGED: u8 = 7;

/// Bytes of the core's record, at most.
pub(crate) const MAX_RECORD: usize = 64 << 10;
/// Bitmaps of a copy, at most.
pub(crate) const MAX_BITMAPS: usize = 8;

impl CopyState {
    /// Makes a change.
    pub(crate) fn apply(&mut self, cold: i64, ops: &[Op]) {
        self.cold_blocks = self.cold_blocks.saturating_add_signed(cold);
        for op in ops {
            match op {
                Op::Record(bytes) => self.record.clone_from(bytes),
                Op::Enter(extents) => self.log.extend(extents),
                Op::Retire(extents) => self.log.retain(|extent| !extents.contains(extent)),
                Op::Mark { peer, runs } => {
                    let bitmap = self.bitmaps.entry(*peer).or_default();
                    runs.iter().for_each(|run| bitmap.insert(run.clone()));
                }
                Op::Forget { peer } => {
                    self.bitmaps.remove(peer);
                }
                Op::Grow(blocks) => self.blocks = self.blocks.max(*blocks),
            }
        }
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.salt);
        out.u32(self.geometry.group_blocks);
        out.u64(self.blocks);
        out.u64(self.cold_blocks);
        out.count(self.record.len());
        out.bytes(&self.record);
        put_numbers(out, self.log.iter().copied(), self.log.len());
        out.count(self.bitmaps.len());
        for (peer, bitmap) in &self.bitmaps {
            out.u64(*peer);
            put_runs(out, bitmap.runs(), bitmap.run_count());
        }
        if !self.cuts.is_empty() {
            self.cuts.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>, version: u8) -> Result<Self, EngineError> {
        let salt = reader.u64()?;
        let geometry = Geometry { group_blocks: reader.u32()? }.check()?;
        let (blocks, cold_blocks) = (reader.u64()?, reader.u64()?);
        if blocks > Geometry::MAX_BLOCKS {
            return Err(reader.broken("more blocks than a copy has"));
        }
        let len = reader.count(1)?;
        let record = reader.take(len)?.to_vec();
        let log = numbers(reader)?.into_iter().collect();
        let mut bitmaps = BTreeMap::new();
        for _ in 0..reader.count(12)? {
            bitmaps.insert(reader.u64()?, runs(reader)?.into_iter().collect());
        }
        let cuts = if version > 1 { CutState::decode(reader)? } else { CutState::default() };
        Ok(Self { salt, geometry, blocks, cold_blocks, record, log, bitmaps, cuts })
    }
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A snapshot starts: the states of all copies follow.
    Begin { pool: PoolId },
    /// A copy of the snapshot.
    State { key: CopyKey, state: CopyState },
    /// The snapshot is complete and replaces all that came before it.
    End { copies: u32 },
    /// A copy is made.
    Create { key: CopyKey, state: CopyState },
    /// A copy changes. `changed`: chunks that did since the newest cut, of extents that leave the activity log.
    Change { key: CopyKey, cold: i64, ops: Vec<Op>, changed: Vec<Range<u64>> },
    /// A copy is gone.
    Delete { key: CopyKey },
    /// The cuts of a copy change, or what is kept about them.
    Cut { key: CopyKey, op: CutOp },
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_version(self.version());
        match self {
            Self::Begin { pool } => {
                out.u8(1);
                out.u128(pool.0);
            }
            Self::State { key, state } => put_state(&mut out, 2, *key, state),
            Self::End { copies } => {
                out.u8(3);
                out.u32(*copies);
            }
            Self::Create { key, state } => put_state(&mut out, 4, *key, state),
            Self::Change { key, cold, ops, changed } => {
                out.u8(5);
                out.u128(key.0);
                out.bytes(&cold.to_le_bytes());
                if !changed.is_empty() {
                    out.u8(CHANGED);
                    put_runs(&mut out, changed.iter().cloned(), changed.len());
                }
                ops.iter().for_each(|op| put_op(&mut out, op));
            }
            Self::Delete { key } => {
                out.u8(6);
                out.u128(key.0);
            }
            Self::Cut { key, op } => {
                out.u8(7);
                out.u128(key.0);
                op.encode(&mut out);
            }
        }
        out.finish()
    }

    /// The copy of which this says something that must be there already.
    pub(crate) fn concerns(&self) -> Option<CopyKey> {
        match self {
            Self::Change { key, .. } | Self::Delete { key } | Self::Cut { key, .. } => Some(*key),
            Self::Begin { .. } | Self::State { .. } | Self::End { .. } | Self::Create { .. } => None,
        }
    }

    fn version(&self) -> u8 {
        match self {
            Self::Cut { .. } => 2,
            Self::Change { changed, .. } if !changed.is_empty() => 2,
            Self::State { state, .. } | Self::Create { state, .. } if !state.cuts.is_empty() => 2,
            _ => 1,
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let mut reader = Reader::new("a journal record", bytes, VERSION)?;
        let version = bytes.first().copied().unwrap_or_default();
        let kind = reader.u8()?;
        let record = match kind {
            1 => Self::Begin { pool: PoolId(reader.u128()?) },
            2 => {
                Self::State { key: CopyKey(reader.u128()?), state: CopyState::decode(&mut reader, version)? }
            }
            3 => Self::End { copies: reader.u32()? },
            4 => {
                Self::Create { key: CopyKey(reader.u128()?), state: CopyState::decode(&mut reader, version)? }
            }
            5 => {
                let (key, cold) = (CopyKey(reader.u128()?), i64::from_le_bytes(reader.array()?));
                let (mut ops, mut changed) = (Vec::new(), Vec::new());
                while !reader.is_empty() {
                    match reader.u8()? {
                        CHANGED if version > 1 => changed.extend(runs(&mut reader)?),
                        kind => ops.push(op(kind, &mut reader)?),
                    }
                }
                Self::Change { key, cold, ops, changed }
            }
            6 => Self::Delete { key: CopyKey(reader.u128()?) },
            7 => Self::Cut { key: CopyKey(reader.u128()?), op: CutOp::decode(&mut reader)? },
            other => return Err(reader.broken(format!("kind {other}"))),
        };
        reader.end()?;
        Ok(record)
    }
}

fn put_state(out: &mut Writer, kind: u8, key: CopyKey, state: &CopyState) {
    out.u8(kind);
    out.u128(key.0);
    state.encode(out);
}

fn put_op(out: &mut Writer, op: &Op) {
    match op {
        Op::Record(bytes) => {
            out.u8(1);
            out.count(bytes.len());
            out.bytes(bytes);
        }
        Op::Enter(extents) => {
            out.u8(2);
            put_numbers(out, extents.iter().copied(), extents.len());
        }
        Op::Retire(extents) => {
            out.u8(3);
            put_numbers(out, extents.iter().copied(), extents.len());
        }
        Op::Mark { peer, runs } => {
            out.u8(4);
            out.u64(*peer);
            put_runs(out, runs.iter().cloned(), runs.len());
        }
        Op::Forget { peer } => {
            out.u8(5);
            out.u64(*peer);
        }
        Op::Grow(blocks) => {
            out.u8(6);
            out.u64(*blocks);
        }
    }
}

fn op(kind: u8, reader: &mut Reader<'_>) -> Result<Op, EngineError> {
    Ok(match kind {
        1 => {
            let len = reader.count(1)?;
            Op::Record(reader.take(len)?.to_vec())
        }
        2 => Op::Enter(numbers(reader)?),
        3 => Op::Retire(numbers(reader)?),
        4 => Op::Mark { peer: reader.u64()?, runs: runs(reader)? },
        5 => Op::Forget { peer: reader.u64()? },
        6 => match reader.u64()? {
            blocks if blocks > Geometry::MAX_BLOCKS => {
                return Err(reader.broken("more blocks than a copy has"));
            }
            blocks => Op::Grow(blocks),
        },
        other => return Err(reader.broken(format!("part {other}"))),
    })
}

fn put_numbers(out: &mut Writer, numbers: impl Iterator<Item = u64>, count: usize) {
    out.count(count);
    numbers.for_each(|number| out.u64(number));
}

fn numbers(reader: &mut Reader<'_>) -> Result<Vec<u64>, EngineError> {
    (0..reader.count(8)?).map(|_| reader.u64()).collect()
}

fn put_runs(out: &mut Writer, runs: impl Iterator<Item = Range<u64>>, count: usize) {
    out.count(count);
    for run in runs {
        out.u64(run.start);
        out.u64(run.end);
    }
}

fn runs(reader: &mut Reader<'_>) -> Result<Vec<Range<u64>>, EngineError> {
    let run = |reader: &mut Reader<'_>| {
        let run = reader.u64()?..reader.u64()?;
        if run.start <= run.end { Ok(run) } else { Err(reader.broken("a run that ends before it starts")) }
    };
    (0..reader.count(16)?).map(|_| run(reader)).collect()
}

#[cfg(test)]
mod tests;
