//! What the front end asks of who keeps the volumes: one trait in native types, nothing of EC2's wire in it.
//!
//! The front end has checked what the request alone decides: syntax, ranges, combinations, filters, pages.
//! What depends on state (does it exist, may it change now) is the service's to decide, atomically.

mod error;
mod instance;
pub mod limits;
mod snapshot;
mod volume;

use std::collections::BTreeMap;

use async_trait::async_trait;
use terrane_types::{AccountId, InstanceId, SnapshotId, VolumeId};

pub use error::ServiceError;
pub use instance::{HOST, Instance, InstanceState, InstanceVolume, ZoneRecord, ZoneState, zone_id};
pub use snapshot::{
    BLOCK_BYTES, BLOCKS_PER_GIB, BlockEntry, BlockList, BlockPage, ChangedBlock, Completion,
    DESCRIPTION_CHARS_MAX, Lock, LockEnd, LockMode, LockState, LockWish, NewSnapshot, NoSnapshots,
    PermissionChange, Permissions, PutBlock, SHARED_WITH_MAX, SIZE_GIB_MAX, Scope, Snapshot, SnapshotError,
    SnapshotResult, SnapshotService, SnapshotState, StartSnapshot,
};
pub use volume::{
    AttachVolume, Attachment, AttachmentState, DetachVolume, ModificationState, NewVolume, Settings, Volume,
    VolumeChange, VolumeHealth, VolumeModification, VolumeState, VolumeType, is_device_name,
};

/// Who asks. The front door has authenticated and authorised the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account whose resources are meant.
    pub account: AccountId,
    /// The principal's name, for the records.
    pub principal: String,
    /// The request's identity, for the records.
    pub request_id: String,
}

/// Tags of a resource: at most [`TAGS_MAX`] keys of 1 to 127 characters, values of up to 255.
pub type Tags = BTreeMap<String, String>;

/// Tags that a resource may have.
pub const TAGS_MAX: usize = 50;

/// A tag to be taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRemoval {
    /// The key.
    pub key: String,
    /// Only if the tag has this value; `None`: whatever it has.
    pub value: Option<String>,
}

/// Something that can be tagged. Ordered as its text is, which is the order of listings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceId {
    /// `i-…`
    Instance(InstanceId),
    /// `snap-…`
    Snapshot(SnapshotId),
    /// `vol-…`
    Volume(VolumeId),
}

/// An idempotency token: the same token with the same parameters means the same call. 1 to 64 ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientToken(pub String);

/// Which resources of the caller's account are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a, Id> {
    /// Exactly these, in any order; one that does not exist (or is not the caller's) fails the call.
    Ids(&'a [Id]),
    /// Those after this one, in the order of identifiers, at most so many. Fewer mean that there are no more.
    Page {
        /// The last one of the page before.
        after: Option<&'a Id>,
        /// How many at most.
        limit: usize,
    },
}

/// The keeper of volumes, attachments and the instances that these attach to.
///
/// Every call is one decision: it either happens as a whole or not at all. What belongs to another account is
/// answered as what does not exist. A volume that was deleted does not exist.
#[async_trait]
pub trait VolumeService: Send + Sync + 'static {
    /// Makes a volume (`creating`, then `available`).
    ///
    /// # Errors
    /// [`ServiceError::IdempotentParameterMismatch`] if the token was used with other parameters; a zone that
    /// is not there; limits; no capacity.
    async fn create_volume(
        &self,
        caller: &Caller,
        token: Option<&ClientToken>,
        new: NewVolume,
    ) -> Result<Volume, ServiceError>;

    /// Deletes a volume that is attached to nothing.
    ///
    /// # Errors
    /// No such volume; [`ServiceError::VolumeInUse`].
    async fn delete_volume(&self, caller: &Caller, id: &VolumeId) -> Result<(), ServiceError>;

    /// Volumes with their attachments, tags and latest modification.
    ///
    /// # Errors
    /// No such volume.
    async fn volumes(
        &self,
        caller: &Caller,
        select: Select<'_, VolumeId>,
    ) -> Result<Vec<Volume>, ServiceError>;

    /// Asks for other settings. The result is the request as recorded, done or on its way. Settings are
    /// resolved against the volume's own by [`limits::resolve_change`].
    ///
    /// # Errors
    /// No such volume; settings that its (new) type has not; what cannot be done to it now, or at all.
    async fn modify_volume(
        &self,
        caller: &Caller,
        id: &VolumeId,
        change: VolumeChange,
    ) -> Result<VolumeModification, ServiceError>;

    /// Attaches a volume to an instance.
    ///
    /// # Errors
    /// No such volume or instance; wrong state of either; the device name is taken; too many attachments.
    async fn attach_volume(&self, caller: &Caller, what: AttachVolume) -> Result<Attachment, ServiceError>;

    /// Detaches a volume: at once if forced, else when its clients are gone.
    ///
    /// # Errors
    /// No such volume; not attached (there); attached to several and none is named.
    async fn detach_volume(&self, caller: &Caller, what: DetachVolume) -> Result<Attachment, ServiceError>;

    /// Instances with what is attached to them.
    ///
    /// # Errors
    /// No such instance.
    async fn instances(
        &self,
        caller: &Caller,
        select: Select<'_, InstanceId>,
    ) -> Result<Vec<Instance>, ServiceError>;

    /// Adds tags to resources, replacing those of the same key; to all of them or to none.
    ///
    /// # Errors
    /// No such resource; more than [`TAGS_MAX`].
    async fn add_tags(&self, caller: &Caller, ids: &[ResourceId], tags: &Tags) -> Result<(), ServiceError>;

    /// Takes tags away; an empty list takes all. What is not there is no error.
    ///
    /// # Errors
    /// No such resource.
    async fn remove_tags(
        &self,
        caller: &Caller,
        ids: &[ResourceId],
        tags: &[TagRemoval],
    ) -> Result<(), ServiceError>;

    /// The region's zones, in the order of their names. At least one.
    ///
    /// # Errors
    /// The service cannot answer.
    async fn zones(&self) -> Result<Vec<ZoneRecord>, ServiceError>;
}

impl ResourceId {
    /// The text form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Instance(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
            Self::Volume(id) => id.as_str(),
        }
    }
}

impl std::fmt::Display for ResourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ClientToken {
    /// Characters at most.
    pub const CHARS_MAX: usize = 64;

    /// Takes 1 to 64 ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = (1..=Self::CHARS_MAX).contains(&text.len()) && text.is_ascii();
        legal.then(|| Self(text.into()))
    }
}
