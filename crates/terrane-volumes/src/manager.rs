//! The handle of a manager.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::Listener;
use terrane_ec2::service::ServiceError;
use terrane_workflow::Workflows;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ManagerConfig;
use crate::leader::Leader;
use crate::metrics::ManagerMetrics;
use crate::run::{Driver, Query};

/// Questions that wait for the manager in office.
const QUERIES_MAX: usize = 256;

/// A manager; clones are the same one. It is a [`terrane_ec2::service::VolumeService`].
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ManagerConfig>,
    control: SocketAddr,
    queries: mpsc::Sender<Query>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Why a manager could not be started.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address}: {source}")]
pub struct StartError {
    address: SocketAddr,
    #[source]
    source: terrane_block_wire::WireError,
}

impl Manager {
    /// Starts a manager on the runtime of the caller. It answers calls at once, and decides as soon as it is in office.
    ///
    /// # Errors
    /// The address is taken, or is not loopback and there is no certificate.
    pub async fn start(config: ManagerConfig, metrics: ManagerMetrics) -> Result<Self, StartError> {
        let (address, credentials) = (config.listen, config.credentials.clone());
        let listener = Listener::bind(address, credentials, Protocol::Control, 0).await;
        let listener = listener.map_err(|source| StartError { address, source })?;
        let control = listener.address();
        let config = Arc::new(config);
        let (queries, asked) = mpsc::channel(QUERIES_MAX);
        let stop = CancellationToken::new();
        let driver = Driver {
            metrics,
            health: config.health.component("volumes"),
            config: config.clone(),
            queries: asked,
            asking: queries.clone(),
            stop: stop.clone(),
        };
        let task = Mutex::new(Some(tokio::spawn(driver.run(listener))));
        Ok(Self { inner: Arc::new(Inner { config, control, queries, stop, task }) })
    }

    /// One that only answers calls: tests decide by themselves.
    #[cfg(test)]
    pub(crate) fn without_driver(config: ManagerConfig) -> Self {
        let (queries, _) = mpsc::channel(1);
        let (config, stop) = (Arc::new(config), CancellationToken::new());
        let control = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { inner: Arc::new(Inner { config, control, queries, stop, task: Mutex::new(None) }) }
    }

    /// Where block servers and node managers connect.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.inner.control
    }

    /// Ends it: connections are closed, the office is given back.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        let task = self.inner.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the manager broke off");
        }
    }

    /// The workflows of its store.
    pub(crate) fn workflows(&self) -> Workflows {
        Workflows::new(self.inner.config.store.clone())
    }

    pub(crate) fn config(&self) -> &ManagerConfig {
        &self.inner.config
    }

    /// Asks the manager in office, if it is this one. `None` reaches `question` if it is not.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Option<&mut Leader>) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let gone = || ServiceError::Unavailable("the volume manager is not running".to_owned());
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |leader, _| {
            // Whoever asked may be gone.
            let _ = answer.send(question(leader));
        });
        self.inner.queries.send(query).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("control", &self.inner.control).finish_non_exhaustive()
    }
}
