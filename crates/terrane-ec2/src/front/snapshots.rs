//! Snapshots: make, copy, delete, list. Who may use them, locks, the recycle bin and tiers are in modules of their own.

mod bin;
mod locks;
mod permissions;
mod tiers;

use std::borrow::Cow;

use async_trait::async_trait;
use terrane_types::{AccountId, SnapshotId, VolumeId};

use super::volumes::existing;
use super::words::{instance_id, int, snapshot_id, snapshot_ids, tag_list, volume_id, volume_ids};
use super::{Context, tags};
use crate::dto::{
    CopySnapshotRequest, CopySnapshotResult, CreateSnapshotRequest, CreateSnapshotsRequest,
    CreateSnapshotsResult, DeleteSnapshotRequest, DescribeSnapshotsRequest, DescribeSnapshotsResult,
    Snapshot, SnapshotInfo, SnapshotState, StorageTier, TransferType,
};
use crate::error::{Ec2Error, shortened};
use crate::filter::{Filtered, Filters, time};
use crate::operation::Operation;
use crate::page::{IDS_MAX, Page, Source, not_with_ids};
use crate::service::{
    self, DESCRIPTION_CHARS_MAX, NewSnapshot, Scope, Select, ServiceError, SnapshotError, Tags,
};
use crate::xml::Done;

pub(super) use bin::{list_recycled, restore_recycled};
pub(super) use locks::{describe_locks, lock, unlock};
pub(super) use permissions::{describe_attribute, modify_attribute, reset_attribute};
pub(super) use tiers::{describe_fast_restores, describe_tiers, modify_tier, restore_tier};

/// The volume of snapshots that are of none: the identifier that EC2 shows for them.
const NO_VOLUME: &str = "vol-ffffffff";

/// The answer to a call that names snapshots which are not there.
pub(super) fn not_found(ids: &[SnapshotId]) -> Ec2Error {
    SnapshotError::NotFound(ids.to_vec()).into()
}

/// The caller's snapshot, which must be there.
async fn own(cx: &Context<'_>, id: &SnapshotId) -> Result<service::Snapshot, Ec2Error> {
    let select = Select::Ids(std::slice::from_ref(id));
    let found = cx.snapshots.snapshots(cx.caller, Scope::Own, select).await?;
    found.into_iter().next().ok_or_else(|| not_found(std::slice::from_ref(id)))
}

/// Goes no further if the caller only wants to know; says, then, what is not there.
async fn rehearse<O: Operation>(
    cx: &Context<'_>,
    request: &O,
    shelf: Shelf,
    id: &SnapshotId,
) -> Result<(), Ec2Error> {
    if request.dry_run() {
        shelf.select(cx, Select::Ids(std::slice::from_ref(id))).await?;
    }
    cx.dry_run(request)
}

/// Listings are of identifiers, or in pages.
enum Query {
    These(Vec<SnapshotId>),
    Page(Page<SnapshotId>),
}

impl Query {
    fn of(ids: &[String], token: Option<&str>, results: Option<i32>) -> Result<Self, Ec2Error> {
        not_with_ids(ids, "SnapshotId", token, results)?;
        if !ids.is_empty() {
            return Ok(Self::These(snapshot_ids(ids)?));
        }
        Ok(Self::Page(Page::of(token, results, |text| SnapshotId::parse(text).ok())?))
    }

    async fn run(
        self,
        cx: &Context<'_>,
        shelf: Shelf,
        passes: impl Fn(&service::Snapshot) -> bool,
    ) -> Result<(Vec<service::Snapshot>, Option<String>), Ec2Error> {
        match self {
            Self::These(ids) => {
                let mut found = shelf.select(cx, Select::Ids(&ids)).await?;
                found.retain(passes);
                Ok((found, None))
            }
            Self::Page(page) => page.fill(&Listing { cx, shelf }, passes).await,
        }
    }
}

/// Where a listing looks.
#[derive(Clone, Copy)]
enum Shelf {
    /// Among what can be used.
    Scope(Scope),
    /// In the recycle bin.
    Bin,
}

