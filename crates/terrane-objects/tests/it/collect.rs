//! Space comes back, and nobody's bytes are taken.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use terrane_objects::service::*;
use terrane_objects::{ObjectStore, ObjectsConfig};

use crate::rig::*;

fn data_bytes(store: &ObjectStore) -> u64 {
    store.segments().iter().map(|s| s.bytes).sum()
}

fn log_bytes(store: &ObjectStore) -> u64 {
    store.log_segments().iter().map(|(_, bytes)| *bytes).sum()
}

/// Collects until a condition holds.
async fn collect_until(store: &ObjectStore, what: &str, done: impl Fn(&ObjectStore) -> bool) {
    for _ in 0..400 {
        if done(store) {
            return;
        }
        store.collect().await.unwrap();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}: {:?} {:?}", store.segments(), store.log_segments());
}

#[test]
fn deleted_bytes_come_back_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        for n in 0..40_usize {
            b.put(&format!("key-{n:02}"), &pattern(200_000 + n, n as u64)).await;
        }
        let full = data_bytes(&store);
        let slow = b.open("key-11").await.unwrap();
        let kept = |n: usize| n.is_multiple_of(5);
        let source = b.open("key-12").await.unwrap();
        b.copy(&source, "copy").await.unwrap();
        for n in (0..40).filter(|n| !kept(*n)) {
            b.delete(&format!("key-{n:02}")).await;
        }
        store.drain_queue(None).await.unwrap();
        collect_until(&store, "data", |store| data_bytes(store) < full / 2).await;
        for n in (0..40).filter(|n| kept(*n)) {
            assert!(b.get(&format!("key-{n:02}")).await.unwrap() == pattern(200_000 + n, n as u64), "{n}");
        }
        assert!(
            b.get("copy").await.unwrap() == pattern(200_012, 12),
            "shared bytes live as long as a referrer"
        );
        assert!(
            read(&*slow).await.unwrap() == pattern(200_011, 11),
            "a reader's bytes outlive their segment"
        );
        // The source's key and segment are gone: the copy is made of the bytes that the handle still reads.
        b.copy(&slow, "late").await.unwrap();
        assert!(b.get("late").await.unwrap() == pattern(200_011, 11));
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        store.close().await;
    });
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        assert_eq!(b.keys().await.len(), 10);
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        store.close().await;
    });
}

#[test]
fn a_slow_get_reads_what_it_opened_through_overwrites_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let original = pattern(3 << 20, 1);
        b.put("key", &original).await;
        let handle = b.open("key").await.unwrap();
        let mut stream = handle.read(0..original.len() as u64);
        let mut found = stream.try_next().await.unwrap().unwrap().to_vec();
        let before: Vec<u64> = store.segments().iter().map(|s| s.segment).collect();
        for n in 0..4 {
            b.put("key", &pattern(1 << 20, n + 2)).await;
        }
        store.drain_queue(None).await.unwrap();
        let gone = |store: &ObjectStore| !store.segments().iter().any(|s| s.segment == before[0]);
        collect_until(&store, "the first segment", gone).await;
        while let Some(chunk) = stream.try_next().await.unwrap() {
            found.extend_from_slice(&chunk);
        }
        assert!(found == original);
        assert!(b.get("key").await.unwrap() == pattern(1 << 20, 5));
        store.close().await;
    });
}

