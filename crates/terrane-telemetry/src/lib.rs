//! What an operator sees: structured logs, metrics with a day of history, health with causes, and the audit log
//! of mutating calls.
//!
//! Everything here is bounded: the history in series and samples, the audit log in queue length, file size and
//! number of files. Nothing here can stop or slow a request: when a bound is reached, something is counted and
//! left out, and what was left out is said.

pub mod audit;
pub mod health;
pub mod history;
pub mod logs;
mod metrics;

pub use metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, Metrics};
/// Where every crate registers its metrics: `struct FooMetrics; impl FooMetrics { pub fn register(&mut Registry) -> Self }`.
pub use prometheus_client::registry::Registry;
