//! What people and programs see of volumes and servers beyond the EC2 calls: shapes of the CLI's and REST's JSON.

mod calls;

use serde::Serialize;

/// `terrane volume show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeDetail {
    /// `vol-…`
    pub id: String,
    /// Whose.
    pub account: String,
    /// `creating`, `available`, `in-use`, `error`.
    pub state: String,
    /// `ok`, `impaired` (no copy that could serve it) or `degraded` (fewer copies in sync than wanted).
    pub health: String,
    /// Where the primary lies.
    pub zone: String,
    /// `gp3`…
    #[serde(rename = "type")]
    pub kind: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// The smallest size that loses nothing. What is used is not known here: the size itself.
    pub min_safe_size_gib: u32,
    /// IOPS, if the type has them.
    pub iops: Option<u32>,
    /// MiB/s, if the type has them.
    pub throughput: Option<u32>,
    /// RFC 3339.
    pub created: String,
    /// The highest generation of its stripes.
    pub generation: u64,
    /// Stripes.
    pub stripes: u32,
    /// Copies of all stripes.
    pub copies: Vec<CopyDetail>,
    /// Attachments.
    pub attachments: Vec<AttachmentDetail>,
    /// Tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// What is unusual, in words: why a copy lies in another zone, why the volume is stranded, what was declared lost.
    pub notes: Vec<String>,
}

/// A copy of a stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyDetail {
    /// Which stripe.
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
    /// Of a joining copy: bytes moved and left, as last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resync: Option<ResyncDetail>,
}

/// How far a joining copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ResyncDetail {
    /// Bytes moved in this attempt.
    pub moved: u64,
    /// Bytes left, as far as known.
    pub left: u64,
}

/// The URL of an export: whoever knows it may use the volume. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NbdUrl(pub String);

impl std::fmt::Debug for NbdUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NbdUrl(hidden)")
    }
}

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachmentDetail {
    /// `i-…`
    pub instance_id: String,
    /// Where the node manager serves it; `None` before that. It carries the secret: only for who may attach.
    pub nbd_url: Option<NbdUrl>,
    /// The name asked for.
    pub device: String,
    /// `attaching`, `attached`, `detaching`.
    pub state: String,
    /// RFC 3339.
    pub attached: String,
    /// Why it cannot be served, if so.
    pub trouble: Option<String>,
}

/// `terrane server show --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// Of these, those that it is the primary of.
    pub primaries: u64,
    /// Pools.
    pub pools: Vec<PoolDetail>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// IOPS declared, and reserved.
    pub iops: u32,
    /// IOPS reserved.
    pub iops_reserved: u64,
    /// Bytes per second declared.
    pub throughput: u64,
    /// Bytes per second reserved.
    pub throughput_reserved: u64,
    /// Pools of the same device count together.
    pub device: u64,
    /// Why it takes no new copies.
    pub trouble: Option<String>,
}

/// What [`crate::Manager::rebuild`] made of the copies' reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// Servers that reported.
    pub servers: usize,
    /// Volumes made anew.
    pub volumes: Vec<String>,
    /// Volumes that were known already.
    pub known: usize,
    /// What could not be made, and why.
    pub failed: Vec<String>,
}
