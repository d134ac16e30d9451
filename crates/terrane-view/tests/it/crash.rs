use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use terrane_view::{Batch, Opened, SyncPoint, View, ViewConfig, ViewError};

use crate::{copy_dir, open};

/// Batch `n` writes its number to both keyspaces and to a row of its own.
fn apply(view: &View, n: u64) {
    let (rows, meta) = (view.keyspace("rows").unwrap(), view.keyspace("meta").unwrap());
    let mut batch = Batch::new();
    let value = Bytes::copy_from_slice(&n.to_be_bytes());
    batch.put(meta, b"progress", value.clone());
    batch.put(rows, b"progress", value.clone());
    batch.put(rows, &n.to_be_bytes(), value);
    view.apply(batch).unwrap();
}

/// The number of the last batch that is there; checks that it is a prefix, whole in both keyspaces.
fn progress(view: &View) -> u64 {
    let (rows, meta) = (view.keyspace("rows").unwrap(), view.keyspace("meta").unwrap());
    let snapshot = view.snapshot();
    let read = |keyspace| {
        let value = snapshot.get(keyspace, b"progress").unwrap();
        value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap()))
    };
    assert_eq!(read(rows), read(meta), "a batch is torn between keyspaces");
    for n in 1..=read(rows) {
        assert!(snapshot.get(rows, &n.to_be_bytes()).unwrap().is_some(), "batch {n} is missing");
    }
    assert!(snapshot.get(rows, &(read(rows) + 1).to_be_bytes()).unwrap().is_none());
    read(rows)
}

#[test]
fn a_closed_view_opens_clean_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let (view, opened) = open(dir.path());
    assert_eq!(opened, Opened::Empty);
    (1..=10).for_each(|n| apply(&view, n));
    view.close().unwrap();
    let (view, opened) = open(dir.path());
    assert_eq!((opened, progress(&view)), (Opened::Clean, 10));
    apply(&view, 11);
    drop(view);
    let (view, opened) = open(dir.path());
    assert_eq!((opened, progress(&view)), (Opened::Restored { point: SyncPoint(1) }, 10));
}

#[test]
fn a_crash_reverts_to_a_prefix_that_has_every_synced_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    let mut synced = 0;
    for n in 1..=3_000 {
        apply(&view, n);
        if n % 700 == 0 {
            view.sync().unwrap();
            synced = n;
        }
        if n % 150 == 0 {
            // The maintenance thread writes tables meanwhile: a copy of the files that changes
            // under the copier is no crash image, so it is taken where the view allows it.
            let crash = tempfile::tempdir().unwrap();
            let Some(image) = stable_copy(dir.path(), crash.path()) else { continue };
            let (crashed, opened) = open(&image);
            assert!(matches!(opened, Opened::Restored { .. }), "{opened:?}");
            let found = progress(&crashed);
            assert!((synced..=n).contains(&found), "{found} is not in {synced}..={n}");
        }
    }
}

/// Copies the files if none of them was created, deleted or resized meanwhile.
fn stable_copy(from: &Path, to: &Path) -> Option<PathBuf> {
    let before = listing(from);
    let image = to.join("image");
    std::panic::catch_unwind(|| copy_dir(from, &image)).ok()?;
    (listing(from) == before).then_some(image)
}

fn listing(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(listing(&entry.path()));
        }
        found.push((entry.path(), entry.metadata().map_or(0, |meta| meta.len())));
    }
    found.sort();
    found
}

/// What a power loss leaves of writes that were not synced: tables and manifests that nothing
/// refers to yet, torn at any length.
#[test]
fn torn_files_that_no_manifest_names_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    (1..=50).for_each(|n| apply(&view, n));
    view.sync().unwrap();
    drop(view);
    let tree = dir.path().join("tree");
    let version: Vec<u8> = fs::read_dir(&tree)
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with('v'))
        .map(|entry| fs::read(entry.path()).unwrap())
        .unwrap();
    let table = fs::read_dir(tree.join("tables")).unwrap().flatten().next().unwrap();
    let table = fs::read(table.path()).unwrap();
    for cut in (0..=16).chain((17..table.len()).step_by(97)) {
        fs::write(tree.join("v1000"), &version[..cut.min(version.len())]).unwrap();
        fs::write(tree.join("tables/1000"), &table[..cut]).unwrap();
        fs::write(tree.join(".tmpAbCd"), &version[..cut.min(version.len())]).unwrap();
        let (view, opened) = open(dir.path());
        assert_eq!(opened, Opened::Restored { point: SyncPoint(1) });
        assert_eq!(progress(&view), 50);
    }
}

