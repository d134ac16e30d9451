//! The keymap lags, readers do not notice.

use std::time::Duration;

use futures::{StreamExt, stream};
use terrane_objects::ObjectsConfig;
use terrane_objects::config::{Threshold, WriteMode as CoreMode};
use terrane_objects::service::*;

use crate::rig::*;

async fn depth(service: &dyn ObjectService) -> u64 {
    service.queues().await.unwrap().iter().map(|q| q.depth + q.spilled).sum()
}

#[test]
fn a_hundred_thousand_puts_with_paused_workers_are_listed_and_read_at_once() {
    const PUTS: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    // Memory for a fraction of them: most spill.
    let config =
        |dir| ObjectsConfig { pending_bytes_max: 24 << 20, log_segment_bytes: 32 << 20, ..config(dir) };
    let key = |n: usize| format!("key-{:06}", n.wrapping_mul(7_919) % PUTS);
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        store.pause_queue(None, true).await.unwrap();
        let puts = stream::iter(0..PUTS).map(|n| {
            let b = b.clone();
            tokio::spawn(async move { b.put(&key(n), &pattern(n % 50, n as u64)).await })
        });
        let pending = puts.buffer_unordered(256).filter(|w| {
            let pending = w.as_ref().unwrap().keymap == KeymapState::Pending;
            async move { pending }
        });
        assert_eq!(pending.count().await, PUTS);
        let all = |keys: Vec<String>| {
            assert_eq!(keys.len(), PUTS);
            assert!(keys.iter().enumerate().all(|(n, key)| *key == format!("key-{n:06}")));
        };
        all(b.keys().await);
        for n in (0..PUTS).step_by(997) {
            assert_eq!(b.get(&key(n)).await.unwrap(), pattern(n % 50, n as u64), "{n}");
        }
        assert!(depth(&store).await >= PUTS as u64);
        store.pause_queue(None, false).await.unwrap();
        store.drain_queue(None).await.unwrap();
        assert_eq!(depth(&store).await, 0);
        all(b.keys().await);
        assert_eq!(store.dump_keymap().await.unwrap().len(), PUTS + 1, "and the bucket's own row");
        store.close().await;
    });
    run(async {
        let store = open(config(dir.path())).await;
        assert_eq!(bucket(store.clone(), "bucket").await.keys().await.len(), PUTS);
        store.close().await;
    });
}

#[test]
fn modes_are_taken_from_header_then_bucket_and_operations_tell_their_state() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let later = explicit(ExplicitMode::Delay(Duration::from_secs(3_600)));
        let written = b.try_put("later", &pattern(10, 1), later).await.unwrap();
        assert_eq!(written.keymap, KeymapState::Pending);
        let operation = written.operation.unwrap();
        let status = store.operation(&account(), &operation).await.unwrap().unwrap();
        assert_eq!((status.state, status.class.as_deref()), (KeymapState::Pending, Some("delay")));
        assert!(status.due.unwrap().ends_with('Z'));
        let stranger = terrane_types::AccountId::parse("000000000002").unwrap();
        assert_eq!(store.operation(&stranger, &operation).await.unwrap(), None);
        assert_eq!(b.keys().await, ["later"], "listed at once");
        let now = explicit(ExplicitMode::Sync);
        assert_eq!(b.try_put("later", &pattern(11, 1), now).await.unwrap().keymap, KeymapState::Applied);
        let status = store.operation(&account(), &operation).await.unwrap().unwrap();
        assert_eq!(status.state, KeymapState::Applied, "superseded entries complete too");
        let low = WriteMode::Async(Class::Low);
        let info = store.change_bucket(&b.info, BucketChange::DefaultMode(Some(low))).await.unwrap();
        assert_eq!(info.default_mode, Some(low));
        store.pause_queue(Some("low"), true).await.unwrap();
        let written = b.put("by-default", &pattern(3, 3)).await;
        assert_eq!(written.keymap, KeymapState::Pending);
        let forced = b.try_put("by-default", &pattern(3, 3), explicit(ExplicitMode::Sync)).await;
        assert_eq!(forced.unwrap().keymap, KeymapState::Applied);
        store.pause_queue(None, true).await.unwrap();
        let refused = b.try_put("forced", &pattern(3, 3), explicit(ExplicitMode::Sync)).await;
        assert!(matches!(refused, Err(ObjectError::SlowDown { .. })), "{refused:?}");
        assert!(matches!(b.get("forced").await, Err(ObjectError::NoSuchKey)), "nothing was logged");
        assert!(matches!(store.pause_queue(Some("other"), true).await, Err(ObjectError::NoSuchQueue)));
        store.close().await;
    });
}

#[test]
fn load_above_a_threshold_makes_writes_asynchronous_and_quiet_makes_them_synchronous_again() {
    let dir = tempfile::tempdir().unwrap();
    let thresholds = vec![Threshold { on: 40.0, off: 20.0, mode: CoreMode::High }];
    run(async {
        let store = open(ObjectsConfig { thresholds, ..config(dir.path()) }).await;
        let b = bucket(store.clone(), "bucket").await;
        assert_eq!(b.put("first", &pattern(1, 1)).await.keymap, KeymapState::Applied);
        let mut switched = false;
        for n in 0..5_000_usize {
            let put = b.put(&format!("key-{}", n % 50), &pattern(1, 1)).await;
            if put.keymap == KeymapState::Pending {
                switched = true;
                break;
            }
        }
        assert!(switched);
        // One write now and then: the smoothed load falls below the lower threshold.
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if b.put("last", &pattern(1, 1)).await.keymap == KeymapState::Applied {
                break;
            }
        }
        store.close().await;
    });
}

#[test]
fn completions_are_announced_once_each_in_the_order_of_their_cursors() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let me = account();
        let waiting = {
            let (store, me) = (store.clone(), me.clone());
            tokio::spawn(async move { store.completions(&me, 0, 10, Duration::from_secs(30)).await })
        };
        let put = b.put("a", &pattern(5, 1)).await;
        let first = waiting.await.unwrap().unwrap();
        assert_eq!(
            (first[0].event.as_str(), first[0].key.as_str(), first[0].size),
            ("ObjectCreated:Put", "a", Some(5))
        );
        assert_eq!(Some(&first[0].operation), put.operation.as_ref());
        for n in 0..20 {
            b.put(&format!("k{n}"), &pattern(1, 1)).await;
        }
        b.delete("k3").await;
        let mut found = first.clone();
        while found.len() < 22 {
            let after = found.last().unwrap().cursor;
            found.extend(store.completions(&me, after, 6, Duration::from_secs(30)).await.unwrap());
        }
        assert!(found.is_sorted_by(|a, b| a.cursor < b.cursor));
        assert_eq!(found[21].event, "ObjectRemoved:Delete");
        let stranger = terrane_types::AccountId::parse("000000000002").unwrap();
        let nothing = store.completions(&stranger, 0, 10, Duration::from_millis(1)).await.unwrap();
        assert_eq!(nothing, []);
        store.close().await;
    });
}
