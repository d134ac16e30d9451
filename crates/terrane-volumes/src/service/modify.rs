//! Settings changed: what can be granted where the copies are holds at once; for everything else there is a workflow.

use jiff::Timestamp;
use terrane_ec2::service::ServiceError;
use terrane_ec2::service::limits::resolve_change;
use terrane_store::{SCAN_ROWS_MAX, Tx};
use terrane_types::{AccountId, VolumeId};
use terrane_workflow::{Wish, WorkflowError, Workflows};

use super::{CallError, show};
use crate::ManagerConfig;
use crate::admin::Change;
use crate::db::{self, Changes};
use crate::modify::{Shown, aim, new_run, run_of, with_change};
use crate::rows::{
    LifeRow, MODIFICATIONS, ModificationRow, ModificationStateRow, SettingsRow, StripeRow, TraitsRow,
    VOLUMES, VolumeRow, modification_key, volume_key,
};

/// Mirrors that a volume can have, beside its primary.
pub const MIRRORS: std::ops::RangeInclusive<u32> = 0..=3;
/// Modifications of a volume that are remembered.
const KEPT: u64 = 20;
/// Modifications of a volume that may be under way: one that is carried out, and those that were asked for meanwhile.
const UNDER_WAY_MAX: usize = 8;

/// What can be changed of a volume, as it is now.
fn traits(volume: &VolumeRow, stripes: &[StripeRow]) -> TraitsRow {
    TraitsRow {
        settings: volume.settings,
        zone: volume.zone.clone(),
        copies: stripes.first().map_or(0, |row| row.wanted),
    }
}

pub(crate) async fn modify(
    tx: Tx,
    config: &ManagerConfig,
    account: &AccountId,
    id: &VolumeId,
    change: &Change,
) -> Result<(Shown, Changes), CallError> {
    let workflows = Workflows::new(config.store.clone());
    let volume = VOLUMES.get(&tx, &volume_key(account, id)).await?;
    let volume = volume.ok_or_else(|| ServiceError::VolumeNotFound(vec![id.clone()]))?;
    if volume.life != LifeRow::Ready {
        let state = show::state_name(show::state(&volume));
        return Err(incorrect(id, state, "available or in-use").into());
    }
    let stripes = db::stripes_of(&tx, &volume).await?;
    let under_way = under_way(&tx, &volume).await?;
    if under_way.len() >= UNDER_WAY_MAX {
        return Err(ServiceError::BeingModified(id.clone()).into());
    }
    let original = traits(&volume, &stripes);
    // What is asked for while the volume changes, is asked of the volume that it will be.
    let from = under_way.last().map_or(&original, |shown| &shown.row.target);
    let target = resolve(&tx, config, from, change).await?;
    if target.settings.multi_attach != original.settings.multi_attach && !volume.attachments.is_empty() {
        return Err(incorrect(id, "in-use", "available to change Multi-Attach").into());
    }
    if target.settings.size_gib < original.settings.size_gib {
        return Err(ServiceError::Unsupported("Volumes cannot be made smaller yet.".into()).into());
    }
    let same_size = target.settings.size_gib == original.settings.size_gib;
    let at_once = plan(&tx, config, &stripes, &target).await?;
    let at_once = at_once.filter(|_| under_way.is_empty() && same_size);
    let row = ModificationRow {
        account: account.clone(),
        volume: id.clone(),
        number: volume.modifications + 1,
        original,
        target,
        truncate: change.allow_truncate,
        state: ModificationStateRow::Modifying,
        message: None,
        started: Timestamp::now(),
        moving: None,
        ended: None,
        engine: 0,
    };
    match at_once {
        Some(granted) => grant(&tx, volume, row, granted).await,
        None => begin(&tx, &workflows, volume, row, &under_way).await,
    }
}

fn incorrect(id: &VolumeId, state: &str, expected: &'static str) -> ServiceError {
    ServiceError::IncorrectState { what: format!("volume {id}"), state: state.to_owned(), expected }
}

