//! Black-box tests of volumes: the built binary as separate processes or as `terrane up`, driven by clients that we did
//! not write, while what can break breaks.
//!
//! `cargo xtask test` installs the clients. What is missing makes a test fail. Networks that can be cut, mounting and
//! loop devices need root.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod accounts;
mod boto;
mod cached;
mod changes;
mod drives;
mod failover;
mod faults;
mod fencing;
mod growth;
mod nbd_clients;
mod nbd_rules;
mod nbd_tls;
mod resync;
mod setup;
mod space;
mod tour;
