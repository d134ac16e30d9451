//! What a front end asks of the object store: the one trait between protocols and storage.
//!
//! A write has two steps. [`ObjectService::stage`] consumes a body and makes its bytes durable without
//! giving them a name; the front end compares lengths and checksums; then one of the committing calls
//! binds the staged bytes to a key by one log record. A [`Staged`] that is dropped instead is garbage and
//! its space is taken back.
//!
//! Everything that S3 decides by the current state of a key (conditions, versioning, emptiness of a bucket)
//! is decided behind this trait, by the bucket's sequencer; everything that S3 decides by the request alone
//! (headers, checksums, XML, policy) is decided in front of it.

mod drives;

pub use drives::{DriveState, DriveStatus, DrivesStatus, ScrubStatus};

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use terrane_types::{AccountId, RandomId};

/// Bytes of a body on their way in or out. An error ends the stream.
pub type ByteStream = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a body ended early.
#[derive(Debug, Clone, thiserror::Error)]
#[error("body: {0}")]
pub struct BodyError(pub Arc<str>);

/// Why the object store refused or failed. A refusal leaves nothing behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// No bucket of that name.
    #[error("no bucket {0:?}")]
    NoSuchBucket(String),
    /// The name is taken; `ours` if by the same account.
    #[error("bucket {name:?} exists")]
    BucketExists {
        /// The bucket's name.
        name: String,
        /// Whether the asking account owns it.
        ours: bool,
    },
    /// DeleteBucket on a bucket with objects, versions or delete markers.
    #[error("bucket {0:?} is not empty")]
    BucketNotEmpty(String),
    /// The account owns as many buckets as it may.
    #[error("too many buckets (limit {limit})")]
    TooManyBuckets {
        /// The limit.
        limit: usize,
    },
    /// No current object of that key.
    #[error("no such key")]
    NoSuchKey,
    /// The current version is a delete marker (S3: 404 with `x-amz-delete-marker`).
    #[error("the current version is a delete marker")]
    CurrentIsDeleteMarker(VersionId),
    /// The version asked for is a delete marker (S3: 405 MethodNotAllowed).
    #[error("version {0} is a delete marker")]
    VersionIsDeleteMarker(VersionId),
    /// No such version of the key.
    #[error("no such version")]
    NoSuchVersion,
    /// No such multipart upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part named in CompleteMultipartUpload is missing or has another ETag.
    #[error("part {0} is missing or differs")]
    InvalidPart(u32),
    /// The parts of CompleteMultipartUpload do not ascend.
    #[error("part numbers do not ascend")]
    InvalidPartOrder,
    /// A part other than the last is smaller than 5 MiB.
    #[error("part {part} has {size} bytes, fewer than {minimum}")]
    PartTooSmall {
        /// Part number.
        part: u32,
        /// Its size in bytes.
        size: u64,
        /// The smallest size allowed.
        minimum: u64,
    },
    /// A condition of the request does not hold (S3: 412).
    #[error("condition {0} does not hold")]
    PreconditionFailed(&'static str),
    /// A conditional write raced with another one (S3: 409 ConditionalRequestConflict).
    #[error("a concurrent request changed the key")]
    ConditionalConflict,
    /// No queue class of that name.
    #[error("no such queue class")]
    NoSuchQueue,
    /// A continuation token or marker that this service did not hand out.
    #[error("malformed continuation token")]
    BadToken,
    /// A bound was reached; retry after the given time (S3: 503 SlowDown).
    #[error("slow down: {what}")]
    SlowDown {
        /// Which bound.
        what: &'static str,
        /// A sensible time to wait.
        retry_after: Duration,
    },
    /// No space for this kind of operation; deletes may still work (S3: 507 → 503 with code `InsufficientStorage`).
    #[error("no space left for {0}")]
    NoSpace(&'static str),
    /// The client's body failed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// What was asked for cannot be done with this store.
    #[error("{0}")]
    Refused(String),
    /// Bytes on disk fail their checksum and no other copy exists.
    #[error("corrupt data: {0}")]
    Corrupt(String),
    /// The store has stopped, or failed in a way that only a restart mends.
    #[error("object store unavailable: {0}")]
    Unavailable(String),
    /// Storage failed.
    #[error("storage: {context}")]
    Io {
        /// What was attempted.
        context: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Result of a service call.
pub type Result<T, E = ObjectError> = std::result::Result<T, E>;

/// Identity of a version: `null`, or an opaque text that sorts by nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VersionId {
    /// The version written while versioning was off or suspended.
    Null,
    /// A version written while versioning was on. Random-looking 64-bit value, printed as 32 characters.
    Id(u64),
}

/// A bucket's versioning state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never turned on.
    #[default]
    Off,
    /// On.
    Enabled,
    /// Was on, is suspended: writes replace the `null` version.
    Suspended,
}

/// What is known of a bucket. A snapshot: it may be outdated when used, and the sequencer checks again.
#[derive(Clone, Debug)]
pub struct BucketInfo {
    /// The bucket's name.
    pub name: String,
    /// Which life of the name this is; requests carry it so that a recreated bucket is another one.
    pub incarnation: RandomId,
    /// The owner.
    pub owner: AccountId,
    /// When it was created.
    pub created: SystemTime,
    /// Region constraint given at creation.
    pub region: Option<String>,
    /// Versioning state.
    pub versioning: Versioning,
    /// How writes are applied that do not say so themselves.
    pub default_mode: Option<WriteMode>,
    /// Subresources kept verbatim for the front end: `tagging`, `acl`, `policy`, `cors`, `ownership`, …
    pub settings: BTreeMap<String, Bytes>,
}

/// One change of a bucket's state.
#[derive(Clone, Debug)]
pub enum BucketChange {
    /// Sets versioning.
    Versioning(Versioning),
    /// Sets or clears the default write mode.
    DefaultMode(Option<WriteMode>),
    /// Sets (`Some`) or removes a subresource.
    Setting(String, Option<Bytes>),
}

/// Name of the bucket setting that holds its redundancy ([`Redundancy`](crate::Redundancy), as text).
pub const REDUNDANCY_SETTING: &str = "redundancy";

/// When the keymap is to be brought up to date (20-objects, "When is the keymap updated asynchronously?").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteMode {
    /// Applied before the answer.
    Sync,
    /// Queued in a class.
    Async(Class),
}

