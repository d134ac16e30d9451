//! The worlds, as `cargo xtask test` runs them: a fixed batch of seeds, a fresh one, and the bugs.

mod block;
mod bucket;
mod engine;
mod keymap;
mod log;
mod mirror;
mod store;
