//! [`SnapshotService`]: each call is one transaction; the worker does the rest.

mod locks;
mod permissions;
mod remove;

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use terrane_ec2::service::{
    BlockEntry, BlockList, BlockPage, Caller, ChangedBlock, Completion, LockWish, NewSnapshot,
    PermissionChange, PutBlock, Scope, Select, Snapshot, SnapshotError, SnapshotResult, SnapshotService,
    SnapshotState, StartSnapshot, TAGS_MAX, TagRemoval, Tags,
};
use terrane_store::Tx;
use terrane_types::{AccountId, SnapshotId, VolumeId};

use crate::rows::{
    BUILDS, JOBS, JobRow, OWNERS, OriginRow, OwnerRow, RootCode, SNAPSHOTS, SnapshotRow, StateRow, Work, key,
};
use crate::show::{own, select, shown, usable};
use crate::site::{CallError, Snapshots, not_found, now_ms};
use crate::{direct, ledger};

pub(crate) use locks::start as start_lock;
pub(crate) use remove::{abandon, erase};

/// Puts a new snapshot into the tables, within the account's bounds.
pub(crate) async fn insert(
    tx: &Tx,
    snapshots: &Snapshots,
    account: &AccountId,
    id: &SnapshotId,
    row: &SnapshotRow,
) -> Result<(), CallError> {
    let config = &snapshots.0.config;
    if ledger::count_snapshot(tx, account, config.snapshots_max).await?.is_none() {
        return Err(SnapshotError::TooMany { what: "snapshots", max: config.snapshots_max }.into());
    }
    if row.state == StateRow::Pending {
        let max = config.pending_max;
        let pending = BUILDS.scan_prefix(tx, account, None, max + 1).await?.len()
            + JOBS.scan_prefix(tx, account, None, max + 1).await?.len();
        // The new one's own row is among them.
        if pending > max {
            return Err(SnapshotError::TooMany { what: "pending snapshots", max }.into());
        }
    }
    OWNERS.put(tx, &id.as_str().to_owned(), &OwnerRow { owner: account.clone() }).await?;
    SNAPSHOTS.put(tx, &key(account, id), row).await?;
    Ok(())
}

/// A new snapshot's row, pending.
pub(crate) fn new_row(origin: OriginRow, size_gib: u32, id: &SnapshotId) -> SnapshotRow {
    SnapshotRow {
        origin,
        volume: None,
        size_gib,
        state: StateRow::Pending,
        progress: 0,
        started_ms: now_ms(),
        completed_ms: None,
        description: String::new(),
        parent: None,
        lineage: id.as_str().to_owned(),
        full_bytes: None,
        shared_with: BTreeSet::new(),
        public: false,
        lock: None,
        recycled_ms: None,
        tags: Tags::new(),
        token: None,
    }
}

pub(crate) fn random_id() -> SnapshotId {
    SnapshotId::from_bits(rand::random())
}

/// A copy within an account is another root of the same manifest; one of another account's is written anew, with the
/// own key.
async fn copy(
    tx: Tx,
    snapshots: &Snapshots,
    caller: &Caller,
    source: &SnapshotId,
    id: &SnapshotId,
    new: &NewSnapshot,
) -> Result<Snapshot, CallError> {
    let (owner, original) = usable(&tx, caller, source).await?;
    if original.state != StateRow::Completed {
        let state = crate::show::state(&original.state).as_str().to_owned();
        let id = source.clone();
        return Err(SnapshotError::IncorrectState { id, state, expected: "completed" }.into());
    }
    let manifest = ledger::root(&tx, &owner, RootCode::Snapshot, source).await?;
    let manifest = manifest.ok_or_else(|| SnapshotError::Internal(format!("{source} has no root")))?;
    let mut row = new_row(OriginRow::Copy, original.size_gib, id);
    row.description.clone_from(&new.description);
    row.tags.clone_from(&new.tags);
    let account = &caller.account;
    if owner == *account {
        row.lineage = original.lineage;
        row.state = StateRow::Completed;
        row.progress = 100;
        row.completed_ms = Some(row.started_ms);
        row.full_bytes = original.full_bytes;
        ledger::put_root(&tx, account, RootCode::Snapshot, id, manifest).await?;
    } else {
        ledger::put_root(&tx, &owner, RootCode::Copying, id, manifest).await?;
        JOBS.put(&tx, &key(account, id), &JobRow::new(Work::Copy { owner, manifest })).await?;
    }
    insert(&tx, snapshots, account, id, &row).await?;
    Ok(shown(account, id.clone(), row, account))
}

