//! A store over several drives: lost, rotten, swapped, replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use terrane_objects::service::*;
use terrane_objects::{ObjectStore, ObjectsConfig, OpenError};

use crate::crash::copy_dir;
use crate::rig::*;

/// A store's own directory and its drives.
struct Rack {
    dir: tempfile::TempDir,
    count: usize,
}

impl Rack {
    fn new(count: usize) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), count }
    }

    fn drive(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("drive-{number}"))
    }

    fn config(&self) -> ObjectsConfig {
        let drives = (0..self.count).map(|number| self.drive(number)).collect();
        ObjectsConfig { drives, scrub_bytes_per_second: u64::MAX, ..config(&self.dir.path().join("own")) }
    }

    async fn open(&self) -> ObjectStore {
        open(self.config()).await
    }

    /// The shards on a drive.
    fn shards(&self, number: usize) -> Vec<PathBuf> {
        files(&self.drive(number).join("data"), "seg")
    }
}

/// Files of a kind.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == end));
    found.sort();
    found
}

/// How much of a preallocated file is in use.
fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// A bucket with this redundancy.
async fn laid_out(store: &ObjectStore, name: &str, redundancy: &str) -> Bucket {
    let mut b = bucket(store.clone(), name).await;
    let setting = Some(bytes::Bytes::copy_from_slice(redundancy.as_bytes()));
    let change = BucketChange::Setting(REDUNDANCY_SETTING.into(), setting);
    b.info = store.change_bucket(&b.info, change).await.unwrap();
    b
}

impl Bucket {
    /// As the front ends do it: staged as the bucket asks.
    async fn put_in(&self, key: &str, bytes: &bytes::Bytes) -> Result<Written> {
        let staged = self.service.stage_in(&self.info, body(bytes), Some(bytes.len() as u64)).await?;
        let put = PutObject {
            bucket: self.info.clone(),
            key: key.into(),
            staged,
            attrs: attrs(key),
            condition: Condition::default(),
            mode: ModeRequest::default(),
        };
        self.service.put_object(put).await
    }
}

const SIZES: [usize; 6] = [100, 20_000, 65_536, 70_001, 300_000, 1_500_000];

async fn fill(b: &Bucket) {
    for (n, size) in SIZES.into_iter().enumerate() {
        b.put_in(&format!("key-{n}"), &pattern(size, n as u64)).await.unwrap();
    }
}

async fn all_right(b: &Bucket) {
    for (n, size) in SIZES.into_iter().enumerate() {
        let key = format!("key-{n}");
        let expected = pattern(size, n as u64);
        assert!(b.get(&key).await.unwrap() == expected, "{key} of {}", b.info.name);
        let handle = b.open(&key).await.unwrap();
        let (from, to) = (size / 3, size - size / 7);
        let chunks: Vec<bytes::Bytes> =
            futures::TryStreamExt::try_collect(handle.read(from as u64..to as u64)).await.unwrap();
        assert!(chunks.concat() == expected[from..to], "range of {key} of {}", b.info.name);
    }
}

/// Has a pass made and gives what it came to.
async fn scrub(store: &ObjectStore) -> ScrubStatus {
    let before = store.drives().await.unwrap().scrub.passes;
    store.scrub().await.unwrap();
    until("a pass", async || {
        let scrub = store.drives().await.unwrap().scrub;
        (scrub.passes > before && !scrub.running).then_some(scrub)
    })
    .await
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen");
}

