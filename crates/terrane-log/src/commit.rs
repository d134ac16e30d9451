//! Group commit: many writers, one thread that appends and syncs.

use crate::error::LogError;
use crate::log::Log;
use crate::position::RecordLocator;
use crate::reader::LogReader;
use bytes::Bytes;

/// Bounds of the queue in front of the committing thread.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    /// Records that may wait; further submitters block.
    pub queue_records: usize,
    /// Bytes that one sync may cover (at least one record).
    pub batch_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { queue_records: 4096, batch_bytes: 8 << 20 }
    }
}

/// A log with a thread of its own. While one batch syncs, the next one gathers.
#[derive(Clone)]
pub struct GroupCommit {
    _todo: (),
}

impl GroupCommit {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`LogError::Io`] when there can be no thread.
    pub fn start(_log: Log, _config: GroupConfig) -> Result<Self, LogError> {
        unimplemented!()
    }

    /// Queues a record, the concatenation of `parts`; `done` is called on the committing thread once it is durable
    /// or failed, in the order of submission. Blocks while the queue is full.
    pub fn submit(
        &self,
        _parts: Vec<Bytes>,
        _done: impl FnOnce(Result<RecordLocator, LogError>) + Send + 'static,
    ) {
        unimplemented!()
    }

    /// Queues a record and waits until it is durable.
    ///
    /// # Errors
    /// As [`Log::append`] and [`Log::sync`]; [`LogError::Closed`].
    pub fn append(&self, _record: Bytes) -> Result<RecordLocator, LogError> {
        unimplemented!()
    }

    /// Runs something on the log between two batches (removing segments, sealing) and waits for its result.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn with_log<T: Send + 'static>(
        &self,
        _work: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        unimplemented!()
    }

    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        unimplemented!()
    }

    /// Commits what is queued, ends the thread and gives the log back; `None` if it was closed before.
    #[must_use]
    pub fn close(&self) -> Option<Log> {
        unimplemented!()
    }
}
