//! The documents that volumes are told in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use terrane_ec2::service;
use terrane_volumes::admin;
use utoipa::ToSchema;

/// A volume, in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSummary {
    /// `vol-…`
    #[schema(examples("vol-0123456789abcdef0"))]
    pub id: String,
    /// `creating`, `available`, `in-use`, `deleting`, `error`.
    pub state: String,
    /// `ok`, `impaired`, `insufficient-data`.
    pub health: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// IOPS, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
    /// Where the primary lies.
    pub zone: String,
    /// Instances that it is attached to.
    pub instance_ids: Vec<String>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl From<service::Volume> for VolumeSummary {
    fn from(volume: service::Volume) -> Self {
        let service::Settings { size_gib, kind, iops, throughput, .. } = volume.settings;
        let state = match volume.state {
            service::VolumeState::Creating => "creating",
            service::VolumeState::Available => "available",
            service::VolumeState::InUse => "in-use",
            service::VolumeState::Deleting => "deleting",
            service::VolumeState::Error => "error",
        };
        let health = match volume.health {
            service::VolumeHealth::Ok => "ok",
            service::VolumeHealth::Impaired => "impaired",
            service::VolumeHealth::InsufficientData => "insufficient-data",
        };
        Self {
            id: volume.id.into(),
            state: state.to_owned(),
            health: health.to_owned(),
            size_gib,
            kind: kind.to_string(),
            iops,
            throughput,
            zone: volume.zone.into(),
            instance_ids: volume
                .attachments
                .into_iter()
                .map(|attachment| attachment.instance.into())
                .collect(),
            created: volume.created.to_string(),
            tags: volume.tags,
        }
    }
}

/// A volume with its copies and attachments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// `vol-…`
    #[schema(examples("vol-0123456789abcdef0"))]
    pub id: String,
    /// `creating`, `available`, `in-use`, `deleting`, `error`.
    pub state: String,
    /// `ok`, `degraded` (fewer copies in sync than wanted), `impaired` (no copy that could serve it).
    pub health: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// The smallest size that loses nothing, as far as it is known.
    pub min_safe_size_gib: u32,
    /// `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// IOPS, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
    /// Where the primary lies.
    pub zone: String,
    /// Grows with every change of who holds its copies.
    pub generation: u64,
    /// Stripes.
    pub stripes: u32,
    /// Its copies, by stripe.
    pub copies: Vec<Copy>,
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What is unusual about it, and why.
    pub notes: Vec<String>,
}

/// A copy of one of a volume's stripes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = VolumeCopy)]
pub struct Copy {
    /// The name of its server.
    pub server: String,
    /// The server's identifier.
    pub server_id: String,
    /// The server's zone.
    pub zone: String,
    /// `ssd` or `hdd`.
    pub media: String,
    /// `primary` or `mirror`.
    pub role: String,
    /// `in_sync`, `joining` or `lost`; `creating` before it was part of the stripe.
    pub state: String,
    /// Which stripe, from 0.
    pub stripe: u32,
    /// Its number within the stripe.
    pub copy: u64,
    /// How far it is, where it joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<Resync>,
}

/// How far a copy that joins is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resync {
    /// Bytes moved in this attempt.
    pub moved: u64,
    /// Bytes left, as far as known.
    pub left: u64,
}

/// A volume at an instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// `i-…`
    pub instance_id: String,
    /// Where it is served, once it is. Who knows it reads and writes the volume: told to who may
    /// `terrane:UseVolume`.
    pub nbd_url: Option<String>,
    /// The device name that was asked for.
    pub device: String,
    /// `attaching`, `attached`, `detaching`.
    pub state: String,
    /// When it was asked for (RFC 3339).
    pub attached: String,
    /// Why it cannot be served, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Without the address, which is a secret.
impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { instance_id, device, state, .. } = self;
        let mut shown = f.debug_struct("Attachment");
        shown.field("instance_id", instance_id).field("device", device).field("state", state);
        shown.finish_non_exhaustive()
    }
}

