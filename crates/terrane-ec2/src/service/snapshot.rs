//! Snapshots: what the front ends (EC2's calls and the EBS direct APIs) ask of their keeper.

mod none;

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use terrane_types::{AccountId, SnapshotId, VolumeId};

use super::{Caller, Select, TagRemoval, Tags};

pub use none::NoSnapshots;

/// Bytes of a block of the EBS direct APIs: of a chunk.
pub const BLOCK_BYTES: usize = 512 << 10;
/// Blocks of a GiB.
pub const BLOCKS_PER_GIB: u64 = 2048;
/// Largest volume of a snapshot, GiB.
pub const SIZE_GIB_MAX: u32 = 65_536;
/// Characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 255;
/// Accounts that a snapshot can be shared with.
pub const SHARED_WITH_MAX: usize = 500;

/// Life of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// Being filled, or sealed.
    Pending,
    /// It can be used.
    Completed,
    /// It came to nothing.
    Error,
}

impl SnapshotState {
    /// The word of both models.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

/// Who may make volumes of a snapshot, besides its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// These accounts.
    pub accounts: BTreeSet<AccountId>,
    /// Everybody.
    pub public: bool,
}

/// A change of permissions. What is removed and not there, or added and there, is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionChange {
    /// Taken away before anything is added.
    pub remove: Permissions,
    /// Added.
    pub add: Permissions,
    /// Whether all are taken away first.
    pub reset: bool,
}

/// Who can end a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever may unlock.
    Governance,
    /// Nobody, once the time for second thoughts is over.
    Compliance,
}

/// What holds of a lock now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// See [`LockMode::Governance`].
    Governance,
    /// Locked for good until it expires.
    Compliance,
    /// Compliance, and it can still be undone.
    ComplianceCooloff,
    /// Over.
    Expired,
}

/// Protection against deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who can end it.
    pub mode: LockMode,
    /// When it was made.
    pub created: Timestamp,
    /// Hours for second thoughts.
    pub cool_off_hours: Option<u32>,
    /// Days.
    pub duration_days: u32,
    /// From when the days count: for a pending snapshot from its completion.
    pub duration_start: Option<Timestamp>,
    /// When it ends; for a pending snapshot not known unless asked for.
    pub expires: Option<Timestamp>,
}

impl Lock {
    /// When the time for second thoughts is over.
    pub fn cool_off_expires(&self) -> Option<Timestamp> {
        let hours = SignedDuration::from_hours(self.cool_off_hours?.into());
        self.created.checked_add(hours).ok()
    }

    /// What holds at this time.
    pub fn state(&self, now: Timestamp) -> LockState {
        if self.expires.is_some_and(|expires| expires <= now) {
            return LockState::Expired;
        }
        match self.mode {
            LockMode::Governance => LockState::Governance,
            LockMode::Compliance if self.cool_off_expires().is_some_and(|end| now < end) => {
                LockState::ComplianceCooloff
            }
            LockMode::Compliance => LockState::Compliance,
        }
    }
}

/// A wish to lock, or to lock otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWish {
    /// Who can end it.
    pub mode: LockMode,
    /// Hours for second thoughts: 1 to 72, with compliance only.
    pub cool_off_hours: Option<u32>,
    /// How long.
    pub until: LockEnd,
}

/// The end of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockEnd {
    /// After so many days, 1 to 36,500.
    Days(u32),
    /// At a time, at least a day from now.
    At(Timestamp),
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier.
    pub id: SnapshotId,
    /// Whose it is.
    pub owner: AccountId,
    /// The volume that it is of; `None` if it was built by the EBS direct APIs, or is a copy.
    pub volume: Option<VolumeId>,
    /// Size of the volume, GiB.
    pub size_gib: u32,
    /// Where in its life it is.
    pub state: SnapshotState,
    /// Why it came to nothing.
    pub message: Option<String>,
    /// Percent.
    pub progress: u8,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was completed.
    pub completed: Option<Timestamp>,
    /// For people.
    pub description: String,
    /// The snapshot that it is incremental to.
    pub parent: Option<SnapshotId>,
    /// Bytes of its blocks that are not zeros; known when it is completed.
    pub full_bytes: Option<u64>,
    /// Whether it is a copy of another.
    pub is_copy: bool,
    /// Who may use it. Empty for everybody but its owner.
    pub permissions: Permissions,
    /// Protection against deletion. The owner's to see.
    pub lock: Option<Lock>,
    /// When it was put into the recycle bin and when it leaves it for good.
    pub recycled: Option<(Timestamp, Timestamp)>,
    /// Tags. The owner's to see.
    pub tags: Tags,
}

