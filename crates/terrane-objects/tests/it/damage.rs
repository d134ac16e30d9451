//! A flipped bit anywhere is found, never served.

use std::fs;
use std::path::{Path, PathBuf};

use terrane_objects::service::*;

use crate::crash::crash_image;
use crate::rig::*;

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x04;
    fs::write(path, bytes).unwrap();
}

async fn reopen(dir: &Path) -> std::result::Result<terrane_objects::ObjectStore, terrane_objects::OpenError> {
    let metrics = terrane_objects::Metrics::register(&mut prometheus_client::registry::Registry::default());
    terrane_objects::ObjectStore::open(config(dir), metrics).await
}

/// Where the bytes of some pattern lie in a file.
fn find(path: &Path, needle: &[u8]) -> Option<usize> {
    let bytes = fs::read(path).unwrap();
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[test]
fn a_flipped_bit_in_data_log_or_keymap_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("bulk", &pattern(200_000, 1)).await;
        b.put("inline", &pattern(5_000, 2)).await;
        for n in 0..300 {
            // Enough for the log to go on in another segment: the last one is verified at every start.
            b.put(&format!("filler-{n:03}"), &pattern(15_000, n)).await;
            b.put(&format!("key-{n:03}"), &pattern(50, n)).await;
        }
        b.put("latest", &pattern(5_000, 1 << 20)).await;
        store.close().await;
    });
    let damaged = |part: &str, needle: &[u8]| {
        let image = tempfile::tempdir().unwrap();
        crash_image(dir.path(), image.path());
        let hit = files(&image.path().join(part)).into_iter().find_map(|f| Some((find(&f, needle)?, f)));
        let (at, path) = hit.expect(part);
        flip(&path, at);
        image
    };
    run(async {
        let image = damaged("data", &pattern(200_000, 1)[100_000..100_032]);
        let store = reopen(image.path()).await.unwrap();
        let b = bucket(store.clone(), "bucket").await;
        assert!(b.get("bulk").await.is_err());
        assert_eq!(b.get("inline").await.unwrap(), pattern(5_000, 2));
        assert_eq!(store.check().await.unwrap().problem_count, 1);
        store.close().await;

        let image = damaged("log", &pattern(5_000, 2)[1_000..1_032]);
        let store = reopen(image.path()).await.unwrap();
        let b = bucket(store.clone(), "bucket").await;
        assert!(matches!(b.get("inline").await, Err(ObjectError::Corrupt(_))));
        assert!(b.get("bulk").await.is_ok());
        assert!(store.check().await.unwrap().problem_count >= 1);
        store.close().await;

        let image = damaged("log", &pattern(5_000, 1 << 20)[1_000..1_032]);
        let refused = reopen(image.path()).await;
        assert!(
            matches!(refused, Err(terrane_objects::OpenError::LogCutShort { .. })),
            "{:?}",
            refused.err()
        );

        // A damaged keymap is noticed at the start and rebuilt, or when the row is read.
        let image = damaged("keymap", b"key-1");
        let store = reopen(image.path()).await.unwrap();
        let b = bucket(store.clone(), "bucket").await;
        let request = |key: String| {
            let b = b.clone();
            async move { b.get(&key).await }
        };
        let mut detected = store.check().await.unwrap().problem_count > 0;
        for n in 0..300_u64 {
            match request(format!("key-{n:03}")).await {
                Ok(bytes) => assert_eq!(bytes, pattern(50, n)),
                Err(ObjectError::NoSuchKey) => panic!("key-{n:03} is lost without a word"),
                Err(_) => detected = true,
            }
        }
        let rebuilt = files(image.path()).iter().any(|f| f.to_string_lossy().contains("damaged"));
        assert!(detected || rebuilt);
        store.close().await;
    });
}
