//! Attachments.

use jiff::Timestamp;
use terrane_block_core::ClientId;
use terrane_ec2::service::{AttachVolume, Attachment, Caller, DetachVolume, ServiceError};
use terrane_store::{SCAN_ROWS_MAX, Tx};

use super::{CallError, own_volume, show};
use crate::db::{self, Changes};
use crate::rows::{
    AttachmentRow, AttachmentStateRow, BY_INSTANCE, Hidden, INSTANCES, LifeRow, VOLUMES, VolumeRow, hex,
};

/// Volumes that an instance can have.
const ATTACHMENTS_MAX: usize = 128;

pub(super) async fn attach(
    tx: Tx,
    caller: &Caller,
    what: &AttachVolume,
) -> Result<(Attachment, Changes), CallError> {
    let key = (caller.account.clone(), what.instance.as_str().to_owned());
    if INSTANCES.get(&tx, &key).await?.is_none() {
        return Err(ServiceError::InstanceNotFound(vec![what.instance.clone()]).into());
    }
    let mut volume = own_volume(&tx, caller, &what.volume).await?;
    may_attach(&volume, what)?;
    let beside = VOLUMES.find(&tx, &BY_INSTANCE, &what.instance.as_str(), SCAN_ROWS_MAX).await?;
    let attached =
        beside.iter().flat_map(|(_, row)| &row.attachments).filter(|a| a.instance == what.instance);
    if attached.clone().any(|attachment| attachment.device == what.device) {
        let (instance, device) = (what.instance.clone(), what.device.clone());
        return Err(ServiceError::DeviceInUse { instance, device }.into());
    }
    if attached.count() >= ATTACHMENTS_MAX {
        return Err(ServiceError::AttachmentLimit(what.instance.clone()).into());
    }
    let mut changed = Changes::default();
    // Nothing of an earlier attachment may land in this one.
    db::raise_epoch(&tx, &mut volume, &mut changed).await?;
    let attachment = AttachmentRow {
        instance: what.instance.clone(),
        device: what.device.clone(),
        state: AttachmentStateRow::Attaching,
        attached: Timestamp::now(),
        epoch: volume.epoch,
        client: ClientId(rand::random()),
        secret: Hidden(hex(rand::random())),
        nbd_url: None,
        trouble: None,
    };
    let shown = show::attachment(&volume, &attachment);
    volume.attachments.push(attachment);
    changed.put_volume(&tx, volume).await?;
    Ok((shown, changed))
}

fn may_attach(volume: &VolumeRow, what: &AttachVolume) -> Result<(), ServiceError> {
    let creating = match &volume.life {
        LifeRow::Ready => None,
        LifeRow::Creating => Some("creating"),
        LifeRow::Failed(_) => Some("error"),
    };
    if let Some(state) = creating {
        return Err(ServiceError::IncorrectState {
            what: format!("volume {}", what.volume),
            state: state.to_owned(),
            expected: "available",
        });
    }
    let Some(other) = volume.attachments.first() else { return Ok(()) };
    let again = volume.attachments.iter().any(|attachment| attachment.instance == what.instance);
    if volume.settings.multi_attach && !again {
        let text = "Volumes cannot be attached to several instances at the same time yet.";
        return Err(ServiceError::Unsupported(text.to_owned()));
    }
    let instance = if again { what.instance.clone() } else { other.instance.clone() };
    Err(ServiceError::VolumeInUse { volume: what.volume.clone(), instance })
}

pub(super) async fn detach(
    tx: Tx,
    caller: &Caller,
    what: &DetachVolume,
) -> Result<(Attachment, Changes), CallError> {
    if let Some(instance) = &what.instance {
        let key = (caller.account.clone(), instance.as_str().to_owned());
        if INSTANCES.get(&tx, &key).await?.is_none() {
            return Err(ServiceError::InstanceNotFound(vec![instance.clone()]).into());
        }
    }
    let mut volume = own_volume(&tx, caller, &what.volume).await?;
    let index = meant(&volume, what)?;
    let mut changed = Changes::default();
    let before = volume.attachments[index].state;
    let after = if what.force || before == AttachmentStateRow::Cutting {
        AttachmentStateRow::Cutting
    } else {
        AttachmentStateRow::Detaching
    };
    volume.attachments[index].state = after;
    let shown = show::attachment(&volume, &volume.attachments[index]);
    if after != before {
        if after == AttachmentStateRow::Cutting {
            db::raise_epoch(&tx, &mut volume, &mut changed).await?;
        }
        changed.put_volume(&tx, volume).await?;
    }
    Ok((shown, changed))
}

fn meant(volume: &VolumeRow, what: &DetachVolume) -> Result<usize, ServiceError> {
    if volume.attachments.is_empty() {
        return Err(ServiceError::IncorrectState {
            what: format!("volume {}", what.volume),
            state: show::state_name(show::state(volume)).to_owned(),
            expected: "in-use",
        });
    }
    let is_meant = |attachment: &AttachmentRow| {
        what.instance.as_ref().is_none_or(|instance| *instance == attachment.instance)
            && what.device.as_ref().is_none_or(|device| *device == attachment.device)
    };
    let mut found = (0..).zip(&volume.attachments).filter(|(_, a)| is_meant(a)).map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => Err(ServiceError::AttachmentAmbiguous(what.volume.clone())),
        (None, _) => Err(ServiceError::AttachmentNotFound {
            volume: what.volume.clone(),
            instance: what.instance.clone(),
            device: what.device.clone(),
        }),
    }
}
