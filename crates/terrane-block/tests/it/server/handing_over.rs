//! The role of a primary goes from one server to another while it is used.

use super::cluster::Cluster;
use super::{A, B, data, read, until, write};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{CopyId, Generation};
use terrane_block_wire::control::Command;

const C: CopyId = CopyId(3);

impl Cluster {
    async fn order(&self, copy: CopyId, generation: Generation, to: CopyId) -> Result<(), String> {
        let command = Command::HandOver { stripe: super::manager::STRIPE, copy, generation, to };
        self.manager.command(self.server(copy), command).await
    }

    /// Orders it from whoever rules now, and waits until the next one does.
    async fn hand_over(&self, to: CopyId) {
        until("an active record", || self.record().active).await;
        let record = self.record();
        self.order(record.now.primary, record.generation, to).await.unwrap();
        until("the next primary", || self.record().active && self.record().now.primary == to).await;
        assert_eq!(self.record().generation, record.generation.next());
        assert_eq!(self.record().now.in_sync, record.now.in_sync, "all go on in the lives that they are in");
    }
}

#[tokio::test]
async fn the_role_goes_back_and_forth_under_load_and_nobody_gets_an_error() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    for round in 1..=6_u8 {
        let to = if round % 2 == 1 { B } else { A };
        let begun: Vec<_> = (0..200).map(|n| user.begin(write(n * 3, 2, round))).collect();
        let reads: Vec<_> = (0..50).map(|n| user.begin(read(3000 + n, 1))).collect();
        cluster.hand_over(to).await;
        let later: Vec<_> = (200..400).map(|n| user.begin(write(n * 3, 2, round))).collect();
        for answer in begun.into_iter().chain(later) {
            assert_eq!(answer.await.unwrap(), Outcome::Done);
        }
        for answer in reads {
            assert!(matches!(answer.await.unwrap(), Outcome::Content(_)));
        }
        for n in 0..400 {
            assert_eq!(user.ask(read(n * 3, 2)).await, data(round, 2));
        }
    }
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    cluster.stop().await;
}

#[tokio::test]
async fn an_order_that_does_not_fit_changes_nothing() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    until("an active record", || cluster.record().active).await;
    let record = cluster.record();
    let now = record.generation;
    for (copy, generation, to) in
        [(A, now.next(), B), (A, Generation(0), B), (A, now, A), (A, now, C), (B, now, A)]
    {
        cluster.order(copy, generation, to).await.expect_err("it serves as before");
    }
    assert_eq!(user.ask(write(1, 1, 2)).await, Outcome::Done);
    assert_eq!(user.ask(read(1, 1)).await, data(2, 1));
    assert_eq!(cluster.record(), record);
    cluster.stop().await;
}

#[tokio::test]
async fn who_followed_may_die_and_so_may_who_handed_over() {
    let mut cluster = Cluster::start(&[A, B, C], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    cluster.hand_over(C).await;
    let begun: Vec<_> = (10..60).map(|n| user.begin(write(n, 1, 2))).collect();
    cluster.kill(A).await;
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    cluster.revive(A).await;
    cluster.until_whole().await;
    cluster.hand_over(A).await;
    let begun: Vec<_> = (60..90).map(|n| user.begin(write(n, 1, 2))).collect();
    cluster.kill(A).await;
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    for n in 10..90 {
        assert_eq!(user.ask(read(n, 1)).await, data(2, 1));
    }
    cluster.stop().await;
}

/// The order and the death of who is named in it, in any order: it is done, or refused, or never was.
#[tokio::test]
async fn an_order_meets_the_end_of_a_server() {
    let mut cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    for (round, dies) in [(1_u8, B), (2, A), (3, B), (4, A)] {
        let begun: Vec<_> = (0..100).map(|n| user.begin(write(n, 1, round))).collect();
        cluster.until_whole().await;
        let record = cluster.record();
        let to = if record.now.primary == A { B } else { A };
        let command = Command::HandOver {
            stripe: super::manager::STRIPE,
            copy: record.now.primary,
            generation: record.generation,
            to,
        };
        let (manager, server) = (cluster.manager.clone(), cluster.server(record.now.primary));
        let ordered = tokio::spawn(async move { manager.command(server, command).await });
        cluster.kill(dies).await;
        for answer in begun {
            assert_eq!(answer.await.unwrap(), Outcome::Done);
        }
        // A server that died answers nothing any more.
        ordered.abort();
        cluster.revive(dies).await;
        cluster.until_whole().await;
        for n in 0..100 {
            assert_eq!(user.ask(read(n, 1)).await, data(round, 1));
        }
    }
    cluster.stop().await;
}
