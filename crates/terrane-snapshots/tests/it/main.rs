//! The keeper of snapshots over a store and an object store in memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod direct;
mod sharing;
mod site;
