//! Settings changed, as far as servers can grant it without moving data.

use jiff::Timestamp;
use terrane_ec2::service::limits::resolve_change;
use terrane_ec2::service::{
    Caller, ModificationState, ServiceError, Settings, VolumeChange, VolumeModification,
};
use terrane_store::Tx;
use terrane_types::VolumeId;

use super::{CallError, own_volume, show};
use crate::db::{self, Changes};
use crate::rows::{LifeRow, ModificationRow, SettingsRow, StripeRow};

pub(super) async fn modify(
    tx: Tx,
    caller: &Caller,
    id: &VolumeId,
    change: VolumeChange,
    overcommit: u32,
) -> Result<(VolumeModification, Changes), CallError> {
    let mut volume = own_volume(&tx, caller, id).await?;
    if volume.life != LifeRow::Ready {
        return Err(ServiceError::IncorrectState {
            what: format!("volume {id}"),
            state: show::state_name(show::state(&volume)).to_owned(),
            expected: "available or in-use",
        }
        .into());
    }
    let original = Settings::from(volume.settings);
    let target = resolve_change(&original, &change).map_err(ServiceError::from)?;
    let (from, to) = (volume.settings, SettingsRow::from(target));
    can_be_granted(&from, &to)?;
    if from.multi_attach != to.multi_attach && !volume.attachments.is_empty() {
        return Err(ServiceError::IncorrectState {
            what: format!("volume {id}"),
            state: "in-use".to_owned(),
            expected: "available to change Multi-Attach",
        }
        .into());
    }
    let mut changed = Changes::default();
    let more = to.demand().beyond(from.demand());
    let map = db::map(&tx).await?;
    for row in db::stripes_of(&tx, &volume).await? {
        for place in row.places.values() {
            map.can_grow(*place, more, overcommit).map_err(|reason| {
                ServiceError::Unsupported(format!(
                    "Its servers cannot grant this, and volumes cannot move yet: {reason}."
                ))
            })?;
        }
        let after = StripeRow { demand: to.demand(), version: row.version + 1, ..row.clone() };
        if after.demand != row.demand {
            changed.put_stripe(&tx, Some(&row), Some(after)).await?;
        }
    }
    let now = Timestamp::now();
    let modification = ModificationRow { original: from, target: to, started: now, ended: now };
    // As it was asked for; it is complete when it is looked at.
    let asked = VolumeModification {
        state: ModificationState::Modifying,
        progress: 0,
        ended: None,
        ..show::modification(&volume.id, &modification)
    };
    volume.settings = to;
    volume.modification = Some(modification);
    changed.put_volume(&tx, volume).await?;
    Ok((asked, changed))
}

/// What needs no data to be moved. A copy has the size that it was made with: growing is not among it yet.
fn can_be_granted(from: &SettingsRow, to: &SettingsRow) -> Result<(), ServiceError> {
    if to.size_gib < from.size_gib {
        return Err(ServiceError::Unsupported("Volumes cannot be made smaller yet.".into()));
    }
    if to.size_gib > from.size_gib {
        return Err(ServiceError::Unsupported("Volumes cannot be made larger yet.".into()));
    }
    if from.media() != to.media() {
        return Err(ServiceError::Unsupported("Volumes cannot go to other media yet.".into()));
    }
    Ok(())
}
