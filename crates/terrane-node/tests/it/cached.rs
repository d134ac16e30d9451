//! What a node manager keeps in memory.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use terrane_nbd::Export;

use crate::cluster::Shape;
use crate::faults::{Load, pattern};
use crate::site::{Site, until};

const BLOCK: u64 = 4096;
const CACHE: u64 = 64 * BLOCK;

fn hits(site: &Site) -> f64 {
    site.metric("terrane_node_cache_hits_total")
}

/// Reads a block once it is answered from memory.
async fn read_kept(site: &Site, client: &impl Export, block: u64) -> bytes::Bytes {
    let before = hits(site);
    let read = client.read(block * BLOCK, BLOCK as u32).await.unwrap();
    assert_eq!(hits(site), before + 1.0, "block {block} is in memory");
    read
}

#[tokio::test]
async fn what_was_written_and_read_is_answered_from_memory() {
    let site = Site::caching(Shape::simple(2), CACHE).await;
    let client = site.client().await;
    client.write(0, pattern(0, 1), false).await.unwrap();
    assert!(read_kept(&site, &client, 0).await == pattern(0, 1));
    // Holes as well, once they were read.
    assert!(client.read(8 * BLOCK, 4 * BLOCK as u32).await.unwrap().iter().all(|byte| *byte == 0));
    assert!(read_kept(&site, &client, 9).await.iter().all(|byte| *byte == 0));
    // A part of a block is read and written back: all of it has to be read again.
    client.write(100, bytes::Bytes::from_static(b"part"), false).await.unwrap();
    let before = hits(&site);
    let read = client.read(0, BLOCK as u32).await.unwrap();
    assert!(&read[100..104] == b"part" && read[..100] == pattern(0, 1)[..100]);
    assert_eq!(hits(&site), before);
    client.trim(0, BLOCK, false).await.unwrap();
    assert!(read_kept(&site, &client, 0).await.iter().all(|byte| *byte == 0));
    // No more than was allowed.
    for block in 0..200 {
        client.write(block * BLOCK, pattern(block, 2), false).await.unwrap();
    }
    assert_eq!(site.metric("terrane_node_cache_bytes"), CACHE as f64);
    assert!(read_kept(&site, &client, 199).await == pattern(199, 2));
    site.node.stop().await;
}

/// Many reads at the same time share questions to the primary.
#[tokio::test]
async fn many_reads_need_few_questions() {
    let site = Site::caching(Shape::simple(1), CACHE).await;
    let client = site.client().await;
    for block in 0..32 {
        client.write(block * BLOCK, pattern(block, 1), false).await.unwrap();
    }
    let (asked, before) = (site.cluster.requests(), hits(&site));
    for _ in 0..8 {
        let reads = join_all((0..32).map(|block| client.read(block * BLOCK, BLOCK as u32))).await;
        for (block, read) in (0..).zip(reads) {
            assert!(read.unwrap() == pattern(block, 1));
        }
    }
    assert_eq!(hits(&site) - before, 256.0);
    let asked = site.cluster.requests() - asked;
    assert!(asked < 256, "{asked} questions for 256 reads");
    site.node.stop().await;
}

#[tokio::test]
async fn a_new_session_begins_with_nothing() {
    let site = Site::caching(Shape::simple(1), CACHE).await;
    site.cluster.set_repairs(false);
    let client = site.client().await;
    client.write(0, pattern(0, 1), false).await.unwrap();
    read_kept(&site, &client, 0).await;
    site.cluster.cut();
    until("the session is another", || site.metric("terrane_node_reconnects_total") >= 1.0).await;
    assert_eq!(site.metric("terrane_node_cache_bytes"), 0.0);
    let before = hits(&site);
    assert!(client.read(0, BLOCK as u32).await.unwrap() == pattern(0, 1));
    assert_eq!(hits(&site), before);
    site.node.stop().await;
}

/// Memory alone answers nothing: the primary has to say that the volume is still this machine's.
#[tokio::test]
async fn nothing_is_answered_that_the_primary_does_not_confirm() {
    let site = Site::caching(Shape::simple(2), CACHE).await;
    let client = Arc::new(site.client().await);
    client.write(0, pattern(0, 1), false).await.unwrap();
    read_kept(&site, &*client, 0).await;
    let before = hits(&site);
    site.cluster.set_repairs(false);
    site.cluster.freeze(0);
    let reading = tokio::spawn({
        let client = client.clone();
        async move { client.read(0, BLOCK as u32).await }
    });
    let asked = site.cluster.requests();
    until("the primary is asked", || site.cluster.requests() > asked).await;
    tokio::time::timeout(Duration::from_millis(300), client.read(0, BLOCK as u32)).await.unwrap_err();
    assert!(!reading.is_finished());
    // Another machine gets the volume: what waits is refused, whatever is in memory.
    site.cluster.force_detach();
    until("nothing is served", || site.metric("terrane_node_volumes") == 0.0).await;
    // The client looks for its export for a while.
    let read = tokio::time::timeout(Duration::from_secs(1), reading).await;
    assert!(!matches!(read, Ok(Ok(Ok(_)))), "it was answered");
    assert_eq!(hits(&site), before);
    assert_eq!(site.metric("terrane_node_cache_bytes"), 0.0);
    site.node.stop().await;
}

#[tokio::test]
async fn primaries_come_and_go_under_a_load_that_is_verified() {
    let site = Site::caching(Shape::simple(2), 4 * CACHE).await;
    let load = Load::start(&Arc::new(site.client().await));
    load.goes_on().await;
    site.cluster.cut();
    load.goes_on().await;
    site.cluster.kill(0);
    load.goes_on().await;
    load.finish().await;
    assert!(hits(&site) > 0.0);
    site.node.stop().await;
}
