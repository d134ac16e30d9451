use std::path::PathBuf;

/// Why a view could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The operating system refused an operation on one of the view's files.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another process has this directory open.
    #[error("view {0} is open in another process")]
    Locked(PathBuf),
    /// The sorted tree reported an error (a failed checksum, an unreadable table, a failed fsync).
    #[error("view tree: {0}")]
    Tree(String),
    /// The disk holds less than the configured reserve; nothing was lost, try again when space returns.
    #[error("view needs {needed} free bytes to write its tables, the disk has {free}")]
    NoSpace {
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// An earlier write failed in a way that leaves the files' state unknown; call
    /// [`View::recover`](crate::View::recover) and replay. Reads go on.
    #[error("view failed earlier ({0}) and must be recovered")]
    Failed(String),
    /// The view was recovered or wiped during the sync: what was to be synced is not in it.
    #[error("the view was recovered during the sync")]
    Recovered,
    /// The keyspace was not named when the view was opened.
    #[error("keyspace {0:?} is not part of this view")]
    UnknownKeyspace(String),
    /// A key or value beyond the tree's limits (keys ≤ 65,534 bytes, values < 4 GiB).
    #[error("{what} of {len} bytes is too large")]
    TooLarge {
        /// `"key"` or `"value"`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The view was written by a newer version of this program.
    #[error("view has format {found}, this program reads up to {supported}")]
    NewerFormat {
        /// The format on disk.
        found: u32,
        /// The newest format that is understood.
        supported: u32,
    },
}

impl ViewError {
    /// Whether the same call can succeed later without [`View::recover`](crate::View::recover).
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Recovered)
    }
}

impl From<lsm_tree::Error> for ViewError {
    fn from(error: lsm_tree::Error) -> Self {
        Self::Tree(error.to_string())
    }
}

/// The result of a view operation.
pub type Result<T> = std::result::Result<T, ViewError>;
