//! What comes round: giving up, emptying the recycle bin, collecting garbage.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use terrane_store::{Result, StoreError, Tx};
use terrane_types::{AccountId, SnapshotId};

use super::Office;
use crate::gc::StoredLedger;
use crate::rows::{BUILDS, BuildRow, JOBS, Key, LEDGERS, LedgerRow, SNAPSHOTS, SnapshotRow, StateRow};
use crate::service::{abandon, erase};
use crate::site::{CallError, Snapshots, now_ms};

/// Rows of one page of a scan.
const PAGE: usize = 1000;
/// Accounts whose garbage is collected at the same time.
const COLLECTIONS_MAX: usize = 4;
/// Objects that one cycle condemns at most: then there may be more.
const CONDEMNED_MAX: usize = 100_000;
/// How often it is looked whether captures have ended.
const POLL: Duration = Duration::from_millis(500);

/// Gives up what nobody writes to and nobody completes.
pub(super) async fn expire(snapshots: &Snapshots, office: &Office) -> Result<()> {
    let site = &snapshots.0;
    let mut after: Option<Key> = None;
    loop {
        let from = &after;
        let rows = site.store.read(|tx| async move { BUILDS.scan(&tx, from.as_ref(), PAGE).await }).await?;
        let is_last = rows.len() < PAGE;
        after = rows.last().map(|(key, _)| key.clone());
        for (key, _) in rows.into_iter().filter(|(_, row)| is_over(row)) {
            let given_up = site.store.transact(|tx| give_up(tx, office, &key)).await?;
            if given_up {
                tracing::info!(snapshot = key.1, "nobody completed it in time");
                site.metrics.expired.inc();
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

fn is_over(build: &BuildRow) -> bool {
    now_ms() > build.touched_ms.saturating_add(build.timeout_ms)
}

async fn give_up(tx: Tx, office: &Office, key: &Key) -> Result<bool> {
    office.fence(&tx).await?;
    let Some(build) = BUILDS.get(&tx, key).await? else { return Ok(false) };
    // What is being completed or taken away takes as long as it takes.
    if !is_over(&build) || JOBS.get(&tx, key).await?.is_some() {
        return Ok(false);
    }
    fail(&tx, key, "It was not completed in time.").await?;
    Ok(true)
}

/// A snapshot has come to nothing.
pub(super) async fn fail(tx: &Tx, key: &Key, why: &str) -> Result<()> {
    if let Some(mut row) = SNAPSHOTS.get(tx, key).await? {
        row.state = StateRow::Error(why.to_owned());
        SNAPSHOTS.put(tx, key, &row).await?;
    }
    let id = SnapshotId::parse(&key.1).map_err(|_| StoreError::Usage("a key of a snapshot is none"))?;
    abandon(tx, &key.0, &id).await
}

/// Empties the recycle bin of what leaves it, and collects the garbage of all accounts that may have some.
pub(super) async fn collect(snapshots: &Snapshots, office: &Office) {
    if let Err(error) = empty_bin(snapshots, office).await {
        tracing::warn!(%error, "the recycle bin is not emptied");
    }
    let site = &snapshots.0;
    let mut after: Option<AccountId> = None;
    loop {
        let from = &after;
        let scan = |tx: Tx| async move { LEDGERS.scan(&tx, from.as_ref(), PAGE).await };
        let rows = match site.store.read(scan).await {
            Ok(rows) => rows,
            Err(error) => return tracing::warn!(%error, "garbage is not collected"),
        };
        let is_last = rows.len() < PAGE;
        after = rows.last().map(|(account, _)| account.clone());
        let dirty = rows.into_iter().filter(|(_, row)| row.dropped != row.collected);
        let cycle = |(account, row)| cycle(snapshots, office, account, row);
        stream::iter(dirty).map(cycle).buffer_unordered(COLLECTIONS_MAX).collect::<Vec<()>>().await;
        if is_last {
            return;
        }
    }
}

async fn cycle(snapshots: &Snapshots, office: &Office, account: AccountId, before: LedgerRow) {
    let site = &snapshots.0;
    let ledger = StoredLedger { store: &site.store, account: &account, office };
    let vault = site.vault(&account);
    let report = match terrane_snapshot::gc::collect(&vault, &ledger, site.config.grace, POLL).await {
        Ok(report) => report,
        Err(error) => return tracing::warn!(%account, %error, "a collection of garbage ended"),
    };
    site.metrics.collections.inc();
    site.metrics.objects_deleted.inc_by(report.deleted as u64);
    if !report.complete {
        site.metrics.collections_incomplete.inc();
        return tracing::warn!(%account, ?report, "something could not be read: nothing was deleted");
    }
    tracing::debug!(%account, ?report, "garbage collected");
    if report.failed > 0 || report.condemned >= CONDEMNED_MAX {
        return;
    }
    let clean = |tx: Tx| {
        let account = &account;
        async move {
            office.fence(&tx).await?;
            let mut row = LEDGERS.get(&tx, account).await?.unwrap_or_default();
            row.collected = before.dropped;
            LEDGERS.put(&tx, account, &row).await
        }
    };
    if let Err(error) = site.store.transact(clean).await {
        tracing::warn!(%account, %error, "that garbage was collected is not remembered");
    }
}

async fn empty_bin(snapshots: &Snapshots, office: &Office) -> Result<()> {
    let site = &snapshots.0;
    let leaves = |row: &SnapshotRow| row.recycled_ms.is_some_and(|(_, exit)| exit <= now_ms());
    let mut after: Option<Key> = None;
    loop {
        let from = &after;
        let rows =
            site.store.read(|tx| async move { SNAPSHOTS.scan(&tx, from.as_ref(), PAGE).await }).await?;
        let is_last = rows.len() < PAGE;
        after = rows.last().map(|(key, _)| key.clone());
        for (key, _) in rows.into_iter().filter(|(_, row)| leaves(row)) {
            let key = &key;
            let erased = site.store.transact(|tx| async move {
                office.fence(&tx).await?;
                let Ok(id) = SnapshotId::parse(&key.1) else { return Ok(()) };
                match SNAPSHOTS.get(&tx, key).await? {
                    Some(row) if leaves(&row) => erase(&tx, &key.0, &id, &row).await,
                    _ => Ok::<_, CallError>(()),
                }
            });
            match erased.await {
                Ok(()) => tracing::info!(snapshot = key.1, "it has left the recycle bin"),
                Err(CallError::Store(error)) => return Err(error),
                Err(CallError::Refused(error)) => tracing::warn!(%error, "it stays in the recycle bin"),
            }
        }
        if is_last {
            return Ok(());
        }
    }
}
