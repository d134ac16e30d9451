//! Disks that fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use terrane_log::disk::{Disk, DiskFile, FsDisk, Open};
use terrane_objects::ObjectsConfig;
use terrane_objects::service::*;

use crate::rig::*;

/// A directory whose syncs fail from some moment on.
struct FailingDisk {
    disk: Arc<FsDisk>,
    fails: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl Disk for FailingDisk {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, how)?;
        Ok(Arc::new(FailingFile { file, fails: self.fails.clone() }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk lost its cache"));
        }
        self.file.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_a_restart_tells_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    run(async {
        let disk = FsDisk::open(dir.path().join("log")).unwrap();
        let log_disk: Arc<dyn Disk> = Arc::new(FailingDisk { disk, fails: fails.clone() });
        let store = open(ObjectsConfig { log_disk: Some(log_disk), ..config(dir.path()) }).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put("safe", &pattern(100, 1)).await;
        fails.store(true, Ordering::SeqCst);
        let puts = (0..20).map(|n| {
            let b = b.clone();
            tokio::spawn(async move {
                b.try_put(&format!("lost-{n}"), &pattern(20_000 * (n % 2), 2), ModeRequest::default()).await
            })
        });
        for put in puts.collect::<Vec<_>>() {
            assert!(matches!(put.await.unwrap(), Err(ObjectError::Unavailable(_))));
        }
        fails.store(false, Ordering::SeqCst);
        let later = b.try_put("later", &pattern(1, 1), ModeRequest::default()).await;
        assert!(matches!(later, Err(ObjectError::Unavailable(_))), "a failed sync is never retried");
        assert_eq!(b.get("safe").await.unwrap(), pattern(100, 1), "reads go on");
        assert!(matches!(store.queues().await, Err(ObjectError::Unavailable(_))), "health asks here");
        assert_eq!(b.keys().await, ["safe"]);
        store.close().await;
    });
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let keys = b.keys().await;
        assert!(keys.contains(&"safe".to_owned()) && !keys.contains(&"later".to_owned()), "{keys:?}");
        for key in keys.iter().filter(|key| key.starts_with("lost")) {
            b.get(key).await.expect("what was not acknowledged is whole or absent");
        }
        b.put("again", &pattern(1, 1)).await;
        store.close().await;
    });
}
