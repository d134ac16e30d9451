//! Account keys: made, wrapped, rotated, used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::RwLock;
use terrane_store::{Store, Tx};
use terrane_types::AccountId;
use zeroize::Zeroizing;

use super::KeyError;
use super::envelope::{Envelope, Key};
use super::master::{Fingerprint, MasterFile, MasterKey};
use super::rotation::{self, Masters};
use super::rows::{KEYS, MASTER, WrappedKey};

/// Versions of one account's key; what is older cannot be needed by less than so many rotations.
const VERSIONS_MAX: usize = 1000;
/// Unwrapped account keys kept in memory.
const CACHED_KEYS_MAX: u64 = 10_000;

/// What a secret is for, down to the row that holds it: part of the associated data.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The kind of secret, such as `access-key`.
    pub kind: &'static str,
    /// Which one of its kind.
    pub id: &'a str,
}

/// Seals and opens secrets of accounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyService(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    /// `None`: the master key lives in memory only (tests).
    pub(super) file: Option<MasterFile>,
    pub(super) masters: RwLock<Masters>,
    keys: Cache<(AccountId, u32), Key>,
}

impl KeyService {
    /// Opens the master key at `path`. Makes it if neither the file exists nor the store was ever used with
    /// one. Finishes a rotation that was interrupted.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`], [`KeyError::NotAKey`], [`KeyError::MasterMissing`].
    pub async fn open(store: Store, path: &Path) -> Result<Self, KeyError> {
        let file = MasterFile::new(path);
        let masters = rotation::load(&store, &file).await?;
        let service = Self::with(store, Some(file), masters);
        service.announce().await?;
        service.resume_rotation().await?;
        Ok(service)
    }

    /// A key service whose master key is nowhere but in memory: for tests.
    ///
    /// # Errors
    /// The store's; [`KeyError::MasterMissing`] if the store was used with another master key.
    pub async fn ephemeral(store: Store, master: MasterKey) -> Result<Self, KeyError> {
        if let Some(wanted) = rotation::stored_fingerprint(&store).await?
            && wanted != master.fingerprint()
        {
            return Err(KeyError::MasterMissing { path: PathBuf::new(), wanted: hex::encode(wanted) });
        }
        let service = Self::with(store, None, Masters { current: master, previous: None });
        service.announce().await?;
        Ok(service)
    }

    fn with(store: Store, file: Option<MasterFile>, masters: Masters) -> Self {
        let masters = RwLock::new(masters);
        Self(Arc::new(Inner { store, file, masters, keys: Cache::new(CACHED_KEYS_MAX) }))
    }

