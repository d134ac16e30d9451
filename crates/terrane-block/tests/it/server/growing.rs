//! Copies that grow while they are used.

use super::cluster::Cluster;
use super::{A, B, data, read, until, write};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, CopyId};

fn has(cluster: &Cluster, copy: CopyId, blocks: u64) -> bool {
    cluster.report(copy).is_some_and(|report| report.identity.blocks == blocks)
}

#[tokio::test]
async fn a_stripe_grows_under_load_and_keeps_its_size() {
    let mut cluster = Cluster::start(&[A, B], 4000).await;
    let user = cluster.user();
    let zeros = || Outcome::Content(Content::Zero);
    assert_eq!(user.ask(write(3990, 10, 1)).await, Outcome::Done);
    assert_eq!(user.ask(read(3999, 2)).await, Outcome::OutOfRange);
    let generation = cluster.record().generation;
    let begun: Vec<_> = (0..100).map(|n| user.begin(write(n, 1, 7))).collect();
    cluster.manager.resize(9000);
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    until("both copies' growth", || has(&cluster, A, 9000) && has(&cluster, B, 9000)).await;
    assert_eq!(cluster.record().generation, generation, "nothing else has changed");
    assert_eq!(user.ask(read(4000, 100)).await, zeros());
    assert_eq!(user.ask(write(4090, 20, 2)).await, Outcome::Done);
    assert_eq!(user.ask(write(8999, 1, 3)).await, Outcome::Done);
    assert_eq!(user.ask(read(8999, 2)).await, Outcome::OutOfRange);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);

    // A server starts again: the size is durable. One that was away grows before it takes part again.
    cluster.kill(A).await;
    assert_eq!(user.ask(read(8999, 1)).await, data(3, 1));
    cluster.manager.resize(12_000);
    until("the growth of the one that is left", || has(&cluster, B, 12_000)).await;
    assert_eq!(user.ask(write(11_000, 5, 4)).await, Outcome::Done);
    cluster.revive(A).await;
    cluster.until_whole().await;
    assert!(has(&cluster, A, 12_000));
    cluster.kill(B).await;
    for (first, blocks, byte) in [(3990, 10, 1), (4090, 20, 2), (8999, 1, 3), (11_000, 5, 4)] {
        assert_eq!(user.ask(read(first, blocks)).await, data(byte, blocks));
    }
    assert_eq!(user.ask(read(11_700, 256)).await, zeros());
    cluster.scrub(A).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_view_with_fewer_blocks_takes_nothing_away() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(4000, 1, 1)).await, Outcome::Done);
    cluster.manager.resize(100);
    assert_eq!(user.ask(write(4001, 1, 2)).await, Outcome::Done);
    assert_eq!(user.ask(read(4000, 1)).await, data(1, 1));
    assert!(has(&cluster, A, 4096) && has(&cluster, B, 4096));
    cluster.stop().await;
}

#[tokio::test]
async fn a_growth_that_is_impossible_harms_nobody() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    let lives = cluster.lives();
    cluster.manager.resize(1 << 60);
    let trouble = |copy| cluster.report(copy).unwrap().trouble.unwrap_or_default();
    until("both copies' refusal", || [A, B].iter().all(|copy| trouble(*copy).contains("cannot grow"))).await;
    assert_eq!(user.ask(write(2, 1, 2)).await, Outcome::Done);
    assert_eq!(cluster.lives(), lives);
    assert!(has(&cluster, A, 4096) && has(&cluster, B, 4096));
    cluster.manager.resize(4096);
    cluster.manager.resize(5000);
    until("both copies' growth", || has(&cluster, A, 5000) && has(&cluster, B, 5000)).await;
    assert_eq!(trouble(A), "");
    assert_eq!(user.ask(write(4999, 1, 3)).await, Outcome::Done);
    assert_eq!(cluster.lives(), lives);
    cluster.stop().await;
}