impl Shelf {
    /// What is the caller's.
    const OWN: Self = Self::Scope(Scope::Own);

    async fn select(
        self,
        cx: &Context<'_>,
        select: Select<'_, SnapshotId>,
    ) -> Result<Vec<service::Snapshot>, SnapshotError> {
        match self {
            Self::Scope(scope) => cx.snapshots.snapshots(cx.caller, scope, select).await,
            Self::Bin => cx.snapshots.recycled(cx.caller, select).await,
        }
    }
}

struct Listing<'a> {
    cx: &'a Context<'a>,
    shelf: Shelf,
}

#[async_trait]
impl Source for Listing<'_> {
    type Id = SnapshotId;
    type Item = service::Snapshot;

    async fn fetch(
        &self,
        after: Option<&SnapshotId>,
        limit: usize,
    ) -> Result<Vec<service::Snapshot>, ServiceError> {
        self.shelf.select(self.cx, Select::Page { after, limit }).await.map_err(tags::paged)
    }

    fn id(&self, snapshot: &service::Snapshot) -> SnapshotId {
        snapshot.id.clone()
    }
}

/// An account that a request names; `self` is the caller's.
fn account(cx: &Context<'_>, name: &'static str, text: &str) -> Result<AccountId, Ec2Error> {
    match text {
        "self" => Ok(cx.caller.account.clone()),
        text => AccountId::parse(text)
            .map_err(|_| Ec2Error::invalid_value(text, name, "It must be an account number of 12 digits.")),
    }
}

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeSnapshotsRequest,
) -> Result<DescribeSnapshotsResult, Ec2Error> {
    let filters = Filters::of::<DescribeSnapshotsRequest>(request.filters.clone())?;
    let query = Query::of(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    if request.owner_ids.len().max(request.restorable_by_user_ids.len()) > IDS_MAX {
        return Err(Ec2Error::invalid(format!("A request may name {IDS_MAX} accounts.")));
    }
    // Nothing here is Amazon's own.
    let named = request.owner_ids.iter().filter(|owner| !matches!(&***owner, "amazon" | "aws-marketplace"));
    let owners = named.map(|owner| account(cx, "Owner", owner)).collect::<Result<Vec<_>, _>>()?;
    let restorers = request
        .restorable_by_user_ids
        .iter()
        .map(|user| Restorer::parse(cx, user))
        .collect::<Result<Vec<_>, _>>()?;
    cx.dry_run(&request)?;
    let is_owned =
        |snapshot: &service::Snapshot| request.owner_ids.is_empty() || owners.contains(&snapshot.owner);
    let is_restorable = |snapshot: &service::Snapshot| {
        restorers.is_empty() || restorers.iter().any(|restorer| restorer.can_restore(cx, snapshot))
    };
    let passes = |snapshot: &service::Snapshot| {
        is_owned(snapshot) && is_restorable(snapshot) && filters.pass(snapshot)
    };
    let only_own = !request.owner_ids.is_empty() && owners.iter().all(|owner| *owner == cx.caller.account);
    let scope = match &query {
        Query::Page(_) if only_own => Scope::Own,
        _ => Scope::Usable,
    };
    let (found, next_token) = query.run(cx, Shelf::Scope(scope), passes).await?;
    Ok(DescribeSnapshotsResult { snapshots: Some(found.iter().map(shown).collect()), next_token })
}

/// Whoever should be able to make volumes of what is listed.
enum Restorer {
    /// The caller, by ownership or permission.
    Caller,
    /// Another account, with a permission that the caller gave it.
    Account(AccountId),
    /// Everybody.
    All,
}

impl Restorer {
    fn parse(cx: &Context<'_>, text: &str) -> Result<Self, Ec2Error> {
        match text {
            "all" => Ok(Self::All),
            text => {
                let account = account(cx, "RestorableBy", text)?;
                Ok(if account == cx.caller.account { Self::Caller } else { Self::Account(account) })
            }
        }
    }

    fn can_restore(&self, cx: &Context<'_>, snapshot: &service::Snapshot) -> bool {
        let is_own = snapshot.owner == cx.caller.account;
        match self {
            Self::All => snapshot.permissions.public,
            Self::Caller => {
                is_own
                    || !snapshot.permissions.public
                    || snapshot.permissions.accounts.contains(&cx.caller.account)
            }
            Self::Account(account) => is_own && snapshot.permissions.accounts.contains(account),
        }
    }
}

pub(super) async fn delete(cx: &Context<'_>, request: DeleteSnapshotRequest) -> Result<Done, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    cx.snapshots.delete_snapshot(cx.caller, &id).await?;
    Ok(Done)
}

fn description(text: Option<String>) -> Result<String, Ec2Error> {
    let text = text.unwrap_or_default();
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        let text = format!("A description has up to {DESCRIPTION_CHARS_MAX} characters.");
        return Err(Ec2Error::invalid(text));
    }
    Ok(text)
}

