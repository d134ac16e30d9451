//! Looks after the parts of a server and reports how they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use terrane_objects::service::{DriveState, ObjectService};
use terrane_store::{Store, StoreError};
use terrane_telemetry::health::{HealthHandle, HealthRegistry};
use terrane_types::ByteSize;

const INTERVAL: Duration = Duration::from_secs(5);
/// A part that does not answer for so long does not work.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often what is kept only for a time is deleted, in looks.
const MAINTAIN_EVERY: u32 = 12;

/// What is looked at.
pub(super) struct Monitor {
    root: PathBuf,
    store: Store,
    objects: Arc<dyn ObjectService>,
    disk_health: HealthHandle,
    store_health: HealthHandle,
    objects_health: HealthHandle,
}

impl Monitor {
    /// All parts are well until the first look.
    pub(super) fn new(
        health: &HealthRegistry,
        root: &Path,
        store: Store,
        objects: Arc<dyn ObjectService>,
    ) -> Self {
        Self {
            root: root.into(),
            store,
            objects,
            disk_health: health.component("disk"),
            store_health: health.component("store"),
            objects_health: health.component("objects"),
        }
    }

    /// Looks every few seconds.
    pub(super) async fn run(self, reserve_bytes: u64) {
        for look in 0u32.. {
            self.look_at_disk(reserve_bytes).await;
            self.look_at_store().await;
            self.look_at_objects().await;
            if look % MAINTAIN_EVERY == 0
                && let Err(error) = self.store.maintain().await
            {
                tracing::warn!(%error, "the store cannot be tidied up");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look_at_disk(&self, reserve_bytes: u64) {
        let root = self.root.clone();
        let free = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&root)).await;
        match free {
            Ok(Ok(stat)) => {
                let free = stat.blocks_available().saturating_mul(stat.fragment_size());
                if free < reserve_bytes {
                    let (free, reserve) = (ByteSize(free >> 20 << 20), ByteSize(reserve_bytes));
                    self.disk_health.degraded(format!(
                        "{free} free, less than the reserve of {reserve}: writes are refused, reads and deletes go on"
                    ));
                } else {
                    self.disk_health.ok();
                }
            }
            Ok(Err(error)) => self.disk_health.degraded(format!("free space cannot be learnt: {error}")),
            Err(error) => self.disk_health.degraded(format!("free space cannot be learnt: {error}")),
        }
    }

    async fn look_at_store(&self) {
        let read = self.store.read(|tx| async move { tx.get(b"health").await.map(drop) });
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(())) => self.store_health.ok(),
            Ok(Err(error @ StoreError::Unavailable(_))) => self.store_health.failed(error.to_string()),
            Ok(Err(error)) => self.store_health.degraded(error.to_string()),
            Err(_) => self.store_health.failed(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// What is wrong with the drives.
    async fn cause_in_drives(&self) -> Option<String> {
        let status = match self.objects.drives().await {
            Ok(status) => status,
            Err(error) => return Some(error.to_string()),
        };
        let out = status.drives.iter().filter(|drive| drive.state != DriveState::Live);
        let out: Vec<String> = out
            .map(|d| format!("drive {}: {}", d.path, d.cause.as_deref().unwrap_or("not in use")))
            .collect();
        if !out.is_empty() {
            return Some(out.join("; "));
        }
        let behind =
            status.drives.iter().find(|drive| drive.log.as_deref().is_some_and(|log| log != "current"));
        if let Some(drive) = behind {
            return Some(format!("the copy of the log on {} is not current", drive.path));
        }
        match status.degraded_segments {
            0 => None,
            count => Some(format!("{count} data segments lack a shard: see `terrane drive list`")),
        }
    }

    async fn look_at_objects(&self) {
        match tokio::time::timeout(PATIENCE, self.objects.queues()).await {
            Ok(Ok(queues)) => {
                let paused: Vec<_> =
                    queues.iter().filter(|queue| queue.paused).map(|queue| &*queue.class).collect();
                if !paused.is_empty() {
                    self.objects_health.degraded(format!("paused queues: {}", paused.join(", ")));
                } else if let Some(cause) = self.cause_in_drives().await {
                    self.objects_health.degraded(cause);
                } else {
                    self.objects_health.ok();
                }
            }
            Ok(Err(error)) => self.objects_health.failed(error.to_string()),
            Err(_) => self.objects_health.failed(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}
