use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use terrane_store::{KeyRange, Store, StoreError};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn random_key(rng: &mut SmallRng) -> Vec<u8> {
    let len = rng.random_range(1..4);
    (0..len).map(|_| [0, 1, b'a', b'b', 0xfe][rng.random_range(0..5)]).collect()
}

async fn check_scans(tx: &terrane_store::Tx, model: &Model, rng: &mut SmallRng) {
    for _ in 0..12 {
        let (a, b) = (random_key(rng), random_key(rng));
        let range = KeyRange::new(a.clone(), b.clone());
        let limit = rng.random_range(1..12);
        let inside: Vec<_> =
            if a < b { model.range(a..b).map(|(k, v)| (k.clone(), v.clone())).collect() } else { vec![] };
        let plain = |rows: Vec<terrane_store::Row>| -> Vec<(Vec<u8>, Vec<u8>)> {
            rows.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
        };
        let forward = plain(tx.scan(&range, limit).await.unwrap());
        assert_eq!(forward, inside.iter().take(limit).cloned().collect::<Vec<_>>());
        let backward = plain(tx.scan_back(&range, limit).await.unwrap());
        assert_eq!(backward, inside.iter().rev().take(limit).cloned().collect::<Vec<_>>());
        let key = random_key(rng);
        assert_eq!(tx.get(&key).await.unwrap().map(|v| v.to_vec()), model.get(&key).cloned());
    }
}

pub(crate) async fn order_and_limits(store: &Store) {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut model = Model::new();
    for round in 0..30u8 {
        let mut writes = Vec::new();
        for _ in 0..rng.random_range(1..8) {
            let key = random_key(&mut rng);
            let value = rng.random_bool(0.7).then(|| vec![round; rng.random_range(0..40)]);
            writes.push((key, value));
        }
        let batch = &writes;
        store
            .transact(|tx| async move {
                for (key, value) in batch {
                    match value {
                        Some(value) => tx.put(key.clone(), value.clone()).await?,
                        None => tx.delete(key.clone()).await?,
                    }
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        for (key, value) in writes {
            match value {
                Some(value) => _ = model.insert(key, value),
                None => _ = model.remove(&key),
            }
        }
        let (model, seed) = (&model, rng.random());
        store
            .read(|tx| async move {
                check_scans(&tx, model, &mut SmallRng::seed_from_u64(seed)).await;
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    }
}

pub(crate) async fn own_writes_are_read_in_order(store: &Store) {
    for seed in 0..20 {
        store
            .transact(|tx| async move {
                let mut rng = SmallRng::seed_from_u64(seed);
                let stored = tx.scan(&KeyRange::all(), 4000).await?;
                let mut model: Model = stored.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                for round in 0..8u8 {
                    let key = random_key(&mut rng);
                    if rng.random_bool(0.6) {
                        tx.put(key.clone(), vec![round]).await?;
                        model.insert(key, vec![round]);
                    } else {
                        tx.delete(key.clone()).await?;
                        model.remove(&key);
                    }
                    check_scans(&tx, &model, &mut rng).await;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    }
}

pub(crate) async fn limits_are_typed_errors(store: &Store) {
    let attempt = async |key: Vec<u8>, value: Vec<u8>| {
        let (key, value) = (&key, &value);
        store.transact(|tx| async move { tx.put(key.clone(), value.clone()).await }).await.unwrap_err()
    };
    assert!(matches!(attempt(vec![], vec![]).await, StoreError::ReservedKey(_)));
    assert!(matches!(attempt(vec![0xff, 1], vec![]).await, StoreError::ReservedKey(_)));
    let long = vec![1; terrane_store::KEY_BYTES_MAX + 1];
    assert!(matches!(attempt(long, vec![]).await, StoreError::TooLarge { .. }));
    let long = vec![1; terrane_store::VALUE_BYTES_MAX + 1];
    assert!(matches!(attempt(vec![1], long).await, StoreError::TooLarge { .. }));
    let much = store
        .transact(|tx| async move {
            for key in 0u8..20 {
                tx.put(vec![key], vec![0; terrane_store::VALUE_BYTES_MAX]).await?;
            }
            Ok::<_, StoreError>(())
        })
        .await;
    assert!(matches!(much, Err(StoreError::TooLarge { .. })));
    // The largest that is allowed is stored and found again.
    let key = vec![7; terrane_store::KEY_BYTES_MAX];
    super::put(store, &key, &vec![9; terrane_store::VALUE_BYTES_MAX]).await;
    assert_eq!(super::get(store, &key).await.map(|value| value.len()), Some(terrane_store::VALUE_BYTES_MAX));
}