/// What is said of new snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// For people, up to [`DESCRIPTION_CHARS_MAX`].
    pub description: String,
    /// First tags.
    pub tags: Tags,
    /// Whether each gets its volume's tags as well.
    pub copy_volume_tags: bool,
}

/// A snapshot to be built block by block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSnapshot {
    /// Size in GiB, 1 to [`SIZE_GIB_MAX`].
    pub size_gib: u32,
    /// What it is incremental to.
    pub parent: Option<SnapshotId>,
    /// For people.
    pub description: String,
    /// First tags.
    pub tags: Tags,
    /// Idempotency.
    pub token: Option<String>,
    /// Minutes without a written block after which it is given up: 10 to 4,320.
    pub timeout_minutes: u32,
}

/// A block to be written.
#[derive(Clone, Debug)]
pub struct PutBlock {
    /// Which one.
    pub index: u64,
    /// [`BLOCK_BYTES`].
    pub data: Bytes,
    /// What the bytes' SHA-256 is; it was compared.
    pub sha256: [u8; 32],
}

/// The end of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Blocks that were written.
    pub blocks: u64,
    /// SHA-256 of the blocks' SHA-256s in the order of their indices.
    pub sha256: Option<[u8; 32]>,
}

/// Which page of blocks is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPage<'a> {
    /// The token of an earlier page.
    pub token: Option<&'a str>,
    /// Otherwise: from this block on.
    pub first: u64,
    /// How many at most.
    pub limit: usize,
}

/// A page of blocks: of one snapshot, or of those in which two differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList<T> {
    /// In the order of their indices.
    pub blocks: Vec<T>,
    /// When their tokens expire.
    pub expires: Timestamp,
    /// Size of the (second) snapshot's volume, GiB.
    pub size_gib: u32,
    /// The next page's token.
    pub next: Option<String>,
}

/// A block that is not zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Which one.
    pub index: u64,
    /// What reading it takes.
    pub token: String,
}

/// A block that two snapshots have differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedBlock {
    /// Which one.
    pub index: u64,
    /// What reading it in the first takes; `None` if it is zeros there.
    pub first: Option<String>,
    /// The same of the second.
    pub second: Option<String>,
}

/// Which snapshots are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// The caller's own.
    Own,
    /// Also those that others share with the caller, and public ones.
    Usable,
}

/// Why the keeper of snapshots refuses. [`crate::Ec2Error`] and [`crate::ebs::EbsError`] have each in their words.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No such snapshots, as far as the caller can know.
    #[error("the snapshot {} does not exist", list(.0))]
    NotFound(Vec<SnapshotId>),
    /// No such volume, as far as the caller can know.
    #[error("the volume {0} does not exist")]
    VolumeNotFound(VolumeId),
    /// The state does not allow it.
    #[error("snapshot {id} is {state}, and must be {expected}")]
    IncorrectState {
        /// Which snapshot.
        id: SnapshotId,
        /// How it is.
        state: String,
        /// How it would have to be.
        expected: &'static str,
    },
    /// It is locked.
    #[error("snapshot {0} is locked")]
    Locked(SnapshotId),
    /// A lock cannot be (made) so.
    #[error("{0}")]
    LockRefused(String),
    /// The token was used with other parameters.
    #[error("the client token was used with other parameters")]
    TokenMismatch,
    /// There may not be more of something.
    #[error("there may be {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// A snapshot would have more than [`super::TAGS_MAX`] tags.
    #[error("{0} would have more than 50 tags")]
    TagLimit(SnapshotId),
    /// A size that cannot be.
    #[error("{0}")]
    VolumeSize(String),
    /// A block that there is not.
    #[error("block {index} is behind the end: there are {blocks}")]
    NoSuchBlock {
        /// Which one.
        index: u64,
        /// How many there are.
        blocks: u64,
    },
    /// What was written is not what the caller says was written.
    #[error("{0}")]
    Mismatch(String),
    /// The token is no token of this block, or it has expired.
    #[error("the block token is not valid for this block, or has expired")]
    BlockToken,
    /// The token is no token of this listing.
    #[error("the page token is not valid for this listing")]
    PageToken,
    /// The two are not of one lineage.
    #[error("the snapshots are not of the same volume or lineage")]
    Unrelated,
    /// Not offered.
    #[error("{0}")]
    Unsupported(String),
    /// Too much at a time.
    #[error("too many blocks are being written")]
    Busy,
    /// Not now: the same call may succeed later.
    #[error("not now: {0}")]
    Unavailable(String),
    /// Something is broken; the text is for the log, not for the caller.
    #[error("{0}")]
    Internal(String),
}

