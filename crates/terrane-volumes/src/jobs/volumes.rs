//! What becomes complete of a volume.

use terrane_block_core::manager::{self, Alive};
use terrane_block_core::{AttachmentEpoch, CopyId};
use terrane_block_wire::control::{AttachmentProgress, StripeId};
use terrane_store::{Result, Tx};

use crate::db::{self, Changes, VolumeKey};
use crate::rows::{AttachmentStateRow, Hidden, LifeRow, StripeRow, VOLUMES, VolumeRow};

/// Creation is complete when every stripe has an active record; a forced detach when no stripe waits for it.
pub(super) async fn settle(tx: &Tx, changed: &mut Changes, key: &VolumeKey) -> Result<()> {
    let Some(volume) = VOLUMES.get(tx, key).await? else {
        changed.volumes.insert(key.clone(), None);
        return Ok(());
    };
    let stripes = db::stripes_of(tx, &volume).await?;
    let after = settled(&volume, &stripes);
    match after {
        Some(after) => changed.put_volume(tx, after).await,
        None => {
            changed.volumes.insert(key.clone(), Some(volume));
            Ok(())
        }
    }
}

/// The volume with what is complete noted; `None`: nothing new is.
pub(crate) fn settled(volume: &VolumeRow, stripes: &[StripeRow]) -> Option<VolumeRow> {
    let whole = stripes.len() == volume.stripes.len();
    let records = || stripes.iter().map(|row| row.record.as_ref());
    let made = whole && records().all(|record| record.is_some_and(|record| record.active));
    let fenced = whole
        && records()
            .all(|record| record.is_some_and(|record| !record.fencing && record.epoch >= volume.epoch));
    let mut after = volume.clone();
    if after.life == LifeRow::Creating && made {
        after.life = LifeRow::Ready;
    }
    if fenced {
        after.attachments.retain(|attachment| attachment.state != AttachmentStateRow::Cutting);
    }
    (after != *volume).then_some(after)
}

/// A volume that could not be made stays, in error, until it is deleted.
pub(super) async fn fail(tx: &Tx, changed: &mut Changes, key: &VolumeKey, reason: &str) -> Result<()> {
    let Some(mut volume) = VOLUMES.get(tx, key).await? else { return Ok(()) };
    if volume.life == LifeRow::Creating {
        volume.life = LifeRow::Failed(reason.to_owned());
        changed.put_volume(tx, volume).await?;
    }
    Ok(())
}

/// What a node manager says of an attachment.
pub(super) async fn progress(
    tx: &Tx,
    changed: &mut Changes,
    key: &VolumeKey,
    epoch: AttachmentEpoch,
    progress: &AttachmentProgress,
) -> Result<()> {
    let Some(volume) = VOLUMES.get(tx, key).await? else { return Ok(()) };
    let mut after = volume.clone();
    progressed(&mut after, epoch, progress);
    if after == volume {
        changed.volumes.insert(key.clone(), Some(volume));
        return Ok(());
    }
    changed.put_volume(tx, after).await
}

/// Applies it, if it is about a current attachment.
pub(crate) fn progressed(volume: &mut VolumeRow, epoch: AttachmentEpoch, progress: &AttachmentProgress) {
    let of_epoch = |attachment: &crate::rows::AttachmentRow| attachment.epoch == epoch;
    let Some(index) = volume.attachments.iter().position(of_epoch) else { return };
    let attachment = &mut volume.attachments[index];
    match progress {
        AttachmentProgress::Serving { nbd_url } => {
            if attachment.state == AttachmentStateRow::Attaching {
                attachment.state = AttachmentStateRow::Attached;
            }
            attachment.nbd_url = Some(Hidden(nbd_url.clone()));
            attachment.trouble = None;
        }
        AttachmentProgress::Ended => {
            if attachment.state == AttachmentStateRow::Detaching {
                volume.attachments.remove(index);
            }
        }
        AttachmentProgress::Failed(why) => attachment.trouble = Some(why.clone()),
    }
}

/// The lease has lapsed, or this would not have been asked for.
pub(super) async fn declare_lost(
    tx: &Tx,
    changed: &mut Changes,
    id: StripeId,
    copy: CopyId,
    alive: &Alive,
    by: &str,
) -> Result<()> {
    let Some(row) = db::stripe(tx, id).await? else { return Ok(()) };
    let next = row.record.as_ref().and_then(|record| manager::declare_lost(record, copy, alive, true));
    let Some(next) = next else {
        changed.stripes.insert(id, Some(row));
        return Ok(());
    };
    let after = StripeRow { record: Some(next), version: row.version + 1, ..row.clone() };
    changed.put_stripe(tx, Some(&row), Some(after)).await?;
    if let Some(mut volume) = db::volume_by_id(tx, &row.identity.volume).await? {
        let index = row.identity.stripe_index;
        volume.note(format!(
            "{by} declared the in-sync copies of stripe {index} lost: it goes on with copy {}, possibly as of the last FLUSH",
            copy.0
        ));
        changed.put_volume(tx, volume).await?;
    }
    Ok(())
}
