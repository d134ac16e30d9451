//! The engine: one at a time per shard drives all runs of the shard.
//!
//! A lease makes it one at a time; its epoch is checked in the transaction of every event and travels with
//! every call of an action. One task owns all state; attempts are tasks of their own, at most
//! [`EngineConfig::attempts_max`] of them at work.

mod active;
mod shift;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use terrane_store::Store;
use terrane_store::lease::{Lease, LeaseConfig};
use tokio::sync::Semaphore;

use crate::action::Registry;
use shift::Shift;

/// How an engine works.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Which runs it drives: those that were created for this shard.
    pub shard: String,
    /// Attempts that are at work at the same time; others wait.
    pub attempts_max: usize,
    /// Runs that are kept in memory; others wait in the store.
    pub runs_max: usize,
    /// How often the progress of attempts is written down.
    pub progress_every: Duration,
    /// Times of the lease.
    pub lease: LeaseConfig,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            shard: "default".into(),
            attempts_max: 64,
            runs_max: 1024,
            progress_every: Duration::from_secs(1),
            lease: LeaseConfig::default(),
        }
    }
}

/// Drives the runs of a shard. Any number may be started for one shard, in any processes: one works, the
/// others wait for its lease.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    actions: Registry,
    config: EngineConfig,
    lease: Lease,
    work: Arc<Semaphore>,
}

impl Engine {
    /// An engine; it does nothing until it is run.
    pub fn new(store: Store, actions: Registry, config: EngineConfig) -> Self {
        let name = format!("workflow/{}", config.shard);
        let lease = Lease::new(store.clone(), name, "workflow-engine", config.lease);
        let work = Arc::new(Semaphore::new(config.attempts_max));
        Self { store, actions, config, lease, work }
    }

    /// Works until `stop`, then ends its attempts and gives the lease back. Attempts that are cut off begin
    /// again wherever the next engine runs.
    pub async fn run_until(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let held = tokio::select! {
                held = self.lease.acquire() => held,
                () = &mut stop => return,
            };
            let mut shift = Shift::new(self, held);
            let error = tokio::select! {
                error = shift.work() => Some(error),
                () = &mut stop => None,
            };
            let held = shift.end().await;
            let Some(error) = error else {
                if let Err(error) = self.lease.release(held).await {
                    tracing::info!(%error, "the workflow engine's lease was not given back");
                }
                return;
            };
            tracing::warn!(shard = self.config.shard, %error, "workflow engine starts over");
            tokio::time::sleep(self.config.lease.period).await;
        }
    }
}
