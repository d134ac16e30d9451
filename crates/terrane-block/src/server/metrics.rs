//! What the server measures. One set for all servers of a process, told apart by the label `server`.

use super::devices::Class;
use crate::engine::media::DataPath;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use terrane_block_wire::control::PoolName;
use terrane_qos::Use;
use terrane_telemetry::Registry;

/// Which server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ServerLabel {
    server: String,
}

/// Which server, and which of its pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PoolLabels {
    server: String,
    pool: String,
}

/// Which server, and how it uses its drives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PathLabels {
    server: String,
    path: &'static str,
}

/// Which server, and what its drives are used for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UseLabels {
    server: String,
    class: &'static str,
}

/// Which server, and which stage of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    server: String,
    stage: &'static str,
}

fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_002, 2.0, 21))
}

/// Metrics of all block servers of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlockMetrics {
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    resync_bytes: Family<ServerLabel, Counter>,
    degraded_seconds: Family<ServerLabel, Counter<f64, std::sync::atomic::AtomicU64>>,
    checksum_errors: Family<ServerLabel, Counter>,
    failed_lives: Family<ServerLabel, Counter>,
    copies: Family<ServerLabel, Gauge>,
    scrubbed_bytes: Family<ServerLabel, Counter>,
    pools_troubled: Family<PoolLabels, Gauge>,
    data_path: Family<PathLabels, Gauge>,
    limited: Family<ServerLabel, Counter>,
    drive_busy: Family<UseLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    drive_waited: Family<UseLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
}

impl Default for BlockMetrics {
    fn default() -> Self {
        Self {
            stages: Family::new_with_constructor(latencies),
            resync_bytes: Family::default(),
            degraded_seconds: Family::default(),
            checksum_errors: Family::default(),
            failed_lives: Family::default(),
            copies: Family::default(),
            scrubbed_bytes: Family::default(),
            pools_troubled: Family::default(),
            data_path: Family::default(),
            limited: Family::default(),
            drive_busy: Family::default(),
            drive_waited: Family::default(),
        }
    }
}

impl BlockMetrics {
    /// Registers them: once per process.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("terrane_block");
        let help = "Time that a request spends in a stage: read and write (local disk), log (journal), flush \
                    (local disk), replicate (mirror's answer)";
        registry.register("stage_seconds", help, metrics.stages.clone());
        registry.register(
            "resync_bytes",
            "Bytes sent to bring copies up to date",
            metrics.resync_bytes.clone(),
        );
        let help = "Seconds during which stripes led here lacked a copy, summed over stripes";
        registry.register("degraded_seconds", help, metrics.degraded_seconds.clone());
        registry.register("checksum_errors", "Blocks found damaged", metrics.checksum_errors.clone());
        let help = "Copies that began a new life because a write or a flush failed";
        registry.register("failed_lives", help, metrics.failed_lives.clone());
        registry.register("copies", "Copies on this server", metrics.copies.clone());
        registry.register("scrubbed_bytes", "Bytes read by scrubbing", metrics.scrubbed_bytes.clone());
        let help =
            "Pools that take no new copies: full, failed, read-only, or on a drive that does not answer";
        registry.register("pool_troubled", help, metrics.pools_troubled.clone());
        let help = "1 for the way in which the server's drives are used: io_uring or portable";
        registry.register("data_path", help, metrics.data_path.clone());
        let help = "Requests of clients that waited for the limits of their volume";
        registry.register("limited_requests", help, metrics.limited.clone());
        let help = "Time that drives had requests, summed over requests, by what they were for: volume, resync, snapshot, scrub";
        registry.register("drive_busy_seconds", help, metrics.drive_busy.clone());
        let help = "Time that requests waited until their drive was to have them, summed over requests";
        registry.register("drive_waited_seconds", help, metrics.drive_waited.clone());
        metrics
    }

    pub(super) fn data_path(&self, server: &str, path: DataPath) {
        let labels = PathLabels { server: server.to_owned(), path: path.text() };
        self.data_path.get_or_create(&labels).set(1);
    }

    pub(super) fn of(&self, server: &str) -> ServerMetrics {
        let stage = |stage| {
            let labels = StageLabels { server: server.to_owned(), stage };
            self.stages.get_or_create_owned(&labels)
        };
        let label = ServerLabel { server: server.to_owned() };
        let pools = (server.to_owned(), self.pools_troubled.clone());
        let used = (server.to_owned(), self.drive_busy.clone(), self.drive_waited.clone());
        ServerMetrics {
            read: stage("read"),
            write: stage("write"),
            log: stage("log"),
            flush: stage("flush"),
            replicate: stage("replicate"),
            resync_bytes: self.resync_bytes.get_or_create_owned(&label),
            degraded_seconds: self.degraded_seconds.get_or_create_owned(&label),
            checksum_errors: self.checksum_errors.get_or_create_owned(&label),
            failed_lives: self.failed_lives.get_or_create_owned(&label),
            copies: self.copies.get_or_create_owned(&label),
            scrubbed_bytes: self.scrubbed_bytes.get_or_create_owned(&label),
            limited: self.limited.get_or_create_owned(&label),
            pools,
            used,
        }
    }
}

/// One server's.
#[derive(Clone, Debug)]
pub(super) struct ServerMetrics {
    pub(super) read: Histogram,
    pub(super) write: Histogram,
    pub(super) log: Histogram,
    pub(super) flush: Histogram,
    pub(super) replicate: Histogram,
    pub(super) resync_bytes: Counter,
    pub(super) degraded_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    pub(super) checksum_errors: Counter,
    pub(super) failed_lives: Counter,
    pub(super) copies: Gauge,
    pub(super) scrubbed_bytes: Counter,
    pub(super) limited: Counter,
    pools: (String, Family<PoolLabels, Gauge>),
    used: (String, SecondsOf, SecondsOf),
}

type SecondsOf = Family<UseLabels, Counter<f64, std::sync::atomic::AtomicU64>>;

impl ServerMetrics {
    /// A drive was used so much.
    pub(super) fn drive_used(&self, class: Class, used: &Use) {
        let (server, busy, waited) = &self.used;
        let class = match class {
            Class::Volume => "volume",
            Class::Resync => "resync",
            Class::Snapshot => "snapshot",
            Class::Scrub => "scrub",
        };
        let labels = UseLabels { server: server.clone(), class };
        busy.get_or_create(&labels).inc_by(used.busy as f64 / 1e9);
        waited.get_or_create(&labels).inc_by(used.waited as f64 / 1e9);
    }

    /// How a pool is.
    pub(super) fn pool_troubled(&self, pool: PoolName, troubled: bool) {
        let (server, pools) = &self.pools;
        let labels = PoolLabels { server: server.clone(), pool: format!("{:032x}", pool.0) };
        pools.get_or_create(&labels).set(i64::from(troubled));
    }
}
