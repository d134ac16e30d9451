//! A node manager on real sockets: before it NBD clients, stock ones and our own; behind it block servers and a
//! manager made of the replication core and memory ([`cluster`]).

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod bytes;
mod cached;
mod cluster;
mod faults;
mod servers;
mod site;
mod stock;
