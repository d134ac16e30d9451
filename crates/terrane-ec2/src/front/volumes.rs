//! Volumes: make, delete, list.

use std::borrow::Cow;

use async_trait::async_trait;
use terrane_types::{VolumeId, Zone};

use super::words::{
    attachment_state, int, kind, kind_of, snapshot_id, tag_list, unsigned, volume_id, volume_ids,
    volume_state,
};
use super::{Context, places, snapshots, tags};
use crate::dto::{
    CopyVolumesRequest, CopyVolumesResult, CreateVolumeRequest, DeleteVolumeRequest, DescribeVolumesRequest,
    DescribeVolumesResult, ListVolumesInRecycleBinRequest, ListVolumesInRecycleBinResult,
    RestoreVolumeFromRecycleBinRequest, RestoreVolumeFromRecycleBinResult, Volume, VolumeAttachment,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters, time};
use crate::page::{Page, Source, not_with_ids};
use crate::service::limits::{Wish, resolve_new};
use crate::service::{self, Attachment, ClientToken, NewVolume, Select, ServiceError, Tags, VolumeType};
use crate::xml::Done;

pub(super) async fn create(cx: &Context<'_>, request: CreateVolumeRequest) -> Result<Volume, Ec2Error> {
    refuse_what_is_not_offered(&request)?;
    let token = client_token(request.client_token.as_deref())?;
    let tags = tags::of_new(&request.tag_specifications, "volume")?;
    let Some(size_gib) = unsigned("Size", request.size)? else {
        return Err(Ec2Error::missing("size/snapshot"));
    };
    let wish = Wish {
        size_gib,
        kind: request.volume_type.map_or(Ok(VolumeType::Gp2), kind_of)?,
        iops: unsigned("Iops", request.iops)?,
        throughput: unsigned("Throughput", request.throughput)?,
        multi_attach: request.multi_attach_enabled.unwrap_or_default(),
    };
    let settings = resolve_new(&wish)?;
    let zone = zone(cx, &request).await?;
    cx.dry_run(&request)?;
    let volume =
        cx.service.create_volume(cx.caller, token.as_ref(), NewVolume { zone, settings, tags }).await?;
    Ok(shown(&volume))
}

fn refuse_what_is_not_offered(request: &CreateVolumeRequest) -> Result<(), Ec2Error> {
    if let Some(id) = &request.snapshot_id {
        return Err(snapshots::not_found(&[snapshot_id(id)?]));
    }
    if request.kms_key_id.is_some() && request.encrypted != Some(true) {
        let text = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Ec2Error::new("InvalidParameterDependency", text));
    }
    for (is_there, parameter) in [
        (request.encrypted == Some(true), "Encrypted"),
        (request.operator.is_some(), "Operator"),
        (request.outpost_arn.is_some(), "OutpostArn"),
        (request.volume_initialization_rate.is_some(), "VolumeInitializationRate"),
    ] {
        if is_there {
            return Err(Ec2Error::unsupported(format!("{parameter} is not offered for new volumes.")));
        }
    }
    Ok(())
}

/// The zone that a request names, by name or by identifier.
async fn zone(cx: &Context<'_>, request: &CreateVolumeRequest) -> Result<Zone, Ec2Error> {
    match (&request.availability_zone, &request.availability_zone_id) {
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "The parameter AvailabilityZone cannot be used with the parameter AvailabilityZoneId",
        )),
        (None, None) => Err(Ec2Error::missing("AvailabilityZone")),
        (Some(name), None) => places::zone_of_name(cx, name).await,
        (None, Some(id)) => places::zone_of_id(cx, id).await,
    }
}

/// An idempotency token, as it was sent. An empty one is none.
pub(super) fn client_token(text: Option<&str>) -> Result<Option<ClientToken>, Ec2Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let expected = format_args!("It must have up to {} ASCII characters.", ClientToken::CHARS_MAX);
    let token =
        ClientToken::parse(text).ok_or_else(|| Ec2Error::invalid_value(text, "ClientToken", expected))?;
    Ok(Some(token))
}

pub(super) async fn delete(cx: &Context<'_>, request: DeleteVolumeRequest) -> Result<Done, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    cx.dry_run(&request)?;
    cx.service.delete_volume(cx.caller, &id).await?;
    Ok(Done)
}

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeVolumesRequest,
) -> Result<DescribeVolumesResult, Ec2Error> {
    let listing = Listing {
        ids: &request.volume_ids,
        token: request.next_token.as_deref(),
        results: request.max_results,
    };
    let filters = Filters::of::<DescribeVolumesRequest>(request.filters.clone())?;
    let query = listing.check()?;
    cx.dry_run(&request)?;
    let (found, next_token) = query.run(cx, |volume| filters.pass(volume)).await?;
    Ok(DescribeVolumesResult { volumes: Some(found.iter().map(shown).collect()), next_token })
}

/// What calls that list volumes have in common.
pub(super) struct Listing<'a> {
    pub(super) ids: &'a [String],
    pub(super) token: Option<&'a str>,
    pub(super) results: Option<i32>,
}

/// A listing, checked.
pub(super) enum Query {
    These(Vec<VolumeId>),
    Page(Page<VolumeId>),
}

impl Listing<'_> {
    pub(super) fn check(&self) -> Result<Query, Ec2Error> {
        not_with_ids(self.ids, "VolumeId", self.token, self.results)?;
        if !self.ids.is_empty() {
            return Ok(Query::These(volume_ids(self.ids)?));
        }
        let page = Page::of(self.token, self.results, |text| VolumeId::parse(text).ok())?;
        Ok(Query::Page(page))
    }
}

