//! What block servers, node managers and the volume manager say to each other, and how.
//!
//! * [`control`]: everyone to the manager and back: who is there, records, leases, commands, attachments.
//! * [`data`]: copies to each other, and node managers to primaries: the replication core's messages, with bytes.
//! * [`frame`]: how a message lies in the stream; [`codec`]: its bytes.
//! * [`handshake`]: who is there, which version is spoken, and that both know the [`ClusterKey`].
//! * [`transport`]: connections: [`transport::dial`], [`transport::Listener`], and a connection as a reader of batches
//!   and a sender that any number of tasks may use.
//! * [`tls`]: certificates; without them nothing is spoken off loopback.

pub mod codec;
pub mod control;
pub mod data;
mod error;
pub mod frame;
pub mod fuzz;
pub mod handshake;
mod key;
mod output;
pub mod tls;
pub mod transport;

pub use error::WireError;
pub use key::{ClusterKey, KeyError};
