//! Why a service refuses.

use terrane_types::{InstanceId, VolumeId};

use super::VolumeType;
use super::limits::LimitError;

/// Why a service refuses. [`crate::Ec2Error`] has each in EC2's words.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No such volumes, as far as the caller can know.
    #[error("the volume {} does not exist", list(.0))]
    VolumeNotFound(Vec<VolumeId>),
    /// No such instances, as far as the caller can know.
    #[error("the instance {} does not exist", list(.0))]
    InstanceNotFound(Vec<InstanceId>),
    /// No such resource to be tagged.
    #[error("{0} does not exist")]
    ResourceNotFound(super::ResourceId),
    /// No such zone.
    #[error("the zone {0} does not exist")]
    ZoneNotFound(terrane_types::Zone),
    /// The volume is not attached, or not there.
    #[error("volume {volume} is not attached{}", at(.instance.as_ref(), .device.as_deref()))]
    AttachmentNotFound {
        /// Which volume.
        volume: VolumeId,
        /// Where it was expected.
        instance: Option<InstanceId>,
        /// Under which name it was expected.
        device: Option<String>,
    },
    /// The volume is attached to several instances and the call names none.
    #[error("volume {0} is attached to several instances: name the one that is meant")]
    AttachmentAmbiguous(VolumeId),
    /// The state of something does not allow the call.
    #[error("{what} is {state}, and must be {expected}")]
    IncorrectState {
        /// What: `volume vol-…`.
        what: String,
        /// The state that it is in.
        state: String,
        /// The states that would do.
        expected: &'static str,
    },
    /// The volume is attached.
    #[error("volume {volume} is attached to {instance}")]
    VolumeInUse {
        /// Which volume.
        volume: VolumeId,
        /// To what.
        instance: InstanceId,
    },
    /// The device name is taken at the instance.
    #[error("{device} is already in use at {instance}")]
    DeviceInUse {
        /// The instance.
        instance: InstanceId,
        /// The name.
        device: String,
    },
    /// The volume is being modified and cannot take this request now.
    #[error("volume {0} is being modified")]
    BeingModified(VolumeId),
    /// The token was used with other parameters.
    #[error("the client token was used with other parameters")]
    IdempotentParameterMismatch,
    /// The instance has as many volumes as it can.
    #[error("{0} has as many volumes as it can have")]
    AttachmentLimit(InstanceId),
    /// The account has as many volumes as it may.
    #[error("the account has as many volumes as it may have ({0})")]
    VolumeLimit(u64),
    /// The account has as many IOPS committed to one type as it may.
    #[error("the account has as many IOPS of {kind} volumes as it may have ({max})")]
    IopsLimit {
        /// Which type.
        kind: VolumeType,
        /// How many.
        max: u64,
    },
    /// A resource would have too many tags.
    #[error("{0} would have more than 50 tags")]
    TagLimit(super::ResourceId),
    /// Settings that the volume's type has not.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// There is data where the volume would end.
    #[error("{volume} has data beyond {asked} GiB: it can be made {smallest} GiB at least")]
    DataBeyond {
        /// Which volume.
        volume: VolumeId,
        /// The size that was asked for.
        asked: u32,
        /// The smallest that loses nothing.
        smallest: u32,
    },
    /// No server has room.
    #[error("no server in {zone} has room: {reason}")]
    NoCapacity {
        /// Where.
        zone: terrane_types::Zone,
        /// What was looked for.
        reason: String,
    },
    /// Not offered.
    #[error("{0}")]
    Unsupported(String),
    /// Not now: the same call may succeed later.
    #[error("not now: {0}")]
    Unavailable(String),
    /// Something is broken; the text is for the log, not for the caller.
    #[error("{0}")]
    Internal(String),
}

fn list<T: std::fmt::Display>(ids: &[T]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn at(instance: Option<&InstanceId>, device: Option<&str>) -> String {
    let instance = instance.map(|id| format!(" to {id}")).unwrap_or_default();
    let device = device.map(|name| format!(" as {name}")).unwrap_or_default();
    instance + &device
}
