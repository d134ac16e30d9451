//! The volume manager: owns the truth about volumes, stripes, copies and attachments.
//!
//! * [`Manager`] answers calls ([`terrane_ec2::service::VolumeService`], and [`admin`]'s for people): each one transaction
//!   over the store, on any manager.
//! * One manager is in office (`office`). It takes the connections of block servers and node managers (`run`), believes
//!   what it hears (`liveness`), and decides (`leader`: events in, actions out, no I/O): who is primary, which
//!   copies join, are replaced or let go (`stripe`, over the rules of `terrane_block_core::manager`). What it decides, it
//!   decides again on the stored rows, in transactions that check that it is still in office (`jobs`).
//! * `placement` finds room; `rebuild` makes everything anew from the copies' own reports.

pub mod admin;
mod config;
mod db;
mod jobs;
mod leader;
mod liveness;
mod manager;
mod metrics;
mod modify;
mod office;
mod performance;
mod placement;
mod rebuild;
mod rows;
mod run;
mod service;
mod stripe;

pub use config::{ManagerConfig, Timing};
pub use manager::{Manager, StartError};
pub use metrics::ManagerMetrics;
