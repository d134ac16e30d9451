//! The driver: connections, the store and the clock around [`crate::leader::Leader`].

mod engine;
mod sessions;
mod term;

use std::sync::Arc;

use terrane_block_wire::transport::{Connection, Listener};
use terrane_telemetry::health::HealthHandle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ManagerConfig;
use crate::leader::Leader;
use crate::liveness::Millis;
use crate::metrics::ManagerMetrics;
use crate::office::{Candidate, Office, Term};

/// Something to be looked up or done in the manager's memory. `None`: this manager is not in office.
pub(crate) type Query = Box<dyn FnOnce(Option<&mut Leader>, Millis) + Send>;

/// Connections that wait to be looked at.
const INCOMING_MAX: usize = 64;
/// Connections that wait for an election.
const WAITING_MAX: usize = 4096;

/// Everything that the driver needs.
pub(crate) struct Driver {
    pub(crate) config: Arc<ManagerConfig>,
    pub(crate) metrics: ManagerMetrics,
    pub(crate) health: HealthHandle,
    pub(crate) queries: mpsc::Receiver<Query>,
    /// Where to ask as anybody else does.
    pub(crate) asking: mpsc::Sender<Query>,
    pub(crate) stop: CancellationToken,
}

impl Driver {
    /// Until it is stopped.
    pub(crate) async fn run(mut self, listener: Listener) {
        let (sender, mut incoming) = mpsc::channel(INCOMING_MAX);
        let accepting = tokio::spawn(accept(listener, sender, self.stop.clone()));
        while !self.stop.is_cancelled() {
            if self.config.exclusive {
                match Office::alone(&self.config.store).await {
                    Ok(office) => self.serve(office, None, Vec::new(), &mut incoming).await,
                    Err(error) => {
                        tracing::error!(%error, "the manager cannot take office");
                        self.health.failed(format!("cannot take office: {error}"));
                        self.pause(std::time::Duration::from_secs(1)).await;
                    }
                }
            } else if let Some((term, waiting)) = self.campaign(&mut incoming).await {
                self.serve(term.office(), Some(term), waiting, &mut incoming).await;
            }
        }
        drop(incoming);
        if let Err(error) = accepting.await {
            tracing::error!(%error, "taking connections broke off");
        }
    }

    async fn pause(&self, time: std::time::Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Waits for the office. Whoever connects meanwhile is sent on, but while the office seems to become free: then they
    /// wait for the election as well, so that they need not find out who won.
    async fn campaign(
        &mut self,
        incoming: &mut mpsc::Receiver<Connection>,
    ) -> Option<(Term, Vec<Connection>)> {
        let mut candidate = Candidate::new(self.config.store.clone(), self.config.timing.office);
        let mut period = tokio::time::interval(candidate.period());
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                Some(connection) = incoming.recv() => {
                    // A closed connection sends them on to the next manager. (To be rejected would mean: not wanted at all.)
                    if candidate.expects() && waiting.len() < WAITING_MAX {
                        waiting.push(connection);
                    }
                }
                Some(query) = self.queries.recv() => query(None, crate::office::now()),
                _ = period.tick() => match candidate.try_take().await {
                    Ok(Some(term)) => return Some((term, waiting)),
                    Ok(None) => {
                        self.health.ok();
                        if !candidate.expects() {
                            waiting.clear();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the store does not answer");
                        self.health.failed(format!("the store does not answer: {error}"));
                    }
                },
            }
        }
    }
}

async fn accept(mut listener: Listener, to: mpsc::Sender<Connection>, stop: CancellationToken) {
    loop {
        let connection = tokio::select! {
            () = stop.cancelled() => return,
            connection = listener.accept() => connection,
        };
        if to.send(connection).await.is_err() {
            return;
        }
    }
}