/// Modifications of a volume that have not ended, in order.
async fn under_way(tx: &Tx, volume: &VolumeRow) -> Result<Vec<Shown>, CallError> {
    let mut found = Vec::new();
    let prefix = volume.id.as_str().to_owned();
    for (_, row) in MODIFICATIONS.scan_prefix(tx, &prefix, None, SCAN_ROWS_MAX).await? {
        if row.ended.is_none() {
            found.push(Shown::of(tx, row).await?);
        }
    }
    found.retain(|shown| !shown.has_ended());
    Ok(found)
}

async fn resolve(
    tx: &Tx,
    config: &ManagerConfig,
    from: &TraitsRow,
    change: &Change,
) -> Result<TraitsRow, CallError> {
    let settings = resolve_change(&from.settings.into(), &change.settings).map_err(ServiceError::from)?;
    if let Some(zone) = &change.zone {
        let zones = show::zones(tx.clone(), &config.region, &config.zones).await?;
        if !zones.iter().any(|known| known.name == *zone) {
            return Err(ServiceError::ZoneNotFound(zone.clone()).into());
        }
    }
    let copies = match change.mirrors {
        None => from.copies,
        Some(mirrors) if MIRRORS.contains(&mirrors) => mirrors + 1,
        Some(_) => {
            let text = format!("A volume has {} to {} mirrors.", MIRRORS.start(), MIRRORS.end());
            return Err(ServiceError::Unsupported(text).into());
        }
    };
    let zone = change.zone.clone().unwrap_or_else(|| from.zone.clone());
    Ok(TraitsRow { settings: SettingsRow::from(settings), zone, copies })
}

/// The stripes as they will be, if every copy can stay where it is; `None`: some have to move. An error: there is
/// no room for them.
async fn plan(
    tx: &Tx,
    config: &ManagerConfig,
    stripes: &[StripeRow],
    target: &TraitsRow,
) -> Result<Option<Vec<(StripeRow, StripeRow)>>, CallError> {
    let map = db::map(tx).await?;
    let aim = aim(target);
    let mut granted = Vec::new();
    let mut stays = true;
    for row in stripes {
        if row.change.is_some() {
            // Where copies will be then, nobody knows yet.
            stays = false;
            continue;
        }
        let no_room = |reason| ServiceError::NoCapacity { zone: target.zone.clone(), reason };
        let replan = map.replan(row, &aim, config.overcommit).map_err(no_room)?;
        let changed = with_change(&map, row, &aim, replan, 0);
        let moves = |change: &crate::rows::CopiesChange| {
            !change.arriving.is_empty() || !change.leaving.is_empty() || change.primary.is_some()
        };
        stays &= !changed.change.as_ref().is_some_and(moves);
        let after = StripeRow { demand: aim.demand, zone: aim.zone.clone(), ..row.clone() };
        granted.push((row.clone(), after));
    }
    Ok(stays.then_some(granted))
}

/// It holds at once.
async fn grant(
    tx: &Tx,
    mut volume: VolumeRow,
    row: ModificationRow,
    granted: Vec<(StripeRow, StripeRow)>,
) -> Result<(Shown, Changes), CallError> {
    let mut changed = Changes::default();
    for (before, mut after) in granted {
        if after != before {
            after.version += 1;
            changed.put_stripe(tx, Some(&before), Some(after)).await?;
        }
    }
    volume.settings = row.target.settings;
    volume.zone = row.target.zone.clone();
    let row = ModificationRow { state: ModificationStateRow::Completed, ended: Some(row.started), ..row };
    record(tx, &mut changed, volume, &row).await?;
    Ok((Shown { row, run: None }, changed))
}

