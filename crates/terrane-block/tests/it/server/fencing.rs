//! Who may still act.

use super::cluster::Cluster;
use super::{A, B, data, read, until, write};
use std::time::Duration;
use terrane_block_core::message::Outcome;

#[tokio::test]
async fn after_a_forced_detach_the_old_user_gets_nothing_and_the_new_one_everything() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let old = cluster.user();
    assert_eq!(old.ask(write(1, 1, 1)).await, Outcome::Done);
    cluster.manager.force_detach();
    until("the detach", || !cluster.record().fencing).await;
    let begun = old.begin(write(1, 1, 2));
    let new = cluster.user();
    assert_eq!(new.ask(read(1, 1)).await, data(1, 1));
    assert!(begun.await.is_err(), "nothing of the old attachment is done");
    assert_eq!(new.ask(write(1, 1, 3)).await, Outcome::Done);
    assert_eq!(new.ask(read(1, 1)).await, data(3, 1));
    cluster.stop().await;
}

#[tokio::test]
async fn a_primary_alone_does_nothing_without_the_managers_lease() {
    let cluster = Cluster::start(&[A], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    cluster.manager.silence();
    // The lease that it has goes on for as long as the manager said.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), user.begin(read(1, 1))).await;
    assert!(waits.is_err(), "it answers without a lease");
    cluster.stop().await;
}
