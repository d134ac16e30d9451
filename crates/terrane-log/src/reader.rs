//! Reading what is durable.

use crate::error::LogError;
use crate::position::{Position, RecordLocator};
use bytes::Bytes;

/// What is known of one segment without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Identifier; grows, never used twice.
    pub id: u64,
    /// Durable bytes, frames and header included.
    pub bytes: u64,
    /// The first record's place.
    pub first: Position,
    /// The place behind the last durable record.
    pub end: Position,
    /// Whether the segment takes no more records (then it may be removed).
    pub sealed: bool,
}

/// Reads durable records. Cheap to clone; outlives the log's owner.
#[derive(Clone)]
pub struct LogReader {
    _todo: (),
}

impl LogReader {
    /// One record's payload, its checksum verified.
    ///
    /// # Errors
    /// [`LogError::NotFound`] when nothing durable lies there, [`LogError::Corrupt`] when what lies there is damaged.
    pub fn read(&self, _locator: RecordLocator) -> Result<Bytes, LogError> {
        unimplemented!()
    }

    /// All durable records of a segment in order, the chain of checksums verified (for compaction and rebuilds).
    /// The segment's file stays readable during the call even if it is removed meanwhile.
    ///
    /// # Errors
    /// As [`LogReader::read`], and whatever `visit` returns.
    pub fn scan_segment<E: From<LogError>>(
        &self,
        _id: u64,
        _visit: impl FnMut(RecordLocator, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        unimplemented!()
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        unimplemented!()
    }

    /// The place behind the last durable record.
    #[must_use]
    pub fn durable(&self) -> Position {
        unimplemented!()
    }

    /// Bytes of the log from `from` to its durable end (for the replay bound).
    #[must_use]
    pub fn bytes_since(&self, _from: Position) -> u64 {
        unimplemented!()
    }
}
