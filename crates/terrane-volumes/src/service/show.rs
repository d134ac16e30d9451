//! Rows as the front end wants them.

use std::collections::{BTreeMap, BTreeSet};

use terrane_block_wire::control::ServerId;
use terrane_ec2::service::{
    Attachment, AttachmentState, Caller, HOST, Instance, InstanceState, InstanceVolume, Select, ServiceError,
    Volume, VolumeHealth, VolumeState, ZoneRecord, ZoneState, zone_id,
};
use terrane_store::{SCAN_ROWS_MAX, Tx};
use terrane_types::{AccountId, InstanceId, Region, VolumeId, Zone};

use super::CallError;
use crate::db;
use crate::rows::{
    AttachmentRow, AttachmentStateRow, BY_INSTANCE, INSTANCES, InstanceRow, LifeRow, SERVERS, ServerRow,
    VOLUMES, VolumeRow, hex, volume_key,
};

pub(super) async fn volumes(
    tx: Tx,
    caller: &Caller,
    select: &Select<'_, VolumeId>,
) -> Result<Vec<Volume>, CallError> {
    let mut rows = Vec::new();
    match select {
        Select::Ids(ids) => {
            let mut missing = Vec::new();
            for id in *ids {
                match VOLUMES.get(&tx, &volume_key(&caller.account, id)).await? {
                    Some(row) => rows.push(row),
                    None => missing.push(id.clone()),
                }
            }
            if !missing.is_empty() {
                return Err(ServiceError::VolumeNotFound(missing).into());
            }
        }
        Select::Page { after, limit } => {
            let after = after.map(|id| volume_key(&caller.account, id));
            let account = (caller.account.clone(),);
            let found =
                VOLUMES.scan_prefix(&tx, &account, after.as_ref(), (*limit).min(SCAN_ROWS_MAX)).await?;
            rows.extend(found.into_iter().map(|(_, row)| row));
        }
    }
    let mut shown = Vec::with_capacity(rows.len());
    for row in &rows {
        shown.push(volume(&tx, row).await?);
    }
    Ok(shown)
}

/// A volume; its zone is where its primary lies, its health whether a copy in sync answers.
pub(super) async fn volume(tx: &Tx, row: &VolumeRow) -> Result<Volume, CallError> {
    let mut zone = row.zone.clone();
    let mut health = VolumeHealth::Ok;
    let mut servers: BTreeMap<ServerId, Option<ServerRow>> = BTreeMap::new();
    for stripe in db::stripes_of(tx, row).await? {
        let Some(record) = &stripe.record else {
            health = VolumeHealth::InsufficientData;
            continue;
        };
        let mut served = false;
        for (copy, place) in &stripe.places {
            let server = match servers.get(&place.server) {
                Some(known) => known.clone(),
                None => {
                    let found = SERVERS.get(tx, &hex(place.server.0)).await?;
                    servers.insert(place.server, found.clone());
                    found
                }
            };
            let Some(server) = server else { continue };
            served |= server.up && record.now.in_sync.contains_key(copy);
            if stripe.identity.stripe_index == 0 && record.now.primary == *copy {
                zone = server.zone;
            }
        }
        if !served {
            health = VolumeHealth::Impaired;
        }
    }
    Ok(Volume {
        id: row.id.clone(),
        zone,
        settings: row.settings.into(),
        encrypted: false,
        snapshot: None,
        created: row.created,
        state: state(row),
        health,
        attachments: row.attachments.iter().map(|at| attachment(row, at)).collect(),
        modification: super::modify::latest(tx, row).await?.map(|shown| shown.ec2()),
        tags: row.tags.clone(),
    })
}

pub(crate) fn state(row: &VolumeRow) -> VolumeState {
    match &row.life {
        LifeRow::Creating => VolumeState::Creating,
        LifeRow::Failed(_) => VolumeState::Error,
        LifeRow::Ready if row.attachments.is_empty() => VolumeState::Available,
        LifeRow::Ready => VolumeState::InUse,
    }
}

pub(crate) fn state_name(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Available => "available",
        VolumeState::InUse => "in-use",
        VolumeState::Deleting => "deleting",
        VolumeState::Error => "error",
    }
}

