//! Deletion, at once or by way of the recycle bin.

use jiff::Timestamp;
use terrane_ec2::service::{Caller, Select, Snapshot, SnapshotError};
use terrane_store::{StoreError, Tx};
use terrane_types::{AccountId, SnapshotId};

use super::{gone, locks, permissions};
use crate::ledger;
use crate::rows::{
    BUILDS, JOBS, JobRow, OWNERS, RootCode, SNAPSHOTS, SnapshotRow, StateRow, TOKENS, Work, key,
};
use crate::show::{own, own_page, own_row, shown};
use crate::site::{CallError, Snapshots, now_ms};

pub(super) async fn delete(
    tx: Tx,
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
) -> Result<(), CallError> {
    let mut row = own(&tx, caller, id).await?;
    if locks::is_locked(&row, Timestamp::now()) {
        return Err(SnapshotError::Locked(id.clone()).into());
    }
    let keep = snapshots.0.config.recycle;
    if keep.is_zero() || row.state != StateRow::Completed {
        return erase(&tx, &caller.account, id, &row).await;
    }
    let now = now_ms();
    let until = now.saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    permissions::unlist(&tx, id, &row).await?;
    row.recycled_ms = Some((now, until));
    SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    Ok(())
}

/// Takes a snapshot out of all tables. What only it referred to is garbage.
pub(crate) async fn erase(
    tx: &Tx,
    account: &AccountId,
    id: &SnapshotId,
    row: &SnapshotRow,
) -> Result<(), CallError> {
    let row_key = key(account, id);
    permissions::unlist(tx, id, row).await?;
    OWNERS.delete(tx, &id.as_str().to_owned()).await?;
    SNAPSHOTS.delete(tx, &row_key).await?;
    ledger::discount_snapshot(tx, account).await?;
    if let Some(token) = &row.token {
        TOKENS.delete(tx, &(account.clone(), token.clone())).await?;
    }
    ledger::drop_root(tx, account, RootCode::Snapshot, id).await?;
    abandon(tx, account, id).await?;
    Ok(())
}

/// Ends what is being done for a snapshot, and has its blocks taken away.
pub(crate) async fn abandon(tx: &Tx, account: &AccountId, id: &SnapshotId) -> Result<(), StoreError> {
    let row_key = key(account, id);
    let job = JOBS.get(tx, &row_key).await?;
    if let Some(job) = &job {
        if let Some(capture) = job.capture {
            ledger::end(tx, account, capture).await?;
        }
        if let Work::Copy { owner, .. } = &job.work {
            ledger::drop_root(tx, owner, RootCode::Copying, id).await?;
        }
        JOBS.delete(tx, &row_key).await?;
    }
    if BUILDS.get(tx, &row_key).await?.is_some() {
        JOBS.put(tx, &row_key, &JobRow::new(Work::Clean)).await?;
    }
    Ok(())
}

pub(super) async fn recycled(
    tx: Tx,
    caller: &Caller,
    select: &Select<'_, SnapshotId>,
) -> Result<Vec<Snapshot>, CallError> {
    match select {
        Select::Page { after, limit } => {
            own_page(&tx, caller, *after, *limit, |row| row.recycled_ms.is_some()).await
        }
        Select::Ids(ids) => {
            let mut found = Vec::with_capacity(ids.len());
            for id in *ids {
                let row = own_row(&tx, &caller.account, id).await?;
                if row.recycled_ms.is_none() {
                    return gone(id);
                }
                found.push(shown(&caller.account, id.clone(), row, &caller.account));
            }
            Ok(found)
        }
    }
}

pub(super) async fn restore(tx: Tx, caller: &Caller, id: &SnapshotId) -> Result<Snapshot, CallError> {
    let mut row = own_row(&tx, &caller.account, id).await?;
    if row.recycled_ms.take().is_none() {
        return gone(id);
    }
    permissions::list(&tx, &caller.account, id, &row).await?;
    SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    Ok(shown(&caller.account, id.clone(), row, &caller.account))
}
