//! Engines that commit in this process: memory, and the embedded log + view.

mod memory;
mod snapshot;

pub(crate) use memory::Memory;
pub(crate) use snapshot::{LocalSnapshot, Published};

use std::sync::Arc;

use terrane_types::RandomId;
use tokio::sync::watch;

use crate::Result;
use crate::committer::{CommitRequest, Version};

/// What the engine's transactions and the RPC server need of an engine in this process.
#[derive(Clone)]
pub(crate) enum Local {
    Memory(Arc<Memory>),
}

impl Local {
    pub(crate) fn incarnation(&self) -> RandomId {
        match self {
            Self::Memory(memory) => memory.incarnation(),
        }
    }

    /// The newest state; it has everything that was acknowledged before this call.
    pub(crate) fn published(&self) -> Published {
        match self {
            Self::Memory(memory) => memory.published(),
        }
    }

    /// Tells the version after every publication.
    pub(crate) fn changes(&self) -> watch::Receiver<Version> {
        match self {
            Self::Memory(memory) => memory.changes(),
        }
    }

    /// Decides and stores a commit; returns when it is durable and visible.
    pub(crate) async fn commit(&self, request: CommitRequest) -> Result<Version> {
        match self {
            Self::Memory(memory) => memory.commit(&request),
        }
    }
}