/// Queue classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Drained first.
    High,
    /// Drained at a lower rate.
    Low,
    /// Applied no later than this long after the write, normally shortly before that.
    /// At least one second, at most four weeks.
    Delay(Duration),
}

/// What a write asks for: an explicit mode (header), or the bucket's default and the load decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeRequest {
    /// From `x-terrane-async`.
    pub explicit: Option<ExplicitMode>,
    /// From `x-terrane-priority`; used where the mode is asynchronous and not a delay.
    pub priority: Option<Priority>,
}

/// Values of `x-terrane-async`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplicitMode {
    /// `true` or `async`.
    Async,
    /// `false`.
    Sync,
    /// `time=D`.
    Delay(Duration),
}

/// Values of `x-terrane-priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// `high`.
    High,
    /// `low`.
    Low,
}

/// Preconditions on the current version (`If-Match`, `If-None-Match` and their kin on writes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The current object's ETag must be among these; `*` for any existing object.
    pub if_match: Option<EtagSet>,
    /// The current object's ETag must not be among these; `*` for no object.
    pub if_none_match: Option<EtagSet>,
    /// The current object's size (conditional delete).
    pub if_match_size: Option<u64>,
    /// The current object's modification time in whole seconds (conditional delete).
    pub if_match_last_modified: Option<SystemTime>,
}

/// ETags without quotes, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagSet {
    /// `*`
    Any,
    /// A list.
    Tags(Vec<String>),
}

/// Bytes made durable but not yet named. Dropping it gives the space back.
pub struct Staged {
    /// Length in bytes.
    pub size: u64,
    /// What the implementation needs to find them; nobody else's business.
    pub inner: Box<dyn Any + Send>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Everything that a front end stores with an object and gets back unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectAttrs {
    /// ETag without quotes.
    pub etag: String,
    /// Representation headers by lower-case name: `content-type`, `cache-control`, `expires`, …
    pub headers: BTreeMap<String, String>,
    /// `x-amz-meta-*` without the prefix.
    pub user_metadata: BTreeMap<String, String>,
    /// Object tags in the order given.
    pub tags: Vec<(String, String)>,
    /// Additional checksums: algorithm in S3's spelling (`CRC32C`, …) and value in base64.
    pub checksums: Vec<(String, String)>,
    /// `FULL_OBJECT` or `COMPOSITE`, where a checksum is kept.
    pub checksum_type: Option<String>,
    /// Storage class in S3's spelling, if not `STANDARD`.
    pub storage_class: Option<String>,
    /// Further front-end state by name (`acl`, `retention`, `legal-hold`, …).
    pub extra: BTreeMap<String, String>,
}

/// One part of an object that was made by a multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Part number, 1 to 10,000.
    pub number: u32,
    /// Length in bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Checksums as in [`ObjectAttrs`].
    pub checksums: Vec<(String, String)>,
    /// When the part was stored.
    pub modified: SystemTime,
}

