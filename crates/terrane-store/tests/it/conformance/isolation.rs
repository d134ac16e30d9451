use std::sync::atomic::{AtomicU32, Ordering};

use terrane_store::{KeyRange, Store, StoreError};
use tokio::task::JoinSet;

use super::{get, put};
use crate::history;

pub(crate) async fn snapshots_do_not_move(store: &Store) {
    put(store, b"a", b"1").await;
    put(store, b"b", b"1").await;
    let attempts = AtomicU32::new(0);
    let (other, count) = (store.clone(), &attempts);
    let other = &other;
    let (a, b) = store
        .transact(|tx| async move {
            let a = tx.get(b"a").await?;
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                put(other, b"a", b"2").await;
                put(other, b"b", b"2").await;
            }
            let b = tx.get(b"b").await?;
            tx.put(&b"c"[..], &b"written"[..]).await?;
            Ok::<_, StoreError>((a.unwrap(), b.unwrap()))
        })
        .await
        .unwrap();
    // Before or after the other two, but not between them.
    assert_eq!(a, b);
}

pub(crate) async fn errors_drop_writes(store: &Store) {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Refused,
        Store(String),
    }
    impl From<StoreError> for Mine {
        fn from(error: StoreError) -> Self {
            Self::Store(error.to_string())
        }
    }
    let result: Result<(), Mine> = store
        .transact(|tx| async move {
            tx.put(&b"a"[..], &b"1"[..]).await?;
            Err(Mine::Refused)
        })
        .await;
    assert_eq!(result, Err(Mine::Refused));
    assert_eq!(get(store, b"a").await, None);
}

pub(crate) async fn reads_refuse_writes(store: &Store) {
    let write = store.read(|tx| async move { tx.put(&b"a"[..], &b"1"[..]).await }).await;
    assert!(matches!(write, Err(StoreError::Usage(_))));
    let mut kept = None;
    let slot = &mut kept;
    store
        .read(move |tx| {
            *slot = Some(tx.clone());
            async move { tx.get(b"a").await.map(|_| ()) }
        })
        .await
        .unwrap();
    assert!(matches!(kept.unwrap().get(b"a").await, Err(StoreError::Usage(_))), "the transaction is over");
}

async fn add(store: &Store, key: &'static [u8]) -> Result<u64, StoreError> {
    store
        .transact(|tx| async move {
            let n = tx.get(key).await?.map_or(0, |n| u64::from_be_bytes(n.as_ref().try_into().unwrap()));
            tx.put(key, (n + 1).to_be_bytes().to_vec()).await?;
            Ok(n + 1)
        })
        .await
}

pub(crate) async fn increments_are_not_lost(store: &Store) {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..25 {
                seen.push(add(&store, b"n").await.unwrap());
            }
            seen
        });
    }
    let mut all = tasks.join_all().await.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<u64>>());
}

pub(crate) async fn write_skew_is_refused(store: &Store) {
    for round in 0..20u8 {
        put(store, &[b'x', round], b"on call").await;
        put(store, &[b'y', round], b"on call").await;
        let leave = async |me: u8, other: u8| {
            store
                .transact(|tx| async move {
                    let other = tx.get([other, round]).await?.unwrap();
                    tokio::task::yield_now().await;
                    if other == "on call" {
                        tx.put(vec![me, round], &b"away"[..]).await?;
                    }
                    Ok::<_, StoreError>(())
                })
                .await
                .unwrap();
        };
        tokio::join!(leave(b'x', b'y'), leave(b'y', b'x'));
        let states = [get(store, &[b'x', round]).await.unwrap(), get(store, &[b'y', round]).await.unwrap()];
        assert!(states.iter().any(|state| state == b"on call"), "nobody is left in round {round}");
    }
}

pub(crate) async fn phantoms_are_refused(store: &Store) {
    // Each task may insert its row only if the range is empty: one row must be the result.
    for round in 0..10u8 {
        let range = KeyRange::prefix(&[b'p', round]);
        let insert = async |me: u8| {
            let range = &range;
            store
                .transact(|tx| async move {
                    let empty = tx.scan(range, 10).await?.is_empty();
                    tokio::task::yield_now().await;
                    if empty {
                        tx.put(vec![b'p', round, me], vec![me]).await?;
                    }
                    Ok::<_, StoreError>(empty)
                })
                .await
                .unwrap()
        };
        let (a, b, c) = tokio::join!(insert(1), insert(2), insert(3));
        assert_eq!([a, b, c].iter().filter(|won| **won).count(), 1, "round {round}");
        let range = &range;
        let rows = store.read(|tx| async move { tx.scan(range, 10).await }).await.unwrap();
        assert_eq!(rows.len(), 1, "round {round}");
    }
}

pub(crate) async fn handles_are_send(store: &Store) {
    let store = store.clone();
    let name = String::from("k");
    let task = tokio::spawn(async move {
        let name = &name;
        store.transact(|tx| async move { tx.put(name.clone(), "v").await }).await?;
        store.read(|tx| async move { tx.get(name).await }).await
    });
    assert_eq!(task.await.unwrap().unwrap().as_deref(), Some(&b"v"[..]));
}

pub(crate) async fn random_histories_are_strictly_serialisable(store: &Store) {
    let recorder = history::Recorder::default();
    let mut tasks = JoinSet::new();
    for worker in 0..8 {
        tasks.spawn(history::work(store.clone(), recorder.clone(), worker, 40));
    }
    tasks.join_all().await;
    let done = history::check(store, &recorder).await;
    assert!(done >= 250, "only {done} transactions committed");
}
