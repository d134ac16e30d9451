//! Engines that commit in this process: memory, and the embedded log + view.

mod embedded;
mod memory;
mod pipeline;
mod record;
mod rows;
mod snapshot;

pub use embedded::EmbeddedConfig;
pub use pipeline::{Pipeline, PipelineConfig};
pub use record::{DATA_FORMAT, LogRecord};
pub use rows::{Applied, RowBatch, Rows};

pub(crate) use embedded::{Embedded, open_pipeline};
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
    Embedded(Arc<Embedded>),
}

impl Local {
    pub(crate) fn incarnation(&self) -> RandomId {
        match self {
            Self::Memory(memory) => memory.incarnation(),
            Self::Embedded(embedded) => embedded.incarnation(),
        }
    }

    /// The newest state; it has everything that was acknowledged before this call.
    pub(crate) fn published(&self) -> Published {
        match self {
            Self::Memory(memory) => memory.published(),
            Self::Embedded(embedded) => embedded.published(),
        }
    }

    /// Tells the version after every publication.
    pub(crate) fn changes(&self) -> watch::Receiver<Version> {
        match self {
            Self::Memory(memory) => memory.changes(),
            Self::Embedded(embedded) => embedded.changes(),
        }
    }

    /// Decides and stores a commit; returns when it is durable and visible.
    pub(crate) async fn commit(&self, request: CommitRequest) -> Result<Version> {
        match self {
            Self::Memory(memory) => memory.commit(&request),
            Self::Embedded(embedded) => embedded.commit(request).await,
        }
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Embedded(embedded) => embedded.close().await,
        }
    }
}
