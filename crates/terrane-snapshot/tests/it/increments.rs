//! What is written is read, at any place, over any chain of increments, and moves only what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use terrane_snapshot::diff::changed;
use terrane_snapshot::objects::MemoryObjects;
use terrane_snapshot::{
    CHUNK_BYTES, Content, MemoryDedup, NoDedup, PACK_BYTES_MAX, PACK_BYTES_MIN, READ_BYTES_MAX,
    SnapshotError, Writer, WriterConfig,
};

use crate::site::{capture, compare, noise, reader, take, vault, vault_of};

type Model = BTreeMap<u64, u8>;

#[tokio::test]
async fn any_range_of_bytes_is_read() {
    let objects = MemoryObjects::new();
    let vault = vault(&objects);
    let writes = Model::from([(0, 1), (2, 2), (1023, 3), (1024, 4)]);
    let (manifest, reference, stats) =
        take(&vault, capture(0), 1030, None, &writes, Arc::new(NoDedup)).await.unwrap();
    assert_eq!((stats.data, stats.stored, stats.packs, stats.segments), (4, 4, 1, 2));
    let manifest_read = vault.manifest(&reference).await.unwrap();
    assert_eq!(manifest_read, manifest);
    let reader = reader(&vault, &manifest);
    compare(&reader, &writes).await.unwrap();
    let size = CHUNK_BYTES as u64;
    let bytes = reader.read(size - 3, 6).await.unwrap();
    assert_eq!(*bytes, [1, 1, 1, 0, 0, 0]);
    let bytes = reader.read(1023 * size + 5, size).await.unwrap();
    assert!(bytes.len() == CHUNK_BYTES && bytes.starts_with(&[3, 3]) && bytes.ends_with(&[4; 5]));
    assert!(matches!(reader.read(1030 * size - 1, 2).await, Err(SnapshotError::OutOfRange { .. })));
    assert!(matches!(reader.read(u64::MAX, 1).await, Err(SnapshotError::OutOfRange { .. })));
    assert!(matches!(reader.read(0, READ_BYTES_MAX + 1).await, Err(SnapshotError::ReadTooLong { .. })));
    assert_eq!(reader.verify().await.unwrap(), 4);
    let (blocks, next) = reader.list(1, 2).await.unwrap();
    assert_eq!(
        (blocks.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(), next),
        (vec![2, 1023], Some(1024))
    );
}

#[tokio::test]
async fn an_increment_moves_what_changed_and_shares_the_rest() {
    let objects = MemoryObjects::new();
    let vault = vault(&objects);
    let base: Model = (0..3000).step_by(30).map(|chunk| (chunk, 1 + (chunk % 200) as u8)).collect();
    let (first, _, _) = take(&vault, capture(0), 3000, None, &base, Arc::new(NoDedup)).await.unwrap();
    let change = Model::from([(30, 250), (60, base[&60]), (90, 0)]);
    let (second, _, stats) =
        take(&vault, capture(1), 3000, Some(first.clone()), &change, Arc::new(NoDedup)).await.unwrap();
    assert_eq!((stats.stored, stats.same, stats.zero, stats.segments), (1, 1, 1, 1));
    assert_eq!(second.segments[&1], first.segments[&1]);
    let changes = changed(&vault, Some(&first), &second, 0, 100).await.unwrap();
    assert_eq!(changes.changes.iter().map(|change| change.chunk).collect::<Vec<_>>(), [30, 90]);
    assert_eq!((changes.changes[1].second, changes.next), (None, None));
    // What did not change at all stores a manifest and nothing else.
    let (third, _, stats) =
        take(&vault, capture(2), 3000, Some(second.clone()), &Model::new(), Arc::new(NoDedup)).await.unwrap();
    assert_eq!((third, stats.packs, stats.segments), (second, 0, 0));
}

#[tokio::test]
async fn one_content_is_stored_once_in_an_account_and_not_shared_with_another() {
    let objects = MemoryObjects::new();
    let dedup = Arc::new(MemoryDedup::default());
    let writes: Model = (0..10).map(|chunk| (chunk, 9)).collect();
    let (_, _, stats) = take(&vault(&objects), capture(0), 10, None, &writes, dedup.clone()).await.unwrap();
    assert_eq!((stats.stored, stats.known), (1, 9));
    let (manifest, _, stats) = take(&vault(&objects), capture(1), 10, None, &writes, dedup).await.unwrap();
    assert_eq!((stats.stored, stats.known, stats.packs), (0, 10, 0));
    compare(&reader(&vault(&objects), &manifest), &writes).await.unwrap();
    // With the manifest in hand, another account still reads nothing.
    let error = compare(&reader(&vault_of(2, &objects), &manifest), &writes).await.unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}

