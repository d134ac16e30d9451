//! The harness on two example templates and on planted mistakes; the engine over a real store.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod bank;
mod engine;
mod harness;
mod migration;
