use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::{Client, Object};
use tokio_postgres::types::ToSql;

use super::sql::{self, Table};
use super::{Postgres, describe, sql_error};
use crate::committer::{CommitId, Writes};
use crate::engine::Row;
use crate::{KeyRange, Result, StoreError};

/// An open SERIALIZABLE transaction on a connection of its own.
pub(crate) struct PgTx {
    engine: Arc<Postgres>,
    /// `None` after the end. A connection that is dropped within a transaction is closed: it must
    /// not go back into the pool.
    client: Option<Client>,
    /// The first error. After it the server answers COMMIT with ROLLBACK, which looks like success.
    failed: Option<StoreError>,
}

impl Drop for PgTx {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl PgTx {
    pub(super) async fn begin(engine: Arc<Postgres>, writable: bool) -> Result<Self> {
        let client = engine.client().await?;
        let mut tx = Self { engine, client: Some(client), failed: None };
        let begin = if writable { sql::BEGIN_WRITE } else { sql::BEGIN_READ };
        let begun = tx.client()?.batch_execute(begin).await;
        tx.check(begun)?;
        Ok(tx)
    }

    pub(crate) async fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        let rows = self.query(Table::of(key).get(), &[&key]).await?;
        Ok(rows.first().map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))))
    }

    pub(crate) async fn scan(&mut self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        let mut pieces = Table::split(range);
        if reverse {
            pieces.reverse();
        }
        let mut found: Vec<Row> = Vec::new();
        for (table, piece) in pieces {
            let left = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
            let rows = self.query(table.scan(reverse), &[&&piece.start[..], &&piece.end[..], &left]).await?;
            let row = |row: tokio_postgres::Row| {
                (Bytes::from(row.get::<_, Vec<u8>>(0)), Bytes::from(row.get::<_, Vec<u8>>(1)))
            };
            found.extend(rows.into_iter().map(row));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Writes and commits. With a conflict nothing happened.
    pub(crate) async fn commit(mut self, writes: Writes) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let id = CommitId(rand::random());
        let only_reads = writes.is_empty();
        if !only_reads {
            self.write(id, &writes).await?;
        }
        match self.client()?.batch_execute("COMMIT").await {
            Ok(()) => {
                // The connection is clean again.
                self.client = None;
                Ok(())
            }
            Err(error) => {
                let engine = Arc::clone(&self.engine);
                drop(self);
                match sql_error(&error) {
                    StoreError::Conflict => Err(StoreError::Conflict),
                    // Nothing can have happened, but the reads do not count.
                    _ if only_reads => Err(StoreError::Unavailable(describe(&error))),
                    _ => engine.settle(id, &error).await,
                }
            }
        }
    }

    async fn write(&mut self, id: CommitId, writes: &Writes) -> Result<()> {
        self.execute(sql::COMMIT_ADD, &[&&id.0.to_be_bytes()[..], &true]).await?;
        for table in [Table::Rows, Table::Hot] {
            let (mut keys, mut values, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
            for (key, value) in writes.iter().filter(|(key, _)| Table::of(key) == table) {
                match value {
                    Some(value) => {
                        keys.push(&key[..]);
                        values.push(&value[..]);
                    }
                    None => deletes.push(&key[..]),
                }
            }
            if !keys.is_empty() {
                self.execute(table.put(), &[&keys, &values]).await?;
            }
            if !deletes.is_empty() {
                self.execute(table.delete(), &[&deletes]).await?;
            }
        }
        Ok(())
    }

    async fn query(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<tokio_postgres::Row>> {
        let client = self.client()?;
        let result = match client.prepare_cached(sql).await {
            Ok(statement) => client.query(&statement, params).await,
            Err(error) => Err(error),
        };
        self.check(result)
    }

    async fn execute(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<()> {
        let client = self.client()?;
        let result = match client.prepare_cached(sql).await {
            Ok(statement) => client.execute(&statement, params).await,
            Err(error) => Err(error),
        };
        self.check(result).map(|_| ())
    }

    fn client(&self) -> Result<&Client> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.client.as_ref().ok_or(StoreError::Usage("the transaction has ended"))
    }

    fn check<T>(&mut self, result: std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
        result.map_err(|error| {
            let error = sql_error(&error);
            self.failed.get_or_insert(error).clone()
        })
    }
}
