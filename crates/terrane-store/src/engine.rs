//! The engines behind a [`Store`](crate::Store), and their transactions.

use std::sync::Arc;

use bytes::Bytes;
use terrane_types::RandomId;

use crate::committer::{CommitRequest, Version, Writes};
use crate::local::{Local, Published};
use crate::postgres::{PgTx, Postgres};
use crate::remote::{Remote, RemoteTx};
use crate::{KeyRange, Result};

/// A key and its value.
pub type Row = (Bytes, Bytes);

#[derive(Clone)]
pub(crate) enum Engine {
    Local(Local),
    Postgres(Arc<Postgres>),
    Remote(Arc<Remote>),
}

/// One attempt of one transaction.
pub(crate) enum EngineTx {
    Local { engine: Local, at: Published },
    Postgres(Box<PgTx>),
    Remote(RemoteTx),
}

impl Engine {
    pub(crate) fn incarnation(&self) -> RandomId {
        match self {
            Self::Local(local) => local.incarnation(),
            Self::Postgres(postgres) => postgres.incarnation(),
            Self::Remote(remote) => remote.incarnation(),
        }
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match self {
            Self::Local(local) => local.close().await,
            Self::Postgres(_) | Self::Remote(_) => Ok(()),
        }
    }

    pub(crate) async fn begin(&self, writable: bool) -> Result<EngineTx> {
        match self {
            Self::Local(local) => Ok(EngineTx::Local { engine: local.clone(), at: local.published() }),
            Self::Postgres(postgres) => Ok(EngineTx::Postgres(Box::new(postgres.begin(writable).await?))),
            Self::Remote(remote) => Ok(EngineTx::Remote(remote.begin().await?)),
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
            Self::Postgres(postgres) => postgres.changed(seen).await,
            Self::Remote(remote) => remote.changed(seen).await,
        }
    }
}

impl EngineTx {
    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Self::Local { at, .. } => at.snapshot.get(key),
            Self::Postgres(tx) => tx.get(key).await,
            Self::Remote(tx) => tx.get(key).await,
        }
    }

    /// At most `limit` rows of the range in key order, or in descending order if `reverse`.
    pub(crate) async fn scan(&mut self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        match self {
            Self::Local { at, .. } => at.snapshot.scan(range, limit, reverse),
            Self::Postgres(tx) => tx.scan(range, limit, reverse).await,
            Self::Remote(tx) => tx.scan(range, limit, reverse).await,
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
            // The server has seen the reads itself.
            Self::Postgres(tx) => tx.commit(writes).await,
            Self::Remote(tx) => tx.commit(reads, writes).await,
        }
    }
}