/// Changes the tags of all of the caller's snapshots that are named.
async fn change_tags(
    tx: Tx,
    caller: &Caller,
    ids: &[SnapshotId],
    with: impl Fn(&mut Tags),
) -> Result<(), CallError> {
    for id in ids {
        let mut row = own(&tx, caller, id).await?;
        with(&mut row.tags);
        if row.tags.len() > TAGS_MAX {
            return Err(SnapshotError::TagLimit(id.clone()).into());
        }
        SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    }
    Ok(())
}

#[async_trait]
impl SnapshotService for Snapshots {
    async fn snapshots(
        &self,
        caller: &Caller,
        scope: Scope,
        what: Select<'_, SnapshotId>,
    ) -> SnapshotResult<Vec<Snapshot>> {
        self.look(|tx| select(tx, caller, scope, &what)).await
    }

    async fn recycled(&self, caller: &Caller, what: Select<'_, SnapshotId>) -> SnapshotResult<Vec<Snapshot>> {
        self.look(|tx| remove::recycled(tx, caller, &what)).await
    }

    async fn create_snapshots(
        &self,
        _: &Caller,
        _: &[VolumeId],
        _: &NewSnapshot,
    ) -> SnapshotResult<Vec<Snapshot>> {
        const TEXT: &str = "Snapshots of volumes are not offered; the EBS direct APIs build snapshots.";
        Err(SnapshotError::Unsupported(TEXT.into()))
    }

    async fn delete_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<()> {
        self.call(|tx| remove::delete(tx, self, caller, id)).await?;
        self.0.wake.notify_one();
        Ok(())
    }

    async fn copy_snapshot(
        &self,
        caller: &Caller,
        source: &SnapshotId,
        new: &NewSnapshot,
    ) -> SnapshotResult<Snapshot> {
        let id = &random_id();
        let made = self.call(|tx| copy(tx, self, caller, source, id, new)).await?;
        self.0.wake.notify_one();
        Ok(made)
    }

    async fn change_permissions(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        change: &PermissionChange,
    ) -> SnapshotResult<()> {
        self.call(|tx| permissions::change(tx, caller, id, change)).await
    }

    async fn lock_snapshot(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        wish: LockWish,
    ) -> SnapshotResult<Snapshot> {
        self.call(|tx| locks::lock(tx, caller, id, wish)).await
    }

    async fn unlock_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<()> {
        self.call(|tx| locks::unlock(tx, caller, id)).await
    }

    async fn restore_snapshot(&self, caller: &Caller, id: &SnapshotId) -> SnapshotResult<Snapshot> {
        self.call(|tx| remove::restore(tx, caller, id)).await
    }

    async fn tag_snapshots(&self, caller: &Caller, ids: &[SnapshotId], tags: &Tags) -> SnapshotResult<()> {
        self.call(|tx| change_tags(tx, caller, ids, |have| have.extend(tags.clone()))).await
    }

    async fn untag_snapshots(
        &self,
        caller: &Caller,
        ids: &[SnapshotId],
        tags: &[TagRemoval],
    ) -> SnapshotResult<()> {
        let goes = |key: &str, value: &str| {
            let named = |removal: &TagRemoval| {
                removal.key == key && removal.value.as_deref().is_none_or(|wanted| wanted == value)
            };
            tags.is_empty() || tags.iter().any(named)
        };
        self.call(|tx| change_tags(tx, caller, ids, |have| have.retain(|key, value| !goes(key, value)))).await
    }

    async fn start_snapshot(&self, caller: &Caller, start: StartSnapshot) -> SnapshotResult<Snapshot> {
        let (id, nonce) = (&random_id(), rand::random());
        self.call(|tx| direct::start(tx, self, caller, &start, id, nonce)).await
    }

    async fn put_block(&self, caller: &Caller, id: &SnapshotId, put: PutBlock) -> SnapshotResult<()> {
        direct::put(self, caller, id, put).await
    }

    async fn complete_snapshot(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        completion: Completion,
    ) -> SnapshotResult<SnapshotState> {
        direct::complete(self, caller, id, completion).await
    }

    async fn list_blocks(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        page: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<BlockEntry>> {
        direct::list(self, caller, id, page).await
    }

    async fn list_changed_blocks(
        &self,
        caller: &Caller,
        first: &SnapshotId,
        second: &SnapshotId,
        page: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<ChangedBlock>> {
        direct::changed(self, caller, first, second, page).await
    }

    async fn block(
        &self,
        caller: &Caller,
        id: &SnapshotId,
        index: u64,
        token: &str,
    ) -> SnapshotResult<Bytes> {
        direct::block(self, caller, id, index, token).await
    }
}

/// So that callers of deleted snapshots are answered alike.
pub(crate) fn gone<T>(id: &SnapshotId) -> Result<T, CallError> {
    Err(not_found(id).into())
}
