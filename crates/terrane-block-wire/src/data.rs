//! The data protocol: the replication core's messages between processes.

use crate::control::{ServerId, StripeId};
use bytes::Bytes;
use terrane_block_core::message::{Message, ToClient, ToPrimary};
use terrane_block_core::{ClientId, CopyId};

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Bytes of content in one message, at most; what is longer is split by the node manager.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;

/// Who opened a connection, told in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialer {
    /// A block server; everything between its copies and the receiver's.
    Server(ServerId),
    /// A node manager, for one session of one attachment of one stripe.
    Client(ClientId),
    /// A node manager, to the manager.
    Node,
    /// A manager that wants to know whether a server is there: the handshake is the answer.
    Manager,
}

/// One message of the data protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataMessage {
    /// From a copy to a copy of the same stripe.
    Copy {
        /// The stripe.
        stripe: StripeId,
        /// The sender.
        from: CopyId,
        /// The receiver.
        to: CopyId,
        /// What.
        message: Message<Bytes>,
    },
    /// From a node manager to a copy that it takes for the primary.
    ToPrimary {
        /// The stripe.
        stripe: StripeId,
        /// The receiver.
        to: CopyId,
        /// What.
        message: ToPrimary<Bytes>,
    },
    /// Back.
    ToClient {
        /// The stripe.
        stripe: StripeId,
        /// The sender.
        from: CopyId,
        /// What.
        message: ToClient<Bytes>,
    },
    /// From a node manager to a primary, outside the replication order: which blocks of a range hold data
    /// (for NBD's block status). Advisory.
    StatusQuery {
        /// The stripe.
        stripe: StripeId,
        /// The receiver.
        to: CopyId,
        /// Names the question.
        id: u64,
        /// Where.
        start: u64,
        /// Blocks.
        len: u64,
    },
    /// The answer: consecutive runs from the start on, perhaps of fewer blocks than asked for; each is (blocks,
    /// whether they hold data). Empty: not known here.
    Status {
        /// The stripe.
        stripe: StripeId,
        /// The sender.
        from: CopyId,
        /// The question's name.
        id: u64,
        /// Runs.
        runs: Vec<(u64, bool)>,
    },
}
