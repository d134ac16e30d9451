use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use terrane_types::RandomId;

use crate::engine::Engine;
use crate::local::{Embedded, EmbeddedConfig, Local, Memory};
use crate::postgres::{Postgres, PostgresConfig};
use crate::remote::{Remote, RemoteConfig};
use crate::{Result, StoreError, Tx};

/// Attempts of one transaction before its caller is told of the contention.
const ATTEMPTS_MAX: u32 = 60;
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A handle of a store; clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Engine,
}

impl Store {
    /// An empty store in memory, gone with its last handle.
    pub fn memory() -> Self {
        let memory = Memory::new(RandomId(rand::random()));
        Self { engine: Engine::Local(Local::Memory(Arc::new(memory))) }
    }

    /// Opens or creates the store in a directory. One process at a time has it; others use
    /// [`Store::remote`].
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::Damaged`], the operating system's.
    pub async fn embedded(dir: impl Into<PathBuf>, config: EmbeddedConfig) -> Result<Self> {
        let dir = dir.into();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, &config)).await;
        let embedded = opened.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        Ok(Self { engine: Engine::Local(Local::Embedded(Arc::new(embedded))) })
    }

    /// Opens or creates the store in a PostgreSQL database (`postgres://user@host:port/database`).
    /// Any number of processes may.
    ///
    /// # Errors
    /// [`StoreError::Config`] for a server that acknowledges before it is durable,
    /// [`StoreError::NewerFormat`], [`StoreError::Unavailable`].
    pub async fn postgres(url: &str, config: PostgresConfig) -> Result<Self> {
        let postgres = Postgres::open(url, config).await?;
        Ok(Self { engine: Engine::Postgres(Arc::new(postgres)) })
    }

    /// Opens the store that another process serves with [`serve_rpc`](crate::remote::serve_rpc).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Config`] if the server refuses.
    pub async fn remote(config: RemoteConfig) -> Result<Self> {
        Ok(Self { engine: Engine::Remote(Arc::new(Remote::open(config).await?)) })
    }

    /// Deletes what the engine keeps only for a time (PostgreSQL: the rows by which lost COMMITs are
    /// settled). To be called now and then; returns how many rows went.
    ///
    /// # Errors
    /// The engine's.
    pub async fn maintain(&self) -> Result<u64> {
        match &self.engine {
            Engine::Postgres(postgres) => postgres.trim_commits().await,
            Engine::Local(_) | Engine::Remote(_) => Ok(0),
        }
    }

    /// Ends the store in order: waiting commits are stored, later ones refused. Not needed for
    /// durability; the next start is quicker after it.
    ///
    /// # Errors
    /// The engine's.
    pub async fn close(&self) -> Result<()> {
        self.engine.close().await
    }

    /// The identity of this store's data: random, and new after a restore. Whatever is remembered
    /// outside of the store and must not survive a restore (epochs, cursors) carries it.
    pub fn incarnation(&self) -> RandomId {
        self.engine.incarnation()
    }

    /// Runs a transaction: `body` is called with a fresh [`Tx`] until it could be committed
    /// without conflict, so it must have no effects but through the `Tx` and its result.
    ///
    /// Transactions are strictly serialisable. The result of `body` counts only now that this
    /// function returns it; also an error that `body` returns is based on reads that were validated
    /// (its writes are dropped).
    ///
    /// ```
    /// # async fn example(store: &terrane_store::Store) -> Result<u64, terrane_store::StoreError> {
    /// store
    ///     .transact(|tx| async move {
    ///         let seen = tx.get(b"visits").await?.map_or(0, |value| value.len() as u64);
    ///         tx.put(&b"visits"[..], vec![b'|'; seen as usize + 1]).await?;
    ///         Ok(seen + 1)
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `body` returns; [`StoreError::Contention`]; the engine's errors.
    /// [`StoreError::UnknownOutcome`] if the commit may or may not have happened.
    pub async fn transact<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run(true, body).await
    }

    /// Runs a transaction that writes nothing.
    ///
    /// # Errors
    /// As [`Store::transact`]; [`StoreError::Usage`] for a write.
    pub async fn read<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run(false, body).await
    }

    async fn run<T, E, F, Fut>(&self, writable: bool, mut body: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnMut(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        for attempt in 0..ATTEMPTS_MAX {
            let tx = Tx::new(self.engine.begin(writable).await?, writable);
            let result = body(tx.clone()).await;
            if !tx.conflicted().await {
                match tx.finish(result.is_ok()).await {
                    Ok(()) => return result,
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(StoreError::Contention { attempts: ATTEMPTS_MAX }.into())
    }

    /// Waits until the store may have changed since `seen` (start with 0); returns what to pass
    /// next time. May return early; never misses a change.
    pub async fn changed(&self, seen: u64) -> u64 {
        self.engine.changed(seen).await
    }
}

/// Exponential with full jitter, so that the losers of one conflict do not meet again.
fn pause(attempt: u32) -> Duration {
    let ceiling = Duration::from_micros(200).saturating_mul(1 << attempt.min(12)).min(PAUSE_MAX);
    ceiling.mul_f64(rand::random::<f64>())
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("incarnation", &self.incarnation()).finish_non_exhaustive()
    }
}
