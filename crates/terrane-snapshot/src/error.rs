use crate::objects::ObjectError;

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// An object is not what its reference says: damaged, cut short, exchanged or sealed with another key.
    #[error("{object}: {what}")]
    Corrupt {
        /// The object.
        object: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An object was written by a newer version of this program.
    #[error("{object}: format {found}, this program reads {known}")]
    NewerFormat {
        /// The object.
        object: String,
        /// The version found.
        found: u8,
        /// The newest version known.
        known: u8,
    },
    /// A text is not the name of an object.
    #[error("{0:?} is not the name of an object")]
    BadName(String),
    /// A chunk behind the end of the volume, or a size that is none.
    #[error("chunk {chunk} of a volume of {chunks} chunks")]
    OutOfRange {
        /// The first chunk that is not there.
        chunk: u64,
        /// Chunks of the volume.
        chunks: u64,
    },
    /// Chunks must be written in ascending order, each once.
    #[error("chunk {chunk} was written after chunk {last}")]
    OutOfOrder {
        /// The chunk.
        chunk: u64,
        /// The last one before.
        last: u64,
    },
    /// A chunk of another length than a chunk's.
    #[error("a chunk of {0} bytes")]
    ChunkLength(usize),
    /// A chunk was said to be unchanged, and there is no parent.
    #[error("chunk {0} cannot be unchanged without a parent")]
    NoParent(u64),
    /// A range of bytes that is too long for one read.
    #[error("a read of {len} bytes; at most {max} are possible")]
    ReadTooLong {
        /// What was asked for.
        len: u64,
        /// The bound.
        max: u64,
    },
    /// The object store failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The key service failed, or does not have the key.
    #[error("keys: {0}")]
    Keys(String),
    /// The index of chunks failed.
    #[error("chunk index: {0}")]
    Index(String),
}

impl SnapshotError {
    pub(crate) fn corrupt(object: impl ToString, what: &'static str) -> Self {
        Self::Corrupt { object: object.to_string(), what }
    }

    /// Whether the stored bytes are at fault, so that asking again does not help.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Objects(ObjectError::NotFound { .. }))
    }
}

/// The result of an operation on snapshots.
pub type Result<T, E = SnapshotError> = std::result::Result<T, E>;
