//! Metrics of the node manager.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    operation: &'static str,
}

/// Counters and latencies of a node manager; clones share them.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// From the NBD request to its answer.
    pub(crate) read: Histogram,
    pub(crate) write: Histogram,
    pub(crate) zero: Histogram,
    pub(crate) flush: Histogram,
    /// From when a request to a stripe is there until it is first sent: sessions that open, overlapping writes.
    pub(crate) waiting: Histogram,
    /// From when it is last sent to its answer.
    pub(crate) primary: Histogram,
    /// Requests sent again in a new session.
    pub(crate) resends: Counter,
    /// Sessions begun after the first one of a stripe.
    pub(crate) reconnects: Counter,
    /// Primaries reported to the manager because they did not answer.
    pub(crate) suspects: Counter,
    /// Writes of parts of blocks, which read first.
    pub(crate) partial_writes: Counter,
    /// Reads answered from memory.
    pub(crate) cache_hits: Counter,
    /// Reads that were not, although something is kept in memory.
    pub(crate) cache_misses: Counter,
    /// Bytes of blocks that are kept in memory.
    pub(crate) cache_bytes: Gauge,
    /// Volumes served.
    pub(crate) volumes: Gauge,
    /// NBD connections that use one.
    pub(crate) clients: Gauge,
    /// Whether the manager is heard.
    pub(crate) manager_connected: Gauge,
}

impl NodeMetrics {
    /// Registers all of them, with the prefix `terrane_node`.
    pub fn register(registry: &mut Registry) -> Self {
        // From 8 µs to 17 s.
        let histogram = || Histogram::new(exponential_buckets(0.000_008, 2.0, 22));
        let requests = Family::<Label, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        let operation = |operation| requests.get_or_create(&Label { operation }).clone();
        let metrics = Self {
            read: operation("read"),
            write: operation("write"),
            zero: operation("zero"),
            flush: operation("flush"),
            waiting: histogram(),
            primary: histogram(),
            resends: Counter::default(),
            reconnects: Counter::default(),
            suspects: Counter::default(),
            partial_writes: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_bytes: Gauge::default(),
            volumes: Gauge::default(),
            clients: Gauge::default(),
            manager_connected: Gauge::default(),
        };
        let r = registry.sub_registry_with_prefix("terrane_node");
        let seconds = Unit::Seconds;
        r.register_with_unit("request", "From an NBD request to its answer", seconds, requests);
        let waiting = metrics.waiting.clone();
        r.register_with_unit("waiting", "Until a request is sent to the primary", Unit::Seconds, waiting);
        let primary = metrics.primary.clone();
        r.register_with_unit("primary", "From sending a request to its answer", Unit::Seconds, primary);
        r.register("resends", "Requests sent again in a new session", metrics.resends.clone());
        r.register("reconnects", "Sessions begun after the first one", metrics.reconnects.clone());
        r.register("suspects", "Primaries reported as silent", metrics.suspects.clone());
        r.register("partial_writes", "Writes of parts of blocks", metrics.partial_writes.clone());
        r.register("cache_hits", "Reads answered from memory", metrics.cache_hits.clone());
        r.register("cache_misses", "Reads that memory had no answer to", metrics.cache_misses.clone());
        r.register("cache_bytes", "Bytes of blocks kept in memory", metrics.cache_bytes.clone());
        r.register("volumes", "Volumes served", metrics.volumes.clone());
        r.register("clients", "NBD connections that use a volume", metrics.clients.clone());
        r.register("manager_connected", "Whether the manager is heard", metrics.manager_connected.clone());
        metrics
    }
}

/// Notes how long something took.
pub(crate) fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}