#[test]
fn the_log_is_compacted_and_still_rebuilds_the_keymap() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let config = |dir| ObjectsConfig { log_segment_bytes: 1 << 20, replay_bytes_max: 2 << 20, ..config(dir) };
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("first", &pattern(9_000, 77)).await;
        let upload = b.service.create_upload(&b.info, "upload", attrs("")).await.unwrap();
        for n in 0..1_000_usize {
            b.put(&format!("key-{:02}", n % 20), &pattern(10_000, n as u64)).await;
        }
        b.delete("key-19").await;
        assert!(log_bytes(&store) > 9 << 20);
        collect_until(&store, "log", |store| log_bytes(store) < 4 << 20).await;
        assert!(store.log_segments()[0].0 > 1, "the oldest segments are gone");
        assert_eq!(b.get("first").await.unwrap(), pattern(9_000, 77));
        assert_eq!(b.get("key-07").await.unwrap(), pattern(10_000, 987));
        b.service.upload(&b.info, "upload", &upload).await.unwrap();
        store.drain_queue(None).await.unwrap();
        let original = store.dump_keymap().await.unwrap();
        store.close().await;
        crate::crash::crash_image(dir.path(), image.path());
        std::fs::remove_dir_all(image.path().join("keymap")).unwrap();
        let rebuilt = open(config(image.path())).await;
        rebuilt.drain_queue(None).await.unwrap();
        assert_eq!(
            rebuilt.dump_keymap().await.unwrap(),
            original,
            "nothing is missing, nothing has risen again"
        );
        rebuilt.close().await;
    });
}

#[test]
fn what_is_pending_is_not_taken_for_garbage() {
    const PUTS: usize = 700;
    let dir = tempfile::tempdir().unwrap();
    let config =
        ObjectsConfig { log_segment_bytes: 2 << 20, replay_bytes_max: 2 << 20, ..config(dir.path()) };
    run(async {
        let store = open(config).await;
        let b = bucket(store.clone(), "bucket").await;
        store.pause_queue(None, true).await.unwrap();
        let hour = explicit(ExplicitMode::Delay(Duration::from_secs(3_600)));
        let puts = stream::iter(0..PUTS).map(|n| {
            let b = b.clone();
            async move { b.try_put(&format!("key-{n:03}"), &pattern(16_000, n as u64), hour).await.unwrap() }
        });
        assert_eq!(puts.buffer_unordered(16).count().await, PUTS);
        let delayed = || async {
            let queues = store.queues().await.unwrap();
            let delay = queues.into_iter().find(|queue| queue.class == "delay").unwrap();
            (delay.depth, delay.spilled)
        };
        while delayed().await.1 < PUTS as u64 / 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store.sync_keymap().await.unwrap();
        let before = store.log_segments();
        assert!(before.len() > 4, "{before:?}");
        for _ in 0..3 {
            assert_eq!(store.collect().await.unwrap(), 0);
        }
        assert_eq!(store.log_segments(), before, "nothing was moved");
        let (depth, spilled) = delayed().await;
        assert_eq!(depth + spilled, PUTS as u64, "nor applied early");
        assert_eq!(b.get("key-007").await.unwrap(), pattern(16_000, 7));
        store.close().await;
    });
}

#[test]
fn garbage_of_a_crash_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("kept", &pattern(100_000, 1)).await;
        let staged = b.service.stage(body(&pattern(700_000, 2)), None).await.unwrap();
        crate::crash::crash_image(dir.path(), image.path());
        drop(staged);
        let crashed = open(config(image.path())).await;
        collect_until(&crashed, "garbage", |store| data_bytes(store) < 150_000).await;
        let c = bucket(crashed.clone(), "bucket").await;
        assert!(c.get("kept").await.unwrap() == pattern(100_000, 1));
        crashed.close().await;
        store.close().await;
    });
}

#[test]
fn a_copy_that_waits_keeps_its_source_alive() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("source", &pattern(1_500_000, 1)).await;
        let source = b.open("source").await.unwrap();
        store.pause_queue(None, true).await.unwrap();
        let copied = b.copy(&source, "copy").await.unwrap();
        assert_eq!(copied.keymap, KeymapState::Pending);
        store.pause_queue(Some("high"), false).await.unwrap();
        store.pause_queue(Some("sync"), false).await.unwrap();
        b.delete("source").await;
        drop(source);
        for _ in 0..3 {
            store.collect().await.unwrap();
        }
        assert!(b.get("copy").await.unwrap() == pattern(1_500_000, 1));
        store.pause_queue(None, false).await.unwrap();
        store.drain_queue(None).await.unwrap();
        for _ in 0..3 {
            store.collect().await.unwrap();
        }
        assert!(b.get("copy").await.unwrap() == pattern(1_500_000, 1));
        assert!(matches!(b.get("source").await, Err(ObjectError::NoSuchKey)));
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        store.close().await;
    });
}
