//! The replication core of volumes: copies, client and membership. No I/O; clocks are events.
//!
//! A stripe has a few *copies*, each a [`copy::State`]; one of them is the primary and orders all I/O, the others follow
//! it. A node manager is a [`client::Client`]. The manager keeps one [`record::Record`] per stripe and changes it only
//! by the functions of [`manager`]. All of them are pure: an event goes in, effects come out. The README says
//! where each rule of the protocol is kept; [`promise`] says what the whole is for.

pub mod bugs;
pub mod client;
pub mod copy;
pub mod manager;
pub mod message;
pub mod promise;
pub mod record;

mod ids;
mod set;

pub use ids::{
    AttachmentEpoch, ClientId, Content, CopyId, Digest, Extent, Generation, Incarnation, LayoutEpoch,
    Payload, SessionId,
};
pub use set::{BlockSet, NotASet};