fn refuse(what: &[(bool, &str)]) -> Result<(), Ec2Error> {
    match what.iter().find(|(is_there, _)| *is_there) {
        Some((_, parameter)) => {
            Err(Ec2Error::unsupported(format!("{parameter} is not offered for snapshots.")))
        }
        None => Ok(()),
    }
}

pub(super) async fn copy(
    cx: &Context<'_>,
    request: CopySnapshotRequest,
) -> Result<CopySnapshotResult, Ec2Error> {
    let source = snapshot_id(&request.source_snapshot_id)?;
    refuse(&[
        (request.encrypted == Some(true), "Encrypted"),
        (request.kms_key_id.is_some(), "KmsKeyId"),
        (request.destination_availability_zone.is_some(), "DestinationAvailabilityZone"),
        (request.destination_outpost_arn.is_some(), "DestinationOutpostArn"),
        (request.completion_duration_minutes.is_some(), "CompletionDurationMinutes"),
    ])?;
    if terrane_types::Region::parse(&request.source_region).is_err() {
        let text = shortened(&request.source_region);
        return Err(Ec2Error::invalid_value(&text, "SourceRegion", "It must be the name of a region."));
    }
    let new = NewSnapshot {
        description: description(request.description.clone())?,
        tags: tags::of_new(&request.tag_specifications, "snapshot")?,
        copy_volume_tags: false,
    };
    rehearse(cx, &request, Shelf::Scope(Scope::Usable), &source).await?;
    let copy = cx.snapshots.copy_snapshot(cx.caller, &source, &new).await?;
    Ok(CopySnapshotResult { snapshot_id: Some(copy.id.to_string()), tags: tag_list(&copy.tags) })
}

pub(super) async fn create(cx: &Context<'_>, request: CreateSnapshotRequest) -> Result<Snapshot, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    refuse(&[(request.location.is_some(), "Location"), (request.outpost_arn.is_some(), "OutpostArn")])?;
    let new = NewSnapshot {
        description: description(request.description.clone())?,
        tags: tags::of_new(&request.tag_specifications, "snapshot")?,
        copy_volume_tags: false,
    };
    if !cx.snapshots.takes_volumes() {
        existing(cx, &id).await?;
        return Err(not_offered());
    }
    cx.dry_run(&request)?;
    existing(cx, &id).await?;
    let made = cx.snapshots.create_snapshots(cx.caller, std::slice::from_ref(&id), &new).await?;
    made.first().map(shown).ok_or_else(|| SnapshotError::Internal("no snapshot was made".into()).into())
}

