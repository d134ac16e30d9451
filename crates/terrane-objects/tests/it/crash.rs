//! Crash images: the directory copied while the store runs, then opened as after a power cut.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use terrane_objects::service::*;

use crate::rig::*;

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            // A spare of the log may be renamed meanwhile; it holds nothing.
            match fs::copy(entry.path(), target) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// What a power cut would leave: the keymap never knows more than the log, and the log never names bytes that
/// were not written before.
pub(crate) fn crash_image(from: &Path, to: &Path) {
    for part in ["keymap", "runs", "log", "data"] {
        copy_dir(&from.join(part), &to.join(part));
    }
}

#[test]
fn what_was_acknowledged_survives_and_everything_listed_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let size = |n: usize| if n.is_multiple_of(10) { 40_000 } else { n % 3_000 };
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        store.pause_queue(None, true).await.unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..8)
            .map(|w| {
                let (b, done) = (b.clone(), done.clone());
                tokio::spawn(async move {
                    for n in 0..100 {
                        let n = n * 8 + w;
                        b.put(&format!("key-{n:04}"), &pattern(size(n), n as u64)).await;
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        while done.load(Ordering::SeqCst) < 300 {
            tokio::task::yield_now().await;
        }
        let acknowledged = b.keys().await;
        let (from, to) = (dir.path().to_owned(), image.path().to_owned());
        tokio::task::spawn_blocking(move || crash_image(&from, &to)).await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        let crashed = open(config(image.path())).await;
        let c = bucket(crashed.clone(), "bucket").await;
        let found = c.keys().await;
        assert!(acknowledged.iter().all(|key| found.contains(key)));
        for key in &found {
            let n: usize = key["key-".len()..].parse().unwrap();
            assert!(c.get(key).await.unwrap() == pattern(size(n), n as u64), "{key}");
        }
        crashed.drain_queue(None).await.unwrap();
        assert_eq!(c.keys().await, found);
        let report = crashed.check().await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        crashed.close().await;
        store.close().await;
    });
}

#[test]
fn a_lost_keymap_is_rebuilt_from_the_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let mut b = bucket(store.clone(), "bucket").await;
        fill(&b).await;
        let on = BucketChange::Versioning(Versioning::Enabled);
        b.info = b.service.change_bucket(&b.info, on).await.unwrap();
        fill(&b).await;
        store.drain_queue(None).await.unwrap();
        let original = store.dump_keymap().await.unwrap();
        assert!(original.len() > 300, "{}", original.len());
        store.close().await;
        crash_image(dir.path(), image.path());
        fs::remove_dir_all(image.path().join("keymap")).unwrap();
        let rebuilt = open(config(image.path())).await;
        rebuilt.drain_queue(None).await.unwrap();
        assert_eq!(rebuilt.dump_keymap().await.unwrap(), original);
        assert_eq!(rebuilt.check().await.unwrap().problems, Vec::<String>::new());
        rebuilt.close().await;
    });
}

/// Puts, overwrites, deletes, copies, uploads, in all classes.
async fn fill(b: &Bucket) {
    for n in 0..150_usize {
        let mode = [
            ExplicitMode::Async,
            ExplicitMode::Sync,
            ExplicitMode::Delay(std::time::Duration::from_secs(60)),
        ];
        let (key, mode) = (format!("key-{:03}", n % 120), explicit(mode[n % 3]));
        b.try_put(&key, &pattern(n * 700, n as u64), mode).await.unwrap();
        if n.is_multiple_of(7) {
            b.delete_as(&format!("key-{:03}", n / 2), None, mode).await.unwrap();
        }
        if n.is_multiple_of(11)
            && let Ok(source) = b.open(&format!("key-{:03}", n)).await
        {
            b.copy(&source, &format!("copy-{n}")).await.unwrap();
        }
    }
    let upload = b.service.create_upload(&b.info, "multi", attrs("")).await.unwrap();
    let mut parts = Vec::new();
    for (number, len) in [(1, 5 << 20), (2, 10), (3, 0)] {
        if number == 3 {
            break;
        }
        let bytes = pattern(len, number.into());
        let staged = b.service.stage(body(&bytes), None).await.unwrap();
        let etag = format!("part-{number}");
        let part = PartInfo {
            number,
            size: len as u64,
            etag: etag.clone(),
            checksums: Vec::new(),
            modified: std::time::SystemTime::now(),
        };
        b.service.put_part(&b.info, "multi", &upload, staged, part).await.unwrap();
        parts.push(CompletedPart { number, etag });
    }
    let complete = CompleteUpload {
        bucket: b.info.clone(),
        key: "multi".into(),
        upload,
        parts,
        attrs: attrs("multi-2"),
        condition: Condition::default(),
        mode: ModeRequest::default(),
    };
    b.service.complete_upload(complete).await.unwrap();
    assert_eq!(b.get("multi").await.unwrap().len(), (5 << 20) + 10);
}
