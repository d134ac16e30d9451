//! Segments over real directories.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::drives::DrivesSpace;

const MIB: usize = 1 << 20;

fn store(dir: &std::path::Path, segment_bytes: u64) -> DataStore {
    over(DriveSet::plain(dir), segment_bytes)
}

fn over(drives: DriveSet, segment_bytes: u64) -> DataStore {
    let drives = Arc::new(drives);
    let space = Arc::new(SpaceGuard::new(Arc::new(DrivesSpace(drives.clone())), 0));
    DataStore::open(drives, DataConfig { segment_bytes, leases_max: 4 }, space).unwrap()
}

/// Where the one file of a segment is.
fn path(dir: &std::path::Path, segment: u64) -> std::path::PathBuf {
    ids::path(&dir.join("data"), segment, Redundancy::SINGLE, 0)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn body(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

async fn write(store: &DataStore, body: &[u8]) -> StagedExtents {
    let mut writer = store.writer(Redundancy::SINGLE).await.unwrap();
    for chunk in body.chunks(100_000) {
        writer.write(chunk).await.unwrap();
    }
    assert_eq!(writer.len(), body.len() as u64);
    writer.finish().await.unwrap()
}

async fn read(store: &DataStore, extents: &[Extent], range: Range<u64>) -> Result<Vec<u8>, String> {
    let reader = ExtentReader::pin(store, extents, Arc::new(|_| {})).map_err(|e| e.to_string())?;
    let chunks: Vec<Bytes> = reader.stream(range).try_collect().await.map_err(|e| e.to_string())?;
    Ok(chunks.concat())
}

#[test]
fn bodies_come_back_in_any_range() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(dir.path(), 2 * MIB as u64);
        for len in [1, 65_535, 65_536, 65_537, MIB, 5 * MIB + 17] {
            let body = body(len, len as u64);
            let staged = write(&store, &body).await;
            let total: u64 = staged.extents().iter().map(|e| e.len).sum();
            assert_eq!(total, len as u64);
            let len = len as u64;
            for range in [0..len, 0..1, len / 2..len, len - 1..len, len / 3..len / 3, len / 3..len / 2] {
                let expected = &body[range.start as usize..range.end as usize];
                let found = read(&store, staged.extents(), range.clone()).await.unwrap();
                assert!(found == expected, "{len} {range:?}");
            }
            for extent in staged.extents() {
                store.pin(extent.segment).unwrap().verify(extent).unwrap();
            }
        }
    });
}

#[test]
fn long_bodies_roll_over_into_several_segments() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(dir.path(), MIB as u64);
        let staged = write(&store, &body(5 * MIB, 1)).await;
        let segments: std::collections::BTreeSet<u64> = staged.extents().iter().map(|e| e.segment).collect();
        assert!(segments.len() >= 4, "{segments:?}");
        assert!(store.segments().iter().all(|s| s.bytes < 3 * MIB as u64));
    });
}

#[test]
fn dropped_bodies_give_their_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let rt = runtime();
    let (store, kept) = rt.block_on(async {
        let store = store(dir.path(), 64 * MIB as u64);
        let kept = write(&store, &body(MIB, 1)).await;
        drop(write(&store, &body(3 * MIB, 2)).await);
        let mut writer = store.writer(Redundancy::SINGLE).await.unwrap();
        writer.write(&body(3 * MIB + 5, 3)).await.unwrap();
        drop(writer);
        // The abort runs behind the writer's last write and then gives its permit back.
        drop(store.shared.leases.acquire_many(4).await.unwrap());
        (store, kept)
    });
    let bytes: u64 = std::fs::read_dir(dir.path().join("data"))
        .unwrap()
        .map(|f| f.unwrap())
        .filter(|f| f.file_name().to_str().unwrap().ends_with(".seg"))
        .map(|f| f.metadata().unwrap().len())
        .sum();
    assert!(bytes < MIB as u64 + 64 * 1024, "{bytes}");
    runtime().block_on(async {
        assert!(read(&store, kept.extents(), 0..MIB as u64).await.unwrap() == body(MIB, 1));
    });
}

#[test]
fn a_flipped_bit_and_a_misplaced_block_are_detected() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(dir.path(), 64 * MIB as u64);
        let staged = write(&store, &body(200_000, 9)).await;
        let extent = staged.extents()[0];
        let path = path(dir.path(), extent.segment);
        let good = std::fs::read(&path).unwrap();
        for at in [16, 100, 65_551, 65_553, 140_000, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&store, &[extent], 0..200_000).await.is_err(), "byte {at}");
            assert!(store.pin(extent.segment).unwrap().verify(&extent).is_err());
        }
        let mut swapped = good.clone();
        swapped.copy_within(16..16 + 65_540, 16 + 65_540);
        std::fs::write(&path, &swapped).unwrap();
        assert!(read(&store, &[extent], 0..200_000).await.is_err(), "a block in another one's place");
        std::fs::write(&path, &good[..150_000]).unwrap();
        assert!(read(&store, &[extent], 0..200_000).await.is_err(), "truncated");
        std::fs::write(&path, &good).unwrap();
        assert!(read(&store, &[extent], 0..200_000).await.is_ok());
    });
}

