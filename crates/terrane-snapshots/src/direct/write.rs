//! Building a snapshot: begun, written to in any order, sealed.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use terrane_ec2::service::{
    BLOCKS_PER_GIB, Caller, Completion, PutBlock, Snapshot, SnapshotError, SnapshotResult, SnapshotState,
    StartSnapshot,
};
use terrane_snapshot::{CaptureId, ChunkHash};
use terrane_store::Tx;
use terrane_types::SnapshotId;

use crate::ledger;
use crate::rows::{
    BLOCKS, BUILDS, BlockRow, BuildRow, JOBS, JobRow, OriginRow, RootCode, SNAPSHOTS, StateRow, TOKENS,
    TOUCH_MS, TokenRow, Work, key,
};
use crate::service::{insert, new_row};
use crate::show::{own, shown, state};
use crate::site::{CallError, Snapshots, format_error, now_ms};

/// Rows of one page of a scan.
const PAGE: usize = 1000;
/// How long CompleteSnapshot waits for the worker before it answers `pending`.
const COMPLETION_PATIENCE: Duration = Duration::from_secs(2);

/// What makes two requests with one token the same.
fn digest(start: &StartSnapshot) -> [u8; 32] {
    let StartSnapshot { size_gib, parent, description, tags, token: _, timeout_minutes } = start;
    let text = format!("{size_gib} {parent:?} {description:?} {tags:?} {timeout_minutes}");
    ChunkHash::of(text.as_bytes()).0
}

pub(crate) async fn start(
    tx: Tx,
    snapshots: &Snapshots,
    caller: &Caller,
    start: &StartSnapshot,
    id: &SnapshotId,
    nonce: u64,
) -> Result<Snapshot, CallError> {
    let account = &caller.account;
    if let Some(token) = &start.token
        && let Some(used) = TOKENS.get(&tx, &(account.clone(), token.clone())).await?
    {
        if used.digest != digest(start) {
            return Err(SnapshotError::TokenMismatch.into());
        }
        let row = own(&tx, caller, &used.snapshot).await?;
        return Ok(shown(account, used.snapshot, row, account));
    }
    let mut row = new_row(OriginRow::Direct, start.size_gib, id);
    let mut manifest = None;
    if let Some(parent) = &start.parent {
        let above = own(&tx, caller, parent).await?;
        if above.state != StateRow::Completed {
            let state = state(&above.state).as_str().to_owned();
            let id = parent.clone();
            return Err(SnapshotError::IncorrectState { id, state, expected: "completed" }.into());
        }
        if above.size_gib > start.size_gib {
            let text = format!("the parent's volume has {} GiB, and this one fewer", above.size_gib);
            return Err(SnapshotError::VolumeSize(text).into());
        }
        manifest = ledger::root(&tx, account, RootCode::Snapshot, parent).await?;
        row.lineage = above.lineage;
        row.parent = Some(parent.clone());
    }
    row.description.clone_from(&start.description);
    row.tags.clone_from(&start.tags);
    row.token.clone_from(&start.token);
    let capture = ledger::begin(&tx, account, manifest, false, nonce).await?;
    let build = BuildRow {
        capture,
        timeout_ms: i64::from(start.timeout_minutes) * 60_000,
        touched_ms: row.started_ms,
        sealed: false,
    };
    BUILDS.put(&tx, &key(account, id), &build).await?;
    if let Some(token) = &start.token {
        let used = TokenRow { digest: digest(start), snapshot: id.clone() };
        TOKENS.put(&tx, &(account.clone(), token.clone()), &used).await?;
    }
    insert(&tx, snapshots, account, id, &row).await?;
    Ok(shown(account, id.clone(), row, account))
}

/// A snapshot of the caller's that takes blocks.
async fn open(tx: &Tx, caller: &Caller, id: &SnapshotId) -> Result<(BuildRow, u32), CallError> {
    let (build, size_gib) = unfinished(tx, caller, id).await?;
    if build.sealed {
        let (id, state) = (id.clone(), "being completed".to_owned());
        return Err(SnapshotError::IncorrectState { id, state, expected: "pending" }.into());
    }
    Ok((build, size_gib))
}

/// A snapshot of the caller's that is not being assembled yet. It may be sealed: by a call that did not come to its end.
async fn unfinished(tx: &Tx, caller: &Caller, id: &SnapshotId) -> Result<(BuildRow, u32), CallError> {
    let row = own(tx, caller, id).await?;
    let row_key = key(&caller.account, id);
    let is_open = row.state == StateRow::Pending && JOBS.get(tx, &row_key).await?.is_none();
    match BUILDS.get(tx, &row_key).await?.filter(|_| is_open) {
        Some(build) => Ok((build, row.size_gib)),
        None => {
            let state = match row.state {
                StateRow::Pending => "being completed".to_owned(),
                other => state(&other).as_str().to_owned(),
            };
            let id = id.clone();
            Err(SnapshotError::IncorrectState { id, state, expected: "pending" }.into())
        }
    }
}

