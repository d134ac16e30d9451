//! The routers service without I/O: who may ask a router what, when, and what is made of its answer.
//!
//! A [`RouterCore`] owns one router for as long as its worker holds the lease of the router's shard. The driver feeds
//! [`Input`]s with the time and drains [`Output`]s; it never asks a router anything by itself. What several holders
//! or workers have in common is kept by records that the driver changes in transactions ([`SlotBook`], [`LoginRecord`])
//! and by shares of ceilings ([`Budget`], [`Dealer`]). The requests themselves live in front ends ([`Desk`]), which
//! hand them to whoever holds the shard. The README says where each rule is kept.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod book;
mod bucket;
mod budget;
mod bugs;
mod cache;
mod config;
mod desk;
mod events;
mod ids;
mod logins;
mod pace;
mod question;
mod queue;
mod router;
mod shards;
mod time;
mod view;

pub use book::{SlotBook, SlotError};
pub use bucket::{Bucket, Rate};
pub use budget::{Budget, Ceiling, Dealer, Scope, Share};
pub use bugs::Bugs;
pub use config::{ConfigError, RouterConfig};
pub use desk::{Desk, DeskConfig, DeskOutput, Ticket};
pub use events::{Input, OpenError, Order, Output, ReplyError, ReserveError, Translation};
pub use ids::{
    ClientId, CredentialId, Epoch, GroupId, RealmId, RequestId, RouterId, RunId, SessionId, WorkerId,
};
pub use logins::{Login, LoginError, LoginLimits, LoginRecord, LoginTicket};
pub use question::{
    Answer, Answered, AskError, Class, CommandKey, Connection, Cost, Grant, Observation, Reply, Request,
    Source, TOKENS_MAX, Throttle, Unreachable,
};
pub use router::{Counters, Identity, RouterCore, Status};
pub use shards::{SHARDS, Shard};
pub use time::Time;
pub use view::{allows, view};
