//! Object storage: segments, log, keymap engine, workers, compaction, completions.

pub mod model;
pub mod service;
mod version;
