//! How fast two block servers are over loopback, without NBD: `server_bench [SECONDS]`. One client, in this process,
//! with one stripe of two copies (1 GiB); the directory is a temporary one (`TMPDIR`).

#![allow(clippy::unwrap_used, missing_docs, reason = "a measurement; what fails ends it")]
#![allow(dead_code, reason = "the small manager and the client are the tests' own")]

#[path = "../tests/it/server/cluster.rs"]
mod cluster;
#[path = "../tests/it/server/manager.rs"]
mod manager;
#[path = "../tests/it/server/user.rs"]
mod user;

use bytes::Bytes;
use cluster::{Cluster, Settings};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, CopyId, Extent};
use user::User;

const BLOCKS: u64 = 1 << 18;
/// Blocks of 1 MiB.
const LARGE: u64 = 256;

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} never happened");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn write(start: u64, len: u64, bytes: &Bytes) -> Op<Bytes> {
    Op::Write(Extent { start, len }, Content::Data(bytes.slice(..len as usize * 4096)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let time = Duration::from_secs(std::env::args().nth(1).map_or(3, |seconds| seconds.parse().unwrap()));
    let settings = Settings { capacity: |_| 8 << 30, ..Settings::default() };
    let cluster = Cluster::start_with(&[CopyId(1), CopyId(2)], BLOCKS, settings).await;
    let user = cluster.user();
    let bytes: Bytes = vec![0x5a; LARGE as usize * 4096].into();
    for start in (0..BLOCKS).step_by(LARGE as usize) {
        assert_eq!(user.ask(write(start, LARGE, &bytes)).await, Outcome::Done);
    }
    assert_eq!(user.ask(Op::Flush).await, Outcome::Done);
    let one = |at: u64| Extent { start: at % BLOCKS, len: 1 };
    for depth in [1, 32] {
        report(&format!("4 KiB writes, queue depth {depth}"), &user, time, depth, |at| {
            write(one(at).start, 1, &bytes)
        })
        .await;
        report(&format!("4 KiB reads, queue depth {depth}"), &user, time, depth, |at| Op::Read(one(at)))
            .await;
    }
    let large = |at: u64| at % (BLOCKS / LARGE) * LARGE;
    report("1 MiB writes, queue depth 4", &user, time, 4, |at| write(large(at), LARGE, &bytes)).await;
    let read = |at| Op::Read(Extent { start: large(at), len: LARGE });
    report("1 MiB reads, queue depth 4", &user, time, 4, read).await;
    cluster.stop().await;
}

async fn report(name: &str, user: &User, time: Duration, depth: usize, op: impl Fn(u64) -> Op<Bytes>) {
    let started = Instant::now();
    let (mut asked, mut latencies, mut at) = (VecDeque::new(), Vec::new(), 1_u64);
    while started.elapsed() < time {
        while asked.len() < depth {
            // Knuth's generator: any that spreads will do.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            asked.push_back((Instant::now(), user.begin(op(at >> 24))));
        }
        let (begun, answer) = asked.pop_front().unwrap();
        let answer: Outcome<Bytes> = answer.await.unwrap();
        assert!(matches!(answer, Outcome::Done | Outcome::Content(_)), "{answer:?}");
        latencies.push(begun.elapsed());
    }
    for (_, answer) in asked {
        answer.await.unwrap();
    }
    let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let part = |share: usize| latencies[(latencies.len() - 1) * share / 1000].as_micros();
    println!("{name:<34} {per_second:>9.0} /s   p50 {:>6} µs   p99 {:>6} µs", part(500), part(990));
}
