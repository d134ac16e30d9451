//! The front door over real sockets, with objects and accounts in memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

mod bounds;
mod door;
mod ec2;
mod fixture;
mod https;
mod native;
mod openapi;
mod stream;
mod sts;
mod volumes;
