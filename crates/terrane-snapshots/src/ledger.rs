//! [`terrane_snapshot::gc::Ledger`] on rows of the store: each function is part of one transaction. What it says of
//! captures, epochs and condemned objects holds here.
//!
//! Two things differ. The chunks of a committed capture become known a little later, pack by pack ([`publish`]), since
//! they are too many for one transaction; a pack that was condemned in between is left out. And a capture that never
//! looks for known chunks (blocks that are being written) is not waited for.

use async_trait::async_trait;
use parking_lot::Mutex;
use terrane_snapshot::{
    CaptureId, ChunkHash, ChunkRef, Dedup, ObjectName, ObjectRef, PackEntry, SnapshotError as FormatError,
};
use terrane_store::{Store, StoreError, Tx};
use terrane_types::{AccountId, SnapshotId};

use crate::rows::{
    CAPTURES, CONDEMNED, CaptureRow, KNOWN, KnownRow, LEDGERS, LedgerRow, PACKS, PackRow, ROOTS, RootCode,
    RootRow,
};

/// Chunks that one transaction makes known.
const PUBLISHED_AT_ONCE: usize = 1000;

pub(crate) fn root_key(account: &AccountId, code: RootCode, id: &SnapshotId) -> (AccountId, u64, String) {
    (account.clone(), code as u64, id.as_str().to_owned())
}

async fn ledger(tx: &Tx, account: &AccountId) -> Result<LedgerRow, StoreError> {
    Ok(LEDGERS.get(tx, account).await?.unwrap_or_default())
}

/// Begins a capture upon what a root consists of now.
pub(crate) async fn begin(
    tx: &Tx,
    account: &AccountId,
    parent: Option<ObjectRef>,
    finds: bool,
    nonce: u64,
) -> Result<CaptureId, StoreError> {
    let mut row = ledger(tx, account).await?;
    let id = CaptureId { number: row.next, nonce };
    row.next += 1;
    LEDGERS.put(tx, account, &row).await?;
    let capture = CaptureRow { nonce, epoch: row.epoch, parent, finds };
    CAPTURES.put(tx, &(account.clone(), id.number), &capture).await?;
    Ok(id)
}

/// A capture in progress.
pub(crate) async fn capture(
    tx: &Tx,
    account: &AccountId,
    id: CaptureId,
) -> Result<Option<CaptureRow>, StoreError> {
    let row = CAPTURES.get(tx, &(account.clone(), id.number)).await?;
    Ok(row.filter(|row| row.nonce == id.nonce))
}

/// Ends a capture, whatever has become of it. What it has stored and no root has is garbage.
pub(crate) async fn end(tx: &Tx, account: &AccountId, id: CaptureId) -> Result<bool, StoreError> {
    if capture(tx, account, id).await?.is_none() {
        return Ok(false);
    }
    CAPTURES.delete(tx, &(account.clone(), id.number)).await?;
    dropped(tx, account).await?;
    Ok(true)
}

/// Counts one more snapshot, unless the account has as many as it may have.
pub(crate) async fn count_snapshot(
    tx: &Tx,
    account: &AccountId,
    max: usize,
) -> Result<Option<()>, StoreError> {
    let mut row = ledger(tx, account).await?;
    if row.snapshots >= max as u64 {
        return Ok(None);
    }
    row.snapshots += 1;
    LEDGERS.put(tx, account, &row).await?;
    Ok(Some(()))
}

/// Counts one snapshot less.
pub(crate) async fn discount_snapshot(tx: &Tx, account: &AccountId) -> Result<(), StoreError> {
    let mut row = ledger(tx, account).await?;
    row.snapshots = row.snapshots.saturating_sub(1);
    LEDGERS.put(tx, account, &row).await
}

/// There may be garbage.
pub(crate) async fn dropped(tx: &Tx, account: &AccountId) -> Result<(), StoreError> {
    let mut row = ledger(tx, account).await?;
    row.dropped += 1;
    LEDGERS.put(tx, account, &row).await
}

/// The manifest of a root.
pub(crate) async fn root(
    tx: &Tx,
    account: &AccountId,
    code: RootCode,
    id: &SnapshotId,
) -> Result<Option<ObjectRef>, StoreError> {
    Ok(ROOTS.get(tx, &root_key(account, code, id)).await?.map(|row| row.manifest))
}

/// Makes a root: of another root's manifest in the same transaction, or of a capture that is ended in it.
pub(crate) async fn put_root(
    tx: &Tx,
    account: &AccountId,
    code: RootCode,
    id: &SnapshotId,
    manifest: ObjectRef,
) -> Result<(), StoreError> {
    ROOTS.put(tx, &root_key(account, code, id), &RootRow { manifest }).await
}

