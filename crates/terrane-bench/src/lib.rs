//! A small blocking S3 client and a load generator on top of it.
//!
//! It shares no code with the server: what it signs and parses follows the public specifications, so that it
//! can drive any S3 endpoint and a mistake on one side does not cancel itself out on the other. One thread
//! and one connection per client and nothing copied twice: on a machine of two cores a load generator that
//! eats one of them measures itself.

pub mod client;
pub mod connection;
pub mod load;
pub mod sign;
pub mod workload;

pub use client::{Client, Endpoint};
pub use connection::Response;
pub use sign::Credentials;
