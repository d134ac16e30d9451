//! What every engine must do, as functions of an empty store.

pub(crate) mod feeds;
pub(crate) mod isolation;
pub(crate) mod layers;
pub(crate) mod leases;
pub(crate) mod rows;

use terrane_store::{Store, StoreError};

/// Sets one key.
pub(crate) async fn put(store: &Store, key: &[u8], value: &[u8]) {
    let (key, value) = (key.to_vec(), value.to_vec());
    let (key, value) = (&key, &value);
    store
        .transact(|tx| async move { tx.put(key.clone(), value.clone()).await })
        .await
        .unwrap_or_else(|error: StoreError| panic!("put: {error}"));
}

/// Reads one key.
pub(crate) async fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let value = store.read(|tx| async move { tx.get(key).await }).await;
    value.unwrap_or_else(|error: StoreError| panic!("get: {error}")).map(|value| value.to_vec())
}
