//! Locks.

use jiff::Timestamp;
use terrane_ec2::service::{Caller, LockEnd, LockMode, LockState, LockWish, Snapshot, SnapshotError};
use terrane_store::Tx;
use terrane_types::SnapshotId;

use crate::rows::{LockRow, SNAPSHOTS, SnapshotRow, StateRow, key};
use crate::show::{lock as lock_of, own, shown};
use crate::site::CallError;

const DAY_MS: i64 = 86_400_000;

/// Whether the snapshot is protected now.
pub(crate) fn is_locked(row: &SnapshotRow, now: Timestamp) -> bool {
    row.lock.as_ref().is_some_and(|lock| lock_of(lock).state(now) != LockState::Expired)
}

/// What a completed snapshot's lock is: days that were asked for count from now.
pub(crate) fn start(lock: &mut LockRow, now_ms: i64) {
    if lock.start_ms.is_none() {
        lock.start_ms = Some(now_ms);
        lock.expires_ms.get_or_insert(now_ms.saturating_add(i64::from(lock.days).saturating_mul(DAY_MS)));
    }
}

fn refused(text: impl Into<String>) -> CallError {
    SnapshotError::LockRefused(text.into()).into()
}

pub(super) async fn lock(
    tx: Tx,
    caller: &Caller,
    id: &SnapshotId,
    wish: LockWish,
) -> Result<Snapshot, CallError> {
    let mut row = own(&tx, caller, id).await?;
    let now = Timestamp::now();
    let new = wanted(&row, wish, now)?;
    if let Some(old) = row.lock.as_ref()
        && lock_of(old).state(now) == LockState::Compliance
    {
        let is_longer = new.expires_ms.unwrap_or(i64::MAX) >= old.expires_ms.unwrap_or(i64::MAX);
        if !new.compliance || new.cool_off_hours.is_some() || !is_longer {
            let text = "a compliance lock whose cooling-off period is over can only be extended";
            return Err(refused(text));
        }
    }
    row.lock = Some(new);
    SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    Ok(shown(&caller.account, id.clone(), row, &caller.account))
}

/// The lock that a wish makes.
fn wanted(row: &SnapshotRow, wish: LockWish, now: Timestamp) -> Result<LockRow, CallError> {
    if matches!(row.state, StateRow::Error(_)) {
        return Err(refused("the snapshot came to nothing: there is nothing to lock"));
    }
    if wish.cool_off_hours.is_some_and(|hours| !(1..=72).contains(&hours)) {
        return Err(refused("the cooling-off period must be from 1 to 72 hours"));
    }
    let now_ms = now.as_millisecond();
    let (days, expires_ms) = match wish.until {
        LockEnd::Days(days) if (1..=36_500).contains(&days) => (days, None),
        LockEnd::Days(_) => return Err(refused("the duration must be from 1 to 36500 days")),
        LockEnd::At(end) => {
            let days = end.as_millisecond().saturating_sub(now_ms) / DAY_MS;
            let days = u32::try_from(days).ok().filter(|days| (1..=36_500).contains(days));
            let days = days.ok_or_else(|| refused("the end must be a day to 36500 days from now"))?;
            (days, Some(end.as_millisecond()))
        }
    };
    let mut lock = LockRow {
        compliance: wish.mode == LockMode::Compliance,
        created_ms: now_ms,
        cool_off_hours: wish.cool_off_hours,
        days,
        start_ms: None,
        expires_ms,
    };
    if row.state == StateRow::Completed {
        start(&mut lock, now_ms);
    }
    Ok(lock)
}

pub(super) async fn unlock(tx: Tx, caller: &Caller, id: &SnapshotId) -> Result<(), CallError> {
    let mut row = own(&tx, caller, id).await?;
    let state = row.lock.as_ref().map(|lock| lock_of(lock).state(Timestamp::now()));
    match state {
        None | Some(LockState::Expired) => return Err(refused(format!("snapshot {id} is not locked"))),
        Some(LockState::Compliance) => {
            return Err(refused("a compliance lock whose cooling-off period is over cannot be taken away"));
        }
        Some(LockState::Governance | LockState::ComplianceCooloff) => {}
    }
    row.lock = None;
    SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    Ok(())
}
