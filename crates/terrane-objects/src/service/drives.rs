//! Drives and their verification, as operators see them.

use serde::{Deserialize, Serialize};

/// Whether a drive is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriveState {
    /// It is.
    Live,
    /// It was not there at the start, or is not known.
    Missing,
    /// A write or sync failed; it stays out until the next start.
    Failed,
}

/// A drive of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveStatus {
    /// Its place in the configuration, from 0.
    pub number: usize,
    /// Its directory.
    pub path: String,
    /// Its identity, where it has one.
    pub id: Option<String>,
    /// Whether it is in use.
    pub state: DriveState,
    /// Why not.
    pub cause: Option<String>,
    /// How its copy of the log stands: `current`, `behind`, `copying`, `lost`; `None` where it holds none.
    pub log: Option<String>,
    /// Free bytes of its file system at the last look.
    pub free_bytes: u64,
    /// Bytes of the data segments' shards on it.
    pub data_bytes: u64,
    /// Failed reads, writes and syncs, and damage met, since the start.
    pub errors: u64,
    /// Blocks written anew since the start.
    pub repaired_blocks: u64,
}

/// How the pass stands that verifies and rebuilds shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Whether one is under way.
    pub running: bool,
    /// Passes finished since the start.
    pub passes: u64,
    /// Segments that the present, else the last, pass has looked at.
    pub segments_done: u64,
    /// Segments that it has to look at.
    pub segments_total: u64,
    /// Bytes of shards read and verified by it.
    pub bytes: u64,
    /// Blocks of shards that it wrote anew.
    pub repaired_blocks: u64,
    /// Shards that it made anew because they were missing.
    pub rebuilt_shards: u64,
    /// Blocks of objects of which too few shards are left: the bytes are lost.
    pub lost_blocks: u64,
    /// What kept it from a segment, the latest.
    pub problem: Option<String>,
}

/// All drives, and what is missing on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrivesStatus {
    /// In the order of the configuration.
    pub drives: Vec<DriveStatus>,
    /// Segments of which some shard is on no drive in use.
    pub degraded_segments: u64,
    /// The scrubber.
    pub scrub: ScrubStatus,
}
