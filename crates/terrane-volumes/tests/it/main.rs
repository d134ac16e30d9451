//! A manager with real sockets, and pretended servers and machines at the other end.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod peers;

use std::collections::BTreeMap;
use std::time::Duration;

use peers::{Node, Server};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::transport::Credentials;
use terrane_ec2::service::{
    AttachVolume, Caller, DetachVolume, NewVolume, Select, Settings, Volume, VolumeService as _, VolumeState,
    VolumeType,
};
use terrane_store::Store;
use terrane_telemetry::Metrics;
use terrane_types::{AccountId, Region, VolumeId, Zone};
use terrane_volumes::{Manager, ManagerConfig, ManagerMetrics};

fn caller() -> Caller {
    Caller { account: AccountId::root(), principal: "root".into(), request_id: "r".into() }
}

fn config(store: &Store, key: &ClusterKey) -> ManagerConfig {
    ManagerConfig::new(store.clone(), Region::us_east_1(), Credentials::plain(key.clone()))
}

async fn start(config: ManagerConfig) -> Manager {
    let metrics = Metrics::new();
    Manager::start(config, metrics.with(ManagerMetrics::register)).await.unwrap()
}

/// Waits until something is so; fails after ten seconds.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..1000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: it never came");
}

async fn volume(manager: &Manager, id: &VolumeId) -> Volume {
    manager.volumes(&caller(), Select::Ids(std::slice::from_ref(id))).await.unwrap().remove(0)
}

async fn make(manager: &Manager) -> VolumeId {
    until("two servers", || async {
        let servers = manager.servers().await.unwrap();
        (servers.iter().filter(|server| server.state == "up").count() >= 2).then_some(())
    })
    .await;
    let settings = Settings {
        size_gib: 1,
        kind: VolumeType::Gp3,
        iops: Some(3000),
        throughput: Some(125),
        multi_attach: false,
    };
    let zone = Zone::parse("us-east-1a").unwrap();
    let new = NewVolume { zone, settings, tags: BTreeMap::new() };
    let id = manager.create_volume(&caller(), None, new).await.unwrap().id;
    until("available", || async {
        (volume(manager, &id).await.state == VolumeState::Available).then_some(())
    })
    .await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_made_attached_survives_a_server_and_is_deleted() {
    let (store, key) = (Store::memory(), ClusterKey::random());
    let manager = start(config(&store, &key)).await;
    let address = manager.control_address().to_string();
    let servers: Vec<Server> = (1..=2).map(|id| Server::start(id, &[&address], &key)).collect();
    let node = Node::start(&[&address], &key);
    let id = make(&manager).await;
    let instance = until("the machine", || async {
        manager.instances(&caller(), Select::Page { after: None, limit: 1 }).await.unwrap().pop()
    })
    .await;
    let what = AttachVolume { volume: id.clone(), instance: instance.id.clone(), device: "/dev/sdf".into() };
    manager.attach_volume(&caller(), what).await.unwrap();
    let detail = until("attached", || async {
        let detail = manager.volume_detail(None, &id).await.unwrap();
        (detail.attachments[0].state == "attached").then_some(detail)
    })
    .await;
    assert!(detail.attachments[0].nbd_url.as_ref().unwrap().0.starts_with("nbd+unix:///"));
    let primary = detail.copies.iter().find(|copy| copy.role == "primary").unwrap().server.clone();
    let index = usize::from(primary == "s2");
    servers[index].stop();
    until("the mirror is primary and alone", || async {
        let detail = manager.volume_detail(None, &id).await.unwrap();
        let alone = detail.copies.iter().filter(|copy| copy.state == "in_sync").count() == 1;
        (alone && detail.health == "degraded" && detail.generation > 1).then_some(())
    })
    .await;
    let what = DetachVolume { volume: id.clone(), instance: None, device: None, force: true };
    manager.detach_volume(&caller(), what).await.unwrap();
    until("available again", || async {
        (volume(&manager, &id).await.state == VolumeState::Available).then_some(())
    })
    .await;
    assert!(node.orders().is_empty());
    manager.delete_volume(&caller(), &id).await.unwrap();
    until("its copy is deleted", || async { (servers[1 - index].copies() == 0).then_some(()) }).await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_managers_one_is_in_office_and_the_other_follows() {
    let (store, key) = (Store::memory(), ClusterKey::random());
    let mut managers = Vec::new();
    for _ in 0..2 {
        let mut config = config(&store, &key);
        config.exclusive = false;
        config.timing.office = Duration::from_millis(400);
        managers.push(start(config).await);
    }
    let addresses: Vec<String> =
        managers.iter().map(|manager| manager.control_address().to_string()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let servers: Vec<Server> = (1..=2).map(|id| Server::start(id, &addresses, &key)).collect();
    // Either answers calls, whoever is in office.
    let first = make(&managers[0]).await;
    let second = make(&managers[1]).await;
    let epoch = servers[0].epoch();
    let in_office = usize::from(servers[0].manager() == addresses[1]);
    managers[in_office].stop().await;
    let other = &managers[1 - in_office];
    let third = make(other).await;
    assert!(servers[0].epoch() > epoch);
    for id in [first, second, third] {
        assert_eq!(other.volume_detail(None, &id).await.unwrap().health, "ok");
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_no_hello_or_does_not_know_the_key_is_shown_the_door() {
    let (store, key) = (Store::memory(), ClusterKey::random());
    let manager = start(config(&store, &key)).await;
    let address = manager.control_address().to_string();
    assert!(!peers::heartbeat_without_hello(&address, &key).await, "a hello comes first");
    assert!(!peers::heartbeat_without_hello(&address, &ClusterKey::random()).await);
    manager.stop().await;
}
