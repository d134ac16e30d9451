//! What people and programs see of volumes and servers beyond the EC2 calls: the documents of the native API and of the
//! command line, with their OpenAPI schemas.

mod calls;
mod changes;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::service::modify::MIRRORS;
pub use changes::{Change, ModificationDetail, TraitsDetail, WorkflowDetail, WorkflowOrder, WorkflowStep};

/// A volume with its copies and attachments: `terrane volume show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Volume)]
pub struct VolumeDetail {
    /// `vol-…`
    #[schema(examples("vol-0123456789abcdef0"))]
    pub id: String,
    /// Whose.
    pub account: String,
    /// `creating`, `available`, `in-use`, `error`.
    pub state: String,
    /// `ok`, `degraded` (fewer copies in sync than wanted), `impaired` (no copy that could serve it).
    pub health: String,
    /// Where the primary lies.
    pub zone: String,
    /// `gp3`, `gp2`, `io1`, `io2`, `st1`, `sc1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// The smallest size that loses nothing. What is used is not known here: the size itself.
    pub min_safe_size_gib: u32,
    /// IOPS, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// The highest generation of its stripes: grows with every change of who holds its copies.
    pub generation: u64,
    /// Stripes.
    pub stripes: u32,
    /// Its copies, by stripe.
    pub copies: Vec<CopyDetail>,
    /// Where it is attached.
    pub attachments: Vec<AttachmentDetail>,
    /// Tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// What is unusual, in words: why a copy lies in another zone, why the volume is stranded, what was declared lost.
    pub notes: Vec<String>,
}

/// A copy of one of a volume's stripes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = VolumeCopy)]
pub struct CopyDetail {
    /// Which stripe, from 0.
    pub stripe: u32,
    /// Its number within the stripe.
    pub copy: u64,
    /// The server's name.
    pub server: String,
    /// The server's identifier, 32 hex digits.
    pub server_id: String,
    /// The server's zone.
    pub zone: String,
    /// `ssd` or `hdd`.
    pub media: String,
    /// `primary` or `mirror`.
    pub role: String,
    /// `in_sync`, `joining` or `lost`; `creating` before it was part of the stripe.
    pub state: String,
    /// How far it is, where it joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<ResyncDetail>,
    /// Why it cannot be used now, as its server or others say: `the drive hangs …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How far a copy that joins is, as last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Resync)]
pub struct ResyncDetail {
    /// Bytes moved in this attempt.
    pub moved: u64,
    /// Bytes left, as far as known.
    pub left: u64,
}

/// The URL of an export: whoever knows it may use the volume. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NbdUrl(pub String);

impl std::fmt::Debug for NbdUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NbdUrl(hidden)")
    }
}

/// A volume at an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Attachment)]
pub struct AttachmentDetail {
    /// `i-…`
    pub instance_id: String,
    /// Where it is served, once it is. Who knows it reads and writes the volume: told to who may
    /// `terrane:UseVolume`.
    #[schema(value_type = Option<String>)]
    pub nbd_url: Option<NbdUrl>,
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

/// A block server: `terrane server show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BlockServer)]
pub struct ServerDetail {
    /// 32 hex digits.
    pub id: String,
    /// The name given.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Where it takes data connections.
    pub address: String,
    /// `up`, `down`, `draining`, `drained`.
    pub state: String,
    /// Copies that it has or shall have.
    pub copies: u64,
    /// Of these, those that are primaries.
    pub primaries: u64,
    /// Its pools.
    pub pools: Vec<PoolDetail>,
}

/// Drives of one kind at a block server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pool)]
pub struct PoolDetail {
    /// 32 hex digits.
    pub id: String,
    /// `ssd` or `hdd`.
    pub media: String,
    /// Bytes declared.
    pub capacity: u64,
    /// Bytes of data.
    pub used: u64,
    /// Bytes free on the host's file system.
    pub host_free: u64,
    /// Bytes promised to volumes.
    pub promised: u64,
    /// IOPS declared.
    pub iops: u32,
    /// IOPS reserved.
    pub iops_reserved: u64,
    /// Bytes per second declared.
    pub throughput: u64,
    /// Bytes per second reserved.
    pub throughput_reserved: u64,
    /// Pools of the same device count together.
    pub device: u64,
    /// Why it takes no new copies, if so.
    pub trouble: Option<String>,
}

/// What [`crate::Manager::rebuild`] made of the copies' reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Rebuild)]
pub struct RebuildReport {
    /// Servers that reported.
    pub servers: usize,
    /// Volumes that were made anew.
    pub volumes: Vec<String>,
    /// Volumes that were known already.
    pub known: usize,
    /// What could not be made, and why.
    pub failed: Vec<String>,
}
