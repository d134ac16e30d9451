//! Where the keys of snapshots come from.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use terrane_store::{Record, Store, StoreError, Table, Tx};
use terrane_types::AccountId;
use zeroize::Zeroizing;

use crate::seal::ChunkKey;
use crate::{Result, SnapshotError};

/// Keys in memory.
const CACHED_KEYS_MAX: usize = 1000;

/// Gives an account's keys out.
#[async_trait]
pub trait ChunkKeys: Send + Sync {
    /// The key that new objects are sealed with; made if there is none.
    async fn newest(&self, account: &AccountId) -> Result<ChunkKey>;

    /// The key of this number.
    async fn key(&self, account: &AccountId, id: u32) -> Result<ChunkKey>;
}

/// The key service, as far as it is needed here: it seals small secrets of an account.
#[async_trait]
pub trait SealSecrets: Send + Sync {
    /// Seals the secret of the account's snapshot key `id`.
    async fn seal(&self, account: &AccountId, id: u32, secret: &[u8]) -> Result<Vec<u8>>;

    /// Opens what was sealed for the same account and `id`; for others it fails.
    async fn open(&self, account: &AccountId, id: u32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>>;
}

/// A key of an account, sealed by the key service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SealedKey {
    envelope: Vec<u8>,
}

impl Record for SealedKey {
    const VERSION: u8 = 1;
}

static KEYS: Table<(AccountId, u64), SealedKey> = Table::new("snapshot-keys", &[]);

/// Random keys in the store, sealed by the key service: its rotations never touch a chunk.
#[derive(Clone)]
pub struct StoredKeys {
    store: Store,
    service: Arc<dyn SealSecrets>,
    cache: Arc<Mutex<Vec<(AccountId, ChunkKey)>>>,
}

impl StoredKeys {
    /// Keys in this store, sealed by this service.
    pub fn new(store: Store, service: Arc<dyn SealSecrets>) -> Self {
        Self { store, service, cache: Arc::default() }
    }

    /// Gives the account another key for what is written from now on; returns its number.
    ///
    /// # Errors
    /// [`SnapshotError::Keys`].
    pub async fn rotate(&self, account: &AccountId) -> Result<u32> {
        let newest = self.numbers(account).await?;
        self.add(account, newest.saturating_add(1)).await?;
        Ok(newest.saturating_add(1))
    }

    /// The number of the newest key; 0 if there is none.
    async fn numbers(&self, account: &AccountId) -> Result<u32> {
        let scan = |tx: Tx| async move { KEYS.scan_prefix(&tx, account, None, 1000).await };
        let rows = self.store.read(scan).await.map_err(failed)?;
        Ok(rows.last().map_or(0, |((_, number), _)| u32::try_from(*number).unwrap_or(u32::MAX)))
    }

    /// Adds key `id` unless somebody else was faster.
    async fn add(&self, account: &AccountId, id: u32) -> Result<()> {
        let secret = Zeroizing::new(rand::random::<[u8; 32]>());
        let sealed = self.service.seal(account, id, &*secret).await?;
        let (row, key) = (&SealedKey { envelope: sealed }, &(account.clone(), u64::from(id)));
        let insert = |tx: Tx| async move {
            if KEYS.get(&tx, key).await?.is_none() {
                KEYS.put(&tx, key, row).await?;
            }
            Ok::<_, StoreError>(())
        };
        self.store.transact(insert).await.map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Keys(error.to_string())
}

#[async_trait]
impl ChunkKeys for StoredKeys {
    async fn newest(&self, account: &AccountId) -> Result<ChunkKey> {
        let newest = match self.numbers(account).await? {
            0 => {
                self.add(account, 1).await?;
                1
            }
            newest => newest,
        };
        self.key(account, newest).await
    }

    async fn key(&self, account: &AccountId, id: u32) -> Result<ChunkKey> {
        let known = |(owner, key): &&(AccountId, ChunkKey)| owner == account && key.id() == id;
        if let Some((_, key)) = self.cache.lock().iter().find(known) {
            return Ok(key.clone());
        }
        let row_key = &(account.clone(), u64::from(id));
        let row = self.store.read(|tx| async move { KEYS.get(&tx, row_key).await }).await.map_err(failed)?;
        let row = row.ok_or_else(|| SnapshotError::Keys(format!("account {account} has no key {id}")))?;
        let opened = self.service.open(account, id, &row.envelope).await?;
        let mut bytes = Zeroizing::new([0; 32]);
        if opened.len() != bytes.len() {
            return Err(SnapshotError::Keys(format!("key {id} of account {account} is damaged")));
        }
        bytes.copy_from_slice(&opened);
        let key = ChunkKey::new(id, bytes);
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED_KEYS_MAX {
            cache.remove(0);
        }
        cache.push((account.clone(), key.clone()));
        Ok(key)
    }
}

impl std::fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seals by writing the owner in front of the secret.
    struct Plain;

    #[async_trait]
    impl SealSecrets for Plain {
        async fn seal(&self, account: &AccountId, id: u32, secret: &[u8]) -> Result<Vec<u8>> {
            Ok([account.as_str().as_bytes(), &id.to_be_bytes(), secret].concat())
        }

        async fn open(&self, account: &AccountId, id: u32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
            let owner = self.seal(account, id, &[]).await?;
            let secret = sealed.strip_prefix(&owner[..]).ok_or_else(|| failed("not of this account"))?;
            Ok(Zeroizing::new(secret.to_vec()))
        }
    }

    #[test]
    fn the_row_is_pinned() {
        let row = SealedKey { envelope: vec![7, 8] };
        assert_eq!(postcard::to_extend(&row, vec![SealedKey::VERSION]).unwrap(), [1, 2, 7, 8]);
    }

    #[tokio::test]
    async fn keys_are_made_kept_and_rotated() {
        let store = Store::memory();
        let keys = StoredKeys::new(store.clone(), Arc::new(Plain));
        let account = AccountId::parse("000000000001").unwrap();
        let other = AccountId::parse("000000000002").unwrap();
        assert_eq!(keys.newest(&account).await.unwrap().id(), 1);
        assert_eq!(keys.rotate(&account).await.unwrap(), 2);
        assert_eq!(keys.newest(&account).await.unwrap().id(), 2);
        // Another process reads the same keys; another account has none of them.
        let again = StoredKeys::new(store, Arc::new(Plain));
        let context = crate::seal::Context {
            account: &account,
            kind: crate::Kind::Pack,
            hash: crate::ChunkHash::of(b"x"),
        };
        let sealed = crate::seal::seal(&keys.key(&account, 1).await.unwrap(), [0; 12], context, b"x");
        let key = again.key(&account, 1).await.unwrap();
        let opened = crate::seal::Sealed::parse(&"x", &sealed).unwrap().open(&"x", &key, context);
        assert_eq!(opened.unwrap(), &b"x"[..]);
        assert!(matches!(again.key(&other, 1).await, Err(SnapshotError::Keys(_))));
    }
}
