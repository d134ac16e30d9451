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
use terrane_block_wire::control::{CopyReport, Media, PoolName, ServerId, StripeId};
use terrane_ec2::service::{Settings, VolumeType};
use terrane_store::Tx;
use terrane_types::{AccountId, VolumeId, Zone};

use crate::db::Changes;
use crate::rows::{
    LifeRow, POOLS, PlaceRow, SERVERS, SettingsRow, StripeRow, VOLUMES, VolumeRow, hex, volume_key,
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
    report: CopyReport,
    record: Record,
    places: BTreeMap<CopyId, PlaceRow>,
}

/// Volumes that can be made, and those that cannot, with the reason.
pub(crate) fn plan(reports: &Reports) -> (Vec<Plan>, Vec<String>) {
    let mut volumes: BTreeMap<VolumeId, BTreeMap<StripeId, Reports>> = BTreeMap::new();
    for (server, report) in reports {
        let stripes = volumes.entry(report.identity.volume.clone()).or_default();
        stripes.entry(report.stripe).or_default().push((*server, report.clone()));
    }
    let (mut plans, mut failed) = (Vec::new(), Vec::new());
    for (id, stripes) in volumes {
        match plan_volume(&id, &stripes) {
            Ok(plan) => plans.push(plan),
            Err(reason) => failed.push(format!("{id}: {reason}")),
        }
    }
    (plans, failed)
}

fn plan_volume(id: &VolumeId, stripes: &BTreeMap<StripeId, Reports>) -> Result<Plan, String> {
    let mut planned = Vec::new();
    for (stripe, reports) in stripes {
        planned.push(plan_stripe(*stripe, reports)?);
    }
    planned.sort_by_key(|stripe| stripe.report.identity.stripe_index);
    let indexes: Vec<u32> = planned.iter().map(|stripe| stripe.report.identity.stripe_index).collect();
    let wanted = planned.first().map_or(0, |stripe| stripe.report.identity.stripes);
    if indexes != (0..wanted).collect::<Vec<_>>() {
        return Err(format!("of {wanted} stripes only {indexes:?} are there"));
    }
    let account = &planned[0].report.identity.account;
    let account = AccountId::parse(account).map_err(|error| error.to_string())?;
    Ok(Plan { account, id: id.clone(), stripes: planned })
}

fn plan_stripe(id: StripeId, reports: &Reports) -> Result<StripePlan, String> {
    let newest = reports.iter().filter_map(|(_, report)| Some((report.record.as_ref()?, report)));
    let (record, report) = newest
        .max_by_key(|(record, _)| record.generation)
        .ok_or("it was never used: its copies have adopted no record")?;
    let adopted: BTreeMap<CopyId, Generation> = reports
        .iter()
        .filter_map(|(_, report)| Some((report.copy, report.record.as_ref()?.generation)))
        .collect();
    let reported: BTreeSet<CopyId> = reports.iter().map(|(_, report)| report.copy).collect();
    let missing: Vec<_> = record.now.in_sync.keys().filter(|copy| !reported.contains(copy)).collect();
    if !missing.is_empty() {
        return Err(format!(
            "copies {missing:?} may have gone on alone and have not reported: start their servers"
        ));
    }
    // What its primary has not adopted, was never active: the one before counts.
    let was_active = adopted.get(&record.now.primary) == Some(&record.generation);
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
    let record = Record {
        generation: Generation(record.generation.0 + LEAP),
        epoch: AttachmentEpoch(record.epoch.0 + LEAP),
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
    Ok(StripePlan { id, report: report.clone(), places: places.collect(), record })
}

impl Plan {
    /// Writes the volume, unless it is known. Says whether it did.
    pub(crate) async fn write(
        &self,
        tx: &Tx,
        copies: usize,
        now: Timestamp,
    ) -> terrane_store::Result<Option<Changes>> {
        let key = volume_key(&self.account, &self.id);
        if VOLUMES.get(tx, &key).await?.is_some() {
            return Ok(None);
        }
        let mut changed = Changes::default();
        let first = &self.stripes[0];
        let media = media_of(tx, first).await?;
        let zone = zone_of(tx, first).await?;
        let settings = self.settings(media);
        let epoch = self.stripes.iter().map(|stripe| stripe.record.epoch).max().unwrap_or_default();
        for stripe in &self.stripes {
            let highest = stripe.places.keys().next_back().map_or(0, |copy| copy.0);
            let row = StripeRow {
                version: 1,
                id: stripe.id,
                identity: stripe.report.identity.clone(),
                zone: zone.clone(),
                layout: stripe.record.layout,
                wanted: u32::try_from(copies).unwrap_or(u32::MAX),
                media,
                demand: settings.demand(),
                record: Some(Record { epoch, ..stripe.record.clone() }),
                places: stripe.places.clone(),
                next_copy: CopyId(highest + LEAP),
            };
            changed.put_stripe(tx, None, Some(row)).await?;
        }
        let mut volume = self.row(zone, settings, epoch, now);
        volume.note(format!("made anew from its copies at {now}; its type and tags are not known any more"));
        changed.put_volume(tx, volume).await?;
        Ok(Some(changed))
    }

    fn settings(&self, media: Media) -> SettingsRow {
        let blocks: u64 = self.stripes.iter().map(|stripe| stripe.report.identity.blocks).sum();
        let size_gib = u32::try_from((blocks * 4096).div_ceil(1 << 30)).unwrap_or(u32::MAX);
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
            stripe_bytes: first.report.identity.stripe_bytes,
            epoch,
            attachments: Vec::new(),
            modification: None,
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

async fn zone_of(tx: &Tx, stripe: &StripePlan) -> terrane_store::Result<Zone> {
    let primary = stripe.places.get(&stripe.record.now.primary);
    let place = primary.or_else(|| stripe.places.values().next());
    if let Some(place) = place
        && let Some(server) = SERVERS.get(tx, &hex(place.server.0)).await?
    {
        return Ok(server.zone);
    }
    Err(terrane_store::StoreError::Usage("a server that reported is not registered"))
}