pub(crate) async fn put(
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
    put: PutBlock,
) -> SnapshotResult<()> {
    let site = &snapshots.0;
    let (build, size_gib) = snapshots.look(|tx| async move { open(&tx, caller, id).await }).await?;
    let blocks = u64::from(size_gib) * BLOCKS_PER_GIB;
    let number = u32::try_from(put.index).ok().filter(|_| put.index < blocks);
    let number = number.ok_or(SnapshotError::NoSuchBlock { index: put.index, blocks })?;
    let permit = tokio::time::timeout(site.config.block_patience, site.writes.acquire()).await;
    let _permit = permit.ok().and_then(Result::ok).ok_or(SnapshotError::Busy)?;
    let chunk = if put.data.iter().all(|byte| *byte == 0) {
        None
    } else {
        // Random, so that every block that is written, also over another one, has a name of its own.
        let capture = CaptureId { nonce: rand::random(), ..build.capture };
        let stored = site.vault(&caller.account).put_chunk(capture, number, &put.data).await;
        Some(stored.map_err(|error| format_error(&error))?)
    };
    let block = &BlockRow { chunk, sha256: put.sha256 };
    let enter = |tx: Tx| async move {
        let (mut build, _) = open(&tx, caller, id).await?;
        let now = now_ms();
        if now.saturating_sub(build.touched_ms) > TOUCH_MS {
            build.touched_ms = now;
            BUILDS.put(&tx, &key(&caller.account, id), &build).await?;
        }
        let place = (caller.account.clone(), id.as_str().to_owned(), put.index);
        BLOCKS.put(&tx, &place, block).await?;
        Ok(())
    };
    if let Err(error) = snapshots.call(enter).await {
        // The snapshot went while its block was being stored: nothing refers to the object.
        snapshots.call(|tx| async move { Ok(ledger::dropped(&tx, &caller.account).await?) }).await?;
        return Err(error);
    }
    site.metrics.blocks_written.inc();
    Ok(())
}

pub(crate) async fn complete(
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
    completion: Completion,
) -> SnapshotResult<SnapshotState> {
    let row_key = &key(&caller.account, id);
    let sealed = |is_sealed: bool| {
        move |tx: Tx| async move {
            let (mut build, _) = unfinished(&tx, caller, id).await?;
            build.sealed = is_sealed;
            Ok(BUILDS.put(&tx, row_key, &build).await?)
        }
    };
    snapshots.call(sealed(true)).await?;
    if let Err(error) = compare(snapshots, caller, id, completion).await {
        snapshots.call(sealed(false)).await?;
        return Err(error);
    }
    let begin = |tx: Tx| async move {
        let (mut build, _) = unfinished(&tx, caller, id).await?;
        build.sealed = true;
        BUILDS.put(&tx, row_key, &build).await?;
        Ok(JOBS.put(&tx, row_key, &JobRow::new(Work::Assemble)).await?)
    };
    snapshots.call(begin).await?;
    snapshots.0.wake.notify_one();
    let finished = async {
        loop {
            let done = snapshots.0.done.notified();
            let row = snapshots.look(|tx| async move { Ok(SNAPSHOTS.get(&tx, row_key).await?) }).await?;
            match row.map(|row| state(&row.state)) {
                Some(SnapshotState::Pending) => {}
                other => return Ok::<_, SnapshotError>(other.unwrap_or(SnapshotState::Error)),
            }
            // Another process's worker does not tell us.
            let _ = tokio::time::timeout(Duration::from_millis(200), done).await;
        }
    };
    tokio::time::timeout(COMPLETION_PATIENCE, finished).await.unwrap_or(Ok(SnapshotState::Pending))
}

/// Whether what was written is what the caller says was written.
async fn compare(
    snapshots: &Snapshots,
    caller: &Caller,
    id: &SnapshotId,
    completion: Completion,
) -> SnapshotResult<()> {
    let prefix = &(caller.account.clone(), id.as_str().to_owned());
    let (mut count, mut digest) = (0u64, Sha256::new());
    let mut after = None;
    loop {
        let from = &after;
        let scan = |tx: Tx| async move { Ok(BLOCKS.scan_prefix(&tx, prefix, from.as_ref(), PAGE).await?) };
        let rows = snapshots.look(scan).await?;
        count += rows.len() as u64;
        rows.iter().for_each(|(_, row)| digest.update(row.sha256));
        let is_last = rows.len() < PAGE;
        after = rows.into_iter().next_back().map(|(key, _)| key);
        if is_last {
            break;
        }
    }
    if count != completion.blocks {
        let text = format!("{} blocks are said to be written, and {count} were", completion.blocks);
        return Err(SnapshotError::Mismatch(text));
    }
    if completion.sha256.is_some_and(|sha256| <[u8; 32]>::from(digest.finalize()) != sha256) {
        return Err(SnapshotError::Mismatch("the checksum is not that of the blocks' checksums".into()));
    }
    Ok(())
}
