//! What the object store tells Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A queue class by name.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ClassLabel {
    pub(crate) class: &'static str,
}

type PerClass = Family<ClassLabel, Gauge<f64, AtomicU64>>;

/// A drive by its place in the configuration.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DriveLabel {
    pub(crate) drive: u32,
}

/// Metrics of the drives.
pub(crate) struct DriveMetrics {
    pub(crate) live: Family<DriveLabel, Gauge>,
    pub(crate) free_bytes: Family<DriveLabel, Gauge>,
    pub(crate) data_bytes: Family<DriveLabel, Gauge>,
    pub(crate) errors: Family<DriveLabel, Counter>,
    pub(crate) repaired_blocks: Family<DriveLabel, Counter>,
    pub(crate) degraded_segments: Gauge,
    pub(crate) reads_around: Counter,
    pub(crate) log_healed: Counter,
    pub(crate) log_reads_around: Counter,
}

impl DriveMetrics {
    fn register(r: &mut Registry) -> Self {
        Self {
            live: add(r, "drive_live", "Whether the drive is in use", Family::default()),
            free_bytes: add(r, "drive_free_bytes", "Free bytes of the drive", Family::default()),
            data_bytes: add(r, "drive_data_bytes", "Bytes of shards on the drive", Family::default()),
            errors: add(r, "drive_errors", "Failures of the drive and damage met on it", Family::default()),
            repaired_blocks: add(
                r,
                "drive_repaired_blocks",
                "Blocks written anew to the drive",
                Family::default(),
            ),
            degraded_segments: add(
                r,
                "degraded_segments",
                "Segments of which a shard is on no drive in use",
                Gauge::default(),
            ),
            reads_around: add(r, "reads_around", "Reads that went around damage or loss", Counter::default()),
            log_healed: add(
                r,
                "log_healed",
                "Pieces of the log written anew from another drive",
                Counter::default(),
            ),
            log_reads_around: add(
                r,
                "log_reads_around",
                "Reads of the log that one drive failed and another answered",
                Counter::default(),
            ),
        }
    }
}

/// Metrics of one store.
pub struct Metrics {
    pub(crate) queue_depth: PerClass,
    pub(crate) queue_bytes: PerClass,
    pub(crate) queue_age_seconds: PerClass,
    pub(crate) queue_rate: PerClass,
    pub(crate) mode: Gauge,
    pub(crate) mode_switches: Counter,
    pub(crate) load: Gauge<f64, AtomicU64>,
    pub(crate) workers: Gauge,
    pub(crate) rows_applied: Counter,
    pub(crate) batches: Counter,
    pub(crate) batch_seconds: Histogram,
    pub(crate) log_sync_seconds: Histogram,
    pub(crate) log_records: Counter,
    pub(crate) log_bytes: Counter,
    pub(crate) log_segments: Gauge,
    pub(crate) data_segments: Gauge,
    pub(crate) data_bytes: Gauge,
    pub(crate) data_live_bytes: Gauge,
    pub(crate) data_moved_bytes: Counter,
    pub(crate) spill_runs: Gauge,
    pub(crate) keymap_memory_bytes: Gauge,
    pub(crate) keymap_disk_bytes: Gauge,
    pub(crate) disk_free_bytes: Gauge,
    pub(crate) dead_letters: Counter,
    pub(crate) webhook_deliveries: Counter,
    pub(crate) webhook_failures: Counter,
    pub(crate) webhook_dead_letters: Counter,
    pub(crate) corrupt_reads: Counter,
    pub(crate) drives: DriveMetrics,
    pub(crate) scrubbed_bytes: Counter,
    pub(crate) lost_blocks: Counter,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("terrane_objects");
        Self {
            queue_depth: add(r, "queue_entries", "Pending entries by class", PerClass::default()),
            queue_bytes: add(r, "queue_bytes", "Memory of pending entries by class", PerClass::default()),
            queue_age_seconds: add(
                r,
                "queue_age_seconds",
                "Age of the oldest pending entry",
                PerClass::default(),
            ),
            queue_rate: add(
                r,
                "queue_applied_per_second",
                "Smoothed rate of application",
                PerClass::default(),
            ),
            mode: add(r, "load_level", "Load thresholds passed: 0 is synchronous", Gauge::default()),
            mode_switches: add(r, "load_level_changes", "Changes of the load level", Counter::default()),
            load: add(r, "load_transactions_per_second", "Smoothed load", Gauge::default()),
            workers: add(r, "workers", "Keymap workers", Gauge::default()),
            rows_applied: add(r, "rows_applied", "Row changes committed to the keymap", Counter::default()),
            batches: add(r, "batches_applied", "Batches committed to the keymap", Counter::default()),
            batch_seconds: timing(r, "batch", "Time to commit a batch to the keymap"),
            log_sync_seconds: timing(r, "log_sync", "Time to write and sync a batch of records"),
            log_records: add(r, "log_records", "Records made durable", Counter::default()),
            log_bytes: add(r, "log_written_bytes", "Bytes of records made durable", Counter::default()),
            log_segments: add(r, "log_segments", "Segments of the log", Gauge::default()),
            data_segments: add(r, "data_segments", "Segments of bulk data", Gauge::default()),
            data_bytes: add(r, "data_bytes", "Bytes of bulk data segments", Gauge::default()),
            data_live_bytes: add(
                r,
                "data_live_bytes",
                "Bytes of bulk data that rows refer to",
                Gauge::default(),
            ),
            data_moved_bytes: add(r, "data_moved_bytes", "Bytes moved by compaction", Counter::default()),
            spill_runs: add(r, "spill_runs", "Spill runs", Gauge::default()),
            keymap_memory_bytes: add(r, "keymap_memory_bytes", "Unsynced keymap memory", Gauge::default()),
            keymap_disk_bytes: add(r, "keymap_disk_bytes", "Keymap tables on disk", Gauge::default()),
            disk_free_bytes: add(
                r,
                "disk_free_bytes",
                "Free bytes of the data directory or the fullest drive",
                Gauge::default(),
            ),
            dead_letters: add(r, "dead_letters", "Completions given up", Counter::default()),
            webhook_deliveries: add(
                r,
                "webhook_deliveries",
                "Completions delivered to webhooks",
                Counter::default(),
            ),
            webhook_failures: add(r, "webhook_failures", "Failed webhook attempts", Counter::default()),
            webhook_dead_letters: add(
                r,
                "webhook_dead_letters",
                "Completions that a webhook never took",
                Counter::default(),
            ),
            corrupt_reads: add(r, "corrupt_reads", "Reads that met damaged bytes", Counter::default()),
            drives: DriveMetrics::register(r),
            scrubbed_bytes: add(
                r,
                "scrubbed_bytes",
                "Bytes of shards verified by scrubbing",
                Counter::default(),
            ),
            lost_blocks: add(r, "lost_blocks", "Blocks that scrubbing found lost", Counter::default()),
        }
    }

    pub(crate) fn log_synced(&self, took: Duration, records: usize, bytes: usize) {
        self.log_sync_seconds.observe(took.as_secs_f64());
        self.log_records.inc_by(records as u64);
        self.log_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn batch_applied(&self, took: Duration, rows: usize) {
        self.batch_seconds.observe(took.as_secs_f64());
        self.batches.inc();
        self.rows_applied.inc_by(rows as u64);
    }
}

fn add<M: prometheus_client::registry::Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn timing(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}
