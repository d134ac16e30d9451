//! Metrics of the front end, with bounded label sets: operations are s3s's names, codes are status classes.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    operation: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: String,
}

/// Counters and histograms of the S3 front end.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Answer, Counter>,
    seconds: Family<Operation, Histogram>,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) throttled: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // From 100 µs to 13 s to the first byte of the answer.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            received: Counter::default(),
            sent: Counter::default(),
            throttled: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("terrane_s3");
        registry.register("requests", "Answers by operation and status", metrics.requests.clone());
        registry.register_with_unit(
            "answer",
            "Time to the answer's head by operation",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes of object data received",
            Unit::Bytes,
            metrics.received.clone(),
        );
        registry.register_with_unit("sent", "Bytes of object data sent", Unit::Bytes, metrics.sent.clone());
        registry.register("throttled", "Requests refused by rate limits", metrics.throttled.clone());
        metrics
    }

    pub(crate) fn answered(&self, operation: Option<&str>, status: StatusCode, took: Duration) {
        let operation = operation.unwrap_or("refused").to_owned();
        let status = status.as_u16().to_string();
        self.seconds.get_or_create(&Operation { operation: operation.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answer { operation, status }).inc();
    }
}
