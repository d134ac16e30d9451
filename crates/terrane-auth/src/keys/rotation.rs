//! Replacing the master key, so that a crash at any point leaves files and rows from which the next start
//! goes on.
//!
//! | step | `PATH` | `PATH.next` | row | account keys |
//! |---|---|---|---|---|
//! | before | old | | old | old |
//! | 1 write the new key beside the old | old | new | old | old |
//! | 2 record it as current: from here on only it wraps | old | new | new | old |
//! | 3 wrap all account keys anew, page by page | old | new | new | old, new |
//! | 4 rename | new | | new | new |

use terrane_store::{Store, Tx};
use terrane_types::AccountId;

use super::KeyError;
use super::envelope::Envelope;
use super::master::{Fingerprint, MasterFile, MasterKey};
use super::rows::{CurrentMaster, KEYS, MASTER, WrappedKey};
use super::service::KeyService;

/// Account keys wrapped anew in one transaction.
const REWRAP_PAGE: usize = 500;

/// The master keys at hand.
#[derive(Debug)]
pub(super) struct Masters {
    /// What wraps.
    pub(super) current: MasterKey,
    /// Between steps 2 and 4: what some account keys are still wrapped by.
    pub(super) previous: Option<MasterKey>,
}

/// The fingerprint of the master key that wraps, as stored.
pub(super) async fn stored_fingerprint(store: &Store) -> Result<Option<Fingerprint>, KeyError> {
    let row = store.read(|tx| async move { MASTER.get(&tx, &0).await }).await?;
    Ok(row.map(|row| row.fingerprint))
}

/// Finds out from files and row where a rotation stands; makes the first key.
pub(super) async fn load(store: &Store, file: &MasterFile) -> Result<Masters, KeyError> {
    let stored = stored_fingerprint(store).await?;
    match (stored, file.read()?, file.read_next()?) {
        // First start. A file put there beforehand is welcome; one cut off while being made is replaced.
        (None, Some(current), _) => Ok(Masters { current, previous: None }),
        (None, None, _) => Ok(Masters { current: file.create()?, previous: None }),
        (Some(wanted), Some(current), _) if current.fingerprint() == wanted => {
            Ok(Masters { current, previous: None })
        }
        (Some(wanted), previous, Some(next)) if next.fingerprint() == wanted => {
            if previous.is_none() {
                // Somebody took the old key away before all was wrapped anew. This one must not be lost too.
                file.promote_next()?;
            }
            Ok(Masters { current: next, previous })
        }
        (Some(wanted), _, _) => {
            Err(KeyError::MasterMissing { path: file.path().to_owned(), wanted: hex::encode(wanted) })
        }
    }
}

impl KeyService {
    /// Replaces the master key: writes the new one beside the old, wraps all account keys with it, puts it in
    /// the old one's place. Returns the fingerprint of the new key.
    ///
    /// # Errors
    /// [`KeyError::MasterRotating`] if another process is at it; the store's and the file system's: calling
    /// again, or the next start, goes on.
    pub async fn rotate_master(&self) -> Result<String, KeyError> {
        let _lock = match &self.0.file {
            Some(file) => Some(file.lock()?.ok_or(KeyError::MasterRotating)?),
            None => None,
        };
        self.reload().await?;
        self.finish_rotation().await?;
        let (next, old) = (MasterKey::random(), self.0.masters.read().current.clone());
        let (fingerprint, expected) = (next.fingerprint(), old.fingerprint());
        if let Some(file) = &self.0.file {
            file.write_next(&next)?;
        }
        let record = |tx: Tx| async move {
            if MASTER.get(&tx, &0).await?.map(|row| row.fingerprint) != Some(expected) {
                return Err(KeyError::MasterRotating);
            }
            Ok(MASTER.put(&tx, &0, &CurrentMaster { fingerprint }).await?)
        };
        self.0.store.transact(record).await?;
        *self.0.masters.write() = Masters { current: next, previous: Some(old) };
        self.finish_rotation().await?;
        Ok(hex::encode(fingerprint))
    }

    /// Goes on with a rotation that a crash cut off, unless another process is at it.
    pub(super) async fn resume_rotation(&self) -> Result<(), KeyError> {
        if self.0.masters.read().previous.is_none() {
            return Ok(());
        }
        let Some(_lock) = self.0.file.as_ref().map(MasterFile::lock).transpose()?.flatten() else {
            return Ok(());
        };
        self.reload().await?;
        self.finish_rotation().await
    }

    /// Reads anew which master keys there are.
    pub(super) async fn reload(&self) -> Result<(), KeyError> {
        if let Some(file) = &self.0.file {
            let masters = load(&self.0.store, file).await?;
            *self.0.masters.write() = masters;
        }
        Ok(())
    }

    /// Records which master key wraps, at first use.
    pub(super) async fn announce(&self) -> Result<(), KeyError> {
        let fingerprint = self.0.masters.read().current.fingerprint();
        let record = |tx: Tx| async move {
            match MASTER.get(&tx, &0).await? {
                Some(found) if found.fingerprint == fingerprint => Ok(()),
                None => Ok(MASTER.put(&tx, &0, &CurrentMaster { fingerprint }).await?),
                Some(_) => Err(KeyError::MasterRotating),
            }
        };
        self.0.store.transact(record).await
    }

    /// Steps 3 and 4.
    async fn finish_rotation(&self) -> Result<(), KeyError> {
        if self.0.masters.read().previous.is_none() {
            return Ok(());
        }
        let mut after: Option<(AccountId, u64)> = None;
        loop {
            let from = after.as_ref();
            let page = self.0.store.transact(|tx| self.rewrap_page(tx, from)).await?;
            let full = page.len() == REWRAP_PAGE;
            after = page.into_iter().next_back();
            if !full {
                break;
            }
        }
        if let Some(file) = &self.0.file {
            file.promote_next()?;
        }
        self.0.masters.write().previous = None;
        Ok(())
    }

    async fn rewrap_page(
        &self,
        tx: Tx,
        after: Option<&(AccountId, u64)>,
    ) -> Result<Vec<(AccountId, u64)>, KeyError> {
        let page = KEYS.scan(&tx, after, REWRAP_PAGE).await?;
        for (key, row) in &page {
            if let Some(rewrapped) = self.rewrap(&key.0, key.1, row)? {
                KEYS.put(&tx, key, &rewrapped).await?;
            }
        }
        Ok(page.into_iter().map(|(key, _)| key).collect())
    }

    fn rewrap(
        &self,
        account: &AccountId,
        version: u64,
        row: &WrappedKey,
    ) -> Result<Option<WrappedKey>, KeyError> {
        let envelope = Envelope::<8>::parse(&row.envelope).ok_or(KeyError::Damaged("account key"))?;
        if envelope.reference == self.0.masters.read().current.fingerprint() {
            return Ok(None);
        }
        let key = self.unwrap(account, version, row)?;
        Ok(Some(self.wrap(account, version, &key)))
    }
}
