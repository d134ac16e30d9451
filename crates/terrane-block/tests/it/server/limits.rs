//! Limits of volumes, and who used the drives. No time is an upper bound here but that of patience.

use super::cluster::Cluster;
use super::{A, B, data, read, until, write};
use bytes::Bytes;
use std::time::{Duration, Instant};
use terrane_block::server::DriveUser;
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, Extent};
use terrane_block_wire::control::{Allowance, Performance};
use terrane_types::VolumeId;

fn steady(rate: u64) -> Option<Allowance> {
    Some(Allowance { rate, peak: rate, credit: 0 })
}

fn iops(rate: u64) -> Option<Performance> {
    Some(Performance { op_bytes: 256 << 10, iops: steady(rate), ..Performance::default() })
}

/// Asks for all at once and waits for the answers.
async fn all(user: &super::user::User, ops: impl Iterator<Item = Op<Bytes>>) -> Duration {
    let started = Instant::now();
    let begun: Vec<_> = ops.map(|op| user.begin(op)).collect();
    for answer in begun {
        assert_ne!(answer.await.unwrap(), Outcome::NoSpace);
    }
    started.elapsed()
}

#[tokio::test]
async fn a_volume_gets_no_more_than_its_limit_and_a_change_holds_at_once() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(0, 1, 9)).await, Outcome::Done);
    cluster.manager.limit(iops(100));
    // Ten at once, then a hundred per second; the change may have come after the first few.
    let limited = || cluster.counter("terrane_block_limited_requests_total");
    while limited() == 0 {
        all(&user, (0..20).map(|n| write(n, 1, 1))).await;
    }
    let took = all(&user, (0..60).map(|n| write(n, 1, 2))).await;
    assert!(took >= Duration::from_millis(480), "60 operations at 100 per second took {took:?}");
    let took = all(&user, (0..60).map(|n| read(n, 1))).await;
    assert!(took >= Duration::from_millis(480), "60 operations at 100 per second took {took:?}");
    assert_eq!(user.ask(read(7, 1)).await, data(2, 1));
    // As many bytes as go into four operations.
    let large = || Op::Write(Extent { start: 1000, len: 256 }, Content::Data(super::bytes(3, 256)));
    let took = all(&user, (0..20).map(|_| large())).await;
    assert!(took >= Duration::from_millis(640), "80 operations at 100 per second took {took:?}");

    // What waits goes when the limit is lifted: at one per second it would be longer than anybody waits.
    cluster.manager.limit(iops(1));
    let waiting = limited();
    let begun: Vec<_> = (0..100).map(|n| user.begin(write(n, 1, 4))).collect();
    until("requests wait", || limited() >= waiting + 50).await;
    cluster.manager.limit(None);
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    assert_eq!(user.ask(read(99, 1)).await, data(4, 1));
    cluster.stop().await;
}

#[tokio::test]
async fn bytes_are_limited_as_well() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    let limit = Performance { op_bytes: 256 << 10, bytes: steady(4 << 20), ..Performance::default() };
    cluster.manager.limit(Some(limit));
    while cluster.counter("terrane_block_limited_requests_total") == 0 {
        all(&user, (0..8).map(|n| write(n * 128, 128, 1))).await;
    }
    // 4 MiB, of which a tenth and one request come at once.
    let took = all(&user, (0..8).map(|n| write(n * 128, 128, 1))).await;
    assert!(took >= Duration::from_millis(770), "4 MiB at 4 MiB/s took {took:?}");
    // TRIM moves nothing.
    let trims = (0..100).map(|n| Op::Write(Extent { start: n * 40, len: 40 }, Content::Zero));
    all(&user, trims).await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_waits_for_its_limit_when_the_primary_dies_is_done_by_the_next() {
    let mut cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    assert_eq!(user.ask(write(0, 1, 1)).await, Outcome::Done);
    cluster.manager.limit(iops(50));
    while cluster.counter("terrane_block_limited_requests_total") == 0 {
        all(&user, (0..20).map(|n| write(n, 1, 1))).await;
    }
    let begun: Vec<_> = (0..60).map(|n| user.begin(write(n, 1, n as u8))).collect();
    cluster.kill(A).await;
    for answer in begun {
        assert_eq!(answer.await.unwrap(), Outcome::Done);
    }
    assert_eq!(user.ask(read(59, 1)).await, data(59, 1));
    cluster.stop().await;
}

#[tokio::test]
async fn a_drive_tells_who_used_it() {
    let cluster = Cluster::start(&[A, B], 4096).await;
    let user = cluster.user();
    let volume = DriveUser::Volume(VolumeId::from_bits(1));
    let mut written = 0;
    let used = |server: &str| {
        let seconds = cluster.uses.latest(60);
        let mine = seconds.iter().filter(|second| second.server == server).flat_map(|second| &second.users);
        mine.filter(|(user, _)| *user == volume).map(|(_, used)| used.bytes).sum::<u64>()
    };
    for n in 0..32 {
        let blocks = if n % 2 == 0 { 1 } else { 64 };
        assert_eq!(user.ask(write(n * 64, blocks, 1)).await, Outcome::Done);
        written += blocks * 4096;
    }
    until("both copies' drives tell of all that was written", || {
        [A, B].iter().all(|copy| used(&copy.0.to_string()) == written)
    })
    .await;
    cluster.stop().await;
}
