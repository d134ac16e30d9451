//! Why a log refuses.

use crate::position::Position;
use std::io;
use std::sync::Arc;

/// An error of a log. Cheap to clone, so that one failed batch can answer many writers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed while doing something that changes nothing already durable.
    #[error("log: {doing}: {source}")]
    Io {
        /// What the log was doing.
        doing: &'static str,
        /// What the host said.
        #[source]
        source: Arc<io::Error>,
    },
    /// No room: everything appended since the last successful sync is dropped and
    /// was not stored. The log goes on as soon as there is room.
    #[error("log: no space: {needed} bytes needed, {free} free, {reserved} of them reserved")]
    NoSpace {
        /// Bytes that the log wanted to take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes of these that are kept for deletes and the like.
        reserved: u64,
    },
    /// A write or sync failed earlier in a way that leaves open what is durable. Only
    /// a new open can tell; nothing appended since the last successful sync was acknowledged.
    #[error("log: poisoned by an earlier failure: {doing}: {source}")]
    Poisoned {
        /// What failed first.
        doing: &'static str,
        /// What the host said then.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log is damaged where it had been durable.
    #[error("log: corrupt at {at}: {what}")]
    Corrupt {
        /// Where the damage starts.
        at: Position,
        /// What was found.
        what: &'static str,
    },
    /// A segment that replay needs is not there.
    #[error("log: segment {segment} is missing")]
    MissingSegment {
        /// The segment's identifier.
        segment: u64,
    },
    /// Nothing durable lies at this place: not yet synced, removed, or never was.
    #[error("log: nothing durable at {at}")]
    NotFound {
        /// The place asked for.
        at: Position,
    },
    /// The record is larger than a log of this configuration takes.
    #[error("log: record of {len} bytes, the limit is {limit}")]
    TooLarge {
        /// Length of the payload.
        len: u64,
        /// The longest payload accepted.
        limit: u64,
    },
    /// The batch is full: sync, then append again.
    #[error("log: {limit} bytes wait for a sync; sync before appending more")]
    BatchFull {
        /// Bytes that may wait.
        limit: u64,
    },
    /// The segment is not sealed, so it cannot be removed.
    #[error("log: segment {segment} is still being written")]
    NotSealed {
        /// The segment's identifier.
        segment: u64,
    },
    /// Written by a newer version of this program.
    #[error("log: segment {segment} has format {version}; this program reads up to {known}")]
    NewerFormat {
        /// The segment's identifier.
        segment: u64,
        /// The format found.
        version: u8,
        /// The newest format known.
        known: u8,
    },
    /// The configuration makes no sense.
    #[error("log: bad configuration: {0}")]
    Config(&'static str),
}

impl LogError {
    pub(crate) fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source: Arc::new(source) }
    }

    /// Whether waiting for room, and nothing else, helps.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}

/// Whether the host says that the disk (or the quota) is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
