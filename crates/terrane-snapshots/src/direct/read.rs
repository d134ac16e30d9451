//! Listing, comparing and reading blocks.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use terrane_ec2::service::{
    BlockEntry, BlockList, BlockPage, Caller, ChangedBlock, SnapshotError, SnapshotResult,
};
use terrane_snapshot::{ObjectRef, Reader, diff};
use terrane_store::Tx;
use terrane_types::{AccountId, SnapshotId};

use crate::ledger;
use crate::rows::{RootCode, SnapshotRow, StateRow};
use crate::show::{state, usable};
use crate::site::{CallError, Inner, Snapshots, format_error};
use crate::tokens::Subject;

/// A snapshot that can be read, by whom it is and where.
struct Readable {
    owner: AccountId,
    row: SnapshotRow,
    manifest: ObjectRef,
}

async fn readable(tx: &Tx, caller: &Caller, id: &SnapshotId) -> Result<Readable, CallError> {
    let (owner, row) = usable(tx, caller, id).await?;
    if row.state != StateRow::Completed {
        let state = state(&row.state).as_str().to_owned();
        return Err(SnapshotError::IncorrectState { id: id.clone(), state, expected: "completed" }.into());
    }
    let manifest = ledger::root(tx, &owner, RootCode::Snapshot, id).await?;
    let manifest = manifest.ok_or_else(|| SnapshotError::Internal(format!("{id} has no root")))?;
    Ok(Readable { owner, row, manifest })
}

impl Readable {
    async fn reader(&self, site: &Inner, id: &SnapshotId) -> SnapshotResult<Arc<Reader>> {
        site.reader(&self.owner, id, &self.manifest).await
    }
}

/// Now and when new tokens expire, in seconds since 1970.
fn times(site: &Inner) -> (u64, u64) {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    (now, now.saturating_add(site.config.token_life.as_secs()))
}

fn at(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(Timestamp::MAX)
}

/// Where a page begins.
fn first_block(site: &Inner, subject: Subject<'_>, page: BlockPage<'_>, now: u64) -> SnapshotResult<u64> {
    match page.token {
        None => Ok(page.first),
        Some(token) => site.tokens.check(subject, token, now).ok_or(SnapshotError::PageToken),
    }
}

pub(crate) async fn list(
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
    page: BlockPage<'_>,
) -> SnapshotResult<BlockList<BlockEntry>> {
    let site = &snapshots.0;
    let found = snapshots.look(|tx| async move { readable(&tx, caller, id).await }).await?;
    let (now, expires) = times(site);
    let first = first_block(site, Subject::List(id), page, now)?;
    let reader = found.reader(site, id).await?;
    let (blocks, next) = reader.list(first, page.limit).await.map_err(|error| format_error(&error))?;
    let entry =
        |(index, _)| BlockEntry { index, token: site.tokens.make(Subject::Block(id, index), expires, 0) };
    Ok(BlockList {
        blocks: blocks.into_iter().map(entry).collect(),
        expires: at(expires),
        size_gib: found.row.size_gib,
        next: next.map(|next| site.tokens.make(Subject::List(id), expires, next)),
    })
}

pub(crate) async fn changed(
    snapshots: &Snapshots,
    caller: &Caller,
    first: &SnapshotId,
    second: &SnapshotId,
    page: BlockPage<'_>,
) -> SnapshotResult<BlockList<ChangedBlock>> {
    let site = &snapshots.0;
    let both = |tx: Tx| async move {
        Ok((readable(&tx, caller, first).await?, readable(&tx, caller, second).await?))
    };
    let (old, new) = snapshots.look(both).await?;
    // One lineage is of one account: copies of another's are written anew.
    if old.owner != new.owner || old.row.lineage != new.row.lineage {
        return Err(SnapshotError::Unrelated);
    }
    let subject = Subject::Changes(first, second);
    let (now, expires) = times(site);
    let from = first_block(site, subject, page, now)?;
    let (before, after) = (old.reader(site, first).await?, new.reader(site, second).await?);
    let vault = site.vault(&new.owner);
    let changes = diff::changed(&vault, Some(before.manifest()), after.manifest(), from, page.limit).await;
    let changes = changes.map_err(|error| format_error(&error))?;
    let token = |id, index| site.tokens.make(Subject::Block(id, index), expires, 0);
    let entry = |change: diff::Change| ChangedBlock {
        index: change.chunk,
        first: change.first.map(|_| token(first, change.chunk)),
        second: change.second.map(|_| token(second, change.chunk)),
    };
    Ok(BlockList {
        blocks: changes.changes.into_iter().map(entry).collect(),
        expires: at(expires),
        size_gib: new.row.size_gib,
        next: changes.next.map(|next| site.tokens.make(subject, expires, next)),
    })
}

pub(crate) async fn block(
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
    index: u64,
    token: &str,
) -> SnapshotResult<Bytes> {
    let site = &snapshots.0;
    let found = snapshots.look(|tx| async move { readable(&tx, caller, id).await }).await?;
    let (now, _) = times(site);
    site.tokens.check(Subject::Block(id, index), token, now).ok_or(SnapshotError::BlockToken)?;
    let reader = found.reader(site, id).await?;
    let bytes = reader.chunk(index).await.map_err(|error| format_error(&error))?;
    site.metrics.blocks_read.inc();
    // Only blocks with content have tokens, and a snapshot never changes.
    bytes.ok_or(SnapshotError::BlockToken)
}
