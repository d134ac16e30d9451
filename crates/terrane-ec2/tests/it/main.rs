//! The front end over the model: by forms of our own, and by stock clients.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod clients;
mod every_action;
mod random;
mod server;
