//! Tiers: there is one, the standard one. Fast restore is how every restore is.

use std::borrow::Cow;

use super::{Query, Shelf, own, state, volume_of};
use crate::dto::{
    DescribeFastSnapshotRestoresRequest, DescribeFastSnapshotRestoresResult,
    DescribeSnapshotTierStatusRequest, DescribeSnapshotTierStatusResult, ModifySnapshotTierRequest,
    ModifySnapshotTierResult, RestoreSnapshotTierRequest, RestoreSnapshotTierResult, SnapshotTierStatus,
    StorageTier,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters};
use crate::front::Context;
use crate::front::words::{snapshot_id, tag_list};
use crate::page::Page;
use crate::service::{Scope, Snapshot, Tags};

/// A snapshot, as the filters of tiers see it.
struct Tiered<'a>(&'a Snapshot);

impl Filtered for Tiered<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "snapshot-id" => vec![self.0.id.as_str().into()],
            "volume-id" => vec![volume_of(self.0).into()],
            // Nothing was ever moved.
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}

pub(in crate::front) async fn describe_tiers(
    cx: &Context<'_>,
    request: DescribeSnapshotTierStatusRequest,
) -> Result<DescribeSnapshotTierStatusResult, Ec2Error> {
    let filters = Filters::of::<DescribeSnapshotTierStatusRequest>(request.filters.clone())?;
    let query = Query::of(&[], request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    let passes = |snapshot: &Snapshot| filters.pass(&Tiered(snapshot));
    let (found, next_token) = query.run(cx, Shelf::Scope(Scope::Own), passes).await?;
    let status = |snapshot: &Snapshot| SnapshotTierStatus {
        owner_id: Some(snapshot.owner.to_string()),
        snapshot_id: Some(snapshot.id.to_string()),
        status: Some(state(snapshot.state)),
        storage_tier: Some(StorageTier::Standard),
        tags: tag_list(&snapshot.tags),
        volume_id: Some(volume_of(snapshot)),
        ..SnapshotTierStatus::default()
    };
    let statuses = found.iter().map(status).collect();
    Ok(DescribeSnapshotTierStatusResult { snapshot_tier_statuses: Some(statuses), next_token })
}

pub(in crate::front) async fn modify_tier(
    cx: &Context<'_>,
    request: ModifySnapshotTierRequest,
) -> Result<ModifySnapshotTierResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    own(cx, &id).await?;
    Err(Ec2Error::unsupported("The storage tier 'archive' is not offered."))
}

pub(in crate::front) async fn restore_tier(
    cx: &Context<'_>,
    request: RestoreSnapshotTierRequest,
) -> Result<RestoreSnapshotTierResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    own(cx, &id).await?;
    let text = format!("The snapshot '{id}' is in the storage tier 'standard', and not archived.");
    Err(Ec2Error::new("IncorrectState", text))
}

pub(in crate::front) async fn describe_fast_restores(
    cx: &Context<'_>,
    request: DescribeFastSnapshotRestoresRequest,
) -> Result<DescribeFastSnapshotRestoresResult, Ec2Error> {
    Filters::of::<DescribeFastSnapshotRestoresRequest>(request.filters.clone())?;
    Page::of(request.next_token.as_deref(), request.max_results, |text| {
        terrane_types::SnapshotId::parse(text).ok()
    })?;
    cx.dry_run(&request)?;
    Ok(DescribeFastSnapshotRestoresResult { fast_snapshot_restores: Some(Vec::new()), next_token: None })
}
