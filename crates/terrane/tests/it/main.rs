//! The built binary: `terrane up`, its files and signals, and the command line as a client.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod cli;
mod drives;
mod process;
mod server;
mod store;
mod volumes;
