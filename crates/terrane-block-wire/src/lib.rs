//! What block servers, node managers and the volume manager say to each other, and how.
//!
//! * [`control`]: everyone to the manager and back: who is there, records, leases, commands, attachments.
//! * [`data`]: copies to each other, and node managers to primaries: the replication core's messages, with bytes.

pub mod control;
pub mod data;
