use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use terrane_view::{Batch, ViewError, ViewSnapshot};

use crate::open;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(bool, u8, Option<u16>)>),
    Snapshot,
    Sync,
    Recover,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (any::<bool>(), any::<u8>(), any::<Option<u16>>());
    prop_oneof![
        8 => prop::collection::vec(write, 1..8).prop_map(Step::Apply),
        2 => Just(Step::Snapshot),
        2 => Just(Step::Sync),
        1 => Just(Step::Recover),
    ]
}

type Model = BTreeMap<(bool, u8), u16>;

fn check(snapshot: &ViewSnapshot, view: &terrane_view::View, model: &Model, lower: u8, upper: u8) {
    for (name, side) in [("meta", false), ("rows", true)] {
        let keyspace = view.keyspace(name).unwrap();
        let bounds = [
            (Bound::Included(lower), Bound::Excluded(upper)),
            (Bound::Excluded(lower), Bound::Included(upper)),
            (Bound::Unbounded, Bound::Unbounded),
        ];
        for (from, to) in bounds {
            let expected: Vec<_> = model
                .iter()
                .filter(|((s, key), _)| *s == side && inside(*key, from, to))
                .map(|((_, key), value)| (vec![*key], value.to_be_bytes().to_vec()))
                .collect();
            let (from, to) = (from.map(|k| vec![k]), to.map(|k| vec![k]));
            let range = || {
                let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                snapshot.range(keyspace, from, to)
            };
            let row = |row: Result<(bytes::Bytes, bytes::Bytes), ViewError>| {
                let (key, value) = row.unwrap();
                (key.to_vec(), value.to_vec())
            };
            let forward: Vec<_> = range().map(row).collect();
            assert_eq!(forward, expected);
            let mut backward: Vec<_> = range().rev().map(row).collect();
            backward.reverse();
            assert_eq!(backward, expected);
        }
    }
}

fn inside(key: u8, from: Bound<u8>, to: Bound<u8>) -> bool {
    let above = match from {
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
        Bound::Unbounded => true,
    };
    above
        && match to {
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
            Bound::Unbounded => true,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn snapshots_read_what_the_model_says(
        steps in prop::collection::vec(step(), 1..60),
        lower in any::<u8>(),
        upper in any::<u8>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (view, _) = open(dir.path());
        let (mut model, mut synced) = (Model::new(), Model::new());
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Apply(writes) => {
                    let mut batch = Batch::new();
                    for (side, key, value) in writes {
                        let keyspace = view.keyspace(if side { "rows" } else { "meta" }).unwrap();
                        match value {
                            Some(value) => {
                                batch.put(keyspace, &[key], value.to_be_bytes().to_vec());
                                model.insert((side, key), value);
                            }
                            None => {
                                batch.delete(keyspace, &[key]);
                                model.remove(&(side, key));
                            }
                        }
                    }
                    view.apply(batch).unwrap();
                }
                Step::Snapshot => snapshots.push((view.snapshot(), model.clone())),
                Step::Sync => {
                    view.sync().unwrap();
                    synced = model.clone();
                }
                Step::Recover => {
                    // Nothing reaches the memory bound here, so recovery means the last sync.
                    view.recover().unwrap();
                    model = synced.clone();
                    snapshots.clear();
                }
            }
            check(&view.snapshot(), &view, &model, lower, upper);
        }
        for (snapshot, model) in &snapshots {
            check(snapshot, &view, model, lower, upper);
        }
    }
}

/// Flushes and compactions advance the tree's own counters while a batch is half inserted; no
/// snapshot may ever see that half.
#[test]
fn no_snapshot_sees_half_a_batch_while_tables_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    let rows = view.keyspace("rows").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (view, stop) = (view.clone(), Arc::clone(&stop));
        move || {
            let mut seen = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let snapshot = view.snapshot();
                let values: Vec<u64> = (0u8..16)
                    .filter_map(|key| snapshot.get(rows, &[key]).unwrap())
                    .map(|value| u64::from_be_bytes(value[..8].try_into().unwrap()))
                    .collect();
                assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "torn: {values:?}");
                let scanned: Vec<u64> = snapshot
                    .iter(rows)
                    .map(|row| u64::from_be_bytes(row.unwrap().1[..8].try_into().unwrap()))
                    .collect();
                assert_eq!(values, scanned);
                let now = values.first().copied().unwrap_or_default();
                assert!(now >= seen, "time went back from {seen} to {now}");
                seen = now;
            }
            seen
        }
    });
    for n in 1..=6_000u64 {
        let mut batch = Batch::new();
        for key in 0u8..16 {
            let mut value = n.to_be_bytes().to_vec();
            value.resize(64, key);
            batch.put(rows, &[key], value);
        }
        view.apply(batch).unwrap();
        if n % 100 == 0 {
            view.sync().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
}

#[test]
fn limits_are_typed_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    let rows = view.keyspace("rows").unwrap();
    assert!(matches!(view.keyspace("other"), Err(ViewError::UnknownKeyspace(_))));
    let mut batch = Batch::new();
    batch.put(rows, &vec![1; terrane_view::KEY_BYTES_MAX], "fits");
    view.apply(batch).unwrap();
    let mut batch = Batch::new();
    batch.put(rows, b"innocent", "v");
    batch.put(rows, &vec![1; terrane_view::KEY_BYTES_MAX + 1], "too long");
    assert!(matches!(view.apply(batch), Err(ViewError::TooLarge { what: "key", .. })));
    assert_eq!(view.snapshot().get(rows, b"innocent").unwrap(), None);
    view.sync().unwrap();
}

#[test]
fn later_opens_may_add_keyspaces() {
    let dir = tempfile::tempdir().unwrap();
    let (view, _) = open(dir.path());
    let mut batch = Batch::new();
    batch.put(view.keyspace("rows").unwrap(), b"k", "old");
    view.apply(batch).unwrap();
    view.close().unwrap();
    let names = ["first", "rows", "z"];
    let (view, _) = terrane_view::View::open(dir.path(), &names, crate::config()).unwrap();
    let mut batch = Batch::new();
    batch.put(view.keyspace("first").unwrap(), b"k", "new");
    view.apply(batch).unwrap();
    let snapshot = view.snapshot();
    let read = |name: &str| snapshot.get(view.keyspace(name).unwrap(), b"k").unwrap();
    assert_eq!((read("rows").as_deref(), read("first").as_deref()), (Some(&b"old"[..]), Some(&b"new"[..])));
    assert_eq!((read("z"), read("meta")), (None, None));
}
