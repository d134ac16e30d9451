//! What is asked of the sequencer, and its answers.

use std::sync::Arc;

use bytes::Bytes;
use terrane_types::AccountId;

use crate::bucket::{BucketChange, BucketState};
use crate::class::ModeRequest;
use crate::completion::{EventKind, OperationKey};
use crate::etag::{Checksums, Etag};
use crate::ids::{Extent, Guard, Incarnation, Lsn, Timestamp};
use crate::record::RowState;
use crate::rows::{RowId, Sub};

/// One request.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// What to do.
    pub op: Op,
    /// When to apply it. Buckets and uploads are queued as `high`: their state is read from the overlay or from memory.
    pub mode: ModeRequest,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Op {
    /// Creates a bucket.
    CreateBucket {
        /// The name, checked by the caller.
        name: String,
        /// A fresh random identity, never zero.
        incarnation: Incarnation,
        /// The owner.
        owner: AccountId,
        /// Region constraint.
        region: Option<String>,
        /// Most buckets that the owner may have.
        limit: usize,
    },
    /// Deletes an empty bucket, after its unfinished uploads.
    DeleteBucket {
        /// The name.
        name: String,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// Changes a bucket.
    ChangeBucket {
        /// The name.
        name: String,
        /// Which life of it.
        incarnation: Incarnation,
        /// The change.
        change: BucketChange,
    },
    /// Stores an object.
    Put {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// The object.
        object: NewPayload,
        /// Preconditions on the current version.
        condition: Condition,
        /// For COPY: the source must still be as it was read if it lies in the same key (a copy onto itself).
        source: Option<(RowId, Guard)>,
        /// Put or Copy.
        event: EventKind,
    },
    /// Deletes the current version (in a versioned bucket: makes a delete marker) or a given one.
    Delete {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Which version: [`Sub::Null`] or [`Sub::Version`].
        version: Option<Sub>,
        /// Preconditions.
        condition: Condition,
        /// Time of a delete marker.
        mtime: Timestamp,
    },
    /// Replaces the complete state of an object in place (tags, retention, ACL) by compare-and-set; the version keeps its
    /// creation time and place. Answered [`WriteError::Conflict`] if the row changed: read again and retry.
    Change {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Which row.
        sub: Sub,
        /// Its state when it was read.
        expect: Guard,
        /// The complete new state. Inline bytes come along again.
        object: NewPayload,
    },
    /// Begins a multipart upload; the reply's `lsn` is its identity.
    CreateUpload {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// The front end's state.
        meta: Bytes,
        /// Initiation time.
        mtime: Timestamp,
    },
    /// Stores a part. Parts are never inline (the final object refers to their extents).
    PutPart {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Upload.
        upload: Lsn,
        /// Part number.
        number: u32,
        /// The part.
        part: NewPayload,
    },
    /// Makes an object of parts. The driver reads the parts (rows and records) first; the sequencer checks that they are
    /// still the same, so that `object` may be computed from them: its extents are the parts' extents in order.
    Complete {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Upload.
        upload: Lsn,
        /// The parts in the order given by the client, with their guards when read.
        parts: Vec<PartRef>,
        /// The object.
        object: NewPayload,
        /// Preconditions on the current version.
        condition: Condition,
    },
    /// Drops an upload and its parts.
    Abort {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Upload.
        upload: Lsn,
    },
    /// Re-appends a row's full state for compaction, by compare-and-set; keeps its LSN.
    /// Answered when the keymap contains it; [`WriteError::Conflict`] means that there is nothing left to move.
    Move {
        /// Bucket.
        bucket: Incarnation,
        /// Key.
        key: Bytes,
        /// Which row.
        sub: Sub,
        /// Guard of the row's present state, which is no tombstone. (The oldest log segment is the only one to be removed, so
        /// what a tombstone in it killed is gone already, and tombstones need not be moved.)
        expect: Guard,
        /// The full state, e.g. with new extents.
        state: RowState,
        /// Payload if the state's data is inline.
        inline: Bytes,
    },
}

/// An object or part to be stored.
#[derive(Clone, Debug, Default)]
pub struct NewPayload {
    /// Length in bytes.
    pub size: u64,
    /// Modification time (for [`Op::Change`]: that of the version).
    pub mtime: Timestamp,
    /// ETag.
    pub etag: Etag,
    /// What LIST tells of additional checksums.
    pub checksums: Checksums,
    /// Storage class, if not `STANDARD`.
    pub storage_class: Option<Box<str>>,
    /// The front end's state, opaque here.
    pub meta: Bytes,
    /// The bytes.
    pub data: NewData,
}

/// The bytes of an object to be stored.
#[derive(Clone, Debug, Default)]
pub enum NewData {
    /// None.
    #[default]
    Empty,
    /// To be logged with the record.
    Inline(Bytes),
    /// Durable in data segments already.
    Extents(Vec<Extent>),
}

/// A part as CompleteMultipartUpload names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRef {
    /// Part number.
    pub number: u32,
    /// The part's row when the driver read it.
    pub expect: Guard,
}

