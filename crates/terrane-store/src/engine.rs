//! The engines behind a [`Store`](crate::Store), and their transactions.

use bytes::Bytes;
use terrane_types::RandomId;

use crate::committer::{CommitRequest, Version, Writes};
use crate::local::{Local, Published};
use crate::{KeyRange, Result};

/// A key and its value.
pub type Row = (Bytes, Bytes);

#[derive(Clone)]
pub(crate) enum Engine {
    Local(Local),
}

/// One attempt of one transaction.
pub(crate) enum EngineTx {
    Local { engine: Local, at: Published },
}

impl Engine {
    pub(crate) fn incarnation(&self) -> RandomId {
        match self {
            Self::Local(local) => local.incarnation(),
        }
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match self {
            Self::Local(local) => local.close().await,
        }
    }

    pub(crate) async fn begin(&self) -> Result<EngineTx> {
        match self {
            Self::Local(local) => Ok(EngineTx::Local { engine: local.clone(), at: local.published() }),
        }
    }

    /// Waits until something may have changed after `seen`; returns what to pass next time.
    pub(crate) async fn changed(&self, seen: Version) -> Version {
        match self {
            Self::Local(local) => {
                let mut changes = local.changes();
                let newer = changes.wait_for(|version| *version > seen).await.map(|version| *version);
                match newer {
                    Ok(version) => version,
                    // The engine is closed: nothing will ever change.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

impl EngineTx {
    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Self::Local { at, .. } => at.snapshot.get(key),
        }
    }

    /// At most `limit` rows of the range in key order, or in descending order if `reverse`.
    pub(crate) async fn scan(&mut self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        match self {
            Self::Local { at, .. } => at.snapshot.scan(range, limit, reverse),
        }
    }

    /// Ends the transaction. Only with `Ok` do its reads count and have its writes happened.
    pub(crate) async fn commit(self, reads: Vec<KeyRange>, writes: Writes) -> Result<()> {
        match self {
            // A snapshot is one consistent state, and the newest when the transaction began.
            Self::Local { .. } if writes.is_empty() => Ok(()),
            Self::Local { engine, at } => {
                let request = CommitRequest { snapshot: at.version, reads, writes, id: None, retry: false };
                engine.commit(request).await.map(|_| ())
            }
        }
    }
}
