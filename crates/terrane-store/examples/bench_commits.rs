//! Commits per second with 16 writers: the embedded store beside fjall's own `SyncData`.
//!
//! Prints one JSON object. Both write one small row per commit, to files on the same disk; run it
//! in release (`cargo xtask bench store`). The bar is a ratio of 5.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use terrane_store::{EmbeddedConfig, Store, StoreError};

const WRITERS: u64 = 16;
const VALUE: [u8; 100] = [7; 100];

fn main() {
    let seconds = std::env::args().nth(1).map_or(5, |text| text.parse().unwrap());
    let duration = Duration::from_secs(seconds);
    let parent = std::env::args().nth(2).unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(parent).unwrap();
    // Alternating rounds: the disk's moods hit both.
    let (mut ours, mut theirs) = (0.0, 0.0);
    for round in 0..2 {
        theirs += fjall_rate(&dir.path().join(format!("fjall{round}")), duration / 2);
        ours += store_rate(&dir.path().join(format!("store{round}")), duration / 2);
    }
    let report = serde_json::json!({
        "bench": "store-commits",
        "writers": WRITERS,
        "value_bytes": VALUE.len(),
        "ours_commits_per_s": (ours / 2.0_f64).round(),
        "fjall_syncdata_commits_per_s": (theirs / 2.0_f64).round(),
        "ratio": (ours / theirs * 100.0_f64).round() / 100.0,
        "bar": 5.0,
    });
    println!("{report:#}");
}

/// Keys of different writers lie apart; each writes new ones.
fn key(writer: u64, n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&writer.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn store_rate(dir: &Path, duration: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::embedded(dir, EmbeddedConfig::default()).await.unwrap();
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            tasks.spawn(async move {
                let mut n = 0;
                while begun.elapsed() < duration {
                    let put = |tx: terrane_store::Tx| async move {
                        tx.put(key(writer, n).to_vec(), &VALUE[..]).await
                    };
                    store.transact(put).await.unwrap_or_else(|error: StoreError| panic!("{error}"));
                    n += 1;
                }
                n
            });
        }
        let commits: u64 = tasks.join_all().await.iter().sum();
        let rate = per_second(commits, begun.elapsed());
        store.close().await.unwrap();
        rate
    })
}

fn fjall_rate(dir: &Path, duration: Duration) -> f64 {
    let db = Database::builder(dir).open().unwrap();
    let rows = db.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (db, rows, stop, commits) = (&db, &rows, &stop, &commits);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut batch = db.batch().durability(Some(PersistMode::SyncData));
                    batch.insert(rows, key(writer, n), VALUE);
                    batch.commit().unwrap();
                    n += 1;
                }
                commits.fetch_add(n, Ordering::Relaxed);
            });
        }
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
    });
    per_second(commits.load(Ordering::Relaxed), begun.elapsed())
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