/// Preconditions on the current (or the given) version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The object's ETag must be among these.
    pub if_match: Option<EtagSet>,
    /// The object's ETag must not be among these.
    pub if_none_match: Option<EtagSet>,
    /// The object's size.
    pub if_match_size: Option<u64>,
    /// The object's modification time in whole seconds since 1970.
    pub if_match_mtime_seconds: Option<u64>,
}

/// ETags without quotes, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagSet {
    /// `*`
    Any,
    /// A list.
    Tags(Vec<String>),
}

/// Whether the keymap contains a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeymapState {
    /// It does.
    Applied,
    /// It is logged and queued.
    Pending,
}

/// The answer to a write that succeeded. It is durable.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its identity; `None` if nothing had to be logged (delete of what is not there, a repeated Complete).
    pub operation: Option<OperationKey>,
    /// The row written.
    pub sub: Sub,
    /// Whether a delete marker was made, or (by version) removed.
    pub delete_marker: bool,
    /// Modification time.
    pub mtime: Timestamp,
    /// Whether the keymap contains it.
    pub keymap: KeymapState,
    /// The bucket's state after a bucket operation.
    pub bucket: Option<Arc<BucketState>>,
}

/// Why a write was refused. A refusal leaves nothing behind; one that follows from another write is given only
/// when that is durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No such bucket, or another life of it.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The name is taken.
    #[error("bucket exists, owned by {0}")]
    BucketExists(AccountId),
    /// DeleteBucket on a bucket with objects, versions or delete markers, or more uploads than are aborted along with it.
    #[error("bucket is not empty")]
    BucketNotEmpty,
    /// The account owns as many buckets as it may.
    #[error("too many buckets (limit {0})")]
    TooManyBuckets(usize),
    /// No current object.
    #[error("no such key")]
    NoSuchKey,
    /// No such version.
    #[error("no such version")]
    NoSuchVersion,
    /// No such upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part is missing.
    #[error("part {0} is missing")]
    InvalidPart(u32),
    /// Part numbers do not ascend.
    #[error("part numbers do not ascend")]
    InvalidPartOrder,
    /// A part other than the last is too small.
    #[error("part {part} has {size} bytes, fewer than {minimum}")]
    PartTooSmall {
        /// Part number.
        part: u32,
        /// Its bytes.
        size: u64,
        /// Fewest bytes.
        minimum: u64,
    },
    /// A precondition does not hold.
    #[error("condition {0} does not hold")]
    PreconditionFailed(&'static str),
    /// A compare-and-set found another state: read again and retry.
    #[error("the row has changed")]
    Conflict,
    /// A data segment that the write refers to is being emptied: read the source again and retry.
    #[error("data segment {0} is being emptied")]
    SourceMoved(u64),
    /// A bound was reached.
    #[error("slow down: {what}")]
    SlowDown {
        /// Which bound.
        what: &'static str,
        /// A sensible time to wait.
        retry_after_ms: u64,
    },
    /// Only the space reserved for deletes and housekeeping is left.
    #[error("no space left")]
    NoSpace,
    /// The shard has stopped, the log failed, or the keymap cannot be read.
    #[error("unavailable: {0}")]
    Unavailable(Arc<str>),
    /// A request that makes no sense (an inline part, too long a key).
    #[error("malformed request: {0}")]
    Malformed(&'static str),
}
