//! Between EC2's words and ours.

use terrane_types::{InstanceId, SnapshotId, VolumeId};

use crate::dto;
use crate::error::{Ec2Error, shortened};
use crate::service::{self, ModificationState, VolumeState, VolumeType};

/// A volume's identifier, as it was sent.
pub(super) fn volume_id(text: &str) -> Result<VolumeId, Ec2Error> {
    VolumeId::parse(text).map_err(|_| malformed("InvalidVolumeID.Malformed", text, VolumeId::PREFIX))
}

/// Identifiers of volumes, each once.
pub(super) fn volume_ids(texts: &[String]) -> Result<Vec<VolumeId>, Ec2Error> {
    once(texts.iter().map(|text| volume_id(text)))
}

/// An instance's identifier, as it was sent.
pub(super) fn instance_id(text: &str) -> Result<InstanceId, Ec2Error> {
    InstanceId::parse(text).map_err(|_| malformed("InvalidInstanceID.Malformed", text, InstanceId::PREFIX))
}

/// Identifiers of instances, each once.
pub(super) fn instance_ids(texts: &[String]) -> Result<Vec<InstanceId>, Ec2Error> {
    once(texts.iter().map(|text| instance_id(text)))
}

/// A snapshot's identifier, as it was sent.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId, Ec2Error> {
    SnapshotId::parse(text).map_err(|_| malformed("InvalidSnapshotID.Malformed", text, SnapshotId::PREFIX))
}

/// Identifiers of snapshots, each once.
pub(super) fn snapshot_ids(texts: &[String]) -> Result<Vec<SnapshotId>, Ec2Error> {
    once(texts.iter().map(|text| snapshot_id(text)))
}

fn malformed(code: &'static str, text: &str, prefix: &str) -> Ec2Error {
    Ec2Error::new(code, format!("Invalid id: \"{}\" (expecting \"{prefix}...\")", shortened(text)))
}

fn once<Id: Ord>(ids: impl Iterator<Item = Result<Id, Ec2Error>>) -> Result<Vec<Id>, Ec2Error> {
    let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// A number that must not be negative.
pub(super) fn unsigned(name: &str, value: Option<i32>) -> Result<Option<u32>, Ec2Error> {
    let convert = |value: i32| {
        let expected = "It must not be negative.";
        u32::try_from(value).map_err(|_| Ec2Error::invalid_value(&value.to_string(), name, expected))
    };
    value.map(convert).transpose()
}

/// A number as EC2 has it; the largest there is for what is larger.
pub(super) fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Our type of a volume; `standard` is one that there is not.
pub(super) fn kind_of(word: dto::VolumeType) -> Result<VolumeType, Ec2Error> {
    VolumeType::parse(word.as_str()).ok_or_else(|| {
        let names = VolumeType::ALL.map(VolumeType::as_str).join(", ");
        let text = format!("The volume type '{}' is not offered; {names} are.", word.as_str());
        Ec2Error::new("UnknownVolumeType", text)
    })
}

pub(super) fn kind(kind: VolumeType) -> dto::VolumeType {
    match kind {
        VolumeType::Gp2 => dto::VolumeType::Gp2,
        VolumeType::Gp3 => dto::VolumeType::Gp3,
        VolumeType::Io1 => dto::VolumeType::Io1,
        VolumeType::Io2 => dto::VolumeType::Io2,
        VolumeType::St1 => dto::VolumeType::St1,
        VolumeType::Sc1 => dto::VolumeType::Sc1,
    }
}

pub(super) fn volume_state(state: VolumeState) -> dto::VolumeState {
    match state {
        VolumeState::Creating => dto::VolumeState::Creating,
        VolumeState::Available => dto::VolumeState::Available,
        VolumeState::InUse => dto::VolumeState::InUse,
        VolumeState::Deleting => dto::VolumeState::Deleting,
        VolumeState::Error => dto::VolumeState::Error,
    }
}

pub(super) fn modification_state(state: ModificationState) -> dto::VolumeModificationState {
    match state {
        ModificationState::Modifying => dto::VolumeModificationState::Modifying,
        ModificationState::Optimizing => dto::VolumeModificationState::Optimizing,
        ModificationState::Completed => dto::VolumeModificationState::Completed,
        ModificationState::Failed => dto::VolumeModificationState::Failed,
    }
}

pub(super) fn attachment_state(state: service::AttachmentState) -> dto::VolumeAttachmentState {
    match state {
        service::AttachmentState::Attaching => dto::VolumeAttachmentState::Attaching,
        service::AttachmentState::Attached => dto::VolumeAttachmentState::Attached,
        service::AttachmentState::Detaching => dto::VolumeAttachmentState::Detaching,
        service::AttachmentState::Detached => dto::VolumeAttachmentState::Detached,
    }
}

/// The same, as instances say it.
pub(super) fn attachment_status(state: service::AttachmentState) -> dto::AttachmentStatus {
    match state {
        service::AttachmentState::Attaching => dto::AttachmentStatus::Attaching,
        service::AttachmentState::Attached => dto::AttachmentStatus::Attached,
        service::AttachmentState::Detaching => dto::AttachmentStatus::Detaching,
        service::AttachmentState::Detached => dto::AttachmentStatus::Detached,
    }
}

/// A state's name and number.
pub(super) fn instance_state(state: service::InstanceState) -> dto::InstanceState {
    let (code, name) = match state {
        service::InstanceState::Pending => (0, dto::InstanceStateName::Pending),
        service::InstanceState::Running => (16, dto::InstanceStateName::Running),
        service::InstanceState::ShuttingDown => (32, dto::InstanceStateName::ShuttingDown),
        service::InstanceState::Terminated => (48, dto::InstanceStateName::Terminated),
        service::InstanceState::Stopping => (64, dto::InstanceStateName::Stopping),
        service::InstanceState::Stopped => (80, dto::InstanceStateName::Stopped),
    };
    dto::InstanceState { code: Some(code), name: Some(name) }
}

/// Tags as a list. None at all is not there, as EC2 has it.
pub(super) fn tag_list(tags: &service::Tags) -> Option<Vec<dto::Tag>> {
    let list = || {
        let pair = |(key, value): (&String, &String)| dto::Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        };
        tags.iter().map(pair).collect()
    };
    (!tags.is_empty()).then(list)
}
