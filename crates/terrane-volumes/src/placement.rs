//! Where copies go: pure, from what the store says of servers and pools.
//!
//! Copies of a stripe lie on different servers, in the zone asked for where that has enough of them, else the later
//! ones in another zone, with the reason. Bytes are thin: a pool promises `overcommit` times what it has.
//! Reservations of IOPS and throughput are real: all pools of a device together never promise more than it has.

mod replan;

use std::collections::{BTreeMap, BTreeSet};

use terrane_block_wire::control::{Media, PoolName, ServerId};
use terrane_types::Zone;

use crate::rows::{Demand, PlaceRow, PoolRow, ServerRow};

pub(crate) use replan::{Aim, Replan};

/// A pool fuller than this (percent of its capacity) takes no new copies, however much may still be promised.
const FULL_PERCENT: u64 = 95;
/// Nor does one whose file system has less than this.
const HOST_FREE_MIN: u64 = 256 << 20;

/// All servers with their pools, as read in one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub(crate) servers: BTreeMap<ServerId, (ServerRow, BTreeMap<PoolName, PoolRow>)>,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) zone: Zone,
    pub(crate) media: Media,
    pub(crate) demand: Demand,
    pub(crate) copies: usize,
    /// Servers that have a copy already, or failed to make one.
    pub(crate) without: BTreeSet<ServerId>,
    /// The zone must have the first copy.
    pub(crate) strict: bool,
}

/// Places for all copies, the primary's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) places: Vec<PlaceRow>,
    /// Why not all are in the zone asked for.
    pub(crate) note: Option<String>,
}

impl Map {
    /// Finds places for all copies wanted, or says why there are none.
    pub(crate) fn place(&self, want: &Want, overcommit: u32) -> Result<Placed, String> {
        let mut places: Vec<PlaceRow> = Vec::new();
        let mut note = None;
        let mut without = want.without.clone();
        while places.len() < want.copies {
            let here = self.best(want, overcommit, &without, |_, server| server.zone == want.zone);
            let place = match here {
                Ok(place) => place,
                Err(reason) if places.is_empty() && want.strict => return Err(reason),
                Err(reason) => {
                    let elsewhere = |_, server: &ServerRow| server.zone != want.zone;
                    let place = self.best(want, overcommit, &without, elsewhere).map_err(|elsewhere| {
                        format!(
                            "{} of {} copies: in {}: {reason}; elsewhere: {elsewhere}",
                            places.len(),
                            want.copies,
                            want.zone
                        )
                    })?;
                    let zone = &self.servers[&place.server].0.zone;
                    note = Some(format!("a copy is in {zone}, because in {}: {reason}", want.zone));
                    place
                }
            };
            without.insert(place.server);
            places.push(place);
        }
        Ok(Placed { places, note })
    }

    /// The emptiest pool that takes a copy, by promised bytes over capacity.
    fn best(
        &self,
        want: &Want,
        overcommit: u32,
        without: &BTreeSet<ServerId>,
        eligible: impl Fn(ServerId, &ServerRow) -> bool,
    ) -> Result<PlaceRow, String> {
        let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
        let mut best: Option<(u128, PlaceRow)> = None;
        for (id, (server, pools)) in self.servers.iter().filter(|(id, (server, _))| eligible(**id, server)) {
            let fits = if without.contains(id) {
                Err("server has a copy already".to_owned())
            } else if server.draining {
                Err("server is being drained".to_owned())
            } else if !server.up {
                Err("server is down".to_owned())
            } else {
                best_pool(pools, want, overcommit)
            };
            match fits {
                Ok((fill, pool)) => {
                    if best.as_ref().is_none_or(|(least, _)| fill < *least) {
                        best = Some((fill, PlaceRow { server: *id, pool }));
                    }
                }
                Err(reason) => *refusals.entry(reason).or_default() += 1,
            }
        }
        best.map(|(_, place)| place).ok_or_else(|| {
            let told = refusals.iter().map(|(reason, count)| format!("{count} × {reason}"));
            let told = told.collect::<Vec<_>>().join(", ");
            if told.is_empty() { "there is no server".to_owned() } else { told }
        })
    }

