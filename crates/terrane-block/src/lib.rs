//! The block server: keeps copies of volume stripes on drives.
//!
//! * [`engine`] stores them; it knows nothing of replication and carries out what the replication core asks for.
//! * [`server`] joins it with the replication core and the network.

pub mod engine;
pub mod server;
