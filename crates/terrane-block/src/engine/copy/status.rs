//! Which blocks take room.

use super::read::How;
use super::{CHUNK, Copy};
use crate::engine::entry::{Content, State};
use crate::engine::error::EngineError;

impl Copy {
    /// Runs of blocks from `first` on, each with whether it holds data; what was trimmed or never written does not, what
    /// is still to be fetched may.
    /// Stops before `blocks` are told if there are more than `runs_max` runs. Looks at tables only.
    ///
    /// # Errors
    /// As [`Copy::read`].
    pub fn allocated(
        &self,
        first: u64,
        blocks: u64,
        runs_max: usize,
    ) -> Result<Vec<(u64, bool)>, EngineError> {
        self.alive()?;
        self.check_range(first, blocks)?;
        let mut runs: Vec<(u64, bool)> = Vec::new();
        for piece in self.shape.pieces(first, blocks, CHUNK) {
            let mut wanted = [Content::default(); CHUNK];
            self.wanted(&piece, &mut wanted, How::Wait)?;
            for (block, content) in (piece.block..).zip(&wanted[..piece.range.len()]) {
                let is_nothing = matches!(content.state, State::Absent | State::Zero);
                let data = !is_nothing || self.is_unfetched(content.state, block);
                let full = runs.len() == runs_max;
                match runs.last_mut() {
                    Some((len, same)) if *same == data => *len += 1,
                    _ if full => return Ok(runs),
                    _ => runs.push((1, data)),
                }
            }
        }
        Ok(runs)
    }
}