/// What HEAD tells.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    /// The key.
    pub key: String,
    /// The version.
    pub version: VersionId,
    /// Length in bytes.
    pub size: u64,
    /// Creation time of this version.
    pub modified: SystemTime,
    /// What the front end stored.
    pub attrs: ObjectAttrs,
    /// The parts, if made by a multipart upload.
    pub parts: Arc<[PartInfo]>,
    /// Whether this is the current version.
    pub is_current: bool,
}

/// An object as one reader sees it. Its bytes stay readable for as long as the handle lives,
/// whatever happens to the key.
pub trait ObjectHandle: Send + Sync {
    /// What HEAD tells.
    fn info(&self) -> &ObjectInfo;
    /// The bytes of a range (`end` ≤ size). Checksums of stored blocks are verified on the way.
    fn read(&self, range: Range<u64>) -> ByteStream;
    /// For the implementation: to find its own type again in COPY.
    fn as_any(&self) -> &dyn Any;
}

/// A write's parameters.
#[derive(Debug)]
pub struct PutObject {
    /// Bucket and incarnation, as looked up by this request.
    pub bucket: Arc<BucketInfo>,
    /// The key.
    pub key: String,
    /// The staged body.
    pub staged: Staged,
    /// What to keep with it.
    pub attrs: ObjectAttrs,
    /// Preconditions.
    pub condition: Condition,
    /// When to apply.
    pub mode: ModeRequest,
}

/// A copy's parameters. The bytes are shared, not copied, where source and destination are in one shard.
pub struct CopyObject {
    /// The source, pinned by its handle.
    pub source: Arc<dyn ObjectHandle>,
    /// The source's bucket (re-checked when source and destination are the same key).
    pub source_bucket: Arc<BucketInfo>,
    /// Destination bucket.
    pub bucket: Arc<BucketInfo>,
    /// Destination key.
    pub key: String,
    /// What to keep with the copy.
    pub attrs: ObjectAttrs,
    /// Preconditions on the destination.
    pub condition: Condition,
    /// When to apply.
    pub mode: ModeRequest,
}

/// Whether the keymap already contains a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeymapState {
    /// It does.
    Applied,
    /// It is logged and queued.
    Pending,
}

/// Identity of one write; its status can be asked for and its completion is announced under it.
/// Text form: opaque, URL-safe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationId(pub String);

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The version written (`Null` in unversioned buckets).
    pub version: VersionId,
    /// For deletes: whether a delete marker was made, or (by version) removed.
    pub delete_marker: bool,
    /// The write's modification time.
    pub modified: SystemTime,
    /// Whether the keymap contains it.
    pub keymap: KeymapState,
    /// Its identity; `None` if nothing had to be logged (delete of a missing key).
    pub operation: Option<OperationId>,
}

/// A delete's parameters.
#[derive(Debug)]
pub struct DeleteObject {
    /// The bucket.
    pub bucket: Arc<BucketInfo>,
    /// The key.
    pub key: String,
    /// A version, or the current one (which in a versioned bucket makes a delete marker).
    pub version: Option<VersionId>,
    /// Preconditions.
    pub condition: Condition,
    /// When to apply.
    pub mode: ModeRequest,
}

/// A change of an object's attributes that leaves its bytes alone.
pub enum AttrChange {
    /// Replaces the tags.
    Tags(Vec<(String, String)>),
    /// Sets (`Some`) or removes an entry of [`ObjectAttrs::extra`].
    Extra(String, Option<String>),
}

/// Which rows LIST walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Current objects.
    Current,
    /// All versions and delete markers, newest first within a key.
    Versions,
    /// Unfinished multipart uploads, by key and then by age.
    Uploads,
}

/// Where LIST begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListStart {
    /// At the first key.
    #[default]
    Beginning,
    /// After this key (marker, start-after) and all that lies under it if it ends a common prefix.
    AfterKey(String),
    /// After this version of this key (`key-marker` + `version-id-marker`).
    AfterVersion(String, VersionId),
    /// After this upload of this key (`key-marker` + `upload-id-marker`).
    AfterUpload(String, UploadId),
    /// Where an earlier page stopped (a continuation token; survives a restart).
    Token(String),
}