/// A workflow carries it out. What was asked for before and would be undone by it, is given up if it can be.
async fn begin(
    tx: &Tx,
    workflows: &Workflows,
    volume: VolumeRow,
    row: ModificationRow,
    under_way: &[Shown],
) -> Result<(Shown, Changes), CallError> {
    let same = |other: &TraitsRow| {
        let place = |traits: &TraitsRow| {
            let TraitsRow { settings, zone, copies } = traits;
            (settings.demand(), settings.media(), zone.clone(), *copies)
        };
        place(other) == place(&row.target)
    };
    for earlier in under_way.iter().filter(|earlier| !same(&earlier.row.target)) {
        give_up(tx, workflows, &earlier.row).await?;
    }
    let now = u64::try_from(row.started.as_millisecond()).unwrap_or(0);
    workflows.create_in(tx, &new_run(&row.volume, row.number)?, now).await?;
    let mut changed = Changes::default();
    record(tx, &mut changed, volume, &row).await?;
    let shown = Shown::of(tx, row).await?;
    Ok((shown, changed))
}

/// Cancels a run, unless it can only be completed.
async fn give_up(tx: &Tx, workflows: &Workflows, row: &ModificationRow) -> Result<(), CallError> {
    match workflows.wish_in(tx, &run_of(&row.volume, row.number)?, Wish::Cancel).await {
        Ok(())
        | Err(
            WorkflowError::PointOfNoReturn(_)
            | WorkflowError::WrongState { .. }
            | WorkflowError::NoSuchRun(_),
        ) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes the modification, and forgets one of long ago.
async fn record(
    tx: &Tx,
    changed: &mut Changes,
    mut volume: VolumeRow,
    row: &ModificationRow,
) -> Result<(), CallError> {
    volume.modifications = row.number;
    changed.put_volume(tx, volume).await?;
    MODIFICATIONS.put(tx, &modification_key(&row.volume, row.number), row).await?;
    if let Some(old) = row.number.checked_sub(KEPT) {
        MODIFICATIONS.delete(tx, &modification_key(&row.volume, old)).await?;
    }
    Ok(())
}

/// The latest modification is given up, if it has not taken effect.
pub(crate) async fn cancel(
    tx: Tx,
    config: &ManagerConfig,
    account: &AccountId,
    id: &VolumeId,
) -> Result<(Shown, Changes), CallError> {
    let workflows = Workflows::new(config.store.clone());
    let volume = VOLUMES.get(&tx, &volume_key(account, id)).await?;
    let volume = volume.ok_or_else(|| ServiceError::VolumeNotFound(vec![id.clone()]))?;
    let nothing = |state: &str| incorrect(id, state, "being modified, and the modification not in effect");
    let latest = under_way(&tx, &volume).await?.pop().ok_or_else(|| nothing("not being modified"))?;
    match workflows.wish_in(&tx, &run_of(id, latest.row.number)?, Wish::Cancel).await {
        Ok(()) => Ok((Shown::of(&tx, latest.row).await?, Changes::default())),
        Err(WorkflowError::PointOfNoReturn(_) | WorkflowError::WrongState { .. }) => {
            Err(nothing("modified already").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A volume that is deleted needs no modifications.
pub(super) async fn forget(tx: &Tx, workflows: &Workflows, volume: &VolumeRow) -> Result<(), CallError> {
    let prefix = volume.id.as_str().to_owned();
    for (key, row) in MODIFICATIONS.scan_prefix(tx, &prefix, None, SCAN_ROWS_MAX).await? {
        if row.ended.is_none() {
            give_up(tx, workflows, &row).await?;
        }
        MODIFICATIONS.delete(tx, &key).await?;
    }
    Ok(())
}

/// The latest modification of a volume.
pub(crate) async fn latest(tx: &Tx, volume: &VolumeRow) -> Result<Option<Shown>, CallError> {
    let key = modification_key(&volume.id, volume.modifications);
    match MODIFICATIONS.get(tx, &key).await? {
        Some(row) => Ok(Some(Shown::of(tx, row).await?)),
        None => Ok(None),
    }
}
