//! Control state made anew from what copies say of themselves, for a store that was lost.
//!
//! Only what cannot be wrong is taken: of a stripe the record with the highest generation that any copy adopted, and
//! only if every copy that it calls in sync has reported. Then nobody can have gone on in a later one: the primary of
//! a later generation is one of them, and adopts it durably before it acts. The new record's generation is far above,
//! so that nothing of before is believed any more, and it is not active: the usual repair goes on from the
//! last one that was. Volumes come back detached, under a new attachment epoch.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use terrane_block_core::record::Record;
use terrane_block_core::{AttachmentEpoch, CopyId, Generation, LayoutEpoch};
use terrane_block_wire::control::{CopyIdentity, CopyReport, Media, PoolName, ServerId, StripeId};
use terrane_ec2::service::{Settings, VolumeType};
use terrane_store::Tx;
use terrane_types::{AccountId, VolumeId, Zone};

use crate::db::Changes;
use crate::rows::{
    BLOCK, LifeRow, POOLS, PlaceRow, SERVERS, SettingsRow, StripeRow, VOLUMES, VolumeRow, hex, volume_key,
};

/// How far the generation and the attachment epoch go up: beyond whatever was not reported.
const LEAP: u64 = 1 << 20;

/// All copies that a server reports.
pub(crate) type Reports = Vec<(ServerId, CopyReport)>;

/// A volume to be made anew.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) account: AccountId,
    pub(crate) id: VolumeId,
    stripes: Vec<StripePlan>,
}

#[derive(Clone, Debug)]
struct StripePlan {
    id: StripeId,
    identity: CopyIdentity,
    record: Record,
    places: BTreeMap<CopyId, PlaceRow>,
}

/// Volumes that can be made, and those that cannot, with the reason.
pub(crate) fn plan(reports: &[(ServerId, CopyReport)]) -> (Vec<Plan>, Vec<String>) {
    let mut stripes: BTreeMap<StripeId, Reports> = BTreeMap::new();
    for (server, report) in reports {
        stripes.entry(report.stripe).or_default().push((*server, report.clone()));
    }
    let mut volumes: BTreeMap<VolumeId, Vec<Result<StripePlan, String>>> = BTreeMap::new();
    for (id, reports) in &stripes {
        let planned = plan_stripe(*id, reports);
        // Should there be several, none of them can be made.
        let named: BTreeSet<&VolumeId> = reports.iter().map(|(_, report)| &report.identity.volume).collect();
        for volume in named {
            volumes.entry(volume.clone()).or_default().push(planned.clone());
        }
    }
    let (mut plans, mut failed) = (Vec::new(), Vec::new());
    for (id, stripes) in volumes {
        match plan_volume(&id, stripes) {
            Ok(plan) => plans.push(plan),
            Err(reason) => failed.push(format!("{id}: {reason}")),
        }
    }
    (plans, failed)
}

fn plan_volume(id: &VolumeId, stripes: Vec<Result<StripePlan, String>>) -> Result<Plan, String> {
    let mut planned = stripes.into_iter().collect::<Result<Vec<_>, _>>()?;
    planned.sort_by_key(|stripe| stripe.identity.stripe_index);
    let first = planned.first().map(|stripe| stripe.identity.clone()).ok_or("it has no stripes")?;
    let differs = |other: &CopyIdentity| {
        (&other.account, other.stripes, other.stripe_bytes)
            != (&first.account, first.stripes, first.stripe_bytes)
    };
    if planned.iter().any(|stripe| differs(&stripe.identity)) {
        return Err("its stripes do not agree on what it is".to_owned());
    }
    let indexes: Vec<u32> = planned.iter().map(|stripe| stripe.identity.stripe_index).collect();
    if !indexes.iter().copied().eq(0..first.stripes) {
        return Err(format!("of {} stripes only {indexes:?} are there", first.stripes));
    }
    let account = AccountId::parse(&first.account).map_err(|error| error.to_string())?;
    Ok(Plan { account, id: id.clone(), stripes: planned })
}