impl From<admin::VolumeDetail> for Volume {
    fn from(detail: admin::VolumeDetail) -> Self {
        let admin::VolumeDetail { id, state, health, size_gib, min_safe_size_gib, kind, .. } = detail;
        let admin::VolumeDetail { iops, throughput, zone, generation, stripes, created, tags, notes, .. } =
            detail;
        Self {
            id,
            state,
            health,
            size_gib,
            min_safe_size_gib,
            kind,
            iops,
            throughput,
            zone,
            generation,
            stripes,
            copies: detail.copies.into_iter().map(Copy::from).collect(),
            attachments: detail.attachments.into_iter().map(Attachment::from).collect(),
            created,
            tags,
            notes,
        }
    }
}

impl From<admin::CopyDetail> for Copy {
    fn from(detail: admin::CopyDetail) -> Self {
        let admin::CopyDetail { stripe, copy, server, server_id, zone, media, role, state, resync } = detail;
        let resync = resync.map(|admin::ResyncDetail { moved, left }| Resync { moved, left });
        Self { server, server_id, zone, media, role, state, stripe, copy, resync }
    }
}

impl From<admin::AttachmentDetail> for Attachment {
    fn from(detail: admin::AttachmentDetail) -> Self {
        let admin::AttachmentDetail { instance_id, nbd_url, device, state, attached, trouble } = detail;
        Self { instance_id, nbd_url: nbd_url.map(|url| url.0), device, state, attached, trouble }
    }
}

/// A volume to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVolume {
    /// Size in GiB, 1 to 65,536.
    pub size_gib: u32,
    /// `gp3` (default), `gp2`, `io1`, `io2`, `st1`, `sc1`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// IOPS, where the type lets them be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB/s, where the type lets them be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    /// Where its primary shall lie; default: the first zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether several instances may attach it at a time (`io1`, `io2`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_attach: bool,
    /// First tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The same token with the same wish makes one volume, however often it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// What shall be other about a volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumePatch {
    /// Size in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u32>,
    /// Type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// IOPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_attach: Option<bool>,
}

/// A change of a volume's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Modification {
    /// `vol-…`
    pub volume_id: String,
    /// `modifying`, `optimizing`, `completed`, `failed`.
    pub state: String,
    /// Per cent.
    pub progress: u8,
    /// Why it failed, if it did.
    pub message: Option<String>,
    /// Before.
    pub original: VolumeSettings,
    /// After.
    pub target: VolumeSettings,
    /// When it was asked for (RFC 3339).
    pub started: String,
    /// When it came to its end (RFC 3339).
    pub ended: Option<String>,
}

/// What can be changed of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSettings {
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// IOPS, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    pub multi_attach: bool,
}

impl From<service::Settings> for VolumeSettings {
    fn from(settings: service::Settings) -> Self {
        let service::Settings { size_gib, kind, iops, throughput, multi_attach } = settings;
        Self { size_gib, kind: kind.to_string(), iops, throughput, multi_attach }
    }
}

impl From<service::VolumeModification> for Modification {
    fn from(modification: service::VolumeModification) -> Self {
        let service::VolumeModification { volume, state, message, original, target, .. } = modification;
        let state = match state {
            service::ModificationState::Modifying => "modifying",
            service::ModificationState::Optimizing => "optimizing",
            service::ModificationState::Completed => "completed",
            service::ModificationState::Failed => "failed",
        };
        Self {
            volume_id: volume.into(),
            state: state.to_owned(),
            progress: modification.progress,
            message,
            original: original.into(),
            target: target.into(),
            started: modification.started.to_string(),
            ended: modification.ended.map(|ended| ended.to_string()),
        }
    }
}

/// A wish to attach.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachmentWish {
    /// `i-…`; default: the account's only instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The device name; default: the first of `/dev/sdf` to `/dev/sdp` that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A wish to detach.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachWish {
    /// `i-…`; may be left out where it is attached to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Cut it off instead of waiting for its clients.
    #[serde(default)]
    pub force: bool,
}
