//! Volumes: what there is, with copies and attachments; making, attaching, changing and deleting them.

mod documents;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use terrane_auth::policy::Target;
use terrane_ec2::service::limits::{self, Wish};
use terrane_ec2::service::{self, Caller, ClientToken, Select, TAGS_MAX, VolumeType, is_device_name};
use terrane_types::{InstanceId, VolumeId, Zone};
use terrane_volumes::admin::{Change, MIRRORS};
use utoipa::IntoParams;

use super::app::{App, Volumes};
use super::call::Call;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

pub use documents::{
    Attachment, AttachmentWish, Copy, DetachWish, Modification, NewVolume, Resync, Volume, VolumePatch,
    VolumeSettings, VolumeSummary,
};

/// Volumes in one answer, at most.
const PAGE_MAX: usize = 1000;
/// Device names that are tried when a call names none: as EC2's documentation recommends, `/dev/sdf` to `/dev/sdp`.
const DEVICES: std::ops::RangeInclusive<char> = 'f'..='p';

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/volumes", get(list).post(create))
        .route("/_terrane/v1/volumes/{volume}", get(show).patch(modify).delete(delete))
        .route("/_terrane/v1/modifications", get(latest_modifications))
        .route("/_terrane/v1/volumes/{volume}/modifications", get(modifications))
        .route("/_terrane/v1/volumes/{volume}/modifications/cancel", post(cancel))
        .route("/_terrane/v1/volumes/{volume}/attach", post(attach))
        .route("/_terrane/v1/volumes/{volume}/detach", post(detach))
        .route("/_terrane/v1/volumes/{volume}/declare-lost", post(declare_lost))
}

/// Which volumes to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Those behind this one, in the order of identifiers.
    after: Option<String>,
    /// How many at most: 1 to 1000.
    limit: Option<usize>,
}

pub(super) fn caller(call: &Call) -> Caller {
    Caller {
        account: call.account().clone(),
        principal: call.identity.to_string(),
        request_id: call.request_id.to_string(),
    }
}

fn parse_volume(text: &str) -> Result<VolumeId, Problem> {
    VolumeId::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

fn parse_instance(text: &str) -> Result<InstanceId, Problem> {
    InstanceId::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

/// The volume as it is now. Addresses of attachments are for those who may use it.
async fn shown(app: &App, call: &Call, id: &VolumeId) -> Result<Volume, Problem> {
    let mut volume = app.volumes()?.admin.volume_detail(call.account(), id).await?;
    let target = Target::Volume(id.as_str());
    if !call.may(&app.auth, "terrane:UseVolume", call.account(), target).await? {
        volume.attachments.iter_mut().for_each(|attachment| attachment.nbd_url = None);
    }
    Ok(volume)
}

/// The account's volumes by identifier.
#[utoipa::path(get, path = "/_terrane/v1/volumes", tag = "volumes", params(Page), responses(
    (status = 200, description = "Volumes", body = Vec<VolumeSummary>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Query(page): Query<Page>,
) -> Result<Json<Vec<VolumeSummary>>, Problem> {
    call.allow(&app.auth, "ec2:DescribeVolumes", call.account(), Target::Account).await?;
    let limit = page.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be from 1 to {PAGE_MAX}")));
    }
    let after = page.after.as_deref().map(parse_volume).transpose()?;
    let select = Select::Page { after: after.as_ref(), limit };
    let volumes = app.volumes()?.service.volumes(&caller(&call), select).await?;
    Ok(Json(volumes.into_iter().map(VolumeSummary::from).collect()))
}

/// Makes a volume.
#[utoipa::path(post, path = "/_terrane/v1/volumes", tag = "volumes", request_body = NewVolume, responses(
    (status = 201, description = "Being made, or made", body = Volume),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = 507, description = "No server has room", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Json(new): Json<NewVolume>,
) -> Result<(StatusCode, Json<Volume>), Problem> {
    call.allow(&app.auth, "ec2:CreateVolume", call.account(), Target::Account).await?;
    let volumes = app.volumes()?;
    let token = new.client_token.as_deref().map(|text| {
        ClientToken::parse(text)
            .ok_or_else(|| Problem::bad_request("client_token must have 1 to 64 ASCII characters"))
    });
    let token = token.transpose()?;
    let wanted = wanted(volumes, new).await?;
    let made = volumes.service.create_volume(&caller(&call), token.as_ref(), wanted).await?;
    call.resource(made.id.as_str());
    Ok((StatusCode::CREATED, Json(shown(&app, &call, &made.id).await?)))
}

