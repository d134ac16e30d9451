//! The storage engine over a real directory, and block servers over real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]
#![allow(clippy::single_range_in_vec_init, reason = "runs of one range are meant")]

mod engine;
mod server;
