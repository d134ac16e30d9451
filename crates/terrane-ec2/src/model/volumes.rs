//! The model's volumes: made, changed, deleted.

use jiff::Timestamp;
use terrane_types::VolumeId;

use super::{Owned, Pace, State, is_over};
use crate::service::limits::resolve_change;
use crate::service::{
    AttachmentState, Caller, ClientToken, ModificationState, NewVolume, ServiceError, Settings, Volume,
    VolumeChange, VolumeHealth, VolumeModification, VolumeState,
};

impl State {
    pub(super) fn create(
        &mut self,
        caller: &Caller,
        token: Option<&ClientToken>,
        new: NewVolume,
        pace: Pace,
    ) -> Result<Volume, ServiceError> {
        let token = token.map(|token| (caller.account.clone(), token.clone()));
        if let Some((before, id)) = token.as_ref().and_then(|token| self.tokens.get(token)) {
            if *before != new {
                return Err(ServiceError::IdempotentParameterMismatch);
            }
            let id = id.clone();
            return self.volume(caller, &id).cloned();
        }
        let volume = Volume {
            id: VolumeId::from_bits(self.random()),
            zone: new.zone.clone(),
            settings: new.settings,
            encrypted: false,
            snapshot: None,
            created: Timestamp::now(),
            state: VolumeState::Creating,
            health: VolumeHealth::Ok,
            attachments: Vec::new(),
            modification: None,
            tags: new.tags.clone(),
        };
        if let Some(token) = token {
            self.tokens.insert(token, (new, volume.id.clone()));
        }
        let owned = Owned { owner: caller.account.clone(), it: volume.clone() };
        self.volumes.insert(volume.id.clone(), owned);
        self.settle(&volume.id, pace);
        Ok(volume)
    }

    pub(super) fn delete(&mut self, caller: &Caller, id: &VolumeId, pace: Pace) -> Result<(), ServiceError> {
        let volume = self.volume(caller, id)?;
        if let Some(attachment) = volume.attachments.first() {
            let (volume, instance) = (id.clone(), attachment.instance.clone());
            return Err(ServiceError::VolumeInUse { volume, instance });
        }
        volume.state = VolumeState::Deleting;
        self.settle(id, pace);
        Ok(())
    }

    pub(super) fn modify(
        &mut self,
        caller: &Caller,
        id: &VolumeId,
        change: &VolumeChange,
        pace: Pace,
    ) -> Result<VolumeModification, ServiceError> {
        let volume = self.volume(caller, id)?;
        if !matches!(volume.state, VolumeState::Available | VolumeState::InUse) {
            return Err(ServiceError::IncorrectState {
                what: format!("volume {id}"),
                state: format!("{:?}", volume.state).to_lowercase(),
                expected: "available or in-use",
            });
        }
        let under_way = |modification: &VolumeModification| modification.ended.is_none();
        if volume.modification.as_ref().is_some_and(under_way) {
            return Err(ServiceError::BeingModified(id.clone()));
        }
        let (original, target) = (volume.settings, resolve_change(&volume.settings, change)?);
        can_be_granted(&original, &target)?;
        if original.multi_attach != target.multi_attach && !volume.attachments.is_empty() {
            return Err(ServiceError::IncorrectState {
                what: format!("volume {id}"),
                state: "in-use".into(),
                expected: "available to change Multi-Attach",
            });
        }
        let modification = VolumeModification {
            volume: id.clone(),
            state: ModificationState::Modifying,
            message: None,
            original,
            target,
            progress: 0,
            started: Timestamp::now(),
            ended: None,
        };
        volume.modification = Some(modification.clone());
        self.settle(id, pace);
        Ok(modification)
    }

    /// Ends what is under way, if nothing takes time.
    pub(super) fn settle(&mut self, id: &VolumeId, pace: Pace) {
        if pace == Pace::AtOnce {
            self.seen(id);
        }
    }

    /// A volume has been looked at: what was under way is over at the next look.
    pub(super) fn seen(&mut self, id: &VolumeId) {
        let Some(Owned { it: volume, .. }) = self.volumes.get_mut(id) else { return };
        if volume.state == VolumeState::Deleting {
            self.volumes.remove(id);
            return;
        }
        for attachment in &mut volume.attachments {
            attachment.state = match attachment.state {
                AttachmentState::Attaching | AttachmentState::Attached => AttachmentState::Attached,
                AttachmentState::Detaching | AttachmentState::Detached => AttachmentState::Detached,
            };
        }
        volume.attachments.retain(|attachment| !is_over(attachment));
        volume.state = match (volume.state, volume.attachments.is_empty()) {
            (VolumeState::Creating | VolumeState::InUse, true) => VolumeState::Available,
            (state, _) => state,
        };
        if let Some(modification) = &mut volume.modification
            && modification.ended.is_none()
        {
            modification.state = ModificationState::Completed;
            modification.progress = 100;
            modification.ended = Some(Timestamp::now());
            volume.settings = modification.target;
        }
    }
}

/// What can be done.
fn can_be_granted(from: &Settings, to: &Settings) -> Result<(), ServiceError> {
    if to.size_gib < from.size_gib {
        return Err(ServiceError::Unsupported("Volumes cannot be made smaller yet.".into()));
    }
    Ok(())
}
