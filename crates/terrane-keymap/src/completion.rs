//! Operations: how a write is named, asked for and announced as complete.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use terrane_types::AccountId;

use crate::class::Class;
use crate::etag::Etag;
use crate::ids::{Incarnation, Lsn, Slot, Timestamp};
use crate::rows::Sub;

/// What happened, in S3's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// `ObjectCreated:Put`
    Put,
    /// `ObjectCreated:Copy`
    Copy,
    /// `ObjectCreated:CompleteMultipartUpload`
    Complete,
    /// `ObjectRemoved:Delete`
    Delete,
    /// `ObjectRemoved:DeleteMarkerCreated`
    DeleteMarker,
    /// Attributes changed in place.
    Change,
}

impl EventKind {
    /// S3's event name without the `s3:` prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::Complete => "ObjectCreated:CompleteMultipartUpload",
            Self::Delete => "ObjectRemoved:Delete",
            Self::DeleteMarker => "ObjectRemoved:DeleteMarkerCreated",
            Self::Change => "ObjectTagging:Put",
        }
    }
}

/// Whose write it was, as announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The bucket's name.
    pub bucket: Box<str>,
    /// The bucket's owner.
    pub owner: AccountId,
}

/// Identity of a write within its shard; also the idempotency key of its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationKey {
    /// The key's slot.
    pub slot: Slot,
    /// The queue it was put into.
    pub class: Class,
    /// Its LSN.
    pub lsn: Lsn,
}

impl OperationKey {
    /// Size of the encoded form.
    pub const ENCODED: usize = 10;

    /// Slot, class, LSN big-endian.
    pub fn encode(self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[0] = self.slot.0;
        bytes[1] = match self.class {
            Class::Sync => 0,
            Class::High => 1,
            Class::Low => 2,
            Class::Move => 3,
            Class::Delay(step) => 80u8.saturating_add(step),
        };
        bytes[2..].copy_from_slice(&self.lsn.0.to_be_bytes());
        bytes
    }

    /// The inverse of [`OperationKey::encode`].
    pub fn decode(bytes: &[u8; Self::ENCODED]) -> Option<Self> {
        let [slot, class, lsn @ ..] = bytes;
        let class = match class {
            0 => Class::Sync,
            1 => Class::High,
            2 => Class::Low,
            3 => Class::Move,
            step => Class::Delay(step.checked_sub(80)?),
        };
        let slot = Slot(*slot);
        (slot.index() < crate::ids::SLOTS).then_some(Self { slot, class, lsn: Lsn(u64::from_be_bytes(*lsn)) })
    }
}

/// How a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationStatus {
    /// The keymap contains it, or a later write of the same row.
    Applied,
    /// Queued.
    Pending {
        /// Latest time of application, in a delay class.
        due: Option<Timestamp>,
    },
    /// Not durable (yet), or never one of ours.
    Unknown,
}

/// A completion record: the bytes are stored and the keymap contains the write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Position in the stream of completions; grows, with gaps, also across restarts.
    pub cursor: u64,
    /// The write; delivery is at least once and this is the idempotency key.
    pub operation: OperationKey,
    /// What happened.
    pub event: EventKind,
    /// Bucket and owner.
    pub origin: Arc<Origin>,
    /// Which life of the bucket.
    pub incarnation: Incarnation,
    /// Key.
    pub key: Bytes,
    /// Version.
    pub sub: Sub,
    /// When it was written.
    pub time: Timestamp,
    /// ETag, empty for deletes.
    pub etag: Etag,
    /// Size in bytes.
    pub size: u64,
    /// Whether a later write to the same row was applied in its place.
    pub superseded: bool,
}

const VERSION: u8 = 1;

/// Bytes that are no completion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed completion record")]
pub struct CompletionError;

impl Completion {
    /// Version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a completion always serialises into memory")
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CompletionError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| CompletionError),
            _ => Err(CompletionError),
        }
    }
}
