//! Object storage: segments, log, keymap engine, workers, compaction, completions.

pub mod service;
