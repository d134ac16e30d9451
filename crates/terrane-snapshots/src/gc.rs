//! The collector's transactions on the ledger, fenced by the worker's office.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use terrane_snapshot::gc::{GcError, LedgerAccess, View};
use terrane_snapshot::{Kind, ObjectName};
use terrane_store::{Store, StoreError, Tx};
use terrane_types::AccountId;

use crate::rows::{CAPTURES, CONDEMNED, CondemnedRow, KNOWN, LEDGERS, PACKS, ROOTS};
use crate::worker::Office;

/// Rows of one page of a scan.
const PAGE: usize = 1000;
/// Rows that one transaction writes.
const BATCH: usize = 1000;

/// One account's ledger, for one collection.
pub(crate) struct StoredLedger<'a> {
    pub(crate) store: &'a Store,
    pub(crate) account: &'a AccountId,
    pub(crate) office: &'a Office,
}

fn failed(error: StoreError) -> GcError {
    GcError(error.to_string())
}

impl StoredLedger<'_> {
    async fn view(&self, tx: &Tx) -> Result<View, StoreError> {
        let account = self.account;
        let mut view =
            View { next: LEDGERS.get(tx, account).await?.unwrap_or_default().next, ..View::default() };
        let mut after = None;
        loop {
            let rows = ROOTS.scan_prefix(tx, account, after.as_ref(), PAGE).await?;
            view.roots.extend(rows.iter().map(|(_, row)| row.manifest));
            let is_last = rows.len() < PAGE;
            after = rows.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                break;
            }
        }
        let mut after = None;
        loop {
            let rows = CAPTURES.scan_prefix(tx, account, after.as_ref(), PAGE).await?;
            view.in_progress.extend(rows.iter().map(|((_, number), _)| *number));
            view.roots.extend(rows.iter().filter_map(|(_, row)| row.parent));
            let is_last = rows.len() < PAGE;
            after = rows.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                break;
            }
        }
        view.condemned = self.condemned(tx).await?;
        Ok(view)
    }

    async fn condemned(&self, tx: &Tx) -> Result<BTreeMap<ObjectName, u64>, StoreError> {
        let mut condemned = BTreeMap::new();
        let mut after = None;
        loop {
            let rows = CONDEMNED.scan_prefix(tx, self.account, after.as_ref(), PAGE).await?;
            for ((_, name), row) in &rows {
                if let Ok(name) = ObjectName::parse(name) {
                    condemned.insert(name, row.epoch);
                }
            }
            let is_last = rows.len() < PAGE;
            after = rows.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                return Ok(condemned);
            }
        }
    }

    fn key(&self, object: &ObjectName) -> (AccountId, String) {
        (self.account.clone(), object.to_string())
    }

    /// The chunks of a pack are not known any more.
    async fn forget_chunks(&self, pack: &ObjectName) -> Result<(), StoreError> {
        let key = &self.key(pack);
        let row = self.store.read(|tx| async move { PACKS.get(&tx, key).await }).await?;
        for batch in row.iter().flat_map(|row| row.entries.chunks(BATCH)) {
            let forget = |tx: Tx| async move {
                self.office.fence(&tx).await?;
                for entry in batch {
                    let known_key = (self.account.clone(), entry.hash.0.to_vec());
                    if KNOWN.get(&tx, &known_key).await?.is_some_and(|known| known.pack == *pack) {
                        KNOWN.delete(&tx, &known_key).await?;
                    }
                }
                Ok::<_, StoreError>(())
            };
            self.store.transact(forget).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl LedgerAccess for StoredLedger<'_> {
    async fn view(&self) -> Result<View, GcError> {
        let look = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            self.view(&tx).await
        };
        self.store.read(look).await.map_err(failed)
    }

    /// The epoch grows in the last transaction: until then captures begin at the old one, and are waited for.
    async fn condemn(&self, objects: &[ObjectName], rescued: &[ObjectName]) -> Result<u64, GcError> {
        self.rescue(rescued).await?;
        let epoch = self
            .store
            .read(|tx| async move { Ok(LEDGERS.get(&tx, self.account).await?.unwrap_or_default().epoch + 1) })
            .await
            .map_err(failed)?;
        for batch in objects.chunks(BATCH) {
            let condemn = |tx: Tx| async move {
                self.office.fence(&tx).await?;
                for object in batch {
                    let key = self.key(object);
                    if CONDEMNED.get(&tx, &key).await?.is_none() {
                        CONDEMNED.put(&tx, &key, &CondemnedRow { epoch }).await?;
                    }
                }
                Ok::<_, StoreError>(())
            };
            self.store.transact(condemn).await.map_err(failed)?;
        }
        let raise = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            let mut row = LEDGERS.get(&tx, self.account).await?.unwrap_or_default();
            row.epoch = row.epoch.max(epoch);
            LEDGERS.put(&tx, self.account, &row).await
        };
        self.store.transact(raise).await.map_err(failed)?;
        Ok(epoch)
    }

    async fn is_settled(&self, epoch: u64) -> Result<bool, GcError> {
        let look = |tx: Tx| async move {
            self.office.fence(&tx).await?;
            let mut after = None;
            loop {
                let rows = CAPTURES.scan_prefix(&tx, self.account, after.as_ref(), PAGE).await?;
                if rows.iter().any(|(_, row)| row.finds && row.epoch < epoch) {
                    return Ok(false);
                }
                let is_last = rows.len() < PAGE;
                after = rows.into_iter().next_back().map(|(key, _)| key);
                if is_last {
                    return Ok::<_, StoreError>(true);
                }
            }
        };
        self.store.read(look).await.map_err(failed)
    }

    async fn rescue(&self, objects: &[ObjectName]) -> Result<(), GcError> {
        for batch in objects.chunks(BATCH) {
            let rescue = |tx: Tx| async move {
                self.office.fence(&tx).await?;
                for object in batch {
                    CONDEMNED.delete(&tx, &self.key(object)).await?;
                }
                Ok::<_, StoreError>(())
            };
            self.store.transact(rescue).await.map_err(failed)?;
        }
        Ok(())
    }

    /// That it is condemned is forgotten last: nothing of it can be found before.
    async fn forget(&self, objects: &[ObjectName]) -> Result<(), GcError> {
        let packs: BTreeSet<&ObjectName> = objects.iter().filter(|name| name.kind == Kind::Pack).collect();
        for pack in packs {
            self.forget_chunks(pack).await.map_err(failed)?;
        }
        for batch in objects.chunks(BATCH) {
            let forget = |tx: Tx| async move {
                self.office.fence(&tx).await?;
                for object in batch {
                    let key = self.key(object);
                    PACKS.delete(&tx, &key).await?;
                    CONDEMNED.delete(&tx, &key).await?;
                }
                Ok::<_, StoreError>(())
            };
            self.store.transact(forget).await.map_err(failed)?;
        }
        Ok(())
    }
}
