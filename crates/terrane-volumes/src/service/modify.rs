//! Settings changed, as far as servers can grant it without moving data.

use jiff::Timestamp;
use terrane_ec2::service::limits::resolve_change;
use terrane_ec2::service::{Caller, ModificationState, ServiceError, VolumeChange, VolumeModification};
use terrane_store::Tx;
use terrane_types::VolumeId;

use super::{CallError, own_volume, show};
use crate::db::{self, Changes};
use crate::rows::{LifeRow, ModificationRow, SettingsRow, VolumeRow};

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
    let original = volume.settings;
    // What is asked for while the volume grows, is asked of the volume that it will be.
    let from = SettingsRow { size_gib: volume.grows_to().unwrap_or(original.size_gib), ..original };
    let to = SettingsRow::from(resolve_change(&from.into(), &change).map_err(ServiceError::from)?);
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
    reserve(&tx, &mut changed, &volume, (from, to), overcommit).await?;
    let now = Timestamp::now();
    // A larger size holds when all copies have it.
    let held = SettingsRow { size_gib: original.size_gib, ..to };
    let ended = (held == to).then_some(now);
    let modification = ModificationRow { original, target: to, started: now, ended, failed: None };
    // As it was asked for; what is complete at once is so when it is looked at.
    let asked = VolumeModification {
        state: ModificationState::Modifying,
        progress: 0,
        ended: None,
        ..show::modification(&volume.id, &modification)
    };
    volume.settings = held;
    volume.modification = Some(modification);
    changed.put_volume(&tx, volume).await?;
    Ok((asked, changed))
}

/// What every copy takes more, its pool must have; then the stripes are as large as they shall be.
async fn reserve(
    tx: &Tx,
    changed: &mut Changes,
    volume: &VolumeRow,
    (from, to): (SettingsRow, SettingsRow),
    overcommit: u32,
) -> Result<(), CallError> {
    let more = to.demand().beyond(from.demand());
    let map = db::map(tx).await?;
    let stripes = db::stripes_of(tx, volume).await?;
    if stripes.len() > 1 && to.size_gib != from.size_gib {
        let text = "Volumes of several stripes cannot be made larger yet.";
        return Err(ServiceError::Unsupported(text.to_owned()).into());
    }
    for row in stripes {
        for place in row.places.values() {
            map.can_grow(*place, more, overcommit).map_err(|reason| {
                ServiceError::Unsupported(format!(
                    "Its servers cannot grant this, and volumes cannot move yet: {reason}."
                ))
            })?;
        }
        let same = to.size_gib == from.size_gib;
        let blocks = if same { row.identity.blocks } else { volume.blocks_of_stripe(to.size_gib) };
        let after = row.resized(blocks, to.demand());
        if (after.demand, after.identity.blocks) != (row.demand, row.identity.blocks) {
            changed.put_stripe(tx, Some(&row), Some(after)).await?;
        }
    }
    Ok(())
}

/// What needs no data to be moved.
fn can_be_granted(from: &SettingsRow, to: &SettingsRow) -> Result<(), ServiceError> {
    if to.size_gib < from.size_gib {
        return Err(ServiceError::Unsupported("Volumes cannot be made smaller yet.".into()));
    }
    if from.media() != to.media() {
        return Err(ServiceError::Unsupported("Volumes cannot go to other media yet.".into()));
    }
    Ok(())
}
