//! Carries out what the collector asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Collector, Contents, Input, Ledger, Output, Report, View};
use crate::{CaptureId, ChunkHash, ChunkRef, Dedup, Kind, ObjectName, ObjectRef, SnapshotError, Vault};

/// Names that are listed at once.
const LIST_PAGE: usize = 1000;

/// Why a cycle could not be carried out: the ledger failed.
#[derive(Debug, thiserror::Error)]
#[error("garbage collection: the ledger: {0}")]
pub struct GcError(pub String);

/// The collector's transactions on the ledger. Whoever calls holds the lease of garbage collection, and each
/// call checks it: there is one collector at a time.
#[async_trait]
pub trait LedgerAccess: Send + Sync {
    /// [`Ledger::view`].
    async fn view(&self) -> Result<View, GcError>;
    /// [`Ledger::condemn`].
    async fn condemn(&self, objects: &[ObjectName], rescued: &[ObjectName]) -> Result<u64, GcError>;
    /// [`Ledger::is_settled`].
    async fn is_settled(&self, epoch: u64) -> Result<bool, GcError>;
    /// [`Ledger::rescue`].
    async fn rescue(&self, objects: &[ObjectName]) -> Result<(), GcError>;
    /// [`Ledger::forget`].
    async fn forget(&self, objects: &[ObjectName]) -> Result<(), GcError>;
}

/// Runs one cycle of garbage collection over an account's objects. `poll` is how often it looks whether
/// captures have ended; `grace` is what readers get.
///
/// # Errors
/// The ledger's. What the object store does not do is in the report.
pub async fn collect(
    vault: &Vault,
    ledger: &dyn LedgerAccess,
    grace: Duration,
    poll: Duration,
) -> Result<Report, GcError> {
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut collector = Collector::new(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let mut outputs: VecDeque<Output> = collector.handle(now_ms(), Input::Start).into();
    let mut tasks: JoinSet<Input> = JoinSet::new();
    loop {
        let Some(output) = outputs.pop_front() else {
            match tasks.join_next().await {
                Some(Ok(input)) => outputs.extend(collector.handle(now_ms(), input)),
                Some(Err(error)) => return Err(GcError(error.to_string())),
                None => return Err(GcError("the collector waits for nothing".into())),
            }
            continue;
        };
        let input = match output {
            Output::Done(report) => return Ok(report),
            Output::Read(object) => {
                let vault = vault.clone();
                tasks.spawn(async move { read(&vault, object).await });
                continue;
            }
            Output::Delete(object) => {
                let vault = vault.clone();
                tasks.spawn(async move {
                    let done = vault.delete(object).await.is_ok();
                    Input::Deleted { object, done }
                });
                continue;
            }
            Output::List(after) => match vault.list(after.as_deref(), LIST_PAGE).await {
                Ok((names, next)) => Input::Listed { names, next },
                Err(_) => Input::Unlistable,
            },
            Output::View => Input::View(ledger.view().await?),
            Output::Condemn { objects, rescued } => {
                Input::Condemned(ledger.condemn(&objects, &rescued).await?)
            }
            Output::Settle(epoch) => {
                while !ledger.is_settled(epoch).await? {
                    tokio::time::sleep(poll).await;
                }
                Input::Settled
            }
            Output::Rescue(objects) => {
                ledger.rescue(&objects).await?;
                Input::Rescued
            }
            Output::WakeAt(at_ms) => {
                while now_ms() < at_ms {
                    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await;
                }
                Input::Tick
            }
            Output::Forget(objects) => {
                ledger.forget(&objects).await?;
                Input::Forgotten
            }
        };
        outputs.extend(collector.handle(now_ms(), input));
    }
}

async fn read(vault: &Vault, object: ObjectRef) -> Input {
    let contents = match object.name.kind {
        Kind::Manifest => vault
            .manifest(&object)
            .await
            .map(|manifest| Contents::Manifest(manifest.segments.into_values().collect())),
        _ => vault.segment(&object).await.map(|segment| Contents::Segment(segment.packs())),
    };
    match contents {
        Ok(contents) => Input::Read(object.name, contents),
        Err(_) => Input::Unreadable(object.name),
    }
}

/// A ledger in memory: for tests, and for tools that work alone. Clones are the same ledger.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger(pub Arc<Mutex<Ledger>>);

impl MemoryLedger {
    /// The table of known chunks as one capture sees it.
    pub fn dedup(&self, capture: CaptureId) -> impl Dedup + 'static {
        CaptureDedup { ledger: self.clone(), capture }
    }
}

#[async_trait]
impl LedgerAccess for MemoryLedger {
    async fn view(&self) -> Result<View, GcError> {
        Ok(self.0.lock().view())
    }

    async fn condemn(&self, objects: &[ObjectName], rescued: &[ObjectName]) -> Result<u64, GcError> {
        Ok(self.0.lock().condemn(objects, rescued))
    }

    async fn is_settled(&self, epoch: u64) -> Result<bool, GcError> {
        Ok(self.0.lock().is_settled(epoch))
    }

    async fn rescue(&self, objects: &[ObjectName]) -> Result<(), GcError> {
        self.0.lock().rescue(objects);
        Ok(())
    }

    async fn forget(&self, objects: &[ObjectName]) -> Result<(), GcError> {
        self.0.lock().forget(objects);
        Ok(())
    }
}

struct CaptureDedup {
    ledger: MemoryLedger,
    capture: CaptureId,
}

#[async_trait]
impl Dedup for CaptureDedup {
    async fn find(&self, hash: &ChunkHash) -> crate::Result<Option<ChunkRef>> {
        let found = self.ledger.0.lock().find(self.capture, hash);
        found.map_err(|error| SnapshotError::Index(error.to_string()))
    }

    async fn stored(&self, chunks: &[ChunkRef]) -> crate::Result<()> {
        let stored = self.ledger.0.lock().stored(self.capture, chunks);
        stored.map_err(|error| SnapshotError::Index(error.to_string()))
    }
}
