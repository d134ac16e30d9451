//! The keeper of snapshots over a store and an object store in memory.

mod direct;
mod sharing;
mod site;
