//! Snapshots over an object store in memory: round trips, increments, troubles, damage, garbage.

mod damage;
mod garbage;
mod increments;
mod site;
mod troubles;
