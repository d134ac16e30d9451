//! Locks.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{Query, Shelf, rehearse};
use crate::dto::{
    self, DescribeLockedSnapshotsRequest, DescribeLockedSnapshotsResult, LockSnapshotRequest,
    LockSnapshotResult, LockedSnapshotsInfo, UnlockSnapshotRequest, UnlockSnapshotResult,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters};
use crate::front::Context;
use crate::front::words::{int, snapshot_id};
use crate::service::{Lock, LockEnd, LockMode, LockState, LockWish, Scope, Snapshot, SnapshotError};

fn state(state: LockState) -> dto::LockState {
    match state {
        LockState::Governance => dto::LockState::Governance,
        LockState::Compliance => dto::LockState::Compliance,
        LockState::ComplianceCooloff => dto::LockState::ComplianceCooloff,
        LockState::Expired => dto::LockState::Expired,
    }
}

pub(in crate::front) async fn lock(
    cx: &Context<'_>,
    request: LockSnapshotRequest,
) -> Result<LockSnapshotResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    let days = request.lock_duration.and_then(|days| u32::try_from(days).ok());
    let until = match (days, request.expiration_date) {
        (Some(_), Some(_)) => {
            return Err(Ec2Error::combination(
                "The parameter LockDuration cannot be used with the parameter ExpirationDate",
            ));
        }
        (Some(days), None) => LockEnd::Days(days),
        (None, Some(at)) => LockEnd::At(at),
        (None, None) => return Err(Ec2Error::missing("LockDuration or ExpirationDate")),
    };
    let mode = match request.lock_mode {
        dto::LockMode::Governance => LockMode::Governance,
        dto::LockMode::Compliance => LockMode::Compliance,
    };
    let cool_off_hours = request.cool_off_period.and_then(|hours| u32::try_from(hours).ok());
    if mode == LockMode::Governance && cool_off_hours.is_some() {
        let text = "The parameter CoolOffPeriod can be used with the lock mode compliance only";
        return Err(Ec2Error::combination(text));
    }
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    let locked = cx.snapshots.lock_snapshot(cx.caller, &id, LockWish { mode, cool_off_hours, until }).await?;
    let lock = locked.lock.ok_or_else(|| SnapshotError::Internal("a lock is not there".into()))?;
    Ok(LockSnapshotResult {
        cool_off_period: lock.cool_off_hours.map(int),
        cool_off_period_expires_on: lock.cool_off_expires(),
        lock_created_on: Some(lock.created),
        lock_duration: Some(int(lock.duration_days)),
        lock_duration_start_time: lock.duration_start,
        lock_expires_on: lock.expires,
        lock_state: Some(state(lock.state(Timestamp::now()))),
        snapshot_id: Some(id.to_string()),
    })
}

pub(in crate::front) async fn unlock(
    cx: &Context<'_>,
    request: UnlockSnapshotRequest,
) -> Result<UnlockSnapshotResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    cx.snapshots.unlock_snapshot(cx.caller, &id).await?;
    Ok(UnlockSnapshotResult { snapshot_id: Some(id.to_string()) })
}

/// A locked snapshot, as filters see it.
struct Locked<'a>(&'a Lock, Timestamp);

impl Filtered for Locked<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "lock-state" => vec![state(self.0.state(self.1)).as_str().into()],
            _ => Vec::new(),
        }
    }
}

pub(in crate::front) async fn describe_locks(
    cx: &Context<'_>,
    request: DescribeLockedSnapshotsRequest,
) -> Result<DescribeLockedSnapshotsResult, Ec2Error> {
    let filters = Filters::of::<DescribeLockedSnapshotsRequest>(request.filters.clone())?;
    let query = Query::of(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    let now = Timestamp::now();
    let passes =
        |snapshot: &Snapshot| snapshot.lock.as_ref().is_some_and(|lock| filters.pass(&Locked(lock, now)));
    let (found, next_token) = query.run(cx, Shelf::Scope(Scope::Own), passes).await?;
    let snapshots = found.iter().filter_map(|snapshot| Some(info(snapshot, snapshot.lock.as_ref()?, now)));
    Ok(DescribeLockedSnapshotsResult { snapshots: Some(snapshots.collect()), next_token })
}

fn info(snapshot: &Snapshot, lock: &Lock, now: Timestamp) -> LockedSnapshotsInfo {
    LockedSnapshotsInfo {
        cool_off_period: lock.cool_off_hours.map(int),
        cool_off_period_expires_on: lock.cool_off_expires(),
        lock_created_on: Some(lock.created),
        lock_duration: Some(int(lock.duration_days)),
        lock_duration_start_time: lock.duration_start,
        lock_expires_on: lock.expires,
        lock_state: Some(state(lock.state(now))),
        owner_id: Some(snapshot.owner.to_string()),
        snapshot_id: Some(snapshot.id.to_string()),
    }
}
