//! The stored forms. Raise `VERSION` and migrate when fields change; `tests` pins the bytes. Times are milliseconds
//! since 1970.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use terrane_snapshot::{CaptureId, ChunkRef, ObjectName, ObjectRef, PackEntry};
use terrane_store::{Record, Table};
use terrane_types::{AccountId, SnapshotId, VolumeId};

/// An account and the text of an identifier.
pub(crate) type Key = (AccountId, String);

pub(crate) fn key(account: &AccountId, id: &SnapshotId) -> Key {
    (account.clone(), id.as_str().to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StateRow {
    Pending,
    Completed,
    Error(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockRow {
    pub(crate) compliance: bool,
    pub(crate) created_ms: i64,
    pub(crate) cool_off_hours: Option<u32>,
    pub(crate) days: u32,
    /// `None`: from its completion on.
    pub(crate) start_ms: Option<i64>,
    pub(crate) expires_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OriginRow {
    /// Built block by block.
    Direct,
    /// A cut of a volume.
    Cut,
    /// A copy.
    Copy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRow {
    pub(crate) origin: OriginRow,
    pub(crate) volume: Option<VolumeId>,
    pub(crate) size_gib: u32,
    pub(crate) state: StateRow,
    pub(crate) progress: u8,
    pub(crate) started_ms: i64,
    pub(crate) completed_ms: Option<i64>,
    pub(crate) description: String,
    pub(crate) parent: Option<SnapshotId>,
    /// What snapshots that can be compared have in common: the volume, or the first of the chain.
    pub(crate) lineage: String,
    pub(crate) full_bytes: Option<u64>,
    pub(crate) shared_with: BTreeSet<AccountId>,
    pub(crate) public: bool,
    pub(crate) lock: Option<LockRow>,
    /// When it was put into the recycle bin, and when it leaves it.
    pub(crate) recycled_ms: Option<(i64, i64)>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The idempotency token that it was started with.
    pub(crate) token: Option<String>,
}

impl Record for SnapshotRow {
    const VERSION: u8 = 1;
}

/// Whose a snapshot is: for calls by other accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnerRow {
    pub(crate) owner: AccountId,
}

impl Record for OwnerRow {
    const VERSION: u8 = 1;
}

/// The request that an idempotency token was used with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRow {
    /// BLAKE3 of the parameters.
    pub(crate) digest: [u8; 32],
    pub(crate) snapshot: SnapshotId,
}

impl Record for TokenRow {
    const VERSION: u8 = 1;
}

/// A snapshot that is being built block by block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildRow {
    /// Under its number the blocks are stored.
    pub(crate) capture: CaptureId,
    pub(crate) timeout_ms: i64,
    /// When the last block was written, to within [`TOUCH_MS`].
    pub(crate) touched_ms: i64,
    /// No block is taken any more.
    pub(crate) sealed: bool,
}

/// How exact [`BuildRow::touched_ms`] is: writers would conflict with each other if it were exact.
pub(crate) const TOUCH_MS: i64 = 20_000;

impl Record for BuildRow {
    const VERSION: u8 = 1;
}

/// A block that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRow {
    /// `None`: zeros.
    pub(crate) chunk: Option<ChunkRef>,
    pub(crate) sha256: [u8; 32],
}

impl Record for BlockRow {
    const VERSION: u8 = 1;
}

/// What is to be done to a snapshot in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Make a snapshot of the blocks that were written.
    Assemble,
    /// Copy another account's.
    Copy { owner: AccountId, manifest: ObjectRef },
    /// Take away what was written for it.
    Clean,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRow {
    pub(crate) work: Work,
    /// The capture of the last attempt.
    pub(crate) capture: Option<CaptureId>,
    pub(crate) attempts: u32,
    /// Not before this time.
    pub(crate) due_ms: i64,
}

impl JobRow {
    pub(crate) fn new(work: Work) -> Self {
        Self { work, capture: None, attempts: 0, due_ms: 0 }
    }
}

impl Record for JobRow {
    const VERSION: u8 = 1;
}

/// An account's ledger; see [`terrane_snapshot::gc`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerRow {
    pub(crate) epoch: u64,
    pub(crate) next: u64,
    /// Counts what may have left garbage.
    pub(crate) dropped: u64,
    /// What was counted when the last complete collection began.
    pub(crate) collected: u64,
    /// Snapshots of the account.
    pub(crate) snapshots: u64,
}

impl Record for LedgerRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CaptureRow {
    pub(crate) nonce: u64,
    /// The epoch at its beginning.
    pub(crate) epoch: u64,
    pub(crate) parent: Option<ObjectRef>,
    /// Whether it looks for known chunks. Collections wait only for those that do.
    pub(crate) finds: bool,
}

impl Record for CaptureRow {
    const VERSION: u8 = 1;
}

/// What a root is: part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootCode {
    Snapshot = 0,
    /// Held by another account's copy, under the copy's identifier.
    Copying = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootRow {
    pub(crate) manifest: ObjectRef,
}

impl Record for RootRow {
    const VERSION: u8 = 1;
}

/// The chunks of a pack: to take them out of the table of known ones with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackRow {
    pub(crate) entries: Vec<PackEntry>,
}

impl Record for PackRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownRow {
    pub(crate) pack: ObjectName,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Record for KnownRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CondemnedRow {
    pub(crate) epoch: u64,
}

impl Record for CondemnedRow {
    const VERSION: u8 = 1;
}

/// A secret of the installation, sealed by the key service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretRow {
    pub(crate) envelope: Vec<u8>,
}

impl Record for SecretRow {
    const VERSION: u8 = 1;
}

pub(crate) static SNAPSHOTS: Table<Key, SnapshotRow> = Table::new("snapshots", &[]);
pub(crate) static OWNERS: Table<String, OwnerRow> = Table::new("snapshot-owners", &[]);
/// By grantee (an account, or [`EVERYBODY`]) and snapshot.
pub(crate) static SHARES: Table<(String, String), OwnerRow> = Table::new("snapshot-shares", &[]);
pub(crate) static TOKENS: Table<(AccountId, String), TokenRow> = Table::new("snapshot-tokens", &[]);
pub(crate) static BUILDS: Table<Key, BuildRow> = Table::new("snapshot-builds", &[]);
pub(crate) static BLOCKS: Table<(AccountId, String, u64), BlockRow> = Table::new("snapshot-blocks", &[]);
pub(crate) static JOBS: Table<Key, JobRow> = Table::new("snapshot-jobs", &[]);
pub(crate) static LEDGERS: Table<AccountId, LedgerRow> = Table::new("snapshot-ledgers", &[]);
pub(crate) static CAPTURES: Table<(AccountId, u64), CaptureRow> = Table::new("snapshot-captures", &[]);
pub(crate) static ROOTS: Table<(AccountId, u64, String), RootRow> = Table::new("snapshot-roots", &[]);
pub(crate) static PACKS: Table<Key, PackRow> = Table::new("snapshot-packs", &[]);
pub(crate) static KNOWN: Table<(AccountId, Vec<u8>), KnownRow> = Table::new("snapshot-known", &[]);
pub(crate) static CONDEMNED: Table<Key, CondemnedRow> = Table::new("snapshot-condemned", &[]);
pub(crate) static SECRETS: Table<u64, SecretRow> = Table::new("snapshot-secrets", &[]);

/// The grantee of what is public.
pub(crate) const EVERYBODY: &str = "all";

#[cfg(test)]
mod tests;