/// LIST's parameters.
#[derive(Debug)]
pub struct ListRequest {
    /// The bucket.
    pub bucket: Arc<BucketInfo>,
    /// What to walk.
    pub kind: ListKind,
    /// Only keys with this prefix.
    pub prefix: String,
    /// Roll up what follows the prefix up to this text.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub start: ListStart,
    /// Most entries and common prefixes together, 0 to 1,000.
    pub max_keys: usize,
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// An object or one of its versions.
    Object {
        /// The key.
        key: String,
        /// The version.
        version: VersionId,
        /// Whether it is the current one.
        is_latest: bool,
        /// Length in bytes.
        size: u64,
        /// ETag without quotes.
        etag: String,
        /// Creation time.
        modified: SystemTime,
        /// Storage class, if not `STANDARD`.
        storage_class: Option<String>,
        /// Checksum algorithms kept with it, in S3's spelling.
        checksum_algorithms: Vec<String>,
        /// `FULL_OBJECT` or `COMPOSITE`.
        checksum_type: Option<String>,
    },
    /// A delete marker (only with [`ListKind::Versions`]).
    DeleteMarker {
        /// The key.
        key: String,
        /// The version.
        version: VersionId,
        /// Whether it is the current one.
        is_latest: bool,
        /// Creation time.
        modified: SystemTime,
    },
    /// An unfinished upload (only with [`ListKind::Uploads`]).
    Upload {
        /// The key.
        key: String,
        /// The upload.
        upload: UploadId,
        /// When it began.
        initiated: SystemTime,
        /// What was given at its creation.
        attrs: Arc<ObjectAttrs>,
    },
    /// Keys rolled up at the delimiter; the text includes it.
    CommonPrefix(String),
}

/// One page of a listing, true of one instant.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// Entries and prefixes in the order of their keys (UTF-8 bytes).
    pub entries: Vec<ListEntry>,
    /// How to go on; `None` at the end.
    pub next: Option<String>,
}

/// Identity of a multipart upload (opaque, URL-safe).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UploadId(pub String);

/// An unfinished upload.
#[derive(Clone, Debug)]
pub struct UploadInfo {
    /// The key.
    pub key: String,
    /// What was given at its creation.
    pub attrs: ObjectAttrs,
    /// When it began.
    pub initiated: SystemTime,
}

/// A part as CompleteMultipartUpload names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Part number.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
}

/// CompleteMultipartUpload's parameters.
pub struct CompleteUpload {
    /// The bucket.
    pub bucket: Arc<BucketInfo>,
    /// The key.
    pub key: String,
    /// The upload.
    pub upload: UploadId,
    /// The parts, ascending.
    pub parts: Vec<CompletedPart>,
    /// Final attributes (ETag and checksums computed by the front end from `list_parts`).
    pub attrs: ObjectAttrs,
    /// Preconditions.
    pub condition: Condition,
    /// When to apply.
    pub mode: ModeRequest,
}

/// How a write stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStatus {
    /// The write.
    pub operation: OperationId,
    /// Applied or pending.
    pub state: KeymapState,
    /// Queue class name (`sync`, `high`, `low`, `delay`), where still pending.
    pub class: Option<String>,
    /// Latest time of application, where pending in a delay class (RFC 3339).
    pub due: Option<String>,
}

/// A completion record: the bytes are stored and the keymap contains the write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Position in the stream of completions; grows, with gaps.
    pub cursor: u64,
    /// The write; delivery is at least once and this is the idempotency key.
    pub operation: OperationId,
    /// S3's event name without prefix: `ObjectCreated:Put`, `ObjectRemoved:DeleteMarkerCreated`, …
    pub event: String,
    /// Bucket name.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Version in its text form, in versioned buckets.
    pub version: Option<String>,
    /// ETag, for created objects.
    pub etag: Option<String>,
    /// Size in bytes, for created objects.
    pub size: Option<u64>,
    /// Whether a later write to the same row was applied in its place.
    pub superseded: bool,
}

/// Names of the queue classes, in the order in which [`ObjectService::queues`] lists them.
pub const QUEUE_CLASSES: [&str; 4] = ["sync", "high", "low", "delay"];

/// State of one queue class, for `terrane queue` and metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// `sync`, `high`, `low` or `delay`.
    pub class: String,
    /// Pending entries.
    pub depth: u64,
    /// Bytes that they hold in memory.
    pub bytes: u64,
    /// Entries in spill runs.
    pub spilled: u64,
    /// Age of the oldest pending entry in milliseconds.
    pub oldest_age_ms: u64,
    /// Applied per second, smoothed.
    pub rate: f64,
    /// Keymap workers now; they serve all classes.
    pub workers: u32,
    /// Whether application is paused.
    pub paused: bool,
}

