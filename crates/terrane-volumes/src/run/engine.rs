//! The workflow engine of the manager in office.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use terrane_store::Store;
use terrane_store::lease::LeaseConfig;
use terrane_types::VolumeId;
use terrane_workflow::machine::Status;
use terrane_workflow::{Engine, EngineConfig, WorkflowError, Workflows};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Query;
use crate::jobs::Rules;
use crate::leader::Sight;
use crate::modify::{self, Ground};

/// Times of the engine's lease. Only the manager in office asks for it; the next one waits for it after a crash.
const LEASE: LeaseConfig =
    LeaseConfig { ttl: Duration::from_secs(2), margin_percent: 125, period: Duration::from_millis(600) };
/// How often what moves is told.
const PROGRESS: Duration = Duration::from_millis(250);
/// Runs that are over are forgotten after this time.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two times of forgetting.
const FORGET: Duration = Duration::from_secs(600);
/// Runs that are forgotten at a time.
const FORGET_MAX: usize = 500;

/// What the steps of a modification work on.
pub(super) struct InOffice {
    pub(super) store: Store,
    pub(super) rules: Rules,
    pub(super) queries: mpsc::Sender<Query>,
}

#[async_trait]
impl Ground for InOffice {
    fn store(&self) -> Store {
        self.store.clone()
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    async fn sight(&self, volume: &VolumeId) -> Sight {
        let volume = volume.clone();
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |leader, now| {
            // Who asked may have been interrupted.
            let _ = answer.send(leader.map(|leader| leader.sight(&volume, now)).unwrap_or_default());
        });
        match self.queries.send(query).await {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(_) => Sight::default(),
        }
    }
}

/// Drives all runs until the term is over.
pub(super) async fn work(ground: InOffice, over: CancellationToken) {
    let store = ground.store.clone();
    let workflows = Workflows::new(store.clone());
    for template in modify::templates() {
        while let Err(error) = workflows.publish(&template).await {
            if over.is_cancelled() {
                return;
            }
            tracing::warn!(%error, template = template.name, "a template of workflows is not published");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let config = EngineConfig {
        shard: modify::SHARD.to_owned(),
        progress_every: PROGRESS,
        lease: LEASE,
        ..EngineConfig::default()
    };
    let engine = Engine::new(store, modify::actions(Arc::new(ground)), config);
    let forgetting = async {
        loop {
            tokio::time::sleep(FORGET).await;
            if let Err(error) = forget(&workflows).await {
                tracing::debug!(%error, "workflows of long ago were not forgotten");
            }
        }
    };
    tokio::select! {
        () = engine.run_until(over.cancelled()) => {}
        () = forgetting => {}
    }
}

/// Forgets runs that were over long ago. (By the wall clock, which decides nothing else.)
async fn forget(workflows: &Workflows) -> Result<(), WorkflowError> {
    let old = SystemTime::now().checked_sub(KEPT).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let old = old.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0);
    for status in [Status::Completed, Status::RolledBack] {
        for (id, run) in workflows.with_status(status, FORGET_MAX).await? {
            if run.shard == modify::SHARD && run.created_unix_ms < old {
                workflows.forget(&id).await?;
            }
        }
    }
    Ok(())
}
