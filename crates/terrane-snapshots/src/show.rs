//! Looking at snapshots: whose, which, in which form.

use jiff::Timestamp;
use terrane_ec2::service::{
    Caller, Lock, LockMode, Permissions, Scope, Select, Snapshot, SnapshotError, SnapshotState, Tags,
};
use terrane_store::Tx;
use terrane_types::{AccountId, SnapshotId};

use crate::rows::{
    EVERYBODY, Key, LockRow, OWNERS, OriginRow, SHARES, SNAPSHOTS, SnapshotRow, StateRow, key,
};
use crate::site::{CallError, not_found};

/// A time that a row has; rows are written by us, and hold times of this era.
pub(crate) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn lock(row: &LockRow) -> Lock {
    Lock {
        mode: if row.compliance { LockMode::Compliance } else { LockMode::Governance },
        created: time(row.created_ms),
        cool_off_hours: row.cool_off_hours,
        duration_days: row.days,
        duration_start: row.start_ms.map(time),
        expires: row.expires_ms.map(time),
    }
}

pub(crate) fn state(row: &StateRow) -> SnapshotState {
    match row {
        StateRow::Pending => SnapshotState::Pending,
        StateRow::Completed => SnapshotState::Completed,
        StateRow::Error(_) => SnapshotState::Error,
    }
}

/// A snapshot as this account sees it.
pub(crate) fn shown(owner: &AccountId, id: SnapshotId, row: SnapshotRow, viewer: &AccountId) -> Snapshot {
    let is_own = owner == viewer;
    let permissions = match is_own {
        true => Permissions { accounts: row.shared_with, public: row.public },
        false => Permissions {
            accounts: row.shared_with.into_iter().filter(|account| account == viewer).collect(),
            public: row.public,
        },
    };
    Snapshot {
        id,
        owner: owner.clone(),
        volume: row.volume,
        size_gib: row.size_gib,
        state: state(&row.state),
        message: match row.state {
            StateRow::Error(message) => Some(message),
            StateRow::Pending | StateRow::Completed => None,
        },
        progress: row.progress,
        started: time(row.started_ms),
        completed: row.completed_ms.map(time),
        description: row.description,
        parent: row.parent.filter(|_| is_own),
        full_bytes: row.full_bytes,
        is_copy: row.origin == OriginRow::Copy,
        permissions,
        lock: row.lock.as_ref().filter(|_| is_own).map(lock),
        recycled: row.recycled_ms.filter(|_| is_own).map(|(enter, exit)| (time(enter), time(exit))),
        tags: if is_own { row.tags } else { Tags::new() },
    }
}

/// A snapshot of the caller's, in the recycle bin or not.
pub(crate) async fn own_row(tx: &Tx, account: &AccountId, id: &SnapshotId) -> Result<SnapshotRow, CallError> {
    let row = SNAPSHOTS.get(tx, &key(account, id)).await?;
    row.ok_or_else(|| not_found(id).into())
}

/// A snapshot of the caller's that is not in the recycle bin.
pub(crate) async fn own(tx: &Tx, caller: &Caller, id: &SnapshotId) -> Result<SnapshotRow, CallError> {
    let row = own_row(tx, &caller.account, id).await?;
    if row.recycled_ms.is_some() { Err(not_found(id).into()) } else { Ok(row) }
}

/// A snapshot that the caller may use: its own, or one that was shared with it; with its owner.
pub(crate) async fn usable(
    tx: &Tx,
    caller: &Caller,
    id: &SnapshotId,
) -> Result<(AccountId, SnapshotRow), CallError> {
    let owner = OWNERS.get(tx, &id.as_str().to_owned()).await?.ok_or_else(|| not_found(id))?.owner;
    let row = SNAPSHOTS.get(tx, &key(&owner, id)).await?.ok_or_else(|| not_found(id))?;
    let is_allowed = owner == caller.account || row.public || row.shared_with.contains(&caller.account);
    if is_allowed && row.recycled_ms.is_none() { Ok((owner, row)) } else { Err(not_found(id).into()) }
}

/// The snapshots that a call names: all of them, or the error that names those which are not there.
pub(crate) async fn named(
    tx: &Tx,
    caller: &Caller,
    scope: Scope,
    ids: &[SnapshotId],
) -> Result<Vec<Snapshot>, CallError> {
    let mut found = Vec::with_capacity(ids.len());
    let mut missing = Vec::new();
    for id in ids {
        let row = match scope {
            Scope::Own => own(tx, caller, id).await.map(|row| (caller.account.clone(), row)),
            Scope::Usable => usable(tx, caller, id).await,
        };
        match row {
            Ok((owner, row)) => found.push(shown(&owner, id.clone(), row, &caller.account)),
            Err(CallError::Refused(SnapshotError::NotFound(_))) => missing.push(id.clone()),
            Err(error) => return Err(error),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(SnapshotError::NotFound(missing).into()) }
}

/// The next own snapshots that `wanted` takes; fewer than `limit` mean that there are no more.
pub(crate) async fn own_page(
    tx: &Tx,
    caller: &Caller,
    after: Option<&SnapshotId>,
    limit: usize,
    wanted: impl Fn(&SnapshotRow) -> bool,
) -> Result<Vec<Snapshot>, CallError> {
    let account = &caller.account;
    let mut after: Option<Key> = after.map(|id| key(account, id));
    let mut found = Vec::new();
    while found.len() < limit {
        let rows = SNAPSHOTS.scan_prefix(tx, account, after.as_ref(), limit).await?;
        let is_last = rows.len() < limit;
        after = rows.last().map(|(key, _)| key.clone());
        for ((_, id), row) in rows {
            if wanted(&row) && found.len() < limit {
                found.push(shown(account, parsed(&id)?, row, account));
            }
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

fn parsed(id: &str) -> Result<SnapshotId, CallError> {
    let broken = |_| SnapshotError::Internal(format!("a row names the snapshot {id:?}"));
    Ok(SnapshotId::parse(id).map_err(broken)?)
}

/// The next snapshots that the caller may use, merged from its own, those shared with it and public ones.
pub(crate) async fn usable_page(
    tx: &Tx,
    caller: &Caller,
    after: Option<&SnapshotId>,
    limit: usize,
) -> Result<Vec<Snapshot>, CallError> {
    let mut found = own_page(tx, caller, after, limit, |row| row.recycled_ms.is_none()).await?;
    for grantee in [caller.account.as_str(), EVERYBODY] {
        let start = after.map(|id| (grantee.to_owned(), id.as_str().to_owned()));
        // One more page would be needed only if a snapshot were listed here and gone: they go together.
        for ((_, id), row) in SHARES.scan_prefix(tx, &grantee, start.as_ref(), limit).await? {
            let id = parsed(&id)?;
            match SNAPSHOTS.get(tx, &key(&row.owner, &id)).await? {
                Some(snapshot) if row.owner != caller.account => {
                    found.push(shown(&row.owner, id, snapshot, &caller.account));
                }
                _ => {}
            }
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(limit);
    Ok(found)
}

/// A page or what is named.
pub(crate) async fn select(
    tx: Tx,
    caller: &Caller,
    scope: Scope,
    select: &Select<'_, SnapshotId>,
) -> Result<Vec<Snapshot>, CallError> {
    match (select, scope) {
        (Select::Ids(ids), _) => named(&tx, caller, scope, ids).await,
        (Select::Page { after, limit }, Scope::Own) => {
            own_page(&tx, caller, *after, *limit, |row| row.recycled_ms.is_none()).await
        }
        (Select::Page { after, limit }, Scope::Usable) => usable_page(&tx, caller, *after, *limit).await,
    }
}
