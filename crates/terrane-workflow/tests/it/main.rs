//! The harness on two example templates and on planted mistakes; the engine over a real store.

mod bank;
mod engine;
mod harness;
mod migration;
