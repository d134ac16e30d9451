//! Why the engine refuses.

use super::record::{CopyKey, CutId};
use std::io;
use std::sync::Arc;
use terrane_log::LogError;

/// An error of the engine. Cheap to clone, so that one failed batch can answer many callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The pool or the drive has no room for what would need more. Nothing was changed. What needs no room goes on.
    #[error("no space in the pool: {needed} bytes needed")]
    NoSpace {
        /// Bytes wanted.
        needed: u64,
    },
    /// A write or a sync of this copy failed earlier. Open it again; it is another incarnation then.
    #[error("copy failed: {doing}: {source}")]
    Failed {
        /// What failed first.
        doing: &'static str,
        /// What the host said then.
        #[source]
        source: Arc<io::Error>,
    },
    /// The drive failed while doing something that changes nothing already stored.
    #[error("{doing}: {source}")]
    Io {
        /// What the engine was doing.
        doing: &'static str,
        /// What the host said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The journal refuses.
    #[error("journal: {0}")]
    Journal(#[from] LogError),
    /// What is stored contradicts itself.
    #[error("{what}: {found}")]
    Corrupt {
        /// Which file or record.
        what: &'static str,
        /// What was found there.
        found: String,
    },
    /// The directory belongs to another pool, server, or program, or a file in it to another copy.
    #[error("{what} does not belong here: {found}")]
    Foreign {
        /// Which file.
        what: &'static str,
        /// What was found there.
        found: String,
    },
    /// Written by a newer version of this program.
    #[error("{what} has format {version}, newer than this program knows")]
    NewerFormat {
        /// Which file or record.
        what: &'static str,
        /// The format found.
        version: u8,
    },
    /// There is no such copy in the pool, or not any more.
    #[error("no copy {0} in this pool")]
    NoCopy(CopyKey),
    /// There is such a copy already.
    #[error("copy {0} exists")]
    Exists(CopyKey),
    /// Beyond the end of the copy.
    #[error("blocks {first}+{blocks} are beyond the end, {end}")]
    Beyond {
        /// The first block asked for.
        first: u64,
        /// How many.
        blocks: u64,
        /// Blocks that the copy has.
        end: u64,
    },
    /// Not a whole number of blocks.
    #[error("{len} bytes are not a whole number of blocks, or none")]
    Misaligned {
        /// Bytes handed in.
        len: usize,
    },
    /// The extent is not in the activity log: enter it first.
    #[error("extent {extent} is not in the activity log")]
    NotLogged {
        /// The extent.
        extent: u64,
    },
    /// The activity log is full: retire extents first.
    #[error("the activity log is full: {limit} extents")]
    LogFull {
        /// Extents that it holds.
        limit: usize,
    },
    /// The extent has something that is not flushed, so it stays in the log.
    #[error("extent {extent} is not flushed")]
    Unflushed {
        /// The extent.
        extent: u64,
    },
    /// The request breaks a fixed bound.
    #[error("{what}: at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// There is no such cut of the copy, or not any more.
    #[error("no cut {0} of this copy")]
    NoCut(CutId),
    /// There is such a cut already, or it is the one that is not durable yet.
    #[error("cut {0} exists")]
    CutExists(CutId),
    /// The cut could not be kept whole and shows nothing any more. What is stored in the copy is not concerned.
    #[error("cut {cut} is void: {why}")]
    CutVoid {
        /// The cut.
        cut: CutId,
        /// What happened to it.
        why: Arc<str>,
    },
    /// A block of a restored copy is still to be fetched.
    #[error("block {block} is still to be fetched")]
    Unfetched {
        /// The first such block.
        block: u64,
    },
    /// The drive does not answer; nobody knows whether it will.
    #[error("the drive does not answer")]
    Hangs,
    /// The configuration makes no sense.
    #[error("bad configuration: {0}")]
    Config(&'static str),
}

impl EngineError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source: Arc::new(source) }
    }

    /// Whether the pool's journal refuses everything until [`super::Pool::recover`] succeeds.
    #[must_use]
    pub fn fails_pool(&self) -> bool {
        let Self::Journal(error) = self else { return false };
        matches!(error, LogError::Poisoned { .. } | LogError::Io { .. } | LogError::Config(_))
    }

    /// Whether waiting for room, and nothing else, helps.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Journal(error) => error.is_no_space(),
            _ => false,
        }
    }
}

/// Whether the host says that the drive (or a quota) is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
