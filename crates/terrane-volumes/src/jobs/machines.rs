//! Servers, their pools, and the machines that node managers speak for.

use jiff::Timestamp;
use terrane_block_core::ClientId;
use terrane_block_wire::control::{PoolReport, ServerId};
use terrane_store::{Result, SCAN_ROWS_MAX, Tx};
use terrane_types::{AccountId, InstanceId, Zone};

use crate::db::{self, Changes};
use crate::rows::{
    AttachmentStateRow, BY_INSTANCE, Demand, INSTANCES, InstanceRow, POOLS, PoolRow, SERVERS, ServerRow,
    VOLUMES, hex,
};

/// Registers a server, or learns where it is now.
pub(super) async fn server(
    tx: &Tx,
    changed: &mut Changes,
    (id, name, zone, address): (ServerId, &str, &Zone, &str),
    pools: &[PoolReport],
) -> Result<()> {
    let before = SERVERS.get(tx, &hex(id.0)).await?;
    let row = ServerRow {
        id,
        name: name.to_owned(),
        zone: zone.clone(),
        address: address.to_owned(),
        draining: before.as_ref().is_some_and(|row| row.draining),
        up: true,
    };
    if before.as_ref() != Some(&row) {
        SERVERS.put(tx, &hex(id.0), &row).await?;
    }
    changed.servers.insert(id, row);
    for ((server, pool), mut row) in POOLS.scan_prefix(tx, &hex(id.0), None, SCAN_ROWS_MAX).await? {
        let missing = !pools.iter().any(|report| hex(report.pool.0) == pool);
        if missing && row.trouble.is_none() {
            row.trouble = Some("not reported by its server".to_owned());
            POOLS.put(tx, &(server, pool), &row).await?;
        }
    }
    put_pools(tx, id, pools).await
}

/// What pools say of themselves; what they have promised stays.
pub(super) async fn put_pools(tx: &Tx, server: ServerId, pools: &[PoolReport]) -> Result<()> {
    for report in pools {
        let key = (hex(server.0), hex(report.pool.0));
        let before = POOLS.get(tx, &key).await?;
        let row = PoolRow {
            media: report.media,
            capacity: report.capacity,
            used: report.used,
            host_free: report.host_free,
            iops: report.iops,
            throughput: report.throughput,
            device: report.device,
            trouble: report.trouble.clone(),
            promised: before.as_ref().map_or(Demand::default(), |row| row.promised),
        };
        if before.as_ref() != Some(&row) {
            POOLS.put(tx, &key, &row).await?;
        }
    }
    Ok(())
}

pub(super) async fn server_up(tx: &Tx, changed: &mut Changes, id: ServerId, up: bool) -> Result<()> {
    if let Some(mut row) = SERVERS.get(tx, &hex(id.0)).await? {
        if row.up != up {
            row.up = up;
            SERVERS.put(tx, &hex(id.0), &row).await?;
        }
        changed.servers.insert(id, row);
    }
    Ok(())
}

/// A machine as its node manager tells of it.
pub(super) struct Machine<'a> {
    pub(super) account: &'a AccountId,
    pub(super) instance: &'a InstanceId,
    pub(super) zone: &'a Zone,
    pub(super) host_name: &'a str,
    pub(super) process: u128,
}

/// Registers a machine. If another process speaks for it than before, nothing of the former may land any more: all
/// its attachments get new epochs.
pub(super) async fn node(tx: &Tx, changed: &mut Changes, machine: Machine<'_>, now: Timestamp) -> Result<()> {
    let key = (machine.account.clone(), machine.instance.as_str().to_owned());
    let before = INSTANCES.get(tx, &key).await?;
    let is_new = before.as_ref().is_none_or(|row| row.process != machine.process);
    let row = InstanceRow {
        id: machine.instance.clone(),
        zone: machine.zone.clone(),
        host_name: machine.host_name.to_owned(),
        process: machine.process,
        running: true,
        launched: before.as_ref().map_or(now, |row| row.launched),
        tags: before.as_ref().map(|row| row.tags.clone()).unwrap_or_default(),
    };
    if before.as_ref() != Some(&row) {
        INSTANCES.put(tx, &key, &row).await?;
    }
    let attached = VOLUMES.find(tx, &BY_INSTANCE, &machine.instance.as_str(), SCAN_ROWS_MAX).await?;
    for (key, mut volume) in attached {
        if is_new {
            renew(tx, changed, &mut volume, machine.instance).await?;
        } else {
            changed.volumes.insert(key, Some(volume));
        }
    }
    Ok(())
}

async fn renew(
    tx: &Tx,
    changed: &mut Changes,
    volume: &mut crate::rows::VolumeRow,
    instance: &InstanceId,
) -> Result<()> {
    db::raise_epoch(tx, volume, changed).await?;
    let epoch = volume.epoch;
    for attachment in volume.attachments.iter_mut().filter(|attachment| attachment.instance == *instance) {
        if attachment.state != AttachmentStateRow::Cutting {
            attachment.epoch = epoch;
            attachment.client = ClientId(rand::random());
        }
    }
    changed.put_volume(tx, volume.clone()).await
}

pub(super) async fn node_up(tx: &Tx, account: &AccountId, instance: &InstanceId, up: bool) -> Result<()> {
    let key = (account.clone(), instance.as_str().to_owned());
    match INSTANCES.get(tx, &key).await? {
        Some(row) if row.running != up => INSTANCES.put(tx, &key, &InstanceRow { running: up, ..row }).await,
        _ => Ok(()),
    }
}
