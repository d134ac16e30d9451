//! Reading and writing rows in transactions, so that what belongs together changes together: the places of a
//! stripe, what pools have promised, and which copies are to be deleted.

use std::collections::BTreeMap;

use terrane_block_core::CopyId;
use terrane_block_wire::control::{PoolName, ServerId, StripeId};
use terrane_store::tuple::{Pack as _, Unpack as _};
use terrane_store::{Result, SCAN_ROWS_MAX, Table, Tx};
use terrane_types::{AccountId, VolumeId};

use crate::placement::Map;
use crate::rows::{
    BY_ID, DELETIONS, DeletionRow, Demand, POOLS, PlaceRow, SERVERS, STRIPES, ServerRow, StripeRow, TOKENS,
    VOLUMES, VolumeRow, changes, hex, unhex, volume_key,
};

/// Client tokens looked at in one transaction.
const TOKENS_PAGE: usize = 500;

/// The key of a volume.
pub(crate) type VolumeKey = (AccountId, String);

/// Rows as they are after a transaction. `None`: deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) volumes: BTreeMap<VolumeKey, Option<VolumeRow>>,
    pub(crate) stripes: BTreeMap<StripeId, Option<StripeRow>>,
    pub(crate) servers: BTreeMap<ServerId, ServerRow>,
    /// Copies that are to be deleted from now on.
    pub(crate) doomed: Vec<(ServerId, StripeId, CopyId)>,
    /// Copies that are deleted.
    pub(crate) deleted: Vec<(ServerId, StripeId, CopyId)>,
}

impl Changes {
    /// Writes a volume's row.
    pub(crate) async fn put_volume(&mut self, tx: &Tx, mut row: VolumeRow) -> Result<()> {
        row.version += 1;
        let key = volume_key(&row.account, &row.id);
        VOLUMES.put(tx, &key, &row).await?;
        self.volumes.insert(key, Some(row));
        Ok(())
    }

    /// Writes or deletes a stripe's row, moves what pools have promised, and dooms the copies that it has no more.
    pub(crate) async fn put_stripe(
        &mut self,
        tx: &Tx,
        before: Option<&StripeRow>,
        after: Option<StripeRow>,
    ) -> Result<()> {
        let Some(id) = before.or(after.as_ref()).map(|row| row.id) else { return Ok(()) };
        move_promises(tx, before, after.as_ref()).await?;
        for (copy, place) in before.map(|row| row.places_not_in(after.as_ref())).unwrap_or_default() {
            DELETIONS.put(tx, &(hex(place.server.0), hex(id.0), copy.0), &DeletionRow).await?;
            self.doomed.push((place.server, id, copy));
        }
        match &after {
            Some(row) => STRIPES.put(tx, &hex(id.0), row).await?,
            None => {
                STRIPES.delete(tx, &hex(id.0)).await?;
            }
        }
        self.stripes.insert(id, after);
        Ok(())
    }

    /// Tells the manager in office that a call changed a volume.
    pub(crate) async fn publish(&self, tx: &Tx) -> Result<()> {
        for (account, volume) in self.volumes.keys() {
            Notice::Volume((account.clone(), volume.clone())).publish(tx).await?;
        }
        for server in self.servers.keys() {
            Notice::Server(*server).publish(tx).await?;
        }
        Ok(())
    }
}

/// What the manager in office is told of calls that others answered: what to read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Volume(VolumeKey),
    Server(ServerId),
}

impl Notice {
    async fn publish(&self, tx: &Tx) -> Result<()> {
        changes().publish(tx, self.encode()).await.map(|_| ())
    }

    /// A version byte, and a tuple.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        match self {
            Self::Volume((account, id)) => (0u32, account, id).pack_into(&mut out),
            Self::Server(server) => (1u32, hex(server.0)).pack_into(&mut out),
        }
        out
    }

    /// What was published; `None`: by a program that knows more kinds.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let tuple = payload.strip_prefix(&[1])?;
        if let Ok((0u32, account, id)) = <(u32, AccountId, String)>::unpack(tuple) {
            return Some(Self::Volume((account, id)));
        }
        let (kind, server) = <(u32, String)>::unpack(tuple).ok()?;
        (kind == 1).then(|| unhex(&server).map(|server| Self::Server(ServerId(server))))?
    }
}

/// What pools have promised follows the places: the difference is written, each pool once.
async fn move_promises(tx: &Tx, before: Option<&StripeRow>, after: Option<&StripeRow>) -> Result<()> {
    let mut moves: BTreeMap<PlaceRow, (Demand, Demand)> = BTreeMap::new();
    for (row, is_new) in [(before, false), (after, true)] {
        let Some(row) = row else { continue };
        for (place, demand) in row.demands() {
            let (old, new) = moves.entry(place).or_default();
            if is_new { new.add(demand) } else { old.add(demand) }
        }
    }
    for (place, (old, new)) in moves.into_iter().filter(|(_, (old, new))| old != new) {
        let key = (hex(place.server.0), hex(place.pool.0));
        if let Some(mut pool) = POOLS.get(tx, &key).await? {
            pool.promised.remove(old);
            pool.promised.add(new);
            POOLS.put(tx, &key, &pool).await?;
        }
    }
    Ok(())
}

