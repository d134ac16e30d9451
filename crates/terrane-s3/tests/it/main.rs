//! The front end over the in-memory object service, spoken to over TCP in plain HTTP: stock clients hide
//! most of what is tested here.

// Helpers of tests fail by panicking, like tests.
#![allow(clippy::unwrap_used)]

mod bodies;
mod bounds;
mod buckets;
mod conditions;
mod copies;
mod forms;
mod grants;
mod keys;
mod listings;
mod modes;
mod multipart;
mod objects;
mod server;
mod signatures;
mod signer;
mod wire;