#[tokio::test]
async fn packs_keep_their_size_and_tell_their_chunks() {
    let objects = MemoryObjects::new();
    let vault = vault(&objects);
    let config = WriterConfig { pack_bytes: PACK_BYTES_MIN, uploads_max: 2 };
    let mut writer =
        Writer::new(vault.clone(), capture(0), 40, None, Arc::new(NoDedup), config).await.unwrap();
    for chunk in 0..40 {
        writer.chunk(chunk, Content::Data(&noise(chunk + 1))).await.unwrap();
    }
    let (manifest, _, stats) = writer.finish().await.unwrap();
    assert_eq!((stats.packs, stats.stored), (3, 40));
    let mut entries = 0;
    for (at, pack) in vault.segment(&manifest.segments[&0]).await.unwrap().packs().iter().enumerate() {
        let len = objects.bytes(&pack.to_string()).unwrap().len();
        assert!(len <= PACK_BYTES_MAX && (at == 2 || len >= PACK_BYTES_MIN), "{len}");
        entries += vault.pack_index(pack).await.unwrap().len();
    }
    assert_eq!(entries, 40);
    let reader = reader(&vault, &manifest);
    for chunk in [0, 17, 39] {
        assert!(*reader.chunk(chunk).await.unwrap().unwrap() == noise(chunk + 1));
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let objects = MemoryObjects::new();
    let start = |chunks| {
        Writer::new(vault(&objects), capture(0), chunks, None, Arc::new(NoDedup), WriterConfig::default())
    };
    assert!(matches!(start(u64::MAX).await, Err(SnapshotError::OutOfRange { .. })));
    let mut writer = start(5).await.unwrap();
    let zeros = vec![0; CHUNK_BYTES];
    assert!(matches!(writer.chunk(5, Content::Zero).await, Err(SnapshotError::OutOfRange { .. })));
    assert!(matches!(writer.chunk(0, Content::Unchanged).await, Err(SnapshotError::NoParent(0))));
    assert!(matches!(writer.chunk(0, Content::Data(&zeros[1..])).await, Err(SnapshotError::ChunkLength(_))));
    writer.chunk(3, Content::Data(&zeros)).await.unwrap();
    assert!(matches!(
        writer.chunk(3, Content::Zero).await,
        Err(SnapshotError::OutOfOrder { chunk: 3, last: 3 })
    ));
    let (manifest, _, stats) = writer.finish().await.unwrap();
    assert!(manifest.segments.is_empty());
    assert_eq!((stats.zero, stats.packs, objects.names().len()), (1, 0, 1));
}

/// A capture: the length, whether upon the one before, and what is written.
fn captures() -> impl Strategy<Value = Vec<(u64, bool, Model)>> {
    let place = prop_oneof![0u64..4, 1020u64..1028, 2046u64..2050];
    let writes = prop::collection::btree_map(place, 0u8..6, 0..8);
    let length = prop_oneof![Just(3u64), Just(1024), Just(1026), Just(2050)];
    prop::collection::vec((length, any::<bool>(), writes), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any chain of captures reads as the model, and so do the changes between any two.
    #[test]
    fn chains_read_as_the_model(captures in captures(), known: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let objects = MemoryObjects::new();
            let vault = vault(&objects);
            let dedup = Arc::new(MemoryDedup::default());
            let mut taken: Vec<(terrane_snapshot::Manifest, Model)> = Vec::new();
            for (number, (chunks, upon, mut writes)) in captures.into_iter().enumerate() {
                writes.retain(|chunk, _| *chunk < chunks);
                let parent = taken.last().filter(|_| upon).cloned();
                let mut model = parent.as_ref().map(|(_, model)| model.clone()).unwrap_or_default();
                model.retain(|chunk, _| *chunk < chunks);
                model.extend(writes.clone());
                model.retain(|_, seed| *seed != 0);
                let id = capture(number as u64);
                let parent = parent.map(|(manifest, _)| manifest);
                let dedup: Arc<dyn terrane_snapshot::Dedup> = if known { dedup.clone() } else { Arc::new(NoDedup) };
                let (manifest, _, _) = take(&vault, id, chunks, parent, &writes, dedup).await.unwrap();
                taken.push((manifest, model));
            }
            for (manifest, model) in &taken {
                compare(&reader(&vault, manifest), model).await.unwrap();
            }
            for (first, old) in &taken {
                for (second, new) in &taken {
                    let found = changed(&vault, Some(first), second, 0, 10_000).await.unwrap().changes;
                    let found: Vec<u64> = found.iter().map(|change| change.chunk).collect();
                    let mut wanted: Vec<u64> = old.keys().chain(new.keys()).copied().collect();
                    wanted.sort_unstable();
                    wanted.dedup();
                    wanted.retain(|chunk| old.get(chunk) != new.get(chunk));
                    assert_eq!(found, wanted);
                }
            }
        });
    }
}
