//! Volumes that move, get more or fewer copies, and go to other drives, while they are written.

use terrane_block_wire::control::ServerId;
use terrane_ec2::service::{ServiceError, VolumeChange, VolumeType};
use terrane_types::{VolumeId, Zone};

use super::SECOND;
use super::fleet::Fleet;
use crate::admin::{Change, ModificationDetail};

/// Two servers in zone a, three in b.
async fn made() -> (Fleet, VolumeId) {
    let mut fleet = Fleet::new(5).await;
    let id = fleet.create("a").await.unwrap();
    fleet.run(SECOND).await;
    (fleet, id)
}

fn mirrors(mirrors: u32) -> Change {
    Change { mirrors: Some(mirrors), ..Change::default() }
}

fn zone(letter: &str) -> Change {
    Change { zone: Some(Zone::parse(&format!("us-east-1{letter}")).unwrap()), ..Change::default() }
}

fn kind(kind: VolumeType) -> Change {
    let settings = VolumeChange { kind: Some(kind), ..VolumeChange::default() };
    Change { settings, ..Change::default() }
}

/// Writes all the time until the modification has ended.
async fn finish(fleet: &mut Fleet, id: &VolumeId) -> ModificationDetail {
    for _ in 0..1000 {
        fleet.write(id);
        fleet.run(25).await;
        let now = fleet.modification(id).await;
        if now.ended.is_some() {
            fleet.run(SECOND).await;
            return now;
        }
    }
    panic!("it does not end: {:?}", fleet.modification(id).await);
}

fn state(modification: &ModificationDetail) -> (&str, u8) {
    (&modification.state, modification.progress)
}

#[tokio::test]
async fn mirrors_come_and_go() {
    let (mut fleet, id) = made().await;
    for (wanted, copies) in [(2, 3), (3, 4), (1, 2), (0, 1), (1, 2)] {
        let asked = fleet.modify(&id, mirrors(wanted)).await.unwrap();
        assert_eq!(state(&asked), ("modifying", 0));
        let done = finish(&mut fleet, &id).await;
        assert_eq!((state(&done), done.target.mirrors), (("completed", 100), wanted), "{done:?}");
        assert_eq!(fleet.in_sync(&id), copies);
        fleet.check_at_rest().await;
    }
    let too_many = fleet.modify(&id, mirrors(4)).await;
    assert!(matches!(too_many, Err(ServiceError::Unsupported(_))), "{too_many:?}");
}

#[tokio::test]
async fn a_volume_moves_to_another_zone_and_back() {
    let (mut fleet, id) = made().await;
    let mut before = 0;
    for (letter, name) in [("b", "us-east-1b"), ("a", "us-east-1a")] {
        fleet.modify(&id, zone(letter)).await.unwrap();
        let done = finish(&mut fleet, &id).await;
        assert_eq!(state(&done), ("completed", 100), "{done:?}");
        assert_eq!(fleet.zones_of(&id), [name, name]);
        assert!(fleet.hand_overs() > before, "nobody was taken for dead");
        before = fleet.hand_overs();
        fleet.check_at_rest().await;
    }
    let nowhere = fleet.modify(&id, zone("z")).await;
    assert!(matches!(nowhere, Err(ServiceError::ZoneNotFound(_))), "{nowhere:?}");
}

#[tokio::test]
async fn other_drives_are_looked_for_at_the_same_servers() {
    let (mut fleet, id) = made().await;
    let before = fleet.servers_of(&id);
    fleet.modify(&id, kind(VolumeType::St1)).await.unwrap();
    let done = finish(&mut fleet, &id).await;
    assert_eq!((state(&done), done.target.iops), (("completed", 100), None));
    let mut after = fleet.servers_of(&id);
    after.sort();
    assert_eq!(after, before);
    fleet.check_at_rest().await;
    // The same drives, another type: at once.
    let sc1 = fleet.modify(&id, kind(VolumeType::Sc1)).await.unwrap();
    assert_eq!((state(&sc1), &sc1.workflow), (("completed", 100), &None));
    fleet.run(SECOND).await;
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn what_is_cancelled_leaves_nothing() {
    let (mut fleet, id) = made().await;
    let cut = ServerId(3);
    fleet.freeze(cut);
    fleet.freeze(ServerId(4));
    fleet.freeze(ServerId(5));
    fleet.modify(&id, zone("b")).await.unwrap();
    fleet.run(100).await;
    fleet.manager.cancel_modification(&fleet.caller.account, &id).await.unwrap();
    for server in [3, 4, 5] {
        fleet.thaw(ServerId(server));
    }
    let done = finish(&mut fleet, &id).await;
    assert_eq!(done.state, "failed", "the fleet keeps no log that tells who cancelled");
    assert_eq!(fleet.zones_of(&id), ["us-east-1a", "us-east-1a"]);
    fleet.check_at_rest().await;
    let again = fleet.manager.cancel_modification(&fleet.caller.account, &id).await;
    assert!(matches!(again, Err(ServiceError::IncorrectState { .. })), "{again:?}");
}

#[tokio::test]
async fn a_target_that_dies_takes_the_change_back() {
    let (mut fleet, id) = made().await;
    fleet.hang(ServerId(3), true);
    fleet.kill(ServerId(4));
    fleet.run(SECOND).await;
    fleet.modify(&id, zone("b")).await.unwrap();
    fleet.run(200).await;
    for server in fleet.servers_of(&id) {
        if server.0 >= 3 {
            fleet.kill(server);
        }
    }
    let done = finish(&mut fleet, &id).await;
    assert_eq!(done.state, "failed", "{done:?}");
    assert_eq!(fleet.zones_of(&id), ["us-east-1a", "us-east-1a"]);
    fleet.heal().await;
    fleet.run(SECOND).await;
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn a_later_change_waits_for_an_earlier_one_or_takes_its_place() {
    let (mut fleet, id) = made().await;
    fleet.modify(&id, zone("b")).await.unwrap();
    let settings = VolumeChange { iops: Some(2000 + 3000), size_gib: Some(2), ..VolumeChange::default() };
    fleet.modify(&id, Change { settings, ..Change::default() }).await.unwrap();
    let back = fleet.modify(&id, zone("a")).await.unwrap();
    assert_eq!(
        (back.number, back.target.size_gib, back.target.iops),
        (3, 2, Some(5000)),
        "all that was asked for"
    );
    let done = finish(&mut fleet, &id).await;
    assert_eq!(done.state, "completed");
    assert_eq!(fleet.zones_of(&id), ["us-east-1a", "us-east-1a"]);
    let settings = fleet.leader.volume(&id).unwrap().settings;
    assert_eq!((settings.size_gib, settings.iops), (2, Some(5000)));
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn managers_change_in_the_middle() {
    let (mut fleet, id) = made().await;
    fleet.modify(&id, zone("b")).await.unwrap();
    for _ in 0..6 {
        fleet.run(60).await;
        fleet.new_manager(true).await;
    }
    let done = finish(&mut fleet, &id).await;
    assert_eq!(done.state, "completed");
    assert_eq!(fleet.zones_of(&id), ["us-east-1b", "us-east-1b"]);
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn a_volume_that_is_deleted_ends_its_changes() {
    let (mut fleet, id) = made().await;
    fleet.modify(&id, zone("b")).await.unwrap();
    fleet.run(40).await;
    fleet.delete(&id).await;
    fleet.run(5 * SECOND).await;
    fleet.check_at_rest().await;
}
