//! The object store beneath: five calls, of any S3, and one in memory that can misbehave.

mod memory;

pub use memory::{MemoryObjects, Trouble};

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

/// Why an object store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no such object, or it ends before the range.
    #[error("object {name} is not there, or not so far")]
    NotFound {
        /// The object.
        name: String,
    },
    /// It may work later; a write may have happened.
    #[error("object {name}: {why}")]
    Unavailable {
        /// The object.
        name: String,
        /// What happened.
        why: String,
    },
    /// It is not allowed, or not possible there.
    #[error("object {name}: {why}")]
    Refused {
        /// The object.
        name: String,
        /// What was said.
        why: String,
    },
}

/// What an object is, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// An object store. Names are as [`ObjectName`](crate::ObjectName) writes them; every name is written with
/// one content only, so writing again is harmless.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores an object durably.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError>;

    /// Exactly the bytes of a range; [`ObjectError::NotFound`] if the object ends before it does.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError>;

    /// The length of an object.
    async fn head(&self, name: &str) -> Result<u64, ObjectError>;

    /// Objects whose names begin with `prefix`, in the order of names, behind `after`; at most `limit`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize)
    -> Result<Vec<Listed>, ObjectError>;

    /// Deletes an object; what is not there is deleted already.
    async fn delete(&self, name: &str) -> Result<(), ObjectError>;
}