pub(super) async fn create_many(
    cx: &Context<'_>,
    request: CreateSnapshotsRequest,
) -> Result<CreateSnapshotsResult, Ec2Error> {
    let wanted = &request.instance_specification;
    let id = instance_id(&wanted.instance_id)?;
    let excluded = volume_ids(&wanted.exclude_data_volume_ids)?;
    refuse(&[(request.location.is_some(), "Location"), (request.outpost_arn.is_some(), "OutpostArn")])?;
    let new = NewSnapshot {
        description: description(request.description.clone())?,
        tags: tags::of_new(&request.tag_specifications, "snapshot")?,
        copy_volume_tags: request.copy_tags_from_source.is_some(),
    };
    if !cx.snapshots.takes_volumes() {
        cx.service.instances(cx.caller, Select::Ids(&[id])).await?;
        return Err(not_offered());
    }
    cx.dry_run(&request)?;
    let found = cx.service.instances(cx.caller, Select::Ids(std::slice::from_ref(&id))).await?;
    // Hosts boot from their own disks: no volume here is a boot volume.
    let attached = found.into_iter().flat_map(|instance| instance.volumes).map(|volume| volume.volume);
    let volumes: Vec<VolumeId> = attached.filter(|volume| !excluded.contains(volume)).collect();
    if volumes.is_empty() {
        return Err(Ec2Error::invalid(format!("There is no volume at {id} to make a snapshot of.")));
    }
    let made = cx.snapshots.create_snapshots(cx.caller, &volumes, &new).await?;
    Ok(CreateSnapshotsResult { snapshots: Some(made.iter().map(info).collect()) })
}

/// What a rehearsal is told as well.
fn not_offered() -> Ec2Error {
    Ec2Error::unsupported("Snapshots of volumes are not offered; the EBS direct APIs build snapshots.")
}

fn state(state: service::SnapshotState) -> SnapshotState {
    match state {
        service::SnapshotState::Pending => SnapshotState::Pending,
        service::SnapshotState::Completed => SnapshotState::Completed,
        service::SnapshotState::Error => SnapshotState::Error,
    }
}

fn volume_of(snapshot: &service::Snapshot) -> String {
    snapshot.volume.as_ref().map_or_else(|| NO_VOLUME.to_owned(), ToString::to_string)
}

/// A snapshot in EC2's words. Keys of KMS are not offered, so that none is encrypted by one.
pub(super) fn shown(snapshot: &service::Snapshot) -> Snapshot {
    Snapshot {
        completion_time: snapshot.completed,
        description: Some(snapshot.description.clone()),
        encrypted: Some(false),
        full_snapshot_size_in_bytes: snapshot.full_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        owner_id: Some(snapshot.owner.to_string()),
        progress: Some(format!("{}%", snapshot.progress)),
        snapshot_id: Some(snapshot.id.to_string()),
        start_time: Some(snapshot.started),
        state: Some(state(snapshot.state)),
        state_message: snapshot.message.clone(),
        storage_tier: Some(StorageTier::Standard),
        tags: tag_list(&snapshot.tags),
        transfer_type: snapshot.is_copy.then_some(TransferType::Standard),
        volume_id: Some(volume_of(snapshot)),
        volume_size: Some(int(snapshot.size_gib)),
        ..Snapshot::default()
    }
}

fn info(snapshot: &service::Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        description: Some(snapshot.description.clone()),
        encrypted: Some(false),
        owner_id: Some(snapshot.owner.to_string()),
        progress: Some(format!("{}%", snapshot.progress)),
        snapshot_id: Some(snapshot.id.to_string()),
        start_time: Some(snapshot.started),
        state: Some(state(snapshot.state)),
        tags: tag_list(&snapshot.tags),
        volume_id: Some(volume_of(snapshot)),
        volume_size: Some(int(snapshot.size_gib)),
        ..SnapshotInfo::default()
    }
}

impl Filtered for service::Snapshot {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "description" => vec![self.description.as_str().into()],
            "encrypted" => vec!["false".into()],
            "owner-id" => vec![self.owner.as_str().into()],
            "progress" => vec![format!("{}%", self.progress).into()],
            "snapshot-id" => vec![self.id.as_str().into()],
            "start-time" => vec![time(self.started).into()],
            "status" => vec![self.state.as_str().into()],
            "storage-tier" => vec!["standard".into()],
            "transfer-type" if self.is_copy => vec!["standard".into()],
            "volume-id" => vec![volume_of(self).into()],
            "volume-size" => vec![self.size_gib.to_string().into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}
