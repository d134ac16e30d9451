//! Black-box tests: the built binary, started as a user starts it, driven by clients that we did not write.
//!
//! `cargo xtask test` installs the clients and says where they are. What is missing makes a test fail.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod aws;
mod bad_input;
mod boto;
mod crash;
mod disk_full;
mod installation;
mod keymap;
mod modes;
mod sync_tools;
mod tools;
mod tree;
mod volumes;
