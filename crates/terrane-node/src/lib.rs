//! The node manager: runs on the machine that uses volumes and offers each attached one as an NBD export.
//!
//! A volume is the client's half of the replication protocol ([`terrane_block_core::client`]), once per stripe: it
//! holds the manager's record, speaks with the primary, and sends again what is unanswered when that changes. The
//! program above sees a pause at worst. What is attached is the manager's decision (`AttachmentOrder`s); while the
//! manager is away, everything goes on with what is known.
//!
//! Everything of one [`NodeManager`] runs on one thread of its own.

mod attachments;
mod cache;
mod config;
mod control;
mod identity;
mod layout;
mod link;
mod metrics;
mod node;
mod outbox;
mod slots;
mod stripe;
mod turns;
mod volume;

pub use config::{NodeConfig, NodeError};
pub use identity::IdentityError;
pub use metrics::NodeMetrics;
pub use node::NodeManager;
