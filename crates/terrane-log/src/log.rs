//! The log and its one writer.

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::error::LogError;
use crate::position::{Position, RecordLocator};
use crate::reader::LogReader;
use std::sync::Arc;

/// What [`Log::open`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The place behind the last record: the next one is appended here or in a new segment.
    pub tail: Position,
    /// The oldest record's place (equal to `tail` in an empty log).
    pub oldest: Position,
    /// Bytes behind the tail that were not zero and have been erased durably.
    pub erased_bytes: u64,
    /// This open's start epoch; every record appended carries it.
    pub epoch: u64,
}

/// What [`Log::replay`] went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Records handed out.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// A log, owned by its one writer.
pub struct Log {
    _todo: (),
}

impl Log {
    /// Opens the log in a directory of its own (an empty one becomes an empty log), finds the
    /// tail and durably erases what follows it.
    ///
    /// Checks the headers of all segments and the records of the last one; the others are verified by [`Log::replay`].
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::MissingSegment`] (at or after `config.replay_from`), [`LogError::NewerFormat`], [`LogError::Io`].
    pub fn open(_disk: Arc<dyn Disk>, _config: LogConfig) -> Result<(Self, OpenReport), LogError> {
        unimplemented!()
    }

    /// Hands out every durable record from `from` (the start or end of a record; `None`: the oldest) in order.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::MissingSegment`], [`LogError::NotFound`] when `from` lies behind the tail,
    /// [`LogError::Io`], and whatever `visit` returns.
    pub fn replay<E: From<LogError>>(
        &self,
        _from: Option<Position>,
        _visit: impl FnMut(RecordLocator, &[u8]) -> Result<(), E>,
    ) -> Result<ReplayReport, E> {
        unimplemented!()
    }

    /// Buffers one record, the concatenation of `parts`, and names its place. Not durable before [`Log::sync`].
    /// On an error nothing was buffered and all that was buffered before stays so.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::BatchFull`], [`LogError::NoSpace`] (also when only the reserve is left), [`LogError::Poisoned`].
    pub fn append(&mut self, _parts: &[&[u8]]) -> Result<RecordLocator, LogError> {
        unimplemented!()
    }

    /// As [`Log::append`], but may use the reserve: for deletes and whatever makes room.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_reserved(&mut self, _parts: &[&[u8]]) -> Result<RecordLocator, LogError> {
        unimplemented!()
    }

    /// Writes all that was appended and makes it durable. Returns the durable end.
    ///
    /// # Errors
    /// [`LogError::NoSpace`]: all that was appended since the last successful sync is dropped, not stored, and the log
    /// goes on. [`LogError::Poisoned`]: it may or may not be durable, and the log must be opened anew.
    pub fn sync(&mut self) -> Result<Position, LogError> {
        unimplemented!()
    }

    /// Bytes (frames included) that wait for a sync.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// A reader of what is durable.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        unimplemented!()
    }

    /// Removes a sealed segment durably; its file becomes a spare if spares are wanted and nobody reads it.
    /// The caller has made sure that nothing refers to it and that replay starts behind it.
    ///
    /// # Errors
    /// [`LogError::NotSealed`], [`LogError::NotFound`], [`LogError::Poisoned`].
    pub fn remove_segment(&mut self, _id: u64) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Ends the current segment, so that it can be compacted and removed; the next append starts a new one.
    /// Syncs what is pending.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn seal(&mut self) -> Result<(), LogError> {
        unimplemented!()
    }
}
