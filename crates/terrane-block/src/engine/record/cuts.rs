//! What is durable of a copy's cuts, of what changed between them, and of what a restored copy still lacks.

use super::{put_runs, runs};
use crate::engine::bitmap::Bitmap;
use crate::engine::codec::{Reader, Writer};
use crate::engine::error::EngineError;
use crate::engine::layout::Geometry;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// Names a cut of a copy for ever; chosen by whoever takes it. The cuts of all copies of a snapshot have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutId(pub u128);

impl fmt::Display for CutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for CutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Cuts of a copy at the same time, at most.
pub(crate) const MAX_CUTS: usize = 4;
/// Cuts since which changes are kept, at most.
pub(crate) const MAX_CHANGES: usize = 5;
/// Bytes that say where absent blocks come from, at most.
pub(crate) const MAX_ORIGIN: usize = 4 << 10;

/// Where blocks that are absent come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Only blocks before this one; absent blocks from here on are zeros.
    pub blocks: u64,
    /// For whoever fetches them; opaque here.
    pub source: Vec<u8>,
}

/// What is durable of cuts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutState {
    /// Cuts, each with the blocks that the copy had.
    pub cuts: BTreeMap<CutId, u64>,
    /// Chunks that may have changed since each of these cuts and until the next one, oldest first. After the newest
    /// one, what changed in extents of the activity log is not in it.
    pub changes: Vec<(CutId, Bitmap)>,
    /// Of a copy that is being restored.
    pub origin: Option<Origin>,
}

/// A change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CutOp {
    /// A cut is whole and durable.
    Seal {
        cut: CutId,
        blocks: u64,
        /// Chunks of extents in the activity log that changed since the cut before.
        before: Vec<Range<u64>>,
        /// Chunks that changed since this cut, of extents that have left the activity log.
        since: Vec<Range<u64>>,
    },
    /// A cut is not needed any more. What changed since is still kept.
    Release { cut: CutId },
    /// Nobody will ask what changed since this cut.
    Forget { cut: CutId },
    /// Nothing is to be fetched any more.
    Fetched,
}

impl CutState {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Chunks changed since the newest cut.
    pub(crate) fn note_changed(&mut self, runs: &[Range<u64>]) {
        if let Some((_, newest)) = self.changes.last_mut() {
            runs.iter().for_each(|run| newest.insert(run.clone()));
        }
    }

    pub(crate) fn apply(&mut self, op: &CutOp) {
        match op {
            CutOp::Seal { cut, blocks, before, since } => {
                self.note_changed(before);
                self.cuts.insert(*cut, *blocks);
                self.changes.push((*cut, since.iter().cloned().collect()));
            }
            CutOp::Release { cut } => {
                self.cuts.remove(cut);
            }
            CutOp::Forget { cut } => {
                let Some(index) = self.changes.iter().position(|(known, _)| known == cut) else { return };
                let (_, gone) = self.changes.remove(index);
                // What changed since the cut before changed until the cut after.
                if let Some((_, earlier)) = index.checked_sub(1).and_then(|at| self.changes.get_mut(at)) {
                    gone.runs().for_each(|run| earlier.insert(run));
                }
            }
            CutOp::Fetched => self.origin = None,
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.count(self.cuts.len());
        for (cut, blocks) in &self.cuts {
            out.u128(cut.0);
            out.u64(*blocks);
        }
        out.count(self.changes.len());
        for (cut, bitmap) in &self.changes {
            out.u128(cut.0);
            put_runs(out, bitmap.runs(), bitmap.run_count());
        }
        out.u8(u8::from(self.origin.is_some()));
        if let Some(origin) = &self.origin {
            out.u64(origin.blocks);
            out.count(origin.source.len());
            out.bytes(&origin.source);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, EngineError> {
        let mut state = Self::default();
        for _ in 0..reader.count(24)? {
            state.cuts.insert(CutId(reader.u128()?), blocks(reader)?);
        }
        for _ in 0..reader.count(20)? {
            state.changes.push((CutId(reader.u128()?), runs(reader)?.into_iter().collect()));
        }
        state.origin = match reader.u8()? {
            0 => None,
            1 => {
                let (blocks, len) = (blocks(reader)?, reader.count(1)?);
                Some(Origin { blocks, source: reader.take(len)?.to_vec() })
            }
            other => return Err(reader.broken(format!("origin {other}"))),
        };
        Ok(state)
    }
}

impl CutOp {
    pub(super) fn encode(&self, out: &mut Writer) {
        let mut one = |kind: u8, cut: &CutId| {
            out.u8(kind);
            out.u128(cut.0);
        };
        match self {
            Self::Seal { cut, blocks, before, since } => {
                one(1, cut);
                out.u64(*blocks);
                put_runs(out, before.iter().cloned(), before.len());
                put_runs(out, since.iter().cloned(), since.len());
            }
            Self::Release { cut } => one(2, cut),
            Self::Forget { cut } => one(3, cut),
            Self::Fetched => out.u8(4),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, EngineError> {
        Ok(match reader.u8()? {
            1 => Self::Seal {
                cut: CutId(reader.u128()?),
                blocks: blocks(reader)?,
                before: runs(reader)?,
                since: runs(reader)?,
            },
            2 => Self::Release { cut: CutId(reader.u128()?) },
            3 => Self::Forget { cut: CutId(reader.u128()?) },
            4 => Self::Fetched,
            other => return Err(reader.broken(format!("change {other} of cuts"))),
        })
    }
}

fn blocks(reader: &mut Reader<'_>) -> Result<u64, EngineError> {
    match reader.u64()? {
        blocks if blocks <= Geometry::MAX_BLOCKS => Ok(blocks),
        _ => Err(reader.broken("more blocks than a copy has")),
    }
}
