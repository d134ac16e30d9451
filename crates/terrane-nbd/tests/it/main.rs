//! The server as clients see it: a client of our own that breaks the rules, and stock clients that do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod client;
mod limits;
mod probe;
mod reconnect;
mod site;
mod stock;
mod tls;
mod transmission;