impl Query {
    /// The volumes that pass, and the token of the next page.
    pub(super) async fn run(
        self,
        cx: &Context<'_>,
        passes: impl Fn(&service::Volume) -> bool,
    ) -> Result<(Vec<service::Volume>, Option<String>), Ec2Error> {
        match self {
            Self::These(ids) => {
                let mut found = cx.service.volumes(cx.caller, Select::Ids(&ids)).await?;
                found.retain(passes);
                Ok((found, None))
            }
            Self::Page(page) => page.fill(&Volumes(cx), passes).await,
        }
    }
}

/// The caller's volumes.
struct Volumes<'a>(&'a Context<'a>);

#[async_trait]
impl Source for Volumes<'_> {
    type Id = VolumeId;
    type Item = service::Volume;

    async fn fetch(
        &self,
        after: Option<&VolumeId>,
        limit: usize,
    ) -> Result<Vec<service::Volume>, ServiceError> {
        self.0.service.volumes(self.0.caller, Select::Page { after, limit }).await
    }

    fn id(&self, volume: &service::Volume) -> VolumeId {
        volume.id.clone()
    }
}

/// A volume, which must be there.
pub(super) async fn existing(cx: &Context<'_>, id: &VolumeId) -> Result<service::Volume, Ec2Error> {
    let found = cx.service.volumes(cx.caller, Select::Ids(std::slice::from_ref(id))).await?;
    found.into_iter().next().ok_or_else(|| ServiceError::VolumeNotFound(vec![id.clone()]).into())
}

pub(super) async fn copy(
    cx: &Context<'_>,
    request: CopyVolumesRequest,
) -> Result<CopyVolumesResult, Ec2Error> {
    existing(cx, &volume_id(&request.source_volume_id)?).await?;
    Err(Ec2Error::unsupported("Volumes cannot be copied."))
}

/// Nothing is kept of volumes that were deleted.
pub(super) async fn list_recycled(
    cx: &Context<'_>,
    request: ListVolumesInRecycleBinRequest,
) -> Result<ListVolumesInRecycleBinResult, Ec2Error> {
    let ids = volume_ids(&request.volume_ids)?;
    cx.dry_run(&request)?;
    match ids.is_empty() {
        true => Ok(ListVolumesInRecycleBinResult { volumes: Some(Vec::new()), next_token: None }),
        false => Err(ServiceError::VolumeNotFound(ids).into()),
    }
}

pub(super) async fn restore_recycled(
    cx: &Context<'_>,
    request: RestoreVolumeFromRecycleBinRequest,
) -> Result<RestoreVolumeFromRecycleBinResult, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    cx.dry_run(&request)?;
    Err(ServiceError::VolumeNotFound(vec![id]).into())
}

/// A volume in EC2's words.
fn shown(volume: &service::Volume) -> Volume {
    let settings = &volume.settings;
    Volume {
        attachments: Some(volume.attachments.iter().map(attachment).collect()),
        availability_zone: Some(volume.zone.to_string()),
        create_time: Some(volume.created),
        encrypted: Some(volume.encrypted),
        iops: settings.iops.map(int),
        multi_attach_enabled: Some(settings.multi_attach),
        size: Some(int(settings.size_gib)),
        // An empty one: clients read it even of volumes that were made from none.
        snapshot_id: Some(volume.snapshot.as_ref().map(ToString::to_string).unwrap_or_default()),
        state: Some(volume_state(volume.state)),
        tags: tag_list(&volume.tags),
        throughput: settings.throughput.map(int),
        volume_id: Some(volume.id.to_string()),
        volume_type: Some(kind(settings.kind)),
        ..Volume::default()
    }
}

/// An attachment in EC2's words.
pub(super) fn attachment(attachment: &Attachment) -> VolumeAttachment {
    VolumeAttachment {
        attach_time: Some(attachment.attached),
        delete_on_termination: Some(false),
        device: Some(attachment.device.clone()),
        instance_id: Some(attachment.instance.to_string()),
        state: Some(attachment_state(attachment.state)),
        volume_id: Some(attachment.volume.to_string()),
        ..VolumeAttachment::default()
    }
}

impl Filtered for service::Volume {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        let of_each = |value: fn(&Attachment) -> Cow<'_, str>| self.attachments.iter().map(value).collect();
        match name {
            "attachment.attach-time" => of_each(|a| time(a.attached).into()),
            "attachment.delete-on-termination" => of_each(|_| "false".into()),
            "attachment.device" => of_each(|a| a.device.as_str().into()),
            "attachment.instance-id" => of_each(|a| a.instance.as_str().into()),
            "attachment.status" => of_each(|a| attachment_state(a.state).as_str().into()),
            "availability-zone" => vec![self.zone.as_str().into()],
            "create-time" => vec![time(self.created).into()],
            "encrypted" => vec![self.encrypted.to_string().into()],
            "fast-restored" | "operator.managed" => vec!["false".into()],
            "multi-attach-enabled" => vec![self.settings.multi_attach.to_string().into()],
            "size" => vec![self.settings.size_gib.to_string().into()],
            "snapshot-id" => self.snapshot.iter().map(|id| id.as_str().into()).collect(),
            "status" => vec![volume_state(self.state).as_str().into()],
            "volume-id" => vec![self.id.as_str().into()],
            "volume-type" => vec![self.settings.kind.as_str().into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}
