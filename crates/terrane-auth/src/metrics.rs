//! What an operator sees of authentication and admission.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a sender is not known: an error code, of which there are about twenty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
}

/// Counters; those of a handle that was never registered count for nobody.
#[derive(Clone, Debug, Default)]
pub struct AuthMetrics {
    pub(crate) refused: Family<Refusal, Counter>,
    pub(crate) throttled: Counter,
    pub(crate) cached: Counter,
    pub(crate) loaded: Counter,
}

impl AuthMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("terrane_auth");
        let refused = "Requests whose signature, key or token was refused, by error code";
        registry.register("refused", refused, metrics.refused.clone());
        let throttled = "Requests refused because of their account's rate limit";
        registry.register("throttled", throttled, metrics.throttled.clone());
        let cached = "Credentials, tokens and users found in memory";
        registry.register("lookups_cached", cached, metrics.cached.clone());
        let loaded = "Credentials, tokens and users read from the store";
        registry.register("lookups_loaded", loaded, metrics.loaded.clone());
        metrics
    }
}
