//! Object storage: segments, log, keymap engine, workers, compaction, completions.
//!
//! [`ObjectStore`] implements [`service::ObjectService`], the one trait between protocols and storage. Its README
//! tells the parts, the files and the rules that they keep.

mod collect;
pub mod config;
mod convert;
mod data;
mod driver;
mod drives;
mod engine;
pub mod fuzz;
mod meta;
mod metrics;
pub mod model;
pub mod notify;
mod records;
mod redundancy;
mod runs;
mod scrub;
pub mod service;
pub mod space;
mod store;
mod version;

pub use config::ObjectsConfig;
pub use data::SegmentStatus;
pub use drives::{DRIVES_MAX, DriveError};
pub use metrics::Metrics;
pub use redundancy::{Redundancy, RedundancyError};
pub use store::{CheckReport, ObjectStore, OpenError};
pub use terrane_log::mirror::MirrorError;
