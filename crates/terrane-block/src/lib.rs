//! The block server: keeps copies of volume stripes on drives.
//!
//! [`engine`] is what stores them; it knows nothing of replication and carries out what the replication core asks for.

pub mod engine;
