use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use terrane_store::lease::{Lease, LeaseConfig};
use terrane_store::{Feed, KeyRange, Page, Store, StoreError, backup, check, restore, restore_into};

use crate::conformance::{get, put};

async fn embedded(dir: &std::path::Path) -> Store {
    Store::embedded(dir, crate::small()).await.unwrap()
}

async fn rows(store: &Store) -> Vec<terrane_store::Row> {
    let all = &KeyRange::all();
    store
        .read(|tx| async move { tx.scan(all, 4096).await })
        .await
        .unwrap_or_else(|e: StoreError| panic!("{e}"))
}

/// Moves one unit between two rows for as long as the backup runs; their sum never changes.
async fn move_units(store: Store, stop: Arc<AtomicBool>) {
    let number =
        |value: Option<bytes::Bytes>| value.map_or(1000, |v| u64::from_be_bytes(v[..8].try_into().unwrap()));
    while !stop.load(Ordering::Relaxed) {
        store
            .transact(|tx| async move {
                let (a, b) = (number(tx.get(b"a").await?), number(tx.get(b"z").await?));
                tx.put(&b"a"[..], (a - 1).to_be_bytes().to_vec()).await?;
                tx.put(&b"z"[..], (b + 1).to_be_bytes().to_vec()).await
            })
            .await
            .unwrap_or_else(|error: StoreError| panic!("{error}"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_store_comes_back_as_another_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let store = embedded(&dir.path().join("old")).await;
    for n in 0..600u32 {
        put(&store, format!("m{n:05}").as_bytes(), &vec![7; 5000]).await;
    }
    let feed = Feed::new("f");
    let feed_ref = &feed;
    store.transact(|tx| async move { feed_ref.publish(&tx, "event").await }).await.unwrap();
    let (store_ref, feed_ref) = (&store, &feed);
    let cursor = store.read(|tx| async move { feed_ref.position(store_ref, &tx).await }).await.unwrap();
    let lease = Lease::new(store.clone(), "boss", "me", LeaseConfig::default());
    let held = lease.acquire().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mover = tokio::spawn(move_units(store.clone(), Arc::clone(&stop)));
    let file = dir.path().join("backup");
    let report = backup(&store, &file).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    mover.await.unwrap();
    assert!(report.rows >= 600 && report.bytes > 3_000_000, "{report:?}");
    assert!(matches!(backup(&store, &file).await, Err(StoreError::Config(_))), "no file is overwritten");

    let target = dir.path().join("new");
    assert_eq!(restore(&file, &target, crate::small()).await.unwrap(), report);
    assert!(matches!(restore(&file, &target, crate::small()).await, Err(StoreError::Config(_))));
    let new = embedded(&target).await;
    let restored = rows(&new).await;
    assert_eq!(restored.len() as u64, report.rows);
    let number = |key: &[u8]| {
        let row = restored.iter().find(|(found, _)| **found == *key);
        row.map_or(1000, |(_, value)| u64::from_be_bytes(value[..8].try_into().unwrap()))
    };
    assert_eq!(number(b"a") + number(b"z"), 2000, "the backup is of one moment");
    // Nothing that was granted by the old store counts in the new one.
    assert_ne!(new.incarnation(), store.incarnation());
    assert_eq!(feed.read(&new, cursor, 10).await.unwrap(), Page::Resync);
    let same_holder = Lease::new(new.clone(), "boss", "me", LeaseConfig::default());
    let (lease, epoch) = (&same_holder, held.epoch());
    let fenced = new.transact(|tx| async move { lease.fence(&tx, epoch).await }).await;
    assert!(matches!(fenced, Err(StoreError::Fenced { .. })));
    // Any engine takes a backup.
    let memory = Store::memory();
    restore_into(&file, &memory).await.unwrap();
    assert_eq!(rows(&memory).await, restored);
    assert!(matches!(restore_into(&file, &memory).await, Err(StoreError::Config(_))));
    new.close().await.unwrap();
    drop((new, same_holder));
    let checked = check(&target).await.unwrap();
    assert_eq!((checked.rows, checked.problems.len()), (report.rows, 0), "{checked:?}");
}

#[tokio::test]
async fn damaged_backups_are_refused_and_leave_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::memory();
    for n in 0..50u8 {
        put(&store, &[n, 1], &[n; 100]).await;
    }
    let file = dir.path().join("backup");
    backup(&store, &file).await.unwrap();
    let whole = fs::read(&file).unwrap();
    let target = dir.path().join("new");
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        for bytes in [&flipped[..], &whole[..at]] {
            fs::write(&file, bytes).unwrap();
            let refused = restore(&file, &target, crate::small()).await;
            assert!(
                matches!(refused, Err(StoreError::Damaged(_) | StoreError::NewerFormat { .. })),
                "byte {at}: {refused:?}"
            );
            assert!(!target.exists());
        }
    }
    fs::write(&file, whole).unwrap();
    restore(&file, &target, crate::small()).await.unwrap();
}

#[tokio::test]
async fn check_finds_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    assert!(matches!(check(&path).await, Err(StoreError::Config(_))));
    let store = embedded(&path).await;
    for n in 0..50u8 {
        put(&store, &[n, 1], &[n; 100]).await;
    }
    assert!(check(&path).await.is_err(), "somebody has it open");
    store.close().await.unwrap();
    drop(store);
    let good = check(&path).await.unwrap();
    assert_eq!((good.rows, good.log_commits, good.problems), (50, 50, vec![]));
    // A byte in the middle of the log changes: it was synced, so this is damage.
    let segment = fs::read_dir(path.join("log"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.to_string_lossy().ends_with(".log") || path.metadata().is_ok_and(|m| m.len() > 1000)
        })
        .min()
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(100).position(|window| window == [25; 100]).expect("the value of row 25");
    bytes[at + 50] ^= 1;
    fs::write(&segment, bytes).unwrap();
    match check(&path).await {
        Ok(report) => assert!(!report.problems.is_empty()),
        Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
    }
}

#[tokio::test]
async fn an_opened_store_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = embedded(dir.path()).await;
    let incarnation = store.incarnation();
    put(&store, b"k", b"v").await;
    store.close().await.unwrap();
    let refused = store.transact(|tx| async move { tx.put("k", "w").await }).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(get(&store, b"k").await.as_deref(), Some(&b"v"[..]), "reads go on");
    drop(store);
    let store = embedded(dir.path()).await;
    assert_eq!(store.incarnation(), incarnation, "a restart is no restore");
    assert_eq!(get(&store, b"k").await.as_deref(), Some(&b"v"[..]));
}
