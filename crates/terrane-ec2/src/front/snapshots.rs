//! Snapshots. There are none yet: listings are empty, one that is named is not found, and none can be made.

use terrane_types::SnapshotId;

use super::volumes::existing;
use super::words::{instance_id, snapshot_id, snapshot_ids, volume_id};
use super::{Context, tags};
use crate::dto::{
    CopySnapshotRequest, CopySnapshotResult, CreateSnapshotRequest, CreateSnapshotsRequest,
    CreateSnapshotsResult, DeleteSnapshotRequest, DescribeFastSnapshotRestoresRequest,
    DescribeFastSnapshotRestoresResult, DescribeLockedSnapshotsRequest, DescribeLockedSnapshotsResult,
    DescribeSnapshotAttributeRequest, DescribeSnapshotAttributeResult, DescribeSnapshotTierStatusRequest,
    DescribeSnapshotTierStatusResult, DescribeSnapshotsRequest, DescribeSnapshotsResult,
    ListSnapshotsInRecycleBinRequest, ListSnapshotsInRecycleBinResult, LockSnapshotRequest,
    LockSnapshotResult, ModifySnapshotAttributeRequest, ModifySnapshotTierRequest, ModifySnapshotTierResult,
    ResetSnapshotAttributeRequest, RestoreSnapshotFromRecycleBinRequest, RestoreSnapshotFromRecycleBinResult,
    RestoreSnapshotTierRequest, RestoreSnapshotTierResult, Snapshot, UnlockSnapshotRequest,
    UnlockSnapshotResult,
};
use crate::error::Ec2Error;
use crate::filter::Filters;
use crate::page::{Page, not_with_ids};
use crate::service::Select;
use crate::xml::Done;

/// The answer to a call that names snapshots.
pub(super) fn not_found(ids: &[SnapshotId]) -> Ec2Error {
    let list = ids.iter().map(SnapshotId::as_str).collect::<Vec<_>>().join(", ");
    Ec2Error::new("InvalidSnapshot.NotFound", format!("The snapshot '{list}' does not exist."))
}

/// Calls about one snapshot.
macro_rules! about_one {
    ($($handler:ident: $request:ident . $id:ident => $answer:ident,)*) => {$(
        pub(super) async fn $handler(_: &Context<'_>, request: $request) -> Result<$answer, Ec2Error> {
            Err(not_found(&[snapshot_id(&request.$id)?]))
        }
    )*};
}

about_one! {
    delete: DeleteSnapshotRequest.snapshot_id => Done,
    copy: CopySnapshotRequest.source_snapshot_id => CopySnapshotResult,
    describe_attribute: DescribeSnapshotAttributeRequest.snapshot_id => DescribeSnapshotAttributeResult,
    modify_attribute: ModifySnapshotAttributeRequest.snapshot_id => Done,
    reset_attribute: ResetSnapshotAttributeRequest.snapshot_id => Done,
    modify_tier: ModifySnapshotTierRequest.snapshot_id => ModifySnapshotTierResult,
    restore_tier: RestoreSnapshotTierRequest.snapshot_id => RestoreSnapshotTierResult,
    lock: LockSnapshotRequest.snapshot_id => LockSnapshotResult,
    unlock: UnlockSnapshotRequest.snapshot_id => UnlockSnapshotResult,
    restore_recycled: RestoreSnapshotFromRecycleBinRequest.snapshot_id => RestoreSnapshotFromRecycleBinResult,
}

/// Listings that have filters and pages.
macro_rules! listing {
    ($($handler:ident: $request:ident => $answer:ident . $list:ident,)*) => {$(
        pub(super) async fn $handler(cx: &Context<'_>, request: $request) -> Result<$answer, Ec2Error> {
            Filters::of::<$request>(request.filters.clone())?;
            page(request.next_token.as_deref(), request.max_results)?;
            cx.dry_run(&request)?;
            Ok($answer { $list: Some(Vec::new()), next_token: None })
        }
    )*};
}

listing! {
    describe_tiers: DescribeSnapshotTierStatusRequest =>
        DescribeSnapshotTierStatusResult.snapshot_tier_statuses,
    describe_fast_restores: DescribeFastSnapshotRestoresRequest =>
        DescribeFastSnapshotRestoresResult.fast_snapshot_restores,
}

fn page(token: Option<&str>, results: Option<i32>) -> Result<(), Ec2Error> {
    Page::of(token, results, |text| SnapshotId::parse(text).ok()).map(|_| ())
}

/// Identifiers, and pages which do not go with them.
fn check(ids: &[String], token: Option<&str>, results: Option<i32>) -> Result<(), Ec2Error> {
    not_with_ids(ids, "SnapshotId", token, results)?;
    page(token, results)?;
    match &*snapshot_ids(ids)? {
        [] => Ok(()),
        ids => Err(not_found(ids)),
    }
}

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeSnapshotsRequest,
) -> Result<DescribeSnapshotsResult, Ec2Error> {
    Filters::of::<DescribeSnapshotsRequest>(request.filters.clone())?;
    check(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    Ok(DescribeSnapshotsResult { snapshots: Some(Vec::new()), next_token: None })
}

pub(super) async fn describe_locks(
    cx: &Context<'_>,
    request: DescribeLockedSnapshotsRequest,
) -> Result<DescribeLockedSnapshotsResult, Ec2Error> {
    Filters::of::<DescribeLockedSnapshotsRequest>(request.filters.clone())?;
    check(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    Ok(DescribeLockedSnapshotsResult { snapshots: Some(Vec::new()), next_token: None })
}

pub(super) async fn list_recycled(
    cx: &Context<'_>,
    request: ListSnapshotsInRecycleBinRequest,
) -> Result<ListSnapshotsInRecycleBinResult, Ec2Error> {
    check(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    Ok(ListSnapshotsInRecycleBinResult { snapshots: Some(Vec::new()), next_token: None })
}

pub(super) async fn create(cx: &Context<'_>, request: CreateSnapshotRequest) -> Result<Snapshot, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    tags::of_new(&request.tag_specifications, "snapshot")?;
    existing(cx, &id).await?;
    Err(not_offered())
}

pub(super) async fn create_many(
    cx: &Context<'_>,
    request: CreateSnapshotsRequest,
) -> Result<CreateSnapshotsResult, Ec2Error> {
    let id = instance_id(&request.instance_specification.instance_id)?;
    tags::of_new(&request.tag_specifications, "snapshot")?;
    cx.service.instances(cx.caller, Select::Ids(&[id])).await?;
    Err(not_offered())
}

fn not_offered() -> Ec2Error {
    Ec2Error::unsupported("Snapshots are not offered.")
}