/// What the request alone and the zones decide of a new volume.
async fn wanted(volumes: &Volumes, new: NewVolume) -> Result<service::NewVolume, Problem> {
    let kind = match new.kind.as_deref() {
        None => VolumeType::Gp3,
        Some(name) => kind_of(name)?,
    };
    let NewVolume { size_gib, iops, throughput, multi_attach, .. } = new;
    let wish = Wish { size_gib, kind, iops, throughput, multi_attach };
    let settings = limits::resolve_new(&wish).map_err(service::ServiceError::from)?;
    let legal = |(key, value): (&String, &String)| {
        (1..=127).contains(&key.chars().count()) && value.chars().count() <= 255 && !key.starts_with("aws:")
    };
    if new.tags.len() > TAGS_MAX || !new.tags.iter().all(legal) {
        let text =
            format!("at most {TAGS_MAX} tags, with keys of 1 to 127 characters and values of up to 255");
        return Err(Problem::bad_request(text));
    }
    let zone = match new.zone {
        Some(name) => Zone::parse(&name).map_err(|error| Problem::bad_request(error.to_string()))?,
        None => {
            let zones = volumes.service.zones().await?;
            let first = zones.into_iter().next();
            first.map(|zone| zone.name).ok_or_else(|| Problem::not_found("zone", "any"))?
        }
    };
    Ok(service::NewVolume { zone, settings, tags: new.tags })
}

fn kind_of(name: &str) -> Result<VolumeType, Problem> {
    VolumeType::parse(name).ok_or_else(|| {
        let known = VolumeType::ALL.map(VolumeType::as_str).join(", ");
        Problem::bad_request(format!("there is no volume type {name:?}; there are {known}"))
    })
}

/// A volume with its copies and attachments.
#[utoipa::path(get, path = "/_terrane/v1/volumes/{volume}", tag = "volumes",
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "The volume", body = Volume),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
) -> Result<Json<Volume>, Problem> {
    call.allow(&app.auth, "ec2:DescribeVolumes", call.account(), Target::Account).await?;
    let id = parse_volume(&volume)?;
    Ok(Json(shown(&app, &call, &id).await?))
}

/// Changes a volume in use. What can be granted where it lies holds at once; for everything else data move, and what was
/// asked for holds when they have.
#[utoipa::path(patch, path = "/_terrane/v1/volumes/{volume}", tag = "volumes", request_body = VolumePatch,
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "The change, done or on its way", body = Modification),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = 501, description = "Not implemented", body = Problem, content_type = "application/problem+json"),
    (status = 507, description = "No server has room", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn modify(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
    Json(patch): Json<VolumePatch>,
) -> Result<Json<Modification>, Problem> {
    let id = parse_volume(&volume)?;
    call.allow(&app.auth, "ec2:ModifyVolume", call.account(), Target::Volume(id.as_str())).await?;
    let change = change_of(patch)?;
    Ok(Json(app.volumes()?.admin.modify(call.account(), &id, &change).await?))
}

/// What the request alone decides of a change.
fn change_of(patch: VolumePatch) -> Result<Change, Problem> {
    let VolumePatch { size_gib, kind, iops, throughput, multi_attach, .. } = patch;
    if patch.stripes.is_some() {
        let text = "the number of stripes cannot be changed yet";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", text));
    }
    if patch.mirrors.is_some_and(|mirrors| !MIRRORS.contains(&mirrors)) {
        let text = format!("a volume has {} to {} mirrors", MIRRORS.start(), MIRRORS.end());
        return Err(Problem::bad_request(text));
    }
    let kind = kind.as_deref().map(kind_of).transpose()?;
    let zone = patch.zone.as_deref().map(Zone::parse).transpose();
    let zone = zone.map_err(|error| Problem::bad_request(error.to_string()))?;
    let settings = service::VolumeChange { size_gib, kind, iops, throughput, multi_attach };
    let change = Change { settings, zone, mirrors: patch.mirrors, allow_truncate: patch.allow_truncate };
    if (Change { allow_truncate: false, ..change.clone() }) == Change::default() {
        return Err(Problem::bad_request("nothing is to be changed"));
    }
    Ok(change)
}

/// The latest change of each of the account's volumes that was ever changed.
#[utoipa::path(get, path = "/_terrane/v1/modifications", tag = "volumes", responses(
    (status = 200, description = "Changes", body = Vec<Modification>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn latest_modifications(
    State(app): State<Arc<App>>,
    call: Call,
) -> Result<Json<Vec<Modification>>, Problem> {
    call.allow(&app.auth, "ec2:DescribeVolumesModifications", call.account(), Target::Account).await?;
    Ok(Json(app.volumes()?.admin.modifications(call.account(), None).await?))
}

/// The changes of a volume, the latest first; the last twenty.
#[utoipa::path(get, path = "/_terrane/v1/volumes/{volume}/modifications", tag = "volumes",
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "Changes", body = Vec<Modification>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn modifications(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
) -> Result<Json<Vec<Modification>>, Problem> {
    call.allow(&app.auth, "ec2:DescribeVolumesModifications", call.account(), Target::Account).await?;
    let id = parse_volume(&volume)?;
    Ok(Json(app.volumes()?.admin.modifications(call.account(), Some(&id)).await?))
}

/// Gives up the latest change of a volume, as long as it has not taken effect.
#[utoipa::path(post, path = "/_terrane/v1/volumes/{volume}/modifications/cancel", tag = "volumes",
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "Being given up", body = Modification),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
) -> Result<Json<Modification>, Problem> {
    let id = parse_volume(&volume)?;
    call.allow(&app.auth, "ec2:ModifyVolume", call.account(), Target::Volume(id.as_str())).await?;
    Ok(Json(app.volumes()?.admin.cancel_modification(call.account(), &id).await?))
}

