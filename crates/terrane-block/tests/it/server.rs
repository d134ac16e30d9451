//! Block servers over real sockets and directories, under a small manager that decides with the core's rules.

mod cluster;
mod drives;
mod faults;
mod fencing;
mod growing;
mod handing_over;
mod limits;
mod manager;
mod user;

use bytes::Bytes;
use cluster::Cluster;
use std::time::{Duration, Instant};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, CopyId, Extent};
use terrane_block_wire::data::BLOCK;

const A: CopyId = CopyId(1);
const B: CopyId = CopyId(2);

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} never happened");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn bytes(byte: u8, blocks: u64) -> Bytes {
    vec![byte; blocks as usize * BLOCK].into()
}

fn write(start: u64, len: u64, byte: u8) -> Op<Bytes> {
    Op::Write(Extent { start, len }, Content::Data(bytes(byte, len)))
}

fn read(start: u64, len: u64) -> Op<Bytes> {
    Op::Read(Extent { start, len })
}

fn data(byte: u8, blocks: u64) -> Outcome<Bytes> {
    Outcome::Content(Content::Data(bytes(byte, blocks)))
}

#[tokio::test]
async fn what_is_written_is_read_on_two_copies_and_on_one() {
    for copies in [&[A, B][..], &[A]] {
        let cluster = Cluster::start(copies, 4096).await;
        let user = cluster.user();
        assert_eq!(user.ask(read(7, 2)).await, Outcome::Content(Content::Zero));
        assert_eq!(user.ask(write(7, 2, 1)).await, Outcome::Done);
        assert_eq!(user.ask(read(7, 2)).await, data(1, 2));
        assert_eq!(user.ask(write(100, 256, 2)).await, Outcome::Done);
        assert_eq!(user.ask(read(100, 256)).await, data(2, 256));
        assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
        assert_eq!(user.ask(Op::Write(Extent { start: 8, len: 1 }, Content::Zero)).await, Outcome::Done);
        let half = [bytes(1, 1), bytes(0, 1)].concat();
        assert_eq!(user.ask(read(7, 2)).await, Outcome::Content(Content::Data(half.into())));
        assert_eq!(user.ask(read(4095, 2)).await, Outcome::OutOfRange);
        assert_eq!(user.status(0, 400).await, [(7, false), (1, true), (92, false), (256, true), (44, false)]);
        cluster.stop().await;
    }
}

#[tokio::test]
async fn many_requests_at_the_same_time() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    for round in 1..=5 {
        let asked: Vec<_> = (0..200).map(|n| user.begin(write(n * 3, 1, round))).collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap(), Outcome::Done);
        }
        assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
        let asked: Vec<_> = (0..200).map(|n| user.begin(read(n * 3, 1))).collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap(), data(round, 1));
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_mirror_that_dies_comes_back_by_what_it_missed() {
    let mut cluster = Cluster::start(&[A, B], 64 << 10).await;
    let user = cluster.user();
    for n in 0..16 {
        assert_eq!(user.ask(write(n * 256, 256, 1)).await, Outcome::Done);
    }
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    cluster.kill(B).await;
    for n in 0..4 {
        assert_eq!(user.ask(write(n * 1000, 1, 2)).await, Outcome::Done);
    }
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    let before = cluster.resync_bytes();
    cluster.revive(B).await;
    cluster.until_whole().await;
    let moved = cluster.resync_bytes() - before;
    assert!(moved <= 2 * 4 * BLOCK as u64, "{moved} bytes moved for 4 blocks");
    // What came back has everything: alone it serves it.
    cluster.kill(A).await;
    for n in 0..4 {
        assert_eq!(user.ask(read(n * 1000, 1)).await, data(2, 1));
    }
    assert_eq!(user.ask(read(15 * 256, 256)).await, data(1, 256));
    cluster.stop().await;
}

#[tokio::test]
async fn the_mirror_takes_over_and_no_acknowledged_write_is_missing() {
    let mut cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    for n in 0..50 {
        assert_eq!(user.ask(write(n, 1, n as u8 + 1)).await, Outcome::Done);
    }
    let begun: Vec<_> = (50..80).map(|n| user.begin(write(n, 1, n as u8 + 1))).collect();
    cluster.kill(A).await;
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    for n in 0..80 {
        assert_eq!(user.ask(read(n, 1)).await, data(n as u8 + 1, 1));
    }
    assert_eq!(cluster.record().now.primary, B);
    cluster.revive(A).await;
    cluster.until_whole().await;
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    cluster.stop().await;
}

#[tokio::test]
async fn all_servers_restart_and_nothing_is_lost() {
    let mut cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(1, 1, 1)).await, Outcome::Done);
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    assert_eq!(user.ask(write(2, 1, 2)).await, Outcome::Done);
    let lives = cluster.lives();
    cluster.kill(A).await;
    cluster.kill(B).await;
    cluster.revive(B).await;
    cluster.revive(A).await;
    cluster.until_whole().await;
    assert_eq!(user.ask(read(1, 1)).await, data(1, 1));
    assert_eq!(user.ask(read(2, 1)).await, data(2, 1), "the machine went on: nothing is lost");
    assert!(cluster.lives().iter().all(|life| !lives.contains(life)), "every start is another life");
    cluster.stop().await;
}

#[tokio::test]
async fn a_deleted_copy_is_gone_and_commands_may_come_twice() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    cluster.create(B).await.unwrap();
    cluster.delete(B).await.unwrap();
    cluster.delete(B).await.unwrap();
    assert!(!cluster.copy_file(B).exists());
    cluster.stop().await;
}
