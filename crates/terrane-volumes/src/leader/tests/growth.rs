use terrane_block_wire::control::ServerId;
use terrane_ec2::service::{
    ModificationState, Select, ServiceError, Volume, VolumeChange, VolumeModification, VolumeService as _,
};
use terrane_types::VolumeId;

use super::SECOND;
use super::fleet::Fleet;

async fn attached() -> (Fleet, VolumeId) {
    let mut fleet = Fleet::new(2).await;
    let id = fleet.create("a").await.unwrap();
    fleet.run(200).await;
    fleet.attach(&id).await.unwrap();
    fleet.run(SECOND).await;
    (fleet, id)
}

async fn shown(fleet: &Fleet, id: &VolumeId) -> (Volume, VolumeModification) {
    let ids = Select::Ids(std::slice::from_ref(id));
    let volume = fleet.manager.volumes(&fleet.caller, ids).await.unwrap().remove(0);
    let modification = volume.modification.clone().unwrap();
    (volume, modification)
}

fn gib(bytes: u64) -> u64 {
    bytes >> 30
}

fn mirror(fleet: &Fleet, id: &VolumeId) -> ServerId {
    let primary = fleet.primary(id).0;
    fleet.servers_of(id).into_iter().find(|server| *server != primary).unwrap()
}

#[tokio::test]
async fn a_volume_has_its_new_size_when_all_copies_have_it() {
    let (mut fleet, id) = attached().await;
    let slow = mirror(&fleet, &id);
    fleet.freeze(slow);
    fleet.resize(&id, 3).await.unwrap();
    fleet.run(500).await;
    let (volume, modification) = shown(&fleet, &id).await;
    assert_eq!((modification.state, volume.settings.size_gib), (ModificationState::Modifying, 1));
    assert_eq!((modification.target.size_gib, modification.ended), (3, None));
    assert_eq!(gib(fleet.order(&id).size), 1, "the mirror does not have it");
    fleet.thaw(slow);
    fleet.run(500).await;
    let (volume, modification) = shown(&fleet, &id).await;
    assert_eq!((modification.state, volume.settings.size_gib), (ModificationState::Completed, 3));
    assert_eq!((modification.original.size_gib, modification.progress), (1, 100));
    assert_eq!(gib(fleet.order(&id).size), 3);
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn a_copy_that_is_lost_meanwhile_is_not_waited_for_and_grows_when_it_returns() {
    let (mut fleet, id) = attached().await;
    let lost = mirror(&fleet, &id);
    fleet.kill(lost);
    fleet.resize(&id, 2).await.unwrap();
    fleet.run(SECOND).await;
    assert_eq!(gib(fleet.order(&id).size), 2);
    fleet.start(lost);
    fleet.run(SECOND).await;
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn growth_goes_on_under_another_manager() {
    let (mut fleet, id) = attached().await;
    let slow = mirror(&fleet, &id);
    fleet.freeze(slow);
    fleet.resize(&id, 2).await.unwrap();
    fleet.run(300).await;
    fleet.new_manager(true).await;
    fleet.thaw(slow);
    fleet.run(SECOND).await;
    assert_eq!(gib(fleet.order(&id).size), 2);
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn a_later_wish_takes_the_place_of_an_earlier_one() {
    let (mut fleet, id) = attached().await;
    let slow = mirror(&fleet, &id);
    fleet.freeze(slow);
    fleet.resize(&id, 3).await.unwrap();
    fleet.run(100).await;
    let change = VolumeChange { size_gib: Some(4), iops: Some(5000), ..VolumeChange::default() };
    fleet.manager.modify_volume(&fleet.caller, &id, change).await.unwrap();
    fleet.run(100).await;
    let (volume, modification) = shown(&fleet, &id).await;
    assert_eq!((volume.settings.size_gib, volume.settings.iops), (1, Some(4000)), "what was before holds");
    assert_eq!((modification.original.size_gib, modification.target.size_gib), (1, 4));
    assert_eq!(modification.target.iops, Some(5000));
    fleet.thaw(slow);
    fleet.run(500).await;
    let (volume, modification) = shown(&fleet, &id).await;
    assert_eq!((modification.state, volume.settings.size_gib), (ModificationState::Completed, 4));
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn what_a_drive_cannot_have_is_taken_back() {
    let (mut fleet, id) = attached().await;
    let small = mirror(&fleet, &id);
    fleet.have_small_drives(small, true);
    fleet.resize(&id, 3).await.unwrap();
    fleet.run(500).await;
    let (volume, modification) = shown(&fleet, &id).await;
    assert_eq!((modification.state, volume.settings.size_gib), (ModificationState::Failed, 1));
    assert_eq!(modification.message.as_deref(), Some("it cannot grow"));
    assert_eq!(gib(fleet.order(&id).size), 1);
    fleet.have_small_drives(small, false);
    fleet.check_at_rest().await;
    fleet.resize(&id, 2).await.unwrap();
    fleet.run(500).await;
    assert_eq!(shown(&fleet, &id).await.0.settings.size_gib, 2);
    fleet.check_at_rest().await;
}

#[tokio::test]
async fn pools_that_have_promised_too_much_refuse() {
    let (mut fleet, id) = attached().await;
    let refused = fleet.resize(&id, 60_000).await;
    assert!(matches!(refused, Err(ServiceError::NoCapacity { .. })), "{refused:?}");
    fleet.run(200).await;
    fleet.check_at_rest().await;
}
