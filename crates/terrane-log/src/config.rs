//! What an owner of a log chooses.

use crate::bugs::Bugs;
use crate::error::LogError;
use crate::frame::SEGMENT_HEADER;
use crate::position::FRAME_HEADER;
use crate::position::Position;

/// Where new segments come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preallocate {
    /// The append that needs a segment makes it (simulator, tests, small logs).
    Inline,
    /// A thread keeps spare segments ready; it ends when the log is dropped.
    Background,
}

/// Configuration of a [`crate::Log`].
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Size of a segment file in bytes.
    pub segment_bytes: u32,
    /// Largest payload of one record in bytes.
    pub max_record_bytes: u32,
    /// Bytes that may be appended between two syncs; then [`crate::LogError::BatchFull`].
    pub max_batch_bytes: u32,
    /// How many removed segments are kept as spares instead of being deleted.
    pub spares: usize,
    /// Free bytes that only `append_reserved` may touch.
    pub reserve_bytes: u64,
    /// Where the owner will replay from: at and after this, a missing segment is an error.
    pub replay_from: Option<Position>,
    /// Where new segments come from.
    pub preallocate: Preallocate,
    /// Random part of the start epoch; `None` draws one. The simulator passes its own.
    pub epoch_nonce: Option<u32>,
    /// Test-only switches.
    pub bugs: Bugs,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_record_bytes: 16 << 20,
            max_batch_bytes: 32 << 20,
            spares: 2,
            reserve_bytes: 0,
            replay_from: None,
            preallocate: Preallocate::Background,
            epoch_nonce: None,
            bugs: Bugs::default(),
        }
    }
}

impl LogConfig {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        // A segment holds its header, one record and its seal.
        let overhead = SEGMENT_HEADER + 2 * FRAME_HEADER;
        if self.segment_bytes > 1 << 30 {
            return Err(LogError::Config("segments are at most 1 GiB"));
        }
        if self.max_record_bytes > self.segment_bytes.saturating_sub(overhead) {
            return Err(LogError::Config("a record of the largest size does not fit into a segment"));
        }
        Ok(())
    }
}
