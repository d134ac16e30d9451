//! Storage engine: copies of stripes in sparse files, verified by checksums, recovered from a journal.
//!
//! A [`Pool`] is a directory on one drive. A [`Copy`] is one sparse file in it: groups of 1 MiB of data, each behind
//! the table that says what every 4 KiB block of it should be. One `fdatasync` of the file makes data and table
//! durable together. What must be durable *before* data (the activity log) and what belongs to the copy as a whole
//! (the replication record, bitmaps of absent copies) goes to the pool's journal, where many copies share a sync.
//!
//! Why one file per copy: what a deleted copy had goes back to the file system, which hands out only zeros, so
//! nobody can read what another volume left; room is taken as it is written and given back by TRIM without an
//! allocator of ours; and a FLUSH of one volume does not wait for the bytes of another.
//!
//! What it promises:
//! * A write that returned is with the kernel, table entry included: it survives the death of the process. After
//!   [`Copy::flush`] it survives the machine's.
//! * After a crash a block in a logged extent reads as one of the contents that it had since the last flush, or as
//!   [`Kind::Invalid`], to be taken from another copy. A block anywhere else reads as what was flushed, or as
//!   [`Kind::Corrupt`]. Never as anything else.
//! * Writes go only to extents that are logged durably ([`Op::Enter`]); an extent leaves the log ([`Op::Retire`])
//!   only when all of it is flushed.
//! * A failed sync or write is not retried: the copy fails until it is opened again, which is a new incarnation.
//! * What a deleted copy or a TRIM freed reads as zeros for whoever gets the room next.
//! * A full drive refuses what needs room ([`EngineError::NoSpace`]); overwrites, trims and flushes go on.
//!
//! All calls are synchronous and may come from any thread. [`Copy::read`], [`Copy::write`] and [`Copy::zero`] wait
//! only for the page cache; [`Copy::commit`], [`Copy::flush`] and [`Copy::verify`] wait for the drive and belong on
//! a thread that may block ([`Copy::submit`] is for those that may not).

mod bitmap;
pub mod bugs;
mod codec;
mod config;
mod copy;
mod cut;
mod entry;
mod error;
pub mod fuzz;
mod group;
mod identity;
mod journal;
mod layout;
mod leaf;
pub mod media;
mod pool;
mod record;

pub use bitmap::Bitmap;
pub use config::{Declared, Drive, PoolConfig};
pub use copy::{Contents, Copy, Kind, Run, Usage};
pub use cut::{CutStatus, Phase};
pub use error::EngineError;
pub use identity::PoolId;
pub use layout::{BLOCK, Geometry};
pub use pool::{Pool, PoolReport, PoolUsage};
pub use record::{CopyKey, CopyState, CutId, CutState, Op, Origin};
