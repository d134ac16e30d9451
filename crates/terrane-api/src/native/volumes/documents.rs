//! The documents that volumes are told in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use terrane_ec2::service;
use utoipa::ToSchema;

pub use terrane_volumes::admin::{
    AttachmentDetail as Attachment, CopyDetail as Copy, ResyncDetail as Resync, VolumeDetail as Volume,
};

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
