//! The documents that snapshots are told in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_ec2::service::{self, LockState};
use utoipa::ToSchema;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// `snap-…`
    #[schema(examples("snap-0123456789abcdef0"))]
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The volume that it is of.
    pub volume_id: Option<String>,
    /// Size of the volume in GiB.
    pub size_gib: u32,
    /// `pending`, `completed`, `error`.
    pub state: String,
    /// Why it came to nothing.
    pub message: Option<String>,
    /// Percent.
    pub progress: u8,
    /// When it was begun (RFC 3339).
    pub started: String,
    /// When it was completed (RFC 3339).
    pub completed: Option<String>,
    /// For people.
    pub description: String,
    /// What it is incremental to.
    pub parent_id: Option<String>,
    /// Bytes of the blocks that are not zeros.
    pub full_bytes: Option<u64>,
    /// Accounts that may make volumes of it.
    pub shared_with: Vec<String>,
    /// Whether everybody may.
    pub public: bool,
    /// `governance`, `compliance-cooloff`, `compliance`, `expired`, where it is or was locked.
    pub lock: Option<String>,
    /// When the lock ends (RFC 3339).
    pub locked_until: Option<String>,
    /// When it leaves the recycle bin for good (RFC 3339), where it is in it.
    pub deleted_for_good: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl From<service::Snapshot> for Snapshot {
    fn from(snapshot: service::Snapshot) -> Self {
        let lock = |lock: &service::Lock| {
            let state = match lock.state(Timestamp::now()) {
                LockState::Governance => "governance",
                LockState::Compliance => "compliance",
                LockState::ComplianceCooloff => "compliance-cooloff",
                LockState::Expired => "expired",
            };
            state.to_owned()
        };
        Self {
            id: snapshot.id.to_string(),
            owner: snapshot.owner.to_string(),
            volume_id: snapshot.volume.map(|id| id.to_string()),
            size_gib: snapshot.size_gib,
            state: snapshot.state.as_str().to_owned(),
            message: snapshot.message,
            progress: snapshot.progress,
            started: snapshot.started.to_string(),
            completed: snapshot.completed.map(|time| time.to_string()),
            description: snapshot.description,
            parent_id: snapshot.parent.map(|id| id.to_string()),
            full_bytes: snapshot.full_bytes,
            shared_with: snapshot.permissions.accounts.iter().map(ToString::to_string).collect(),
            public: snapshot.permissions.public,
            lock: snapshot.lock.as_ref().map(lock),
            locked_until: snapshot.lock.and_then(|lock| lock.expires).map(|time| time.to_string()),
            deleted_for_good: snapshot.recycled.map(|(_, exit)| exit.to_string()),
            tags: snapshot.tags,
        }
    }
}

/// What shall be other about who may use a snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotPatch {
    /// Accounts that may make volumes of it from now on.
    pub share: Vec<String>,
    /// Accounts that may not any more.
    pub unshare: Vec<String>,
    /// Whether everybody may.
    pub public: Option<bool>,
}

/// A copy to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotCopy {
    /// For people.
    pub description: Option<String>,
    /// First tags.
    pub tags: BTreeMap<String, String>,
}
