//! The control plane of snapshots.
#![doc = include_str!("../README.md")]

mod config;
mod direct;
mod gc;
mod keys;
mod ledger;
mod metrics;
pub mod objects;
mod rows;
mod service;
mod show;
mod site;
mod tokens;
mod worker;

pub use config::SnapshotsConfig;
pub use metrics::SnapshotMetrics;
pub use site::Snapshots;
pub use tokens::fuzz_decode as fuzz_tokens;
