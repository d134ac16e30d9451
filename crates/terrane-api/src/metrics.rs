//! Metrics of the front door.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use terrane_telemetry::Registry;

/// The families of protocols that the front door tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Protocol {
    #[expect(non_camel_case_types, reason = "the label's text")]
    s3,
    #[expect(non_camel_case_types, reason = "the label's text")]
    native,
    #[expect(non_camel_case_types, reason = "the label's text")]
    sts,
    #[expect(non_camel_case_types, reason = "the label's text")]
    ec2,
    #[expect(non_camel_case_types, reason = "the label's text")]
    ebs,
    #[expect(non_camel_case_types, reason = "the label's text")]
    other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answer {
    pub(crate) protocol: Protocol,
    /// First digit of the status.
    pub(crate) class: u16,
}

/// Gauges and counters of the front door.
#[derive(Clone, Debug, Default)]
pub struct FrontMetrics {
    pub(crate) connections: Gauge,
    pub(crate) answers: Family<Answer, Counter>,
}

impl FrontMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("terrane_front");
        registry.register("connections", "Connections being served", metrics.connections.clone());
        registry.register("answers", "Answers by protocol and class of status", metrics.answers.clone());
        metrics
    }
}