#[test]
fn what_is_in_flight_cannot_be_condemned_and_what_is_condemned_cannot_be_copied() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = store(dir.path(), 1024);
        let mut staged = write(&store, &body(70_000, 4)).await;
        let extent = staged.extents()[0];
        staged.submit();
        assert!(!store.condemn(extent.segment));
        let copy = store.hold(&[extent]).unwrap();
        drop(staged);
        assert!(!store.condemn(extent.segment));
        drop(copy);
        let reader = ExtentReader::pin(&store, &[extent], Arc::new(|_| {})).unwrap();
        assert!(store.condemn(extent.segment));
        assert!(store.hold(&[extent]).is_none());
        store.remove(extent.segment).unwrap();
        assert!(matches!(store.pin(extent.segment), Err(DataError::Gone(_))));
        let chunks: Vec<Bytes> = reader.stream(0..70_000).try_collect().await.unwrap();
        assert!(chunks.concat() == body(70_000, 4), "a pinned segment outlives its name");
    });
}

#[test]
fn a_new_incarnation_never_reuses_numbers_and_never_appends_to_old_segments() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let first = store(dir.path(), 64 * MIB as u64);
        let staged = write(&first, &body(70_000, 4)).await;
        let old = staged.extents()[0];
        std::mem::forget(staged); // a crash: nothing is cut off
        let second = store(dir.path(), 64 * MIB as u64);
        let staged = write(&second, &body(70_000, 5)).await;
        assert!(staged.extents()[0].segment > old.segment);
        assert!(second.is_of_dead_incarnation(old.segment));
        assert!(!second.is_of_dead_incarnation(staged.extents()[0].segment));
        let freed = second.truncate_dead(old.segment, old.offset).unwrap();
        assert_eq!(freed, format::framed_len(Redundancy::SINGLE, old.len));
        assert!(second.condemn(old.segment));
        second.remove(old.segment).unwrap();
        assert!(second.segments().iter().all(|s| s.segment != old.segment));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn mutated_segments_never_give_wrong_bytes(
        len in 1usize..300_000, at in any::<prop::sample::Index>(), mask in 1u8..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let store = store(dir.path(), 64 * MIB as u64);
            let body = body(len, 1);
            let staged = write(&store, &body).await;
            let path = path(dir.path(), staged.extents()[0].segment);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            std::fs::write(&path, &bytes).unwrap();
            let found = read(&store, staged.extents(), 0..len as u64).await;
            assert!(found.map_or(true, |found| found == body && at < 16));
        });
    }
}

/// A store over so many drives, each in a directory of its own.
fn rack(dir: &std::path::Path, drives: usize, segment_bytes: u64) -> DataStore {
    let main = dir.join("own");
    std::fs::create_dir_all(&main).unwrap();
    let drives: Vec<_> = (0..drives).map(|n| dir.join(format!("drive-{n}"))).collect();
    let set = DriveSet::open(&drives, &main).unwrap();
    set.settle(&main).unwrap();
    over(set, segment_bytes)
}

async fn write_as(store: &DataStore, redundancy: Redundancy, body: &[u8]) -> StagedExtents {
    let mut writer = store.writer(redundancy).await.unwrap();
    for chunk in body.chunks(100_000) {
        writer.write(chunk).await.unwrap();
    }
    writer.finish().await.unwrap()
}