    /// Why a pool that has a copy cannot take so much more for it, if it cannot.
    pub(crate) fn can_grow(&self, place: PlaceRow, more: Demand, overcommit: u32) -> Result<(), String> {
        let pools = self.servers.get(&place.server).map(|(_, pools)| pools);
        let pool = pools.and_then(|pools| Some((pools, pools.get(&place.pool)?)));
        let (pools, pool) = pool.ok_or("its pool is not known")?;
        has_room(pools, pool, more, overcommit)
    }
}

fn best_pool(
    pools: &BTreeMap<PoolName, PoolRow>,
    want: &Want,
    overcommit: u32,
) -> Result<(u128, PoolName), String> {
    let mut refused = format!("server has no {} pool", media_name(want.media));
    let mut best: Option<(u128, PoolName)> = None;
    for (name, pool) in pools.iter().filter(|(_, pool)| pool.media == want.media) {
        match takes_copies(pool).and_then(|()| has_room(pools, pool, want.demand, overcommit)) {
            Ok(()) => {
                // Parts per million; capacity is not 0, or nothing would fit.
                let promised = u128::from(pool.promised.bytes) + u128::from(want.demand.bytes);
                let fill = promised * 1_000_000 / u128::from(pool.capacity.max(1));
                if best.is_none_or(|(least, _)| fill < least) {
                    best = Some((fill, *name));
                }
            }
            Err(reason) => refused = reason,
        }
    }
    best.ok_or(refused)
}

fn takes_copies(pool: &PoolRow) -> Result<(), String> {
    if let Some(trouble) = &pool.trouble {
        return Err(format!("pool takes no new copies: {trouble}"));
    }
    let full = u128::from(pool.used) * 100 >= u128::from(pool.capacity) * u128::from(FULL_PERCENT);
    if full || pool.host_free < HOST_FREE_MIN {
        return Err("pool is full".to_owned());
    }
    Ok(())
}

fn has_room(
    pools: &BTreeMap<PoolName, PoolRow>,
    pool: &PoolRow,
    demand: Demand,
    overcommit: u32,
) -> Result<(), String> {
    let limit = u128::from(pool.capacity) * u128::from(overcommit);
    if u128::from(pool.promised.bytes) + u128::from(demand.bytes) > limit && demand.bytes > 0 {
        return Err(format!("pool has promised its capacity {overcommit} times"));
    }
    let device = pools.values().filter(|other| other.device == pool.device);
    let sum = |of: fn(&PoolRow) -> u64| device.clone().map(of).fold(0u64, u64::saturating_add);
    let most = |of: fn(&PoolRow) -> u64| device.clone().map(of).max().unwrap_or(0);
    let iops = (sum(|p| p.promised.iops).saturating_add(demand.iops), most(|p| p.iops.into()));
    if demand.iops > 0 && iops.0 > iops.1 {
        return Err(format!("device would have {} IOPS reserved and has {}", iops.0, iops.1));
    }
    let bytes = (sum(|p| p.promised.throughput).saturating_add(demand.throughput), most(|p| p.throughput));
    if demand.throughput > 0 && bytes.0 > bytes.1 {
        return Err(format!("device would have {} B/s reserved and has {}", bytes.0, bytes.1));
    }
    Ok(())
}

/// `ssd` or `hdd`.
pub(crate) fn media_name(media: Media) -> &'static str {
    match media {
        Media::Ssd => "ssd",
        Media::Hdd => "hdd",
    }
}

impl Demand {
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.iops = self.iops.saturating_add(other.iops);
        self.throughput = self.throughput.saturating_add(other.throughput);
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.iops = self.iops.saturating_sub(other.iops);
        self.throughput = self.throughput.saturating_sub(other.throughput);
    }

    /// The larger of each.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            iops: self.iops.max(other.iops),
            throughput: self.throughput.max(other.throughput),
        }
    }

    /// What this has more than another one.
    pub(crate) fn beyond(self, other: Self) -> Self {
        let mut more = self;
        more.remove(other);
        more
    }
}

#[cfg(test)]
mod tests;
