//! Automatic adjustment of volumes: what a policy makes of what was observed.
//!
//! [`decide`] looks at one [`Observation`] after the other and returns what should change, with the reason; what it has to
//! remember between them is in [`Memory`]. [`dry_run`] does the same over recorded history, as if all had been done. Pure:
//! time comes with the observations.

mod decide;
mod policy;

pub use decide::{Change, Decision, Memory, Reason, decide, dry_run};
pub use policy::{Grow, Iops, Leave, Policy, PolicyError, Shrink, Window};

use serde::{Deserialize, Serialize};
use terrane_types::Zone;

/// Seconds since 1970.
pub type Seconds = u64;

/// A volume at one moment, and what was asked of it since the observation before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When.
    pub at: Seconds,
    /// Its size, GiB.
    pub size_gib: u32,
    /// What is allocated of it, bytes: less what was trimmed.
    pub used: u64,
    /// The size that nothing lies beyond, GiB.
    pub min_safe_size_gib: u32,
    /// Its IOPS; none: they cannot be chosen.
    pub iops: Option<u32>,
    /// IOPS of the busiest second.
    pub demand: u32,
    /// The zone of its primary.
    pub zone: Zone,
    /// Zones in which it could be.
    pub zones: Vec<ZoneState>,
    /// The servers that have its copies.
    pub servers: Vec<ServerState>,
    /// It is being changed: nothing is decided meanwhile.
    pub changing: bool,
}

/// A zone at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneState {
    /// Which.
    pub zone: Zone,
    /// Servers there do not answer, or as many fail that nothing should be there.
    pub failing: bool,
}

/// A server at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerState {
    /// Its name.
    pub name: String,
    /// An operator wants it empty.
    pub draining: bool,
    /// How much of what its busiest device has is used, percent; over 100 where more is wanted.
    pub busy_percent: u32,
}
