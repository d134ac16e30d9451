//! The documents that volumes are told in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use terrane_ec2::service;
use utoipa::ToSchema;

pub use terrane_volumes::admin::{
    AttachmentDetail as Attachment, CopyDetail as Copy, ModificationDetail as Modification,
    ResyncDetail as Resync, TraitsDetail as VolumeSettings, VolumeDetail as Volume,
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
    /// Where its primary shall lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Copies beside the primary, 0 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<u32>,
    /// Stripes. Not implemented yet: a volume has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripes: Option<u32>,
    /// Data beyond a smaller size may be lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_truncate: bool,
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
