//! Snapshots block by block.

mod read;
mod write;

pub(crate) use read::{block, changed, list};
pub(crate) use write::{complete, put, start};
