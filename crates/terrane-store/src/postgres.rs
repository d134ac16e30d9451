//! The PostgreSQL engine: any server that speaks its protocol and offers SERIALIZABLE.
//!
//! * Every transaction, also one that only reads, is SERIALIZABLE and counts only after its COMMIT.
//!   40001 and 40P01 are conflicts, which the caller retries.
//! * A COMMIT whose answer is lost is settled by a row that the transaction wrote: `settle.rs`.
//! * Keys are looked up by index only: a sequential scan would put its predicate lock on the whole table.
//! * Feeds and leases, which are written all the time, have a table of their own.
//! * Plain SQL, so that CockroachDB and YugabyteDB understand it as well.
//!
//! Durability is the server's: `synchronous_commit = off` is refused. To survive the loss of the
//! server's machine configure `synchronous_standby_names`.

mod settle;
mod sql;
mod tx;

pub(crate) use tx::PgTx;

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use terrane_types::RandomId;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::local::DATA_FORMAT;
use crate::{Result, StoreError};

/// Bounds of the PostgreSQL engine.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Connections at most; further transactions wait for one.
    pub connections_max: usize,
    /// How long a transaction waits for a connection.
    pub connect_timeout: Duration,
    /// How long the outcome of a lost COMMIT is looked for before it is reported as unknown.
    pub settle_timeout: Duration,
    /// How often readers of feeds look for changes.
    pub poll_period: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            connections_max: 16,
            connect_timeout: Duration::from_secs(10),
            settle_timeout: Duration::from_secs(30),
            poll_period: Duration::from_millis(200),
        }
    }
}

/// A store in a PostgreSQL database.
pub(crate) struct Postgres {
    pool: Pool,
    incarnation: RandomId,
    config: PostgresConfig,
}

impl Postgres {
    /// Connects and makes the tables if they are not there.
    pub(crate) async fn open(url: &str, config: PostgresConfig) -> Result<Self> {
        let pg: tokio_postgres::Config =
            url.parse().map_err(|error| StoreError::Config(format!("PostgreSQL address: {error}")))?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(pg, NoTls, manager_config))
            .max_size(config.connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.connect_timeout))
            .create_timeout(Some(config.connect_timeout))
            .post_create(Hook::async_fn(|client, _| Box::pin(prepare_session(client))))
            .build()
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let incarnation = create_tables(&pool).await?;
        Ok(Self { pool, incarnation, config })
    }

    pub(crate) fn incarnation(&self) -> RandomId {
        self.incarnation
    }

    pub(crate) async fn begin(self: &std::sync::Arc<Self>, writable: bool) -> Result<PgTx> {
        PgTx::begin(std::sync::Arc::clone(self), writable).await
    }

    /// Changes are not announced: look again after a while.
    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        if seen > 0 {
            tokio::time::sleep(self.config.poll_period).await;
        }
        seen + 1
    }

    async fn client(&self) -> Result<deadpool_postgres::Client> {
        self.pool.get().await.map_err(pool_error)
    }
}

/// Refuses a server that acknowledges before it is durable, and sets what this engine relies on.
async fn prepare_session(client: &deadpool_postgres::ClientWrapper) -> Result<(), HookError> {
    for (setting, refused) in [("synchronous_commit", "off"), ("fsync", "off")] {
        // Other servers lack settings of PostgreSQL; what they lack they cannot have switched off.
        if let Ok(row) = client.query_one(&format!("SHOW {setting}"), &[]).await
            && row.get::<_, &str>(0) == refused
        {
            return Err(HookError::message(format!(
                "{REFUSED}the server has {setting} = {refused}: it would acknowledge what it can still lose"
            )));
        }
    }
    for setting in sql::SESSION {
        if let Err(error) = client.batch_execute(setting).await {
            tracing::debug!(setting, %error, "session setting not supported");
        }
    }
    Ok(())
}

/// Marks the message of a refused configuration among the pool's errors.
const REFUSED: &str = "refused: ";

fn pool_error(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => sql_error(&error),
        PoolError::PostCreateHook(HookError::Message(message)) if message.starts_with(REFUSED) => {
            StoreError::Config(message.trim_start_matches(REFUSED).into())
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// What a server's error means for a statement that was not COMMIT.
fn sql_error(error: &tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE,
        ) => StoreError::Conflict,
        Some(&SqlState::DISK_FULL | &SqlState::OUT_OF_MEMORY | &SqlState::INSUFFICIENT_RESOURCES) => {
            StoreError::NoSpace(describe(error))
        }
        _ => StoreError::Unavailable(describe(error)),
    }
}

/// The driver's texts leave the server's message out.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// Makes the tables and the identity; other processes may be doing the same.
async fn create_tables(pool: &Pool) -> Result<RandomId> {
    let client = pool.get().await.map_err(pool_error)?;
    for statement in sql::TABLES {
        if let Err(error) = client.batch_execute(statement).await {
            // Two processes that create one table at once: the loser looks again.
            let raced = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
            if !error.code().is_some_and(|code| raced.contains(code)) {
                return Err(sql_error(&error));
            }
        }
    }
    let (format, incarnation) = (DATA_FORMAT.to_be_bytes(), rand::random::<u64>().to_be_bytes());
    for (name, value) in [("format", &format[..]), ("incarnation", &incarnation[..])] {
        client.execute(sql::META_ADD, &[&name, &value]).await.map_err(|error| sql_error(&error))?;
    }
    let mut found = Vec::new();
    for name in ["format", "incarnation"] {
        let row = client.query_one(sql::META_GET, &[&name]).await.map_err(|error| sql_error(&error))?;
        found.push(row.get::<_, Vec<u8>>(0));
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |acc, byte| (acc << 8) | u64::from(*byte));
    match u32::try_from(number(&found[0])) {
        Ok(DATA_FORMAT) => Ok(RandomId(number(&found[1]))),
        found => Err(StoreError::NewerFormat { found: found.unwrap_or(u32::MAX), supported: DATA_FORMAT }),
    }
}