/// Deletes a volume that is attached to nothing.
#[utoipa::path(delete, path = "/_terrane/v1/volumes/{volume}", tag = "volumes",
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse_volume(&volume)?;
    call.allow(&app.auth, "ec2:DeleteVolume", call.account(), Target::Volume(id.as_str())).await?;
    app.volumes()?.service.delete_volume(&caller(&call), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attaches a volume to an instance. `GET` shows when it is there, and where.
#[utoipa::path(post, path = "/_terrane/v1/volumes/{volume}/attach", tag = "volumes", request_body = AttachmentWish,
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 202, description = "Being attached", body = Volume),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn attach(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
    Json(wish): Json<AttachmentWish>,
) -> Result<(StatusCode, Json<Volume>), Problem> {
    const ACTION: &str = "ec2:AttachVolume";
    let id = parse_volume(&volume)?;
    call.allow(&app.auth, ACTION, call.account(), Target::Volume(id.as_str())).await?;
    let volumes = app.volumes()?;
    let instance = match &wish.instance_id {
        Some(text) => parse_instance(text)?,
        None => only_instance(volumes, &call).await?,
    };
    call.allow(&app.auth, ACTION, call.account(), Target::Instance(instance.as_str())).await?;
    call.resource(format!("{id} {instance}"));
    let device = match wish.device {
        Some(name) if is_device_name(&name) => name,
        Some(name) => {
            return Err(Problem::bad_request(format!("{name:?} is not a device name such as /dev/sdf")));
        }
        None => free_device(volumes, &call, &instance).await?,
    };
    let what = service::AttachVolume { volume: id.clone(), instance, device };
    volumes.service.attach_volume(&caller(&call), what).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&app, &call, &id).await?)))
}

/// The account's instance, if it has exactly one.
async fn only_instance(volumes: &Volumes, call: &Call) -> Result<InstanceId, Problem> {
    let two = Select::Page { after: None, limit: 2 };
    let mut found = volumes.service.instances(&caller(call), two).await?;
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only.id),
        (None, _) => Err(Problem::not_found("instance of the account", "any")),
        _ => Err(Problem::bad_request("the account has several instances: name the one that is meant")),
    }
}

/// The first device name that is free at an instance.
async fn free_device(volumes: &Volumes, call: &Call, instance: &InstanceId) -> Result<String, Problem> {
    let ids = [instance.clone()];
    let found = volumes.service.instances(&caller(call), Select::Ids(&ids)).await?;
    let taken: Vec<&str> = found.iter().flat_map(|one| &one.volumes).map(|volume| &*volume.device).collect();
    let mut names = DEVICES.map(|letter| format!("/dev/sd{letter}"));
    let free = names.find(|name| !taken.contains(&&**name));
    free.ok_or_else(|| {
        Problem::bad_request(format!("name a device: /dev/sdf to /dev/sdp are taken at {instance}"))
    })
}

/// Detaches a volume: when its clients have gone, or at once if forced.
#[utoipa::path(post, path = "/_terrane/v1/volumes/{volume}/detach", tag = "volumes", request_body = DetachWish,
    params(("volume" = String, Path, description = "Identifier")), responses(
    (status = 202, description = "Being detached, or detached", body = Volume),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn detach(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
    Json(wish): Json<DetachWish>,
) -> Result<(StatusCode, Json<Volume>), Problem> {
    const ACTION: &str = "ec2:DetachVolume";
    let id = parse_volume(&volume)?;
    call.allow(&app.auth, ACTION, call.account(), Target::Volume(id.as_str())).await?;
    let instance = wish.instance_id.as_deref().map(parse_instance).transpose()?;
    if let Some(instance) = &instance {
        call.allow(&app.auth, ACTION, call.account(), Target::Instance(instance.as_str())).await?;
    }
    call.resource(if wish.force { format!("{id} forced") } else { id.to_string() });
    let what = service::DetachVolume { volume: id.clone(), instance, device: None, force: wish.force };
    app.volumes()?.service.detach_volume(&caller(&call), what).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&app, &call, &id).await?)))
}

/// An operator's word that copies which do not answer are lost for good: a stranded volume goes on with the best copy
/// that lives, which may be as old as the last FLUSH.
#[utoipa::path(post, path = "/_terrane/v1/volumes/{volume}/declare-lost", tag = "volumes",
    params(("volume" = String, Path, description = "Identifier, of any account")), responses(
    (status = 200, description = "Declared", body = Volume),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn declare_lost(
    State(app): State<Arc<App>>,
    call: Call,
    Path(volume): Path<String>,
) -> Result<Json<Volume>, Problem> {
    let id = parse_volume(&volume)?;
    call.allow_installation(&app.auth, "terrane:DeclareLost").await?;
    call.resource(id.as_str());
    let mut volume = app.volumes()?.admin.declare_lost(&id, &call.identity.to_string()).await?;
    // The volume may be another account's; its addresses are not the operator's business.
    volume.attachments.iter_mut().for_each(|attachment| attachment.nbd_url = None);
    Ok(Json(volume))
}
