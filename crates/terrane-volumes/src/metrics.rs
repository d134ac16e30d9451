//! What the manager counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use terrane_telemetry::Registry;

/// What the decisions count, without any registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) volumes: u64,
    /// Stripes with fewer copies in sync than wanted.
    pub(crate) degraded: u64,
    /// Milliseconds, summed over stripes.
    pub(crate) degraded_ms: u64,
    /// Stripes without a living in-sync copy.
    pub(crate) stranded: u64,
    pub(crate) promotions: u64,
    pub(crate) joins: u64,
    pub(crate) leases: u64,
    pub(crate) suspicions: u64,
    pub(crate) deaths: u64,
    pub(crate) resync_bytes: u64,
    pub(crate) stalls: u64,
    /// Milliseconds from a primary's suspicion to another one's activation; taken out when they are exported.
    pub(crate) failovers: Vec<u64>,
}

/// A manager's metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct ManagerMetrics {
    volumes: Gauge,
    degraded: Gauge,
    stranded: Gauge,
    degraded_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    promotions: Counter,
    joins: Counter,
    leases: Counter,
    suspicions: Counter,
    deaths: Counter,
    resync_bytes: Counter,
    stalls: Counter,
    failover: Histogram,
    transactions: Histogram,
    in_office: Gauge,
}

impl ManagerMetrics {
    /// Registers them, under names that begin with `terrane_volumes_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            volumes: Gauge::default(),
            degraded: Gauge::default(),
            stranded: Gauge::default(),
            degraded_seconds: Counter::default(),
            promotions: Counter::default(),
            joins: Counter::default(),
            leases: Counter::default(),
            suspicions: Counter::default(),
            deaths: Counter::default(),
            resync_bytes: Counter::default(),
            stalls: Counter::default(),
            failover: Histogram::new(exponential_buckets(0.05, 2.0, 12)),
            transactions: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            in_office: Gauge::default(),
        };
        let m = metrics.clone();
        let r = registry.sub_registry_with_prefix("terrane_volumes");
        r.register("volumes", "Volumes", m.volumes);
        r.register("degraded_stripes", "Stripes with fewer copies in sync than wanted", m.degraded);
        r.register("stranded_stripes", "Stripes without a living in-sync copy", m.stranded);
        r.register("degraded_seconds", "Seconds of degraded stripes, summed", m.degraded_seconds);
        r.register("promotions", "Changes of a stripe's primary", m.promotions);
        r.register("joins", "Copies that came in sync", m.joins);
        r.register("manager_leases", "Leases granted to primaries without mirrors", m.leases);
        r.register("suspicions", "Reports of copies that do not answer", m.suspicions);
        r.register("server_deaths", "Block servers that ceased to answer", m.deaths);
        r.register("resync_bytes", "Bytes moved to copies that catch up", m.resync_bytes);
        r.register("manager_stalls", "Times that the manager itself was not running", m.stalls);
        r.register("failover_seconds", "From a primary's suspicion to another one's activation", m.failover);
        r.register("transaction_seconds", "The manager's own transactions", m.transactions);
        r.register("manager_in_office", "1: this manager is in office", m.in_office);
        metrics
    }

    /// Brings the metrics up to what is counted.
    pub(crate) fn export(&self, counts: &mut Counts, exported: &mut Counts) {
        let level = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        level(&self.volumes, counts.volumes);
        level(&self.degraded, counts.degraded);
        level(&self.stranded, counts.stranded);
        for took in counts.failovers.drain(..) {
            self.failover.observe(took as f64 / 1000.0);
        }
        let more = |counter: &Counter, now: u64, before: u64| {
            counter.inc_by(now.saturating_sub(before));
        };
        more(&self.promotions, counts.promotions, exported.promotions);
        more(&self.joins, counts.joins, exported.joins);
        more(&self.leases, counts.leases, exported.leases);
        more(&self.suspicions, counts.suspicions, exported.suspicions);
        more(&self.deaths, counts.deaths, exported.deaths);
        more(&self.resync_bytes, counts.resync_bytes, exported.resync_bytes);
        more(&self.stalls, counts.stalls, exported.stalls);
        let passed = counts.degraded_ms.saturating_sub(exported.degraded_ms);
        self.degraded_seconds.inc_by(passed as f64 / 1000.0);
        *exported = counts.clone();
    }

    pub(crate) fn transaction(&self, seconds: f64) {
        self.transactions.observe(seconds);
    }

    pub(crate) fn in_office(&self, is: bool) {
        self.in_office.set(is.into());
    }
}