    /// Encrypts a secret with the newest key of the account, which is made if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn seal(
        &self,
        account: &AccountId,
        purpose: Purpose<'_>,
        secret: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let (version, key) = match self.newest_version(account).await? {
            0 => self.add_version(account, 0).await?,
            version => (version, self.key(account, version).await?),
        };
        Ok(key.seal(version.to_be_bytes(), &context(account, purpose), secret))
    }

    /// Decrypts what [`KeyService::seal`] made for the same account and purpose, with whichever version of
    /// the account's key it names.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] if it does not decrypt.
    pub async fn open_sealed(
        &self,
        account: &AccountId,
        purpose: Purpose<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let damaged = KeyError::Damaged(purpose.kind);
        let Some(envelope) = Envelope::<4>::parse(sealed) else { return Err(damaged) };
        let key = self.key(account, u32::from_be_bytes(envelope.reference)).await?;
        key.open(&envelope, &context(account, purpose)).ok_or(damaged)
    }

    /// Gives the account a new key for what is sealed from now on; returns its version. What was sealed with
    /// earlier versions stays as it is and can be opened.
    ///
    /// # Errors
    /// [`KeyError::TooManyVersions`], the store's.
    pub async fn rotate_account_key(&self, account: &AccountId) -> Result<u32, KeyError> {
        let newest = self.newest_version(account).await?;
        Ok(self.add_version(account, newest).await?.0)
    }

    /// Destroys all keys of an account: nothing that was sealed for it can be opened again. Part of the
    /// transaction that deletes the account.
    pub(crate) async fn delete_account_keys(&self, tx: &Tx, account: &AccountId) -> Result<(), KeyError> {
        for (key, _) in KEYS.scan_prefix(tx, account, None, VERSIONS_MAX).await? {
            KEYS.delete(tx, &key).await?;
            if let Ok(version) = u32::try_from(key.1) {
                self.0.keys.invalidate(&(key.0, version));
            }
        }
        Ok(())
    }

    /// The newest version of an account's key; 0 if it has none. Reads the store: sealing is rare.
    async fn newest_version(&self, account: &AccountId) -> Result<u32, KeyError> {
        let scan = |tx: Tx| async move { KEYS.scan_prefix(&tx, account, None, VERSIONS_MAX).await };
        let rows = self.0.store.read(scan).await?;
        Ok(rows.last().map_or(0, |((_, version), _)| u32::try_from(*version).unwrap_or(u32::MAX)))
    }

    /// Adds the version behind `newest`; takes somebody else's, if another process was faster.
    async fn add_version(&self, account: &AccountId, newest: u32) -> Result<(u32, Key), KeyError> {
        let version = newest.saturating_add(1);
        if usize::try_from(version).unwrap_or(usize::MAX) > VERSIONS_MAX {
            return Err(KeyError::TooManyVersions(account.clone()));
        }
        let key = Key::random();
        let row = match self.insert_key(account, version, &key).await {
            Err(KeyError::MasterRotating) => {
                self.reload().await?;
                self.insert_key(account, version, &key).await?
            }
            other => other?,
        };
        let key = self.unwrap(account, version.into(), &row)?;
        self.0.keys.insert((account.clone(), version), key.clone());
        Ok((version, key))
    }

    async fn insert_key(&self, account: &AccountId, version: u32, key: &Key) -> Result<WrappedKey, KeyError> {
        let row_key = &(account.clone(), u64::from(version));
        let wrapped = &self.wrap(account, version.into(), key);
        let master = Envelope::<8>::parse(&wrapped.envelope).map(|envelope| envelope.reference);
        let insert = |tx: Tx| async move {
            // What is wrapped by a master key that is being replaced would be missed by its rotation.
            if MASTER.get(&tx, &0).await?.map(|current| current.fingerprint) != master {
                return Err(KeyError::MasterRotating);
            }
            if let Some(row) = KEYS.get(&tx, row_key).await? {
                return Ok(row);
            }
            KEYS.put(&tx, row_key, wrapped).await?;
            Ok(wrapped.clone())
        };
        self.0.store.transact(insert).await
    }

    async fn key(&self, account: &AccountId, version: u32) -> Result<Key, KeyError> {
        let id = (account.clone(), version);
        if let Some(key) = self.0.keys.get(&id) {
            return Ok(key);
        }
        let row_key = &(account.clone(), u64::from(version));
        let row = self.0.store.read(|tx| async move { KEYS.get(&tx, row_key).await }).await?;
        let row = row.ok_or_else(|| KeyError::NoSuchVersion { account: account.clone(), version })?;
        let key = match self.unwrap(account, version.into(), &row) {
            Err(KeyError::MasterMissing { .. }) => {
                // Another process may have rotated the master key: then the file has the new one.
                self.reload().await?;
                self.unwrap(account, version.into(), &row)?
            }
            other => other?,
        };
        self.0.keys.insert(id, key.clone());
        Ok(key)
    }

    pub(super) fn wrap(&self, account: &AccountId, version: u64, key: &Key) -> WrappedKey {
        let master = self.0.masters.read().current.clone();
        let context: [&[u8]; 3] = [b"account-key", account.as_str().as_bytes(), &version.to_be_bytes()];
        WrappedKey { envelope: master.key().seal(master.fingerprint(), &context, key.bytes()) }
    }

    pub(super) fn unwrap(
        &self,
        account: &AccountId,
        version: u64,
        row: &WrappedKey,
    ) -> Result<Key, KeyError> {
        let damaged = || KeyError::Damaged("account key");
        let envelope = Envelope::<8>::parse(&row.envelope).ok_or_else(damaged)?;
        let master = self.master_of(envelope.reference)?;
        let context: [&[u8]; 3] = [b"account-key", account.as_str().as_bytes(), &version.to_be_bytes()];
        let opened = master.key().open(&envelope, &context).ok_or_else(damaged)?;
        let mut bytes = Zeroizing::new([0; 32]);
        if opened.len() != bytes.len() {
            return Err(damaged());
        }
        bytes.copy_from_slice(&opened);
        Ok(Key::from_bytes(bytes))
    }

    fn master_of(&self, fingerprint: Fingerprint) -> Result<MasterKey, KeyError> {
        let masters = self.0.masters.read();
        let both = [Some(&masters.current), masters.previous.as_ref()];
        let found = both.into_iter().flatten().find(|key| key.fingerprint() == fingerprint).cloned();
        found.ok_or_else(|| {
            let path = self.0.file.as_ref().map(|file| file.path().to_owned()).unwrap_or_default();
            KeyError::MasterMissing { path, wanted: hex::encode(fingerprint) }
        })
    }
}

fn context<'a>(account: &'a AccountId, purpose: Purpose<'a>) -> [&'a [u8]; 3] {
    [purpose.kind.as_bytes(), account.as_str().as_bytes(), purpose.id.as_bytes()]
}

#[cfg(test)]
mod tests;