/// All rows of a table, in pages.
pub(crate) async fn all<K, V>(table: &Table<K, V>, tx: &Tx) -> Result<Vec<(K, V)>>
where
    K: terrane_store::tuple::Pack + terrane_store::tuple::Unpack + Clone,
    V: terrane_store::Record,
{
    let mut found: Vec<(K, V)> = Vec::new();
    loop {
        let after = found.last().map(|(key, _)| key.clone());
        let page = table.scan(tx, after.as_ref(), SCAN_ROWS_MAX).await?;
        let is_last = page.len() < SCAN_ROWS_MAX;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

/// All servers and pools.
pub(crate) async fn map(tx: &Tx) -> Result<Map> {
    let mut map = Map::default();
    for (_, row) in all(&SERVERS, tx).await? {
        map.servers.insert(row.id, (row, BTreeMap::new()));
    }
    for ((server, pool), row) in all(&POOLS, tx).await? {
        let (Some(server), Some(pool)) = (unhex(&server), unhex(&pool)) else { continue };
        if let Some((_, pools)) = map.servers.get_mut(&ServerId(server)) {
            pools.insert(PoolName(pool), row);
        }
    }
    Ok(map)
}

pub(crate) async fn stripe(tx: &Tx, id: StripeId) -> Result<Option<StripeRow>> {
    STRIPES.get(tx, &hex(id.0)).await
}

/// The stripes of a volume, in order.
pub(crate) async fn stripes_of(tx: &Tx, volume: &VolumeRow) -> Result<Vec<StripeRow>> {
    let mut found = Vec::with_capacity(volume.stripes.len());
    for id in &volume.stripes {
        found.extend(stripe(tx, *id).await?);
    }
    Ok(found)
}

/// Everything, for the manager that takes office.
pub(crate) async fn everything(tx: &Tx) -> Result<Changes> {
    let volumes = all(&VOLUMES, tx).await?.into_iter().map(|(key, row)| (key, Some(row)));
    let stripes = all(&STRIPES, tx).await?.into_iter().map(|(_, row)| (row.id, Some(row)));
    let servers = all(&SERVERS, tx).await?.into_iter().map(|(_, row)| (row.id, row));
    let mut state = Changes {
        volumes: volumes.collect(),
        stripes: stripes.collect(),
        servers: servers.collect(),
        ..Changes::default()
    };
    for ((server, stripe, copy), DeletionRow) in all(&DELETIONS, tx).await? {
        if let (Some(server), Some(stripe)) = (unhex(&server), unhex(&stripe)) {
            state.doomed.push((ServerId(server), StripeId(stripe), CopyId(copy)));
        }
    }
    Ok(state)
}

/// Deletes client tokens that were used long ago, of one page; returns where the next one begins.
pub(crate) async fn trim_tokens(
    tx: &Tx,
    after: Option<&VolumeKey>,
    before: jiff::Timestamp,
) -> Result<Option<VolumeKey>> {
    let page = TOKENS.scan(tx, after, TOKENS_PAGE).await?;
    let next = page.last().filter(|_| page.len() == TOKENS_PAGE).map(|(key, _)| key.clone());
    for (key, _) in page.iter().filter(|(_, row)| row.created < before) {
        TOKENS.delete(tx, key).await?;
    }
    Ok(next)
}

/// A volume by its identifier alone.
pub(crate) async fn volume_by_id(tx: &Tx, id: &VolumeId) -> Result<Option<VolumeRow>> {
    Ok(VOLUMES.find(tx, &BY_ID, &id.as_str(), 1).await?.into_iter().next().map(|(_, row)| row))
}

/// Raises the attachment epoch of a volume on all its stripes: from then on nothing older is taken by any copy that
/// has heard of it, and what has not, is not listened to.
pub(crate) async fn raise_epoch(tx: &Tx, volume: &mut VolumeRow, changed: &mut Changes) -> Result<()> {
    use terrane_block_core::{bugs::Bugs, manager::force_detach};
    volume.epoch = volume.epoch.next();
    for row in stripes_of(tx, volume).await? {
        let Some(record) = &row.record else { continue };
        let mut next = force_detach(record, Bugs::NONE);
        next.epoch = volume.epoch;
        let after = StripeRow { record: Some(next), version: row.version + 1, ..row.clone() };
        changed.put_stripe(tx, Some(&row), Some(after)).await?;
    }
    Ok(())
}