fn attachment_state(state: AttachmentStateRow) -> AttachmentState {
    match state {
        AttachmentStateRow::Attaching => AttachmentState::Attaching,
        AttachmentStateRow::Attached => AttachmentState::Attached,
        AttachmentStateRow::Detaching | AttachmentStateRow::Cutting => AttachmentState::Detaching,
    }
}

/// `attaching`, `attached`, `detaching`.
pub(crate) fn attachment_state_name(state: AttachmentStateRow) -> &'static str {
    match state {
        AttachmentStateRow::Attaching => "attaching",
        AttachmentStateRow::Attached => "attached",
        AttachmentStateRow::Detaching | AttachmentStateRow::Cutting => "detaching",
    }
}

pub(super) fn attachment(volume: &VolumeRow, row: &AttachmentRow) -> Attachment {
    Attachment {
        volume: volume.id.clone(),
        instance: row.instance.clone(),
        device: row.device.clone(),
        state: attachment_state(row.state),
        attached: row.attached,
    }
}

pub(super) async fn instances(
    tx: Tx,
    caller: &Caller,
    select: &Select<'_, InstanceId>,
) -> Result<Vec<Instance>, CallError> {
    let key = |id: &InstanceId| (caller.account.clone(), id.as_str().to_owned());
    let mut rows = Vec::new();
    match select {
        Select::Ids(ids) => {
            let mut missing = Vec::new();
            for id in *ids {
                match INSTANCES.get(&tx, &key(id)).await? {
                    Some(row) => rows.push(row),
                    None => missing.push(id.clone()),
                }
            }
            if !missing.is_empty() {
                return Err(ServiceError::InstanceNotFound(missing).into());
            }
        }
        Select::Page { after, limit } => {
            let account: (AccountId,) = (caller.account.clone(),);
            let after = after.map(key);
            let found =
                INSTANCES.scan_prefix(&tx, &account, after.as_ref(), (*limit).min(SCAN_ROWS_MAX)).await?;
            rows.extend(found.into_iter().map(|(_, row)| row));
        }
    }
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        shown.push(instance(&tx, row).await?);
    }
    Ok(shown)
}

async fn instance(tx: &Tx, row: InstanceRow) -> Result<Instance, CallError> {
    let attached = VOLUMES.find(tx, &BY_INSTANCE, &row.id.as_str(), SCAN_ROWS_MAX).await?;
    let here = attached.iter().flat_map(|(_, volume)| volume.attachments.iter().map(move |at| (volume, at)));
    let mut volumes: Vec<InstanceVolume> = here
        .filter(|(_, attachment)| attachment.instance == row.id)
        .map(|(volume, attachment)| InstanceVolume {
            volume: volume.id.clone(),
            device: attachment.device.clone(),
            state: attachment_state(attachment.state),
            attached: attachment.attached,
        })
        .collect();
    volumes.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(Instance {
        id: row.id,
        zone: row.zone,
        kind: HOST.to_owned(),
        state: if row.running { InstanceState::Running } else { InstanceState::Stopped },
        launched: row.launched,
        private_ip: None,
        host_name: Some(row.host_name),
        volumes,
        tags: row.tags,
    })
}

/// The configured zones and those of servers. A zone takes new volumes if a server in it answers; before any server has
/// registered at all, none is told to be broken.
pub(super) async fn zones(
    tx: Tx,
    region: &Region,
    configured: &[Zone],
) -> Result<Vec<ZoneRecord>, CallError> {
    let servers = db::all(&SERVERS, &tx).await?;
    let mut names: BTreeSet<Zone> = configured.iter().cloned().collect();
    names.extend(servers.iter().map(|(_, row)| row.zone.clone()));
    let record = |(number, name): (usize, Zone)| {
        let mut here = servers.iter().filter(|(_, row)| row.zone == name);
        let available = here.clone().next().is_none() || here.any(|(_, row)| row.up);
        ZoneRecord {
            id: zone_id(region, u8::try_from(number + 1).unwrap_or(u8::MAX)),
            state: if available { ZoneState::Available } else { ZoneState::Unavailable },
            name,
        }
    };
    Ok(names.into_iter().enumerate().map(record).collect())
}
