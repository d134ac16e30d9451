//! What the native API works on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use terrane_auth::Auth;
use terrane_ec2::service::SnapshotService;
use terrane_objects::service::ObjectService;
use terrane_store::Store;
use terrane_telemetry::Metrics;
use terrane_telemetry::health::HealthRegistry;
use terrane_telemetry::history::History;
use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
pub(super) use crate::volumes::Volumes;

/// Facts about an installation that do not change while it runs.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Region.
    pub region: String,
    /// Roles of this process.
    pub roles: Vec<String>,
    /// Where backups of the store are put.
    pub backup_dir: PathBuf,
    /// When the process began to serve.
    pub started: Instant,
}

/// What the native API works on.
pub struct App {
    /// Accounts and policy.
    pub auth: Auth,
    /// Objects.
    pub objects: Arc<dyn ObjectService>,
    /// The transactional store.
    pub store: Store,
    /// Metrics.
    pub metrics: Metrics,
    /// A day of metrics.
    pub history: History,
    /// Health.
    pub health: HealthRegistry,
    /// Facts.
    pub installation: Installation,
    /// Volumes, where they are offered.
    pub volumes: Option<Volumes>,
    /// Snapshots, where they are kept.
    pub snapshots: Option<Arc<dyn SnapshotService>>,
    /// Cancelled when the server is about to stop: long polls and event streams end.
    pub closing: CancellationToken,
}

impl App {
    /// Volumes, or the answer that there are none.
    pub(super) fn volumes(&self) -> Result<&Volumes, Problem> {
        self.volumes.as_ref().ok_or_else(|| {
            let text = "this installation runs no block servers: volumes are not offered";
            Problem::new(StatusCode::NOT_IMPLEMENTED, "not-offered", text)
        })
    }
}
