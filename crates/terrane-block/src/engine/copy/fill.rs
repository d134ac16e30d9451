//! Copies that are being restored: blocks that are absent are fetched by somebody else and filled in.

use super::write::Change;
use super::{CHUNK, Copy};
use crate::engine::entry::{Content, State};
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::layout::{BLOCK, Piece};
use crate::engine::record::CutOp;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl Copy {
    /// Whether absent blocks may be ones that are still to be fetched.
    #[must_use]
    pub fn is_lazy(&self) -> bool {
        self.unfetched_until.load(Ordering::Acquire) > 0
    }

    /// Writes those of the blocks that are still absent; what was written, trimmed or filled stays. Blocks of zeros
    /// become zeros that take no room. Ordered like a write, and as durable; needs the extent in the activity log.
    /// Nothing counts as changed: this is what the blocks have been all the time.
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn fill(&self, first: u64, bytes: &[u8]) -> Result<(), EngineError> {
        self.change_bytes(first, bytes, Change::Fill(bytes), super::read::How::Wait).map(drop)
    }

    /// Runs of blocks that are still to be fetched, from `first` on; stops before all blocks are told if there are more
    /// than `runs_max`. Looks at tables only.
    ///
    /// # Errors
    /// As [`Copy::read`].
    pub fn unfetched(
        &self,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> Result<Vec<Range<u64>>, EngineError> {
        self.alive()?;
        self.check_range(first, blocks)?;
        let mut runs: Vec<Range<u64>> = Vec::new();
        let until = self.unfetched_until.load(Ordering::Acquire);
        for piece in self.shape.pieces(first, blocks.min(until.saturating_sub(first)), CHUNK) {
            let mut wanted = [Content::default(); CHUNK];
            self.wanted(&piece, &mut wanted, super::read::How::Wait)?;
            let absent = (piece.block..).zip(&wanted[..piece.range.len()]);
            for (block, _) in absent.filter(|(_, content)| content.state == State::Absent) {
                let full = runs.len() == runs_max;
                match runs.last_mut() {
                    Some(run) if run.end == block => run.end += 1,
                    _ if full => return Ok(runs),
                    _ => runs.push(block..block + 1),
                }
            }
        }
        Ok(runs)
    }

    /// Ends the restore, durably: nothing is to be fetched any more, and absent blocks are zeros. Looks at all tables.
    ///
    /// # Errors
    /// [`EngineError::Unfetched`]: something is. [`EngineError::CutExists`]: a cut may show what has been fetched since.
    /// [`EngineError::Journal`], [`EngineError::Failed`].
    pub fn end_restore(&self) -> Result<(), EngineError> {
        self.alive()?;
        let _alone = self.cuts.alone();
        if let Some(cut) = self.cuts().first() {
            return Err(EngineError::CutExists(cut.cut));
        }
        // What was filled must not be absent again after a crash.
        self.flush()?;
        let until = self.unfetched_until.load(Ordering::Acquire);
        if let Some(run) = self.unfetched(0, until, 1)?.first() {
            return Err(EngineError::Unfetched { block: run.start });
        }
        if until > 0 {
            self.journal_cut(CutOp::Fetched)?;
            self.unfetched_until.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Writes what of a chunk is absent.
    pub(super) fn fill_chunk(
        &self,
        group: &mut Group,
        piece: &Piece,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let absent = |group: &Group, index: usize| {
            self.pool.bugs.fill_overwrites || group.entries[index].new.state == State::Absent
        };
        let is_zero = |at: usize| bytes[at * BLOCK..(at + 1) * BLOCK].iter().all(|byte| *byte == 0);
        let mut at = 0;
        while at < piece.range.len() {
            let start = at;
            let zero = is_zero(at);
            while at < piece.range.len() && absent(group, piece.range.start + at) && is_zero(at) == zero {
                at += 1;
            }
            if at == start {
                at += 1;
                continue;
            }
            let part = Piece {
                group: piece.group,
                range: piece.range.start + start..piece.range.start + at,
                block: piece.block + start as u64,
                skip: piece.skip + start,
            };
            if zero {
                self.zero_chunk(group, &part)?;
            } else {
                self.write_chunk(group, &part, &bytes[start * BLOCK..at * BLOCK])?;
            }
        }
        Ok(())
    }
}