/// The object store as front ends and the native API see it.
///
/// All calls are linearizable per bucket. Errors that follow from a record which is not yet durable are
/// answered only once it is.
#[async_trait]
pub trait ObjectService: Send + Sync + 'static {
    /// Creates a bucket; the caller has checked the name.
    async fn create_bucket(
        &self,
        name: &str,
        owner: &AccountId,
        region: Option<String>,
    ) -> Result<Arc<BucketInfo>>;
    /// Deletes an empty bucket: a barrier in its sequence.
    async fn delete_bucket(&self, bucket: &BucketInfo) -> Result<()>;
    /// Looks a bucket up, whoever owns it; policy is the caller's business.
    async fn bucket(&self, name: &str) -> Result<Arc<BucketInfo>>;
    /// All buckets of an account by name.
    async fn list_buckets(&self, owner: &AccountId) -> Result<Vec<Arc<BucketInfo>>>;
    /// Changes a bucket's state.
    async fn change_bucket(&self, bucket: &BucketInfo, change: BucketChange) -> Result<Arc<BucketInfo>>;

    /// Makes a body's bytes durable (or holds them in memory to be logged inline, if ≤ 16 KiB).
    /// `size_hint` is the declared length, to refuse early what will not fit; the stream decides.
    async fn stage(&self, body: ByteStream, size_hint: Option<u64>) -> Result<Staged>;
    /// As [`ObjectService::stage`], with the redundancy that the bucket asks for.
    async fn stage_in(
        &self,
        _bucket: &BucketInfo,
        body: ByteStream,
        size_hint: Option<u64>,
    ) -> Result<Staged> {
        self.stage(body, size_hint).await
    }
    /// Binds staged bytes to a key.
    async fn put_object(&self, put: PutObject) -> Result<Written>;
    /// Binds another object's bytes to a key.
    async fn copy_object(&self, copy: CopyObject) -> Result<Written>;
    /// Opens the current object or a version of it.
    async fn get_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<dyn ObjectHandle>>;
    /// Deletes.
    async fn delete_object(&self, delete: DeleteObject) -> Result<Written>;
    /// Changes attributes in place.
    async fn change_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
        change: AttrChange,
        mode: ModeRequest,
    ) -> Result<Written>;
    /// One page of a listing.
    async fn list(&self, request: ListRequest) -> Result<ListPage>;

    /// Begins a multipart upload.
    async fn create_upload(&self, bucket: &BucketInfo, key: &str, attrs: ObjectAttrs) -> Result<UploadId>;
    /// Looks an upload up.
    async fn upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<UploadInfo>;
    /// Stores a part (replacing one of the same number).
    async fn put_part(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        staged: Staged,
        part: PartInfo,
    ) -> Result<()>;
    /// Parts with numbers above `after`, at most `max`; the flag says whether more follow.
    async fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        after: u32,
        max: usize,
    ) -> Result<(Vec<PartInfo>, bool)>;
    /// Makes an object of the parts. Repeating a completed call answers as the first did while that object is current.
    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Written>;
    /// Drops an upload and its parts.
    async fn abort_upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<()>;

    /// How a write stands; `None` if the ID is not one of ours. The caller sees only its own account's.
    async fn operation(&self, account: &AccountId, id: &OperationId) -> Result<Option<OperationStatus>>;
    /// Completions of the account's buckets after a cursor (0: from the oldest kept), at most `max`; waits up to
    /// `wait` for the first.
    async fn completions(
        &self,
        account: &AccountId,
        after: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Completion>>;
    /// All queue classes.
    async fn queues(&self) -> Result<Vec<QueueStatus>>;
    /// Pauses (`true`) or resumes application of a class (`None`: all).
    async fn pause_queue(&self, class: Option<&str>, paused: bool) -> Result<()>;
    /// Applies all that is pending in a class (`None`: all) now, whatever its due time, and waits for it.
    async fn drain_queue(&self, class: Option<&str>) -> Result<()>;

    /// The drives, none where storage has no such thing.
    async fn drives(&self) -> Result<DrivesStatus> {
        Ok(DrivesStatus::default())
    }
    /// Has all shards verified and rebuilt, in the background; a pass that is under way goes on.
    async fn scrub(&self) -> Result<()> {
        Err(ObjectError::Refused("this store has no drives".into()))
    }
    /// Takes the empty directory of a missing drive into use and has its shards rebuilt, in the background.
    async fn replace_drive(&self, _path: &str) -> Result<()> {
        Err(ObjectError::Refused("this store has no drives".into()))
    }
}
