//! Snapshots over an object store in memory: round trips, increments, troubles, damage, garbage.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod damage;
mod garbage;
mod increments;
mod site;
mod troubles;
