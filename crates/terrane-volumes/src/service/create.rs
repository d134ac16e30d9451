//! Volumes made and deleted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use terrane_block_core::{AttachmentEpoch, CopyId, LayoutEpoch};
use terrane_block_wire::control::{CopyIdentity, StripeId};
use terrane_ec2::service::{Caller, ClientToken, NewVolume, ServiceError, Volume};
use terrane_store::Tx;
use terrane_types::VolumeId;
use terrane_workflow::Workflows;

use super::{CallError, own_volume, show};
use crate::Manager;
use crate::db::{self, Changes};
use crate::placement::{Placed, Want};
use crate::rows::{LifeRow, SettingsRow, StripeRow, TOKENS, TokenRow, VOLUMES, VolumeRow, volume_key};

/// Bytes that lie in one stripe before the next one goes on. (All volumes have one stripe yet.)
const STRIPE_BYTES: u64 = 1 << 30;

pub(super) async fn create(
    manager: &Manager,
    caller: &Caller,
    token: Option<&ClientToken>,
    new: &NewVolume,
) -> Result<Volume, ServiceError> {
    // Drawn once: a transaction that is tried again makes the same volume.
    let id = VolumeId::from_bits(rand::random());
    let stripe = StripeId(rand::random());
    let now = Timestamp::now();
    manager.call(|tx| begin(manager, tx, caller, token, new, (id.clone(), stripe, now))).await
}

/// The call in its transaction, with what was drawn for it.
pub(crate) async fn begin(
    manager: &Manager,
    tx: Tx,
    caller: &Caller,
    token: Option<&ClientToken>,
    new: &NewVolume,
    (id, stripe, now): (VolumeId, StripeId, Timestamp),
) -> Result<(Volume, Changes), CallError> {
    let config = manager.config();
    let zones = show::zones(tx.clone(), &config.region, &config.zones).await?;
    if !zones.iter().any(|zone| zone.name == new.zone) {
        return Err(ServiceError::ZoneNotFound(new.zone.clone()).into());
    }
    let settings = SettingsRow::from(new.settings);
    let token = token.map(|token| (caller.account.clone(), token.0.clone()));
    if let Some(key) = &token
        && let Some(before) = TOKENS.get(&tx, key).await?
    {
        if (&before.zone, before.settings, &before.tags) != (&new.zone, settings, &new.tags) {
            return Err(ServiceError::IdempotentParameterMismatch.into());
        }
        let row = own_volume(&tx, caller, &before.volume).await?;
        return Ok((show::volume(&tx, &row).await?, Changes::default()));
    }
    let want = Want {
        zone: new.zone.clone(),
        media: settings.media(),
        demand: settings.demand(),
        copies: config.copies,
        without: BTreeSet::new(),
        strict: true,
    };
    let placed = db::map(&tx).await?.place(&want, config.overcommit);
    let placed = placed.map_err(|reason| ServiceError::NoCapacity { zone: new.zone.clone(), reason })?;
    let volume = row(caller, new, id, stripe, now);
    let mut changed = Changes::default();
    changed.put_stripe(&tx, None, Some(first_stripe(&volume, &want, &placed))).await?;
    if let Some(key) = token {
        let (zone, tags, volume) = (new.zone.clone(), new.tags.clone(), volume.id.clone());
        TOKENS.put(&tx, &key, &TokenRow { zone, settings, tags, volume, created: now }).await?;
    }
    let mut noted = volume;
    noted.notes.extend(placed.note);
    let key = volume_key(&noted.account, &noted.id);
    changed.put_volume(&tx, noted).await?;
    let row = changed.volumes.get(&key).cloned().flatten();
    let row = row.ok_or_else(|| ServiceError::Internal("the volume was not written".into()))?;
    Ok((show::volume(&tx, &row).await?, changed))
}

fn row(caller: &Caller, new: &NewVolume, id: VolumeId, stripe: StripeId, now: Timestamp) -> VolumeRow {
    VolumeRow {
        version: 0,
        account: caller.account.clone(),
        id,
        zone: new.zone.clone(),
        settings: new.settings.into(),
        created: now,
        life: LifeRow::Creating,
        layout: LayoutEpoch(1),
        stripes: vec![stripe],
        stripe_bytes: STRIPE_BYTES,
        epoch: AttachmentEpoch(1),
        attachments: Vec::new(),
        modifications: 0,
        tags: new.tags.clone(),
        notes: Vec::new(),
    }
}

fn first_stripe(volume: &VolumeRow, want: &Want, placed: &Placed) -> StripeRow {
    let identity = CopyIdentity {
        volume: volume.id.clone(),
        account: volume.account.to_string(),
        stripe_index: 0,
        stripes: 1,
        stripe_bytes: volume.stripe_bytes,
        blocks: volume.blocks_of_stripe(volume.settings.size_gib),
    };
    let mut row = StripeRow {
        version: 1,
        id: volume.stripes[0],
        identity,
        zone: want.zone.clone(),
        layout: volume.layout,
        wanted: u32::try_from(placed.places.len()).unwrap_or(u32::MAX),
        media: want.media,
        demand: want.demand,
        record: None,
        places: BTreeMap::new(),
        next_copy: CopyId(1),
        change: None,
    };
    for place in &placed.places {
        row.add_place(*place);
    }
    row
}

/// Nothing is left of it but the copies' deletions, which go on until every server has done its own.
pub(super) async fn delete(
    tx: Tx,
    workflows: &Workflows,
    caller: &Caller,
    id: &VolumeId,
) -> Result<((), Changes), CallError> {
    let volume = own_volume(&tx, caller, id).await?;
    if let Some(attachment) = volume.attachments.first() {
        let (volume, instance) = (id.clone(), attachment.instance.clone());
        return Err(ServiceError::VolumeInUse { volume, instance }.into());
    }
    let mut changed = Changes::default();
    for stripe in db::stripes_of(&tx, &volume).await? {
        changed.put_stripe(&tx, Some(&stripe), None).await?;
    }
    super::modify::forget(&tx, workflows, &volume).await?;
    let key = volume_key(&volume.account, &volume.id);
    VOLUMES.delete(&tx, &key).await?;
    changed.volumes.insert(key, None);
    Ok(((), changed))
}