fn plan_stripe(id: StripeId, reports: &Reports) -> Result<StripePlan, String> {
    let identity = identity_of(reports)?;
    let record = newest(reports)?;
    let reported: BTreeSet<CopyId> = reports.iter().map(|(_, report)| report.copy).collect();
    if reported.len() < reports.len() {
        return Err("several servers say to have the same copy".to_owned());
    }
    let missing: Vec<_> = record.now.in_sync.keys().filter(|copy| !reported.contains(copy)).collect();
    if !missing.is_empty() {
        return Err(format!(
            "copies {missing:?} may have gone on alone and have not reported: start their servers"
        ));
    }
    // What its primary has not adopted, was never active: the one before counts.
    let adopted = |(_, report): &(ServerId, CopyReport)| {
        let generation = report.record.as_ref().map(|record| record.generation);
        report.copy == record.now.primary && generation == Some(record.generation)
    };
    let was_active = reports.iter().any(adopted);
    let last = match &record.last_active {
        Some((generation, membership)) if !was_active => (*generation, membership.clone()),
        _ => (record.generation, record.now.clone()),
    };
    let mut now = last.1.clone();
    now.joining.clear();
    now.absent.retain(|copy, _| reported.contains(copy));
    let unreported: Vec<_> = now.in_sync.keys().filter(|copy| !reported.contains(copy)).collect();
    if !unreported.is_empty() {
        return Err(format!("copies {unreported:?} have not reported: start their servers"));
    }
    let leap = |number: u64| number.checked_add(LEAP).ok_or("its record cannot be true");
    let record = Record {
        generation: Generation(leap(record.generation.0)?),
        epoch: AttachmentEpoch(leap(record.epoch.0)?),
        active: false,
        last_active: Some((last.0, now.clone())),
        now,
        fencing: true,
        confirmed: BTreeSet::new(),
        layout: record.layout,
    };
    let known = |copy: &CopyId| record.now.in_sync.contains_key(copy) || record.now.absent.contains_key(copy);
    let places = reports.iter().filter(|(_, report)| known(&report.copy));
    let places =
        places.map(|(server, report)| (report.copy, PlaceRow { server: *server, pool: report.pool }));
    Ok(StripePlan { id, identity, places: places.collect(), record })
}

/// What the copies of a stripe were made with, on which they must agree. Only their sizes may differ: a stripe that
/// grows has the size of those that have grown.
fn identity_of(reports: &Reports) -> Result<CopyIdentity, String> {
    let mut identities = reports.iter().map(|(_, report)| report.identity.clone());
    let mut identity = identities.next().ok_or("it has no copies")?;
    for other in identities {
        identity.blocks = identity.blocks.max(other.blocks);
        if (CopyIdentity { blocks: identity.blocks, ..other }) != identity {
            return Err("its copies do not agree on what they are copies of".to_owned());
        }
    }
    Ok(identity)
}

/// The adopted record with the highest generation. Who has adopted the same generation must have the same members.
fn newest(reports: &Reports) -> Result<&Record, String> {
    let records = || reports.iter().filter_map(|(_, report)| report.record.as_ref());
    let newest = records()
        .max_by_key(|record| record.generation)
        .ok_or("it was never used: its copies have adopted no record")?;
    // Who is absent may differ: copies are forgotten without another generation.
    let members = |record: &Record| {
        (record.now.primary, record.now.in_sync.clone(), record.now.joining.clone(), record.layout)
    };
    let mut same = records().filter(|record| record.generation == newest.generation);
    if same.any(|record| members(record) != members(newest)) {
        return Err(format!("its copies have different records of generation {}", newest.generation.0));
    }
    Ok(newest)
}

/// What became of a plan.
#[derive(Debug)]
pub(crate) enum Written {
    /// The volume is made.
    Made(Changes),
    /// It is known: it stays as it is.
    Known,
    /// It cannot be made.
    Failed(String),
}