fn flip_every(path: &Path, step: usize) {
    let mut bytes = fs::read(path).unwrap();
    for at in (1..bytes.len()).step_by(step) {
        bytes[at] ^= 0x40;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_drive_is_read_around_and_rebuilt_on_an_empty_one() {
    for (count, layouts) in [(3, &["mirror:2", "mirror:3", "rs:2+1"][..]), (6, &["mirror:2", "rs:4+2"])] {
        let rack = Rack::new(count);
        run(async {
            let store = rack.open().await;
            for layout in layouts {
                fill(&laid_out(&store, &layout.replace([':', '+'], "-"), layout).await).await;
            }
            store.close().await;
        });
        let (lost, had) = (rack.drive(1), rack.shards(1).len());
        assert!(had > 0);
        fs::remove_dir_all(&lost).unwrap();
        run(async {
            let refused = ObjectStore::open(rack.config(), metrics()).await.err();
            assert!(matches!(refused, Some(OpenError::Mirror(_))), "{refused:?}");
            let store = open(ObjectsConfig { accept_missing_drives: true, ..rack.config() }).await;
            let status = store.drives().await.unwrap();
            assert_eq!(status.drives[1].state, DriveState::Missing);
            assert!(status.degraded_segments > 0);
            for layout in layouts {
                let b = bucket(store.clone(), &layout.replace([':', '+'], "-")).await;
                all_right(&b).await;
                let later = b.put_in("later", &pattern(100_000, 77)).await;
                assert_eq!(later.is_ok(), (count, *layout) != (3, "rs:2+1"), "{layout}");
            }
            fs::create_dir(&lost).unwrap();
            store.replace_drive(lost.to_str().unwrap()).await.unwrap();
            let healed = until("rebuilding", async || {
                let status = store.drives().await.unwrap();
                (!status.scrub.running && status.degraded_segments == 0).then_some(status)
            })
            .await;
            assert!(healed.scrub.rebuilt_shards > 0 && healed.scrub.lost_blocks == 0, "{healed:?}");
            store.close().await;
        });
        assert!(!rack.shards(1).is_empty());
        // Now the others may go, as many as the weakest layout allows.
        fs::remove_dir_all(rack.drive(2)).unwrap();
        run(async {
            let store = open(ObjectsConfig { accept_missing_drives: true, ..rack.config() }).await;
            for layout in layouts {
                let b = bucket(store.clone(), &layout.replace([':', '+'], "-")).await;
                all_right(&b).await;
                if (count, *layout) != (3, "rs:2+1") {
                    assert!(b.get("later").await.unwrap() == pattern(100_000, 77));
                }
            }
            store.close().await;
        });
    }
}

#[test]
fn rot_is_read_around_counted_and_healed_in_place() {
    let rack = Rack::new(6);
    run(async {
        let store = rack.open().await;
        for layout in ["mirror:2", "rs:2+1", "rs:4+2"] {
            fill(&laid_out(&store, &layout.replace([':', '+'], "-"), layout).await).await;
        }
        let b = bucket(store.clone(), "mirror-2").await;
        for n in 0..4 {
            b.put_in(&format!("logged-{n}"), &pattern(15_000, n)).await.unwrap();
        }
        store.close().await;
    });
    let good: Vec<(PathBuf, Vec<u8>)> =
        (0..6).flat_map(|n| rack.shards(n)).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for shard in rack.shards(0) {
        flip_every(&shard, 5_000);
    }
    let logs = |number| files(&rack.drive(number).join("log"), "log");
    let log = logs(1).into_iter().find(|path| used(path) > 20_000).unwrap();
    let (good_log, length) = (fs::read(&log).unwrap(), used(&log));
    let mut bad_log = good_log.clone();
    (1_000..length).step_by(length / 5).for_each(|at| bad_log[at] ^= 1);
    fs::write(&log, bad_log).unwrap();
    // A header, a torn end, a file that is gone: on another drive's shards of code, which survive two.
    let coded: Vec<PathBuf> =
        rack.shards(3).into_iter().filter(|p| p.to_str().unwrap().contains("-4+2-")).collect();
    assert!(!coded.is_empty());
    for (n, shard) in coded.iter().enumerate() {
        match n % 3 {
            0 => fs::OpenOptions::new().write(true).open(shard).unwrap().set_len(30_000).unwrap(),
            1 => fs::remove_file(shard).unwrap(),
            _ => flip_every(shard, 1 << 20),
        }
    }
    for name in ["drive", "drive.copy"] {
        flip_every(&rack.drive(2).join(name), 50);
        if name == "drive" {
            run(async { rack.open().await.close().await });
        }
    }
    run(async {
        let store = rack.open().await;
        for layout in ["mirror:2", "rs:2+1", "rs:4+2"] {
            all_right(&bucket(store.clone(), &layout.replace([':', '+'], "-")).await).await;
        }
        let b = bucket(store.clone(), "mirror-2").await;
        for n in 0..4 {
            assert!(b.get(&format!("logged-{n}")).await.unwrap() == pattern(15_000, n));
        }
        assert!(store.drives().await.unwrap().drives[0].errors > 0);
        let pass = scrub(&store).await;
        assert_eq!((pass.lost_blocks, &pass.problem), (0, &None));
        let again = scrub(&store).await;
        assert_eq!((again.repaired_blocks, again.rebuilt_shards), (0, 0), "nothing is left to heal");
        assert!(again.bytes > 0);
        let status = store.drives().await.unwrap();
        assert!(status.drives[0].repaired_blocks > 0);
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        store.close().await;
    });
    assert!(fs::read(&log).unwrap()[..length] == good_log[..length], "the log is as it was");
    for (path, bytes) in good {
        assert!(fs::read(&path).unwrap() == bytes, "{} is as it was", path.display());
    }
}

#[test]
fn reads_that_meet_damage_have_it_healed_without_being_asked() {
    let rack = Rack::new(2);
    run(async {
        let store = rack.open().await;
        fill(&bucket(store.clone(), "bucket").await).await;
        store.close().await;
    });
    let good = fs::read(&rack.shards(0)[0]).unwrap();
    flip_every(&rack.shards(0)[0], 10_000);
    run(async {
        let store = rack.open().await;
        let b = bucket(store.clone(), "bucket").await;
        until("healing", async || {
            all_right(&b).await;
            (fs::read(&rack.shards(0)[0]).unwrap() == good).then_some(())
        })
        .await;
        store.close().await;
    });
}

#[test]
fn writes_need_one_drive_more_than_reads() {
    let rack = Rack::new(3);
    run(async {
        let store = rack.open().await;
        let b = laid_out(&store, "coded", "rs:2+1").await;
        fill(&b).await;
        let mirrored = laid_out(&store, "mirrored", "mirror:2").await;
        fill(&mirrored).await;
        for refused in ["single", "rs:4+2", "mirror:4", "raid5"] {
            let setting = Some(bytes::Bytes::from(refused));
            let change = BucketChange::Setting(REDUNDANCY_SETTING.into(), setting);
            let error = store.change_bucket(&b.info, change).await.unwrap_err();
            assert!(matches!(error, ObjectError::Refused(_)), "{refused}: {error}");
        }
        store.close().await;
        fs::remove_dir_all(rack.drive(0)).unwrap();
        let store = open(ObjectsConfig { accept_missing_drives: true, ..rack.config() }).await;
        let (b, mirrored) = (bucket(store.clone(), "coded").await, bucket(store.clone(), "mirrored").await);
        all_right(&b).await;
        all_right(&mirrored).await;
        let refused = b.put_in("more", &pattern(100_000, 1)).await;
        assert!(matches!(refused, Err(ObjectError::Unavailable(_))), "{refused:?}");
        mirrored.put_in("more", &pattern(100_000, 1)).await.unwrap();
        b.put_in("small", &pattern(1_000, 1)).await.unwrap();
        b.delete("key-5").await;
        store.close().await;
    });
}

#[test]
fn space_comes_back_on_all_drives() {
    let rack = Rack::new(3);
    run(async {
        let store = rack.open().await;
        let b = laid_out(&store, "bucket", "rs:2+1").await;
        for n in 0..12 {
            b.put_in(&format!("key-{n:02}"), &pattern(600_000, n)).await.unwrap();
        }
        let used = |store: &ObjectStore| {
            let store = store.clone();
            async move { store.drives().await.unwrap().drives.iter().map(|d| d.data_bytes).collect::<Vec<_>>() }
        };
        let full = used(&store).await;
        for n in 1..12 {
            b.delete(&format!("key-{n:02}")).await;
        }
        store.drain_queue(None).await.unwrap();
        until("collection", async || {
            store.collect().await.unwrap();
            let now = used(&store).await;
            now.iter().zip(&full).all(|(now, full)| now * 2 < *full).then_some(())
        })
        .await;
        assert!(b.get("key-00").await.unwrap() == pattern(600_000, 0));
        store.close().await;
    });
    for n in 0..3 {
        assert!(rack.shards(n).iter().map(|p| fs::metadata(p).unwrap().len()).sum::<u64>() < 2_000_000);
    }
}

#[test]
fn a_crash_with_all_drives_and_one_less() {
    let (rack, image) = (Rack::new(4), Rack::new(4));
    let size = |n: u64| if n.is_multiple_of(4) { 90_000 } else { 300 + n as usize };
    run(async {
        let store = rack.open().await;
        laid_out(&store, "coded", "rs:2+1").await;
        let writers: Vec<_> = ["coded", "mirrored"]
            .into_iter()
            .map(|name| {
                let store = store.clone();
                tokio::spawn(async move {
                    let b = bucket(store, name).await;
                    for n in 0..120_u64 {
                        b.put_in(&format!("key-{n:03}"), &pattern(size(n), n)).await.unwrap();
                    }
                })
            })
            .collect();
        let done = until("some writes", async || {
            let b = bucket(store.clone(), "coded").await;
            let keys = b.keys().await;
            (keys.len() > 30).then_some(keys)
        })
        .await;
        let (from, to) = (rack.dir.path().to_owned(), image.dir.path().to_owned());
        let copy = move || {
            // The keymap never knows more than the log, the log never names bytes that were not written before.
            for part in ["keymap", "runs", "log", "data"] {
                for drive in (0..4).map(|n| format!("drive-{n}")) {
                    fs::create_dir_all(to.join(&drive)).unwrap();
                    if from.join(&drive).join(part).exists() {
                        copy_dir(&from.join(&drive).join(part), &to.join(&drive).join(part));
                    }
                    for file in ["drive", "drive.copy"] {
                        fs::copy(from.join(&drive).join(file), to.join(&drive).join(file)).unwrap();
                    }
                }
            }
            copy_dir(&from.join("own"), &to.join("own"));
        };
        tokio::task::spawn_blocking(copy).await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await;
        for accept_missing_drives in [false, true] {
            let crashed = open(ObjectsConfig { accept_missing_drives, ..image.config() }).await;
            for name in ["coded", "mirrored"] {
                let b = bucket(crashed.clone(), name).await;
                let keys = b.keys().await;
                assert!(name != "coded" || done.iter().all(|key| keys.contains(key)));
                for key in keys {
                    let n: u64 = key["key-".len()..].parse().unwrap();
                    assert!(b.get(&key).await.unwrap() == pattern(size(n), n), "{name}/{key}");
                }
                b.put_in("key-999", &pattern(size(999), 999)).await.unwrap();
            }
            assert_eq!(crashed.check().await.unwrap().problems, Vec::<String>::new());
            crashed.close().await;
            // The drive of the keymap, which also holds the log.
            fs::remove_dir_all(image.drive(0)).unwrap_or_default();
        }
    });
}

#[test]
fn a_drive_that_was_away_comes_back_as_it_is() {
    let rack = Rack::new(4);
    run(async {
        let store = rack.open().await;
        let b = laid_out(&store, "bucket", "mirror:2").await;
        fill(&b).await;
        store.close().await;
        drop((b, store));
        let away = rack.dir.path().join("away");
        fs::rename(rack.drive(1), &away).unwrap();
        let store = open(ObjectsConfig { accept_missing_drives: true, ..rack.config() }).await;
        let b = bucket(store.clone(), "bucket").await;
        b.put_in("meanwhile", &pattern(500_000, 9)).await.unwrap();
        // Rebuilt on the drives that are left, as the copies on the one that is away might be lost.
        let pass = scrub(&store).await;
        assert!(pass.rebuilt_shards > 0 && pass.problem.is_none(), "{pass:?}");
        assert_eq!(store.drives().await.unwrap().degraded_segments, 0);
        b.delete("key-5").await;
        store.close().await;
        drop((b, store));
        fs::rename(&away, rack.drive(1)).unwrap();
        let store = rack.open().await;
        let b = bucket(store.clone(), "bucket").await;
        until("the log's copy", async || {
            let drives = store.drives().await.unwrap().drives;
            drives[..3].iter().all(|drive| drive.log.as_deref() == Some("current")).then_some(())
        })
        .await;
        for (n, size) in SIZES.into_iter().enumerate().take(5) {
            assert!(b.get(&format!("key-{n}")).await.unwrap() == pattern(size, n as u64));
        }
        assert!(b.get("meanwhile").await.unwrap() == pattern(500_000, 9));
        assert!(
            matches!(b.get("key-5").await, Err(ObjectError::NoSuchKey)),
            "what was deleted stays deleted"
        );
        let pass = scrub(&store).await;
        assert_eq!((pass.rebuilt_shards, pass.lost_blocks), (0, 0));
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        store.close().await;
    });
    let mut names: Vec<_> =
        (0..4).flat_map(|n| rack.shards(n)).map(|p| p.file_name().unwrap().to_owned()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no shard is there twice");
}
