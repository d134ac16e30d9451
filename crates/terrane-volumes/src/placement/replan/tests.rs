use std::collections::BTreeMap;

use proptest::prelude::*;
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Incarnation, LayoutEpoch};
use terrane_block_wire::control::{CopyIdentity, PoolName, StripeId};
use terrane_types::VolumeId;

use super::*;
use crate::rows::{PoolRow, ServerRow};

const GIB: u64 = 1 << 30;

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn pool(media: Media) -> PoolRow {
    PoolRow {
        media,
        capacity: 10 * GIB,
        used: 0,
        host_free: 10 * GIB,
        iops: 10_000,
        throughput: 100 << 20,
        device: 1,
        trouble: None,
        promised: Demand::default(),
    }
}

/// Servers 1, 2, … in these zones, each with flash (pool 1) and rotating drives (pool 2).
fn map(zones: &str) -> Map {
    let server = |(id, letter): (u128, char)| {
        let row = ServerRow {
            id: ServerId(id),
            name: id.to_string(),
            zone: zone(&letter.to_string()),
            address: String::new(),
            draining: false,
            up: true,
        };
        let pools = [(PoolName(1), pool(Media::Ssd)), (PoolName(2), pool(Media::Hdd))];
        (ServerId(id), (row, BTreeMap::from(pools)))
    };
    Map { servers: (1..).zip(zones.chars()).map(server).collect() }
}

/// A stripe on flash of these servers, the first of which is the primary.
fn stripe(servers: &[u128]) -> StripeRow {
    let identity = CopyIdentity {
        volume: VolumeId::from_bits(1),
        account: "000000000001".into(),
        stripe_index: 0,
        stripes: 1,
        stripe_bytes: GIB,
        blocks: 1 << 18,
    };
    let mut row = StripeRow {
        version: 1,
        id: StripeId(1),
        identity,
        zone: zone("a"),
        layout: LayoutEpoch(1),
        wanted: u32::try_from(servers.len()).unwrap(),
        media: Media::Ssd,
        demand: Demand { bytes: GIB, iops: 0, throughput: 0 },
        record: None,
        places: BTreeMap::new(),
        next_copy: CopyId(1),
        change: None,
    };
    for server in servers {
        row.add_place(PlaceRow { server: ServerId(*server), pool: PoolName(1) });
    }
    let lives = row.places.keys().map(|copy| (*copy, Incarnation(copy.0))).collect();
    row.record = Some(Record::create(&lives, CopyId(1), row.layout));
    row
}

fn aim(letter: &str, media: Media, copies: usize) -> Aim {
    Aim { zone: zone(letter), media, demand: Demand { bytes: GIB, iops: 0, throughput: 0 }, copies }
}

fn kept(plan: &Replan) -> Vec<u64> {
    plan.keep.iter().map(|copy| copy.0).collect()
}

fn come(plan: &Replan) -> Vec<(u128, u128)> {
    plan.places.iter().map(|place| (place.server.0, place.pool.0)).collect()
}

#[test]
fn what_can_stay_does() {
    let (map, row) = (map("aabb"), stripe(&[1, 2]));
    let plan = map.replan(&row, &aim("a", Media::Ssd, 2), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![1, 2], vec![]));
    let plan = map.replan(&row, &aim("a", Media::Ssd, 1), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![1], vec![]), "the primary");
    let plan = map.replan(&row, &aim("a", Media::Ssd, 3), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan).len()), (vec![1, 2], 1));
    assert!(plan.note.is_some(), "zone a has two servers: {plan:?}");
}

#[test]
fn other_drives_of_the_same_servers_come_first() {
    let plan = map("aaaa").replan(&stripe(&[1, 2]), &aim("a", Media::Hdd, 2), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![], vec![(1, 2), (2, 2)]));
}

#[test]
fn another_zone_has_as_many_as_it_can() {
    let row = stripe(&[1, 2]);
    let plan = map("aabb").replan(&row, &aim("b", Media::Ssd, 2), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![], vec![(3, 1), (4, 1)]));
    let plan = map("aab").replan(&row, &aim("b", Media::Ssd, 2), 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![1], vec![(3, 1)]), "one stays as the mirror");
    assert!(plan.note.is_some());
    let refused = map("aa").replan(&row, &aim("b", Media::Ssd, 2), 20).unwrap_err();
    assert!(refused.contains("no server"), "{refused}");
}

#[test]
fn who_cannot_grant_it_or_is_drained_is_left() {
    let mut map = map("aaa");
    let mut more = aim("a", Media::Ssd, 2);
    more.demand.iops = 5000;
    let set = |map: &mut Map, server: u128, change: fn(&mut (ServerRow, BTreeMap<PoolName, PoolRow>))| {
        change(map.servers.get_mut(&ServerId(server)).unwrap());
    };
    set(&mut map, 2, |(_, pools)| pools.get_mut(&PoolName(2)).unwrap().promised.iops = 6000);
    let row = stripe(&[1, 2]);
    let plan = map.replan(&row, &more, 20).unwrap();
    assert_eq!((kept(&plan), come(&plan)), (vec![1], vec![(3, 1)]), "a device is shared by all its pools");
    set(&mut map, 3, |(row, _)| row.draining = true);
    assert!(map.replan(&row, &more, 20).is_err());
    set(&mut map, 1, |(row, _)| row.draining = true);
    assert!(map.replan(&row, &aim("a", Media::Ssd, 2), 20).is_err(), "the primary has to leave and cannot");
}

proptest! {
    /// Whatever is there: as many copies as wanted, each on a server of its own, on drives of the wanted kind.
    #[test]
    fn plans_are_sound(
        zones in "[ab]{2,6}",
        full in prop::collection::vec(any::<bool>(), 12),
        to_b: bool,
        to_hdd: bool,
        copies in 1usize..4,
    ) {
        let mut map = map(&zones);
        let pools = map.servers.values_mut().flat_map(|(_, pools)| pools.values_mut());
        pools.zip(full).for_each(|(pool, full)| pool.used = if full { pool.capacity } else { 0 });
        let row = stripe(&[1, 2]);
        let media = if to_hdd { Media::Hdd } else { Media::Ssd };
        let aim = aim(if to_b { "b" } else { "a" }, media, copies);
        if let Ok(plan) = map.replan(&row, &aim, 20) {
            let stay = plan.keep.iter().map(|copy| row.places[copy]);
            let places: Vec<PlaceRow> = stay.chain(plan.places.iter().copied()).collect();
            prop_assert_eq!(places.len(), copies);
            let servers: BTreeSet<ServerId> = places.iter().map(|place| place.server).collect();
            prop_assert_eq!(servers.len(), copies);
            for place in &places {
                prop_assert_eq!(map.servers[&place.server].1[&place.pool].media, media);
            }
            for place in &plan.places {
                prop_assert!(!row.places.values().any(|there| there == place), "it is there already");
            }
            if to_b {
                let there = |place: &PlaceRow| map.servers[&place.server].0.zone == aim.zone;
                prop_assert!(places.iter().any(there), "none is in the zone asked for");
            }
        }
    }
}