fn list(ids: &[SnapshotId]) -> String {
    ids.iter().map(SnapshotId::as_str).collect::<Vec<_>>().join(", ")
}

/// The result of a call about snapshots.
pub type SnapshotResult<T> = Result<T, SnapshotError>;

/// The keeper of snapshots. Every call is one decision. What belongs to another account and is not shared is
/// answered as what does not exist.
#[async_trait]
pub trait SnapshotService: Send + Sync + 'static {
    /// Snapshots, without those in the recycle bin. [`Select::Ids`] takes any that the caller may use.
    async fn snapshots(
        &self,
        caller: &Caller,
        scope: Scope,
        select: Select<'_, SnapshotId>,
    ) -> SnapshotResult<Vec<Snapshot>>;

    /// The caller's own snapshots in the recycle bin.
    async fn recycled(
        &self,
        caller: &Caller,
        select: Select<'_, SnapshotId>,
    ) -> SnapshotResult<Vec<Snapshot>>;

    /// Whether snapshots of volumes can be made: what a rehearsal of [`SnapshotService::create_snapshots`] says.
    fn takes_volumes(&self) -> bool {
        false
    }

    /// Snapshots of the caller's volumes, all of one moment.
    async fn create_snapshots(
        &self,
        caller: &Caller,
        volumes: &[VolumeId],
        new: &NewSnapshot,
    ) -> SnapshotResult<Vec<Snapshot>>;

    /// Deletes a snapshot, or puts it into the recycle bin.
    async fn delete_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<()>;

    /// Makes the caller's own copy of a snapshot that it may use.
    async fn copy_snapshot(
        &self,
        caller: &Caller,
        source: &SnapshotId,
        new: &NewSnapshot,
    ) -> SnapshotResult<Snapshot>;

    /// Changes who may use a snapshot.
    async fn change_permissions(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        change: &PermissionChange,
    ) -> SnapshotResult<()>;

    /// Locks a snapshot, or changes its lock.
    async fn lock_snapshot(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        wish: LockWish,
    ) -> SnapshotResult<Snapshot>;

    /// Takes a lock away.
    async fn unlock_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<()>;

    /// Takes a snapshot out of the recycle bin.
    async fn restore_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<Snapshot>;

    /// Adds tags to all of the caller's snapshots that are named, or to none.
    async fn tag_snapshots(&self, caller: &Caller, ids: &[SnapshotId], tags: &Tags) -> SnapshotResult<()>;

    /// Takes tags away; an empty list takes all.
    async fn untag_snapshots(
        &self,
        caller: &Caller,
        ids: &[SnapshotId],
        tags: &[TagRemoval],
    ) -> SnapshotResult<()>;

    /// Begins a snapshot that is built block by block.
    async fn start_snapshot(&self, caller: &Caller, start: StartSnapshot) -> SnapshotResult<Snapshot>;

    /// Writes a block of a snapshot that was started; durable when it returns.
    async fn put_block(&self, caller: &Caller, id: &SnapshotId, put: PutBlock) -> SnapshotResult<()>;

    /// Seals what was written; the state is the one that was reached until the answer.
    async fn complete_snapshot(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        completion: Completion,
    ) -> SnapshotResult<SnapshotState>;

    /// The blocks of a snapshot that are not zeros.
    async fn list_blocks(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        page: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<BlockEntry>>;

    /// The blocks in which two snapshots of one lineage differ.
    async fn list_changed_blocks(
        &self,
        caller: &Caller,
        first: &SnapshotId,
        second: &SnapshotId,
        page: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<ChangedBlock>>;

    /// A block that a listing had, verified.
    async fn block(&self, caller: &Caller, id: &SnapshotId, index: u64, token: &str)
    -> SnapshotResult<Bytes>;
}
