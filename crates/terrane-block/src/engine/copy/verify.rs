//! Scrubbing.

use super::{CHUNK, Contents, Copy, Run};
use crate::engine::error::EngineError;
use crate::engine::layout::BLOCK;

impl Copy {
    /// Reads all blocks of an extent and returns the damaged ones. After a crash this settles an extent of the
    /// activity log, so that the first flush need not.
    ///
    /// # Errors
    /// As [`Copy::read`].
    pub fn verify(&self, extent: u64) -> Result<Vec<Run>, EngineError> {
        if extent >= self.extents() {
            let blocks = self.extent_blocks();
            return Err(EngineError::Beyond {
                first: extent.saturating_mul(blocks),
                blocks,
                end: self.blocks(),
            });
        }
        let mut at = self.first_block(extent);
        let end = self.blocks().min(at + self.extent_blocks());
        if let Some(group) = self.group(extent) {
            self.settle(&mut group.lock(), 0..self.shape.blocks(), true)?;
        }
        let mut buf = vec![0; CHUNK * BLOCK];
        let mut damaged: Vec<Run> = Vec::new();
        while at < end {
            let blocks = (end - at).min(CHUNK as u64);
            let found = self.read(at, &mut buf[..blocks as usize * BLOCK])?;
            let runs = match found {
                Contents::All(kind) => vec![Run { first: at, blocks, kind }],
                Contents::Mixed(runs) => runs,
            };
            damaged.extend(runs.into_iter().filter(|run| run.kind.is_damaged()));
            at += blocks;
        }
        Ok(damaged)
    }

    /// How many extents there are to verify.
    #[must_use]
    pub fn extents(&self) -> u64 {
        self.shape.groups(self.blocks())
    }
}