/// Removes a root, if it is there.
pub(crate) async fn drop_root(
    tx: &Tx,
    account: &AccountId,
    code: RootCode,
    id: &SnapshotId,
) -> Result<(), StoreError> {
    if ROOTS.delete(tx, &root_key(account, code, id)).await? {
        dropped(tx, account).await?;
    }
    Ok(())
}

/// The table of known chunks, as one capture sees it.
pub(crate) struct CaptureDedup {
    store: Store,
    account: AccountId,
    capture: CaptureId,
    epoch: u64,
    packs: Mutex<Vec<ObjectName>>,
}

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::Index(error.to_string())
}

impl CaptureDedup {
    /// Of a capture that began at this epoch.
    pub(crate) fn new(store: Store, account: AccountId, capture: CaptureId, epoch: u64) -> Self {
        Self { store, account, capture, epoch, packs: Mutex::default() }
    }

    /// Makes known what the capture, now committed, has stored. Chunks that are not made known are stored again by the
    /// next capture that has them, and that is all.
    pub(crate) async fn publish(&self) -> Result<(), StoreError> {
        let packs = std::mem::take(&mut *self.packs.lock());
        for pack in packs {
            let mut from = 0;
            while let Some(count) = publish(&self.store, &self.account, pack, from).await? {
                from += count;
            }
        }
        Ok(())
    }
}

/// Makes chunks of a pack known, from one on; tells how many, or that there are no more.
async fn publish(
    store: &Store,
    account: &AccountId,
    pack: ObjectName,
    from: usize,
) -> Result<Option<usize>, StoreError> {
    let key = &(account.clone(), pack.to_string());
    store
        .transact(|tx| async move {
            // A pack that is condemned, or gone already, must not become known.
            if CONDEMNED.get(&tx, key).await?.is_some() {
                return Ok(None);
            }
            let Some(row) = PACKS.get(&tx, key).await? else { return Ok(None) };
            let batch = row.entries.get(from..).unwrap_or_default();
            let batch = &batch[..batch.len().min(PUBLISHED_AT_ONCE)];
            for entry in batch {
                let known_key = (account.clone(), entry.hash.0.to_vec());
                let is_better = match KNOWN.get(&tx, &known_key).await? {
                    None => true,
                    Some(old) => {
                        let old_key = (account.clone(), old.pack.to_string());
                        CONDEMNED.get(&tx, &old_key).await?.is_some()
                    }
                };
                if is_better {
                    let known = KnownRow { pack, offset: entry.offset, len: entry.len };
                    KNOWN.put(&tx, &known_key, &known).await?;
                }
            }
            Ok((!batch.is_empty()).then_some(batch.len()))
        })
        .await
}

#[async_trait]
impl Dedup for CaptureDedup {
    async fn find(&self, hash: &ChunkHash) -> Result<Option<ChunkRef>, FormatError> {
        let key = &(self.account.clone(), hash.0.to_vec());
        let found = self.store.read(|tx| async move {
            let Some(known) = KNOWN.get(&tx, key).await? else { return Ok(None) };
            let condemned = CONDEMNED.get(&tx, &(self.account.clone(), known.pack.to_string())).await?;
            // The collector waits for this capture before it deletes what was condemned since its beginning.
            let is_gone = condemned.is_some_and(|row| row.epoch <= self.epoch);
            Ok::<_, StoreError>((!is_gone).then_some(known))
        });
        let found = found.await.map_err(failed)?;
        Ok(found.map(|known| ChunkRef {
            pack: known.pack,
            offset: known.offset,
            len: known.len,
            hash: *hash,
        }))
    }

    async fn stored(&self, chunks: &[ChunkRef]) -> Result<(), FormatError> {
        let Some(pack) = chunks.first().map(|chunk| chunk.pack) else { return Ok(()) };
        let entry = |chunk: &ChunkRef| PackEntry { hash: chunk.hash, offset: chunk.offset, len: chunk.len };
        let row = &PackRow { entries: chunks.iter().map(entry).collect() };
        let key = &(self.account.clone(), pack.to_string());
        let put = self.store.transact(|tx| async move {
            if capture(&tx, &self.account, self.capture).await?.is_none() {
                return Ok(false);
            }
            PACKS.put(&tx, key, row).await?;
            Ok::<_, StoreError>(true)
        });
        if !put.await.map_err(failed)? {
            return Err(FormatError::Index(format!("capture {} has ended", self.capture.number)));
        }
        self.packs.lock().push(pack);
        Ok(())
    }
}