/// Damages shards: flips bits, cuts, removes.
fn damage(path: &std::path::Path, how: u8, at: &prop::sample::Index) {
    let mut bytes = std::fs::read(path).unwrap();
    match how % 3 {
        0 => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << (how % 8);
            std::fs::write(path, bytes).unwrap();
        }
        1 => std::fs::write(path, &bytes[..at.index(bytes.len())]).unwrap(),
        _ => std::fs::remove_file(path).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever happens to as many shards as may be lost, every range reads right, and mending restores every file.
    #[test]
    fn any_layout_reads_any_range_and_is_mended(
        (data, spare) in prop_oneof![(Just(1u8), 1u8..4), (2u8..5, 1u8..4)],
        len in 1usize..400_000,
        ranges in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 4),
        order in any::<prop::sample::Index>(),
        damages in prop::collection::vec(any::<(u8, prop::sample::Index)>(), 3),
    ) {
        let redundancy = Redundancy::new(data, spare).unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let store = rack(dir.path(), redundancy.shards() + 1, 64 * MIB as u64);
            let body = body(len, 5);
            let first = write_as(&store, redundancy, &body[..len / 2 + 1]).await;
            let staged = write_as(&store, redundancy, &body).await;
            let extent = staged.extents()[0];
            assert!(staged.extents().len() == 1 && first.extents()[0].segment == extent.segment);
            let (_, places) = store.places(extent.segment).unwrap();
            let path = |shard: usize| {
                let drive = places[shard].as_ref().unwrap();
                ids::path(&drive.data_dir(), extent.segment, redundancy, shard)
            };
            let good: Vec<Vec<u8>> =
                (0..redundancy.shards()).map(|shard| std::fs::read(path(shard)).unwrap()).collect();
            let from = order.index(redundancy.shards());
            for (n, (how, at)) in damages.iter().take(redundancy.spare_shards()).enumerate() {
                damage(&path((from + n) % redundancy.shards()), *how, at);
            }
            // A store that has nothing open.
            let live = [first.extents()[0], extent].into();
            [first, staged].into_iter().for_each(std::mem::forget);
            drop(store);
            let store = rack(dir.path(), redundancy.shards() + 1, 64 * MIB as u64);
            for (a, b) in &ranges {
                let (a, b) = (a.index(len + 1), b.index(len + 1));
                let range = a.min(b) as u64..a.max(b) as u64;
                let found = read(&store, &[extent], range.clone()).await.unwrap();
                assert!(found == body[range.start as usize..range.end as usize], "{range:?}");
            }
            store.pin(extent.segment).unwrap().verify(&extent).unwrap();
            let mended = store.mend(extent.segment, &live, &mut |_| {}).unwrap().unwrap();
            assert_eq!((mended.lost, mended.homeless), (0, 0));
            let again = store.mend(extent.segment, &live, &mut |_| {}).unwrap().unwrap();
            assert_eq!((again.blocks, again.shards), (0, 0));
            let (_, places) = store.places(extent.segment).unwrap();
            for (shard, good) in good.iter().enumerate() {
                let drive = places[shard].as_ref().unwrap();
                let path = ids::path(&drive.data_dir(), extent.segment, redundancy, shard);
                assert!(std::fs::read(path).unwrap() == *good, "shard {shard}");
            }
        });
    }
}

#[test]
fn damage_beyond_the_spares_is_an_error_and_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = rack(dir.path(), 3, 64 * MIB as u64);
        let redundancy = "rs:2+1".parse().unwrap();
        let mut staged = write_as(&store, redundancy, &body(200_000, 1)).await;
        staged.submit();
        let extent = staged.extents()[0];
        let (_, places) = store.places(extent.segment).unwrap();
        for (shard, place) in places.iter().enumerate().take(2) {
            let path = ids::path(&place.as_ref().unwrap().data_dir(), extent.segment, redundancy, shard);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[40_000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        assert!(read(&store, &[extent], 0..200_000).await.is_err());
        assert!(read(&store, &[extent], 0..60_000).await.unwrap() == body(200_000, 1)[..60_000]);
        drop(staged);
        store.seal(extent.segment);
        let mended = store.mend(extent.segment, &[extent].into(), &mut |_| {}).unwrap().unwrap();
        assert_eq!((mended.lost, mended.blocks), (1, 0));
    });
}

#[test]
fn an_upload_goes_on_elsewhere_when_a_drive_is_lost_in_its_midst() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        for (drives, layout) in [(3, "mirror:2"), (4, "rs:2+1"), (4, "rs:2+2")] {
            let dir = dir.path().join(layout);
            let store = rack(&dir, drives, 64 * MIB as u64);
            let redundancy: Redundancy = layout.parse().unwrap();
            let bytes = body(9 * MIB + 5, 3);
            for lost_at in [0, 3 * MIB, 9 * MIB + 5] {
                let mut writer = store.writer(redundancy).await.unwrap();
                let segment = writer.segment();
                writer.write(&bytes[..lost_at]).await.unwrap();
                let (_, places) = store.places(segment).unwrap();
                let lost = places[0].clone().unwrap();
                if store.drives().live().count() > redundancy.shards_at_least() {
                    lost.fail(&io::Error::other("unplugged"));
                }
                writer.write(&bytes[lost_at..]).await.unwrap();
                let staged = writer.finish().await.unwrap();
                assert!(read(&store, staged.extents(), 0..bytes.len() as u64).await.unwrap() == bytes);
                for extent in staged.extents() {
                    store.pin(extent.segment).unwrap().verify(extent).unwrap();
                    let (_, places) = store.places(extent.segment).unwrap();
                    let live = places.iter().flatten().filter(|drive| drive.is_live()).count();
                    assert!(live >= redundancy.shards_at_least(), "{layout} {lost_at}: {live}");
                }
                std::mem::forget(staged);
            }
            for drive in store.drives().all() {
                drive.fail(&io::Error::other("unplugged"));
            }
            let refused = store.writer(redundancy).await.err();
            assert!(matches!(refused, Some(DataError::TooFewDrives { live: 0, .. })), "{refused:?}");
        }
    });
}
