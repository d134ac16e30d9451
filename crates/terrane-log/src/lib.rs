//! Segmented append-only log: group commit, checksums, torn-tail recovery, recycling.
//!
//! One [`Log`] has one owner. [`Log::append`] buffers a record and names its
//! place at once; [`Log::sync`] writes the whole batch with one write and makes
//! it durable with one `fdatasync`. [`LogReader`]s are cheap, shared, and see
//! only what is durable. [`mirror::MirrorDisk`] keeps the same log on several drives.
//!
//! What the log promises:
//! * a record whose `sync` returned `Ok` is replayed by every later open, in
//!   append order, byte for byte;
//! * a record that was not acknowledged is either replayed whole or never seen
//!   again: recovery durably erases what follows the tail before the first append;
//! * damage inside the synced region is an error ([`LogError::Corrupt`]), never
//!   a silent truncation. The one case that no single copy can tell from a torn
//!   write is damage to the very last batch;
//! * a failed `fdatasync` is never retried: the log is poisoned.
//!
//! Everything is synchronous and runs over [`disk::Disk`], so that the simulator
//! can lose, tear, reorder and rot what a real disk may.

mod batch;
pub mod bugs;
pub mod config;
pub mod disk;
mod error;
mod frame;
mod log;
pub mod mirror;
mod position;
mod reader;
mod recover;
mod scan;
mod spares;

pub use config::{LogConfig, Preallocate};
pub use error::LogError;
pub use log::{Log, OpenReport, ReplayReport};
pub use position::{Position, RecordLocator};
pub use reader::{LogReader, ScrubReport, SegmentInfo};
