//! What is counted.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use terrane_telemetry::Registry;

/// Metrics of snapshots; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct SnapshotMetrics {
    pub(crate) completed: Counter,
    pub(crate) failed: Counter,
    pub(crate) expired: Counter,
    pub(crate) blocks_written: Counter,
    pub(crate) blocks_read: Counter,
    pub(crate) bytes_stored: Counter,
    pub(crate) chunks_known: Counter,
    pub(crate) jobs: Gauge,
    pub(crate) collections: Counter,
    pub(crate) collections_incomplete: Counter,
    pub(crate) objects_deleted: Counter,
}

impl SnapshotMetrics {
    /// Registers them, under names that begin with `terrane_snapshots_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("terrane_snapshots");
        registry.register("completed", "Snapshots that were completed", metrics.completed.clone());
        registry.register("failed", "Snapshots that came to nothing", metrics.failed.clone());
        registry.register("expired", "Snapshots that nobody completed in time", metrics.expired.clone());
        registry.register(
            "blocks_written",
            "Blocks written by EBS direct calls",
            metrics.blocks_written.clone(),
        );
        registry.register("blocks_read", "Blocks read by EBS direct calls", metrics.blocks_read.clone());
        registry.register(
            "stored_bytes",
            "Bytes of packs and manifests stored",
            metrics.bytes_stored.clone(),
        );
        registry.register("chunks_known", "Chunks that were stored already", metrics.chunks_known.clone());
        registry.register("jobs", "Assemblies and copies waiting or in progress", metrics.jobs.clone());
        registry.register("collections", "Cycles of garbage collection", metrics.collections.clone());
        registry.register(
            "collections_incomplete",
            "Cycles that ended early: something could not be read or listed",
            metrics.collections_incomplete.clone(),
        );
        registry.register("objects_deleted", "Objects that were deleted", metrics.objects_deleted.clone());
        metrics
    }
}