/// A damaged disk, which no crash explains: set aside and reported, never an error or a panic.
#[test]
fn damaged_manifests_are_set_aside_and_reported_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    (1..=50).for_each(|n| apply(&view, n));
    view.sync().unwrap();
    drop(view);
    let tree = dir.path().join("tree");
    let mut victims = Vec::new();
    for entry in fs::read_dir(&tree).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        victims.push(entry.file_name());
    }
    assert!(victims.len() >= 2, "{victims:?}");
    for victim in victims {
        let whole = fs::read(tree.join(&victim)).unwrap();
        for cut in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            let image = tempfile::tempdir().unwrap();
            copy_dir(dir.path(), image.path());
            fs::write(image.path().join("tree").join(&victim), &whole[..cut]).unwrap();
            let (view, opened) = open(image.path());
            // Bytes that the tree does not need may be missing; otherwise it is empty and usable.
            if opened == Opened::Empty {
                assert_eq!(progress(&view), 0);
                apply(&view, 1);
                assert!(
                    fs::read_dir(image.path())
                        .unwrap()
                        .flatten()
                        .any(|entry| { entry.file_name().to_string_lossy().starts_with("tree.damaged-") })
                );
            } else {
                assert_eq!(progress(&view), 50, "{victim:?} cut to {cut}");
            }
        }
    }
}

#[test]
fn creation_cut_short_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/tables")).unwrap();
    fs::write(dir.path().join("tree/v0"), b"half").unwrap();
    let (view, opened) = open(dir.path());
    assert_eq!(opened, Opened::Empty);
    apply(&view, 1);
    view.close().unwrap();
    assert_eq!(open(dir.path()).1, Opened::Clean);
}

#[test]
fn recover_forgets_what_was_not_synced_and_wipe_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    (1..=10).for_each(|n| apply(&view, n));
    view.sync().unwrap();
    (11..=20).for_each(|n| apply(&view, n));
    let before = view.snapshot();
    assert_eq!(view.recover().unwrap(), Opened::Restored { point: SyncPoint(1) });
    assert_eq!(progress(&view), 10);
    let rows = view.keyspace("rows").unwrap();
    assert!(before.get(rows, &20u64.to_be_bytes()).unwrap().is_some(), "old snapshots stay");
    (11..=30).for_each(|n| apply(&view, n));
    view.sync().unwrap();
    view.wipe().unwrap();
    assert_eq!(progress(&view), 0);
    (1..=5).for_each(|n| apply(&view, n));
    view.close().unwrap();
    let (view, opened) = open(dir.path());
    assert_eq!((opened, progress(&view)), (Opened::Clean, 5));
}

/// A flush that the file system refuses: reads go on, writes are refused until `recover`.
#[test]
fn a_failed_sync_refuses_writes_until_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    (1..=10).for_each(|n| apply(&view, n));
    view.sync().unwrap();
    apply(&view, 11);
    // Also root cannot create files in a directory that is not there.
    let (tables, hidden) = (dir.path().join("tree/tables"), dir.path().join("hidden"));
    fs::rename(&tables, &hidden).unwrap();
    assert!(matches!(view.sync(), Err(ViewError::Failed(_))));
    fs::rename(&hidden, &tables).unwrap();
    assert!(matches!(view.sync(), Err(ViewError::Failed(_))), "a failed write is never retried");
    let mut batch = Batch::new();
    batch.put(view.keyspace("rows").unwrap(), b"k", "v");
    assert!(matches!(view.apply(batch), Err(ViewError::Failed(_))));
    assert_eq!(progress(&view), 11, "reads go on");
    assert_eq!(view.recover().unwrap(), Opened::Restored { point: SyncPoint(1) });
    assert_eq!(progress(&view), 10);
    apply(&view, 11);
    view.sync().unwrap();
    assert_eq!(progress(&view), 11);
}

#[test]
fn without_free_space_sync_is_refused_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config = ViewConfig { free_bytes_min: u64::MAX / 2, ..crate::config() };
    let (view, _) = View::open(dir.path(), &["rows", "meta"], config).unwrap();
    apply(&view, 1);
    let error = view.sync().unwrap_err();
    assert!(error.is_transient(), "{error}");
    apply(&view, 2);
    assert_eq!(progress(&view), 2);
    drop(view);
    // Space is back (the next opener asks for less).
    assert_eq!(progress(&open(dir.path()).0), 0);
}

#[test]
fn a_directory_is_opened_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    let second = View::open(dir.path(), &["rows"], crate::config());
    assert!(matches!(second, Err(ViewError::Locked(_))));
    drop(view);
    open(dir.path());
}
