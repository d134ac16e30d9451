//! The registry of all metrics of the process.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The process's metrics. Clones share one registry. Each crate registers below a prefix of its own:
/// `registry.sub_registry_with_prefix("terrane_s3")`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::default())) }
    }

    /// Lets a component register its metrics: `metrics.with(S3Metrics::register)`.
    pub fn with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock())
    }

    /// All metrics in the OpenMetrics text format 1.0.0, which Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        text::encode(&mut text, &self.registry.lock()).expect("writing to a String does not fail");
        text
    }
}

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn registered_metrics_are_rendered() {
        let metrics = Metrics::new();
        let counter = Counter::<u64>::default();
        metrics.with(|registry| registry.register("terrane_puts", "Puts served", counter.clone()));
        counter.inc_by(3);
        let text = metrics.render();
        assert!(text.contains("terrane_puts_total 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
