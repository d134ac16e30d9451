use std::sync::Arc;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another commit changed what this transaction read. [`Store::transact`](crate::Store::transact)
    /// retries this by itself.
    #[error("conflict with another transaction")]
    Conflict,
    /// The transaction still conflicted after the last attempt.
    #[error("transaction conflicted {attempts} times; the rows that it reads are too contended")]
    Contention {
        /// How often it was tried.
        attempts: u32,
    },
    /// The disk is full. Reads go on; writes go on when space returns.
    #[error("no space: {0}")]
    NoSpace(String),
    /// The store cannot be reached or cannot write now. Nothing of the transaction was committed.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The commit was sent, and whether it happened could not be found out.
    #[error("outcome of the commit is unknown: {0}")]
    UnknownOutcome(String),
    /// Something is larger than the store takes.
    #[error("{what} of {len} is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large.
        len: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// A key is empty or begins with the byte 0xFF, which the store keeps for itself.
    #[error("key {0:02x?} is empty or reserved")]
    ReservedKey(Vec<u8>),
    /// A write in a transaction that was opened for reading, or after the transaction's end.
    #[error("{0}")]
    Usage(&'static str),
    /// Bytes in the store do not decode.
    #[error("row {row}: {why}")]
    Decode {
        /// Which kind of row.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The data were written by a newer version of this program.
    #[error("the store's data have format {found}, this program reads up to {supported}")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest format known.
        supported: u32,
    },
    /// The epoch of the caller's lease is over.
    #[error("lease {lease:?} is no longer held with epoch {epoch}")]
    Fenced {
        /// The lease's name.
        lease: String,
        /// The epoch that the caller acted under.
        epoch: u64,
    },
    /// Files of the store are damaged.
    #[error("store is damaged: {0}; restore a backup")]
    Damaged(String),
    /// The configuration cannot work.
    #[error("store configuration: {0}")]
    Config(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The reason given.
        #[source]
        source: Arc<std::io::Error>,
    },
}

impl StoreError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: Arc::new(source) }
    }

    pub(crate) fn decode(row: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Decode { row: row.into(), why: why.to_string() }
    }

    /// Whether the same transaction can succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict | Self::Contention { .. } | Self::NoSpace(_) | Self::Unavailable(_))
    }
}

impl From<terrane_log::LogError> for StoreError {
    fn from(error: terrane_log::LogError) -> Self {
        use terrane_log::LogError;
        match &error {
            LogError::NoSpace { .. } => Self::NoSpace(error.to_string()),
            LogError::Corrupt { .. } | LogError::MissingSegment { .. } | LogError::NotFound { .. } => {
                Self::Damaged(error.to_string())
            }
            LogError::NewerFormat { version, known, .. } => {
                Self::NewerFormat { found: (*version).into(), supported: (*known).into() }
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<terrane_view::ViewError> for StoreError {
    fn from(error: terrane_view::ViewError) -> Self {
        use terrane_view::ViewError;
        match error {
            ViewError::NoSpace { .. } => Self::NoSpace(error.to_string()),
            ViewError::NewerFormat { found, supported } => Self::NewerFormat { found, supported },
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
