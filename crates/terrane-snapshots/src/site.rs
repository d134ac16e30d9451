//! What all parts work on.

use std::sync::Arc;

use jiff::Timestamp;
use moka::sync::Cache;
use terrane_auth::KeyService;
use terrane_ec2::service::{SnapshotError, SnapshotResult};
use terrane_snapshot::keys::{ChunkKeys, StoredKeys};
use terrane_snapshot::objects::ObjectStore;
use terrane_snapshot::{Reader, ReaderConfig, SnapshotError as FormatError, Vault};
use terrane_store::{Store, StoreError, Tx};
use terrane_types::{AccountId, SnapshotId};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::SnapshotsConfig;
use crate::keys::{Keeper, token_key};
use crate::metrics::SnapshotMetrics;
use crate::objects::Prefixed;
use crate::tokens::Tokens;
use crate::worker;

/// Snapshots whose manifests are in memory for GetSnapshotBlock.
const READERS_MAX: u64 = 32;
/// What each of them keeps: some 2 MiB.
const READER: ReaderConfig = ReaderConfig { segments_cached: 16, chunks_cached: 2 };

/// The keeper of snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) config: SnapshotsConfig,
    pub(crate) metrics: SnapshotMetrics,
    pub(crate) tokens: Tokens,
    /// Blocks that are being stored.
    pub(crate) writes: Semaphore,
    /// There is work.
    pub(crate) wake: Notify,
    /// Some work is done.
    pub(crate) done: Notify,
    objects: Arc<dyn ObjectStore>,
    keys: Arc<dyn ChunkKeys>,
    readers: Cache<SnapshotId, Arc<Reader>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Snapshots {
    /// Begins to keep snapshots in a store and an object store; every process that answers calls does. One of them, by
    /// a lease, does what takes longer.
    ///
    /// # Errors
    /// The key of tokens cannot be read, as text.
    pub async fn start(
        store: Store,
        keys: KeyService,
        objects: Arc<dyn ObjectStore>,
        config: SnapshotsConfig,
        metrics: SnapshotMetrics,
    ) -> Result<Self, String> {
        let tokens = Tokens::new(token_key(&store, &keys).await?);
        let inner = Inner {
            keys: Arc::new(StoredKeys::new(store.clone(), Arc::new(Keeper(keys)))),
            store,
            metrics,
            tokens,
            writes: Semaphore::new(config.blocks_max),
            wake: Notify::new(),
            done: Notify::new(),
            objects,
            readers: Cache::new(READERS_MAX),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        };
        let snapshots = Self(Arc::new(inner));
        let closing = snapshots.0.closing.clone();
        snapshots.0.tasks.spawn(worker::run(snapshots.clone(), closing));
        snapshots.0.tasks.close();
        Ok(snapshots)
    }

    /// Ends what runs in the background; what was not finished goes on at the next start.
    pub async fn stop(&self) {
        self.0.closing.cancel();
        self.0.tasks.wait().await;
    }

    /// Runs a transaction of a call.
    pub(crate) async fn call<T, F, Fut>(&self, body: F) -> SnapshotResult<T>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, CallError>>,
    {
        Ok(self.0.store.transact(body).await?)
    }

    /// Runs a transaction that only looks.
    pub(crate) async fn look<T, F, Fut>(&self, body: F) -> SnapshotResult<T>
    where
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, CallError>>,
    {
        Ok(self.0.store.read(body).await?)
    }
}

impl Inner {
    /// An account's objects and keys.
    pub(crate) fn vault(&self, account: &AccountId) -> Vault {
        let prefix = format!("accounts/{account}/");
        let objects = Arc::new(Prefixed::new(self.objects.clone(), prefix));
        Vault::new(account.clone(), objects, self.keys.clone(), self.config.object_timeout)
    }

    /// A snapshot's reader, kept for the next block.
    pub(crate) async fn reader(
        &self,
        owner: &AccountId,
        id: &SnapshotId,
        manifest: &terrane_snapshot::ObjectRef,
    ) -> SnapshotResult<Arc<Reader>> {
        if let Some(reader) = self.readers.get(id) {
            return Ok(reader);
        }
        let vault = self.vault(owner);
        let read = vault.manifest(manifest).await.map_err(|error| format_error(&error))?;
        let reader = Arc::new(Reader::new(vault, read, READER));
        self.readers.insert(id.clone(), reader.clone());
        Ok(reader)
    }
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}

/// Why a transaction of a call came to nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    Store(StoreError),
    Refused(SnapshotError),
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SnapshotError> for CallError {
    fn from(error: SnapshotError) -> Self {
        Self::Refused(error)
    }
}

impl From<CallError> for SnapshotError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error,
            CallError::Store(error) if error.is_transient() => Self::Unavailable(error.to_string()),
            CallError::Store(error) => Self::Internal(error.to_string()),
        }
    }
}

/// Trouble with objects, in a caller's words.
pub(crate) fn format_error(error: &FormatError) -> SnapshotError {
    use terrane_snapshot::objects::ObjectError;
    match error {
        FormatError::Objects(ObjectError::Unavailable { .. }) | FormatError::Index(_) => {
            SnapshotError::Unavailable(error.to_string())
        }
        _ => SnapshotError::Internal(error.to_string()),
    }
}

pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

pub(crate) fn not_found(id: &SnapshotId) -> SnapshotError {
    SnapshotError::NotFound(vec![id.clone()])
}
