//! Object storage: segments, log, keymap engine, workers, compaction, completions.

mod data;
pub mod model;
mod runs;
pub mod service;
pub mod space;
mod version;
