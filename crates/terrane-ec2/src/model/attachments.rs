//! The model's attachments.

use jiff::Timestamp;

use super::{ATTACHMENTS_MAX, Pace, State};
use crate::service::{
    AttachVolume, Attachment, AttachmentState, Caller, DetachVolume, InstanceState, ServiceError, VolumeState,
};

impl State {
    pub(super) fn attach(
        &mut self,
        caller: &Caller,
        what: AttachVolume,
        pace: Pace,
    ) -> Result<Attachment, ServiceError> {
        let instance = self.instance(caller, &what.instance)?;
        let volume = self.volume(caller, &what.volume)?;
        match volume.state {
            VolumeState::Available => {}
            VolumeState::InUse if volume.settings.multi_attach => {}
            VolumeState::InUse => {
                let at = volume.attachments.first().map_or(&what.instance, |attachment| &attachment.instance);
                return Err(ServiceError::VolumeInUse { volume: what.volume, instance: at.clone() });
            }
            state => {
                return Err(ServiceError::IncorrectState {
                    what: format!("volume {}", what.volume),
                    state: format!("{state:?}").to_lowercase(),
                    expected: "available",
                });
            }
        }
        if volume.attachments.iter().any(|attachment| attachment.instance == what.instance) {
            return Err(ServiceError::VolumeInUse { volume: what.volume, instance: what.instance });
        }
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(ServiceError::IncorrectState {
                what: format!("instance {}", what.instance),
                state: format!("{:?}", instance.state).to_lowercase(),
                expected: "running or stopped",
            });
        }
        if instance.volumes.iter().any(|volume| volume.device == what.device) {
            return Err(ServiceError::DeviceInUse { instance: what.instance, device: what.device });
        }
        if instance.volumes.len() >= ATTACHMENTS_MAX {
            return Err(ServiceError::AttachmentLimit(what.instance));
        }
        let attachment = Attachment {
            volume: what.volume.clone(),
            instance: what.instance,
            device: what.device,
            state: AttachmentState::Attaching,
            attached: Timestamp::now(),
        };
        volume.state = VolumeState::InUse;
        volume.attachments.push(attachment.clone());
        self.settle(&what.volume, pace);
        Ok(attachment)
    }

    pub(super) fn detach(
        &mut self,
        caller: &Caller,
        what: &DetachVolume,
        pace: Pace,
    ) -> Result<Attachment, ServiceError> {
        if let Some(instance) = &what.instance {
            self.instance(caller, instance)?;
        }
        let volume = self.volume(caller, &what.volume)?;
        if volume.attachments.is_empty() {
            return Err(ServiceError::IncorrectState {
                what: format!("volume {}", what.volume),
                state: format!("{:?}", volume.state).to_lowercase(),
                expected: "in-use",
            });
        }
        let is_meant = |attachment: &&mut Attachment| {
            what.instance.as_ref().is_none_or(|instance| *instance == attachment.instance)
                && what.device.as_ref().is_none_or(|device| *device == attachment.device)
        };
        let mut meant = volume.attachments.iter_mut().filter(is_meant);
        let attachment = match (meant.next(), meant.next()) {
            (Some(attachment), None) => attachment,
            (Some(_), Some(_)) => return Err(ServiceError::AttachmentAmbiguous(what.volume.clone())),
            (None, _) => {
                return Err(ServiceError::AttachmentNotFound {
                    volume: what.volume.clone(),
                    instance: what.instance.clone(),
                    device: what.device.clone(),
                });
            }
        };
        attachment.state = AttachmentState::Detaching;
        let shown = attachment.clone();
        let pace = if what.force { Pace::AtOnce } else { pace };
        self.settle(&what.volume, pace);
        Ok(shown)
    }
}
