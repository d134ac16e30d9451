//! The keymap core: sequencer, overlay, queues, progress. No I/O; takes time as an argument.
//!
//! A [`Shard`] owns one log's order of writes. The driver feeds [`Input`]s with the time and drains [`Output`]s;
//! readers use the published [`View`]s with [`reader`], [`lookup`] and [`list`]. See the crate's README for the map
//! from rules to modules.

pub mod batch;
pub mod bucket;
pub mod class;
pub mod completion;
pub mod config;
pub mod etag;
pub mod events;
pub mod head;
pub mod ids;
pub mod keymap;
pub mod list;
pub mod lookup;
pub mod reader;
pub mod record;
pub mod rows;
pub mod run;
pub mod shard;
pub mod write;

pub use batch::Batch;
pub use config::{Bugs, ShardConfig};
pub use events::{Input, Output, Overlay, View};
pub use ids::{
    BatchId, Epoch, Extent, Guard, Incarnation, Locator, Lsn, OpRef, RunId, SLOTS, Slot, Timestamp, WorkerId,
};
pub use record::Record;
pub use rows::{RowId, RowName, Sub};
pub use shard::{Recovery, RecoveryError, Shard};
