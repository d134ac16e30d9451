//! Who is well: components report, the registry aggregates.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};

use crate::Registry;

/// How a component is. Ordered from well to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works as it should.
    #[default]
    Ok,
    /// Works, but something needs attention: a bound is near, a redundancy is gone, space is short.
    Degraded,
    /// Does not do its job.
    Failed,
}

/// One component's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it is.
    pub status: Status,
    /// Why it is not [`Status::Ok`], for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The whole process: the worst of its components, and each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The worst status.
    pub status: Status,
    /// Reports by component name.
    pub components: BTreeMap<String, Report>,
}

/// All components of the process. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct HealthRegistry {
    components: Arc<RwLock<BTreeMap<String, Report>>>,
    gauges: Family<Component, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Component {
    component: String,
}

impl HealthRegistry {
    /// An empty registry whose state is also a metric: `terrane_health` by component, 0 ok, 1 degraded, 2 failed.
    pub fn register(registry: &mut Registry) -> Self {
        let health = Self::default();
        registry.register(
            "terrane_health",
            "Health of components: 0 ok, 1 degraded, 2 failed",
            health.gauges.clone(),
        );
        health
    }

    /// Adds a component, which is well until it says otherwise. It is listed for as long as its handle lives.
    /// A second component of the same name replaces the first.
    pub fn component(&self, name: &str) -> HealthHandle {
        let handle = HealthHandle { registry: self.clone(), name: name.into() };
        handle.set(Status::Ok, None);
        handle
    }

    /// The state of all components now.
    pub fn summary(&self) -> Summary {
        let components = self.components.read().clone();
        let status = components.values().map(|report| report.status).max().unwrap_or_default();
        Summary { status, components }
    }
}

/// What a component reports through. Dropping it takes the component off the list.
#[derive(Debug)]
pub struct HealthHandle {
    registry: HealthRegistry,
    name: String,
}

impl HealthHandle {
    /// All is well.
    pub fn ok(&self) {
        self.set(Status::Ok, None);
    }

    /// It works, but…
    pub fn degraded(&self, cause: impl Into<String>) {
        self.set(Status::Degraded, Some(cause.into()));
    }

    /// It does not work, because…
    pub fn failed(&self, cause: impl Into<String>) {
        self.set(Status::Failed, Some(cause.into()));
    }

    fn set(&self, status: Status, cause: Option<String>) {
        let mut components = self.registry.components.write();
        let report = components.entry(self.name.clone()).or_default();
        if report.since.is_empty() || report.status != status {
            if status != Status::Ok {
                tracing::warn!(component = self.name, ?status, cause, "health changed");
            } else if !report.since.is_empty() {
                tracing::info!(component = self.name, "healthy again");
            }
            report.since = jiff::Timestamp::now().to_string();
        }
        report.status = status;
        report.cause = cause;
        let level = match status {
            Status::Ok => 0,
            Status::Degraded => 1,
            Status::Failed => 2,
        };
        self.registry.gauges.get_or_create(&self.label()).set(level);
    }

    fn label(&self) -> Component {
        Component { component: self.name.clone() }
    }
}

impl Drop for HealthHandle {
    fn drop(&mut self) {
        self.registry.components.write().remove(&self.name);
        self.registry.gauges.remove(&self.label());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_component_decides() {
        let metrics = crate::Metrics::new();
        let health = metrics.with(HealthRegistry::register);
        assert_eq!(health.summary().status, Status::Ok);
        let objects = health.component("objects");
        let store = health.component("store");
        objects.degraded("disk is 97 % full");
        assert_eq!(health.summary().status, Status::Degraded);
        store.failed("fsync failed");
        let summary = health.summary();
        assert_eq!(summary.status, Status::Failed);
        assert!(metrics.render().contains("terrane_health{component=\"store\"} 2\n"));
        assert_eq!(summary.components["objects"].cause.as_deref(), Some("disk is 97 % full"));
        store.ok();
        objects.ok();
        assert_eq!(health.summary().status, Status::Ok);
        drop(store);
        assert!(!metrics.render().contains("store"));
        assert_eq!(health.summary().components.len(), 1);
    }

    #[test]
    fn since_is_the_time_of_the_change_of_status() {
        let health = HealthRegistry::default();
        let objects = health.component("objects");
        objects.degraded("a");
        let since = health.summary().components["objects"].since.clone();
        objects.degraded("b");
        let report = health.summary().components["objects"].clone();
        assert_eq!((report.since, report.cause.as_deref()), (since, Some("b")));
    }
}
