//! Servers that die, freeze and hang up, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use terrane_block_wire::control::{AttachmentProgress, ToManager};
use terrane_nbd::client::Client;
use terrane_nbd::{ErrorCode, Export};
use tokio::task::JoinSet;

use crate::cluster::Shape;
use crate::site::{Site, client, start_node, until};

/// Writers that check what they have written, until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    writers: JoinSet<()>,
}

pub(crate) fn pattern(at: u64, round: u64) -> Bytes {
    Bytes::from((at * 1_000_003 + round).to_le_bytes().repeat(512))
}

impl Load {
    pub(crate) fn start(client: &Arc<Client>) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut writers = JoinSet::new();
        for writer in 0..8_u64 {
            let (client, stop, written) = (client.clone(), stop.clone(), written.clone());
            writers.spawn(async move {
                let mut round = 0;
                while !stop.load(SeqCst) {
                    round += 1;
                    for at in writer * 16..(writer + 1) * 16 {
                        client.write(at * 4096, pattern(at, round), round % 8 == 0).await.unwrap();
                        written.fetch_add(1, SeqCst);
                    }
                    let at = writer * 16 + round % 16;
                    let read = client.read(at * 4096, 4096).await.unwrap();
                    assert!(read == pattern(at, round), "block {at} in round {round}");
                }
                for at in writer * 16..(writer + 1) * 16 {
                    assert!(client.read(at * 4096, 4096).await.unwrap() == pattern(at, round));
                }
            });
        }
        Self { stop, written, writers }
    }

    /// Waits until more is written than now.
    pub(crate) async fn goes_on(&self) {
        let before = self.written.load(SeqCst);
        until("writes go on", || self.written.load(SeqCst) > before + 200).await;
    }

    pub(crate) async fn finish(mut self) {
        self.stop.store(true, SeqCst);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }
}

async fn loaded(copies: usize) -> (Site, Load) {
    let site = Site::new(Shape::simple(copies)).await;
    let load = Load::start(&Arc::new(site.client().await));
    load.goes_on().await;
    (site, load)
}

#[tokio::test]
async fn a_primary_that_dies_is_a_pause() {
    let (site, load) = loaded(2).await;
    site.cluster.kill(0);
    load.goes_on().await;
    assert!(site.cluster.acts(1));
    load.finish().await;
    assert!(site.metric("terrane_node_suspects_total") > 0.0);
    site.node.stop().await;
}

#[tokio::test]
async fn a_primary_that_freezes_is_reported_and_replaced() {
    let (site, load) = loaded(2).await;
    site.cluster.freeze(0);
    let reason = site.cluster.hear(|message| match message {
        ToManager::Suspect { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.await.contains("no answer"), "connections to it are up");
    load.goes_on().await;
    // It wakes, with old writes in its queue.
    site.cluster.set_repairs(false);
    site.cluster.thaw(0);
    load.goes_on().await;
    load.finish().await;
    site.node.stop().await;
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let (site, load) = loaded(1).await;
    site.cluster.set_repairs(false);
    for _ in 0..5 {
        site.cluster.cut();
        load.goes_on().await;
    }
    load.finish().await;
    assert!(site.metric("terrane_node_reconnects_total") >= 5.0);
    assert!(site.metric("terrane_node_resends_total") > 0.0);
    site.node.stop().await;
}

#[tokio::test]
async fn without_a_manager_it_goes_on() {
    let (site, load) = loaded(1).await;
    site.cluster.hang_up();
    load.goes_on().await;
    site.cluster.url(1).await;
    load.finish().await;
    site.node.stop().await;
}

#[tokio::test]
async fn a_forced_detach_stops_everything() {
    let site = Site::new(Shape::simple(2)).await;
    let client = site.client().await;
    client.write(0, pattern(0, 1), false).await.unwrap();
    // Requests on their way, which nobody answers.
    site.cluster.set_repairs(false);
    site.cluster.freeze(0);
    let writes = (0..50).map(|at| client.write(at * 4096, pattern(at, 2), false));
    let writes = futures::future::join_all(writes);
    let cut = async {
        until("they are on their way", || site.cluster.requests() >= 20).await;
        site.cluster.force_detach();
        until("nothing is served", || site.metric("terrane_node_volumes") == 0.0).await;
        site.cluster.requests()
    };
    let (_, sent) =
        tokio::join!(async { tokio::time::timeout(Duration::from_secs(2), writes).await }, async {
            let sent = cut.await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(site.cluster.requests(), sent, "nothing is sent after a forced detach");
            sent
        });
    assert!(sent >= 20);
    // The export is not known any more.
    let target = terrane_nbd::client::Target::parse(&site.url, None).unwrap();
    assert!(Client::connect(target, terrane_nbd::client::ClientOptions::default()).await.is_err());
    site.node.stop().await;
}

#[tokio::test]
async fn a_detach_waits_for_the_last_client() {
    let site = Site::new(Shape::simple(1)).await;
    let staying = site.client().await;
    site.cluster.detach();
    until("no new clients", || site.metric("terrane_node_clients") == 1.0).await;
    staying.write(0, pattern(0, 1), false).await.unwrap();
    assert_eq!(site.metric("terrane_node_volumes"), 1.0);
    drop(staying);
    site.cluster
        .hear(|message| match message {
            ToManager::Attachment { progress: AttachmentProgress::Ended, .. } => Some(()),
            _ => None,
        })
        .await;
    let before = site.cluster.requests();
    assert!(before > 0);
    assert_eq!(site.metric("terrane_node_volumes"), 0.0);
    site.node.stop().await;
}

/// The socket and the secret stay, the attachment epoch is another: clients that reconnect see a pause.
#[tokio::test]
async fn another_process_of_the_machine_goes_on() {
    let Site { node, metrics: _metrics, cluster, url, dir } = Site::new(Shape::simple(2)).await;
    let instance = node.instance().clone();
    let client = Arc::new(client(&url).await);
    let load = Load::start(&client);
    load.goes_on().await;
    node.stop().await;
    let metrics = terrane_telemetry::Metrics::new();
    let node = start_node(&cluster, dir.path(), &metrics).await;
    assert_eq!(node.instance(), &instance);
    assert_eq!(cluster.url(2).await, url);
    load.goes_on().await;
    assert!(client.reconnects() > 0);
    load.finish().await;
    node.stop().await;
}

#[tokio::test]
async fn another_size_is_seen_by_new_connections() {
    let site = Site::new(Shape::simple(1)).await;
    let before = site.client().await;
    site.cluster.resize(32 << 20);
    let shrinks = async {
        loop {
            match before.read(40 << 20, 512).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error.code,
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(20), shrinks).await.unwrap();
    assert_eq!(code, ErrorCode::Invalid);
    assert_eq!(before.info().size, 64 << 20);
    assert_eq!(site.client().await.info().size, 32 << 20);
    site.node.stop().await;
}