impl Plan {
    /// Writes the volume, unless it is known.
    pub(crate) async fn write(
        &self,
        tx: &Tx,
        copies: usize,
        now: Timestamp,
    ) -> terrane_store::Result<Written> {
        if VOLUMES.get(tx, &volume_key(&self.account, &self.id)).await?.is_some() {
            return Ok(Written::Known);
        }
        let mut changed = Changes::default();
        let first = &self.stripes[0];
        let media = media_of(tx, first).await?;
        let Some(zone) = zone_of(tx, first).await? else {
            return Ok(Written::Failed(format!("{}: its servers are not registered yet", self.id)));
        };
        let settings = self.settings(media);
        let epoch = self.stripes.iter().map(|stripe| stripe.record.epoch).max().unwrap_or_default();
        for stripe in &self.stripes {
            let highest = stripe.places.keys().next_back().map_or(0, |copy| copy.0);
            let row = StripeRow {
                version: 1,
                id: stripe.id,
                identity: stripe.identity.clone(),
                zone: zone.clone(),
                layout: stripe.record.layout,
                wanted: u32::try_from(copies).unwrap_or(u32::MAX),
                media,
                demand: settings.demand(),
                record: Some(Record { epoch, ..stripe.record.clone() }),
                places: stripe.places.clone(),
                next_copy: CopyId(highest.saturating_add(LEAP)),
                change: None,
            };
            changed.put_stripe(tx, None, Some(row)).await?;
        }
        let mut volume = self.row(zone, settings, epoch, now);
        volume.note(format!("made anew from its copies at {now}; its type and tags are not known any more"));
        changed.put_volume(tx, volume).await?;
        Ok(Written::Made(changed))
    }

    fn settings(&self, media: Media) -> SettingsRow {
        let blocks = self.stripes.iter().map(|stripe| u128::from(stripe.identity.blocks));
        let bytes = blocks.sum::<u128>() * u128::from(BLOCK);
        let size_gib = u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX);
        let settings = match media {
            Media::Ssd => Settings {
                size_gib,
                kind: VolumeType::Gp3,
                iops: Some(3000),
                throughput: Some(125),
                multi_attach: false,
            },
            Media::Hdd => Settings {
                size_gib,
                kind: VolumeType::St1,
                iops: None,
                throughput: None,
                multi_attach: false,
            },
        };
        settings.into()
    }

    fn row(&self, zone: Zone, settings: SettingsRow, epoch: AttachmentEpoch, now: Timestamp) -> VolumeRow {
        let first = &self.stripes[0];
        VolumeRow {
            version: 0,
            account: self.account.clone(),
            id: self.id.clone(),
            zone,
            settings,
            created: now,
            life: LifeRow::Creating,
            layout: LayoutEpoch(first.record.layout.0),
            stripes: self.stripes.iter().map(|stripe| stripe.id).collect(),
            stripe_bytes: first.identity.stripe_bytes,
            epoch,
            attachments: Vec::new(),
            modifications: 0,
            tags: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

async fn media_of(tx: &Tx, stripe: &StripePlan) -> terrane_store::Result<Media> {
    for place in stripe.places.values() {
        let PoolName(pool) = place.pool;
        if let Some(pool) = POOLS.get(tx, &(hex(place.server.0), hex(pool))).await? {
            return Ok(pool.media);
        }
    }
    Ok(Media::Ssd)
}

/// Where its primary is; `None`: its server is not registered.
async fn zone_of(tx: &Tx, stripe: &StripePlan) -> terrane_store::Result<Option<Zone>> {
    let Some(place) = stripe.places.get(&stripe.record.now.primary) else { return Ok(None) };
    Ok(SERVERS.get(tx, &hex(place.server.0)).await?.map(|server| server.zone))
}

#[cfg(test)]
mod tests;
