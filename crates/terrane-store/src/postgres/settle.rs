//! What became of a COMMIT whose answer did not arrive.
//!
//! The transaction wrote a row under a random identifier. Whoever wants to know tries to write a row
//! under the same identifier: the server lets it wait while the transaction is still running, refuses
//! it if the transaction has committed, and if it succeeds then the transaction never can.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::{Postgres, describe, sql, sql_error};
use crate::committer::CommitId;
use crate::{Result, StoreError};

impl Postgres {
    /// `Ok` if the commit happened, a conflict if it did not and never will.
    pub(super) async fn settle(&self, id: CommitId, why: &tokio_postgres::Error) -> Result<()> {
        let deadline = Instant::now() + self.config.settle_timeout;
        let mut pause = Duration::from_millis(10);
        loop {
            match self.try_settle(id).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(StoreError::Conflict),
                Err(error) if Instant::now() >= deadline => {
                    let text = format!("COMMIT: {}; then: {error}", describe(why));
                    return Err(StoreError::UnknownOutcome(text));
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    async fn try_settle(&self, id: CommitId) -> Result<bool> {
        let client = self.client().await?;
        let id = id.0.to_be_bytes();
        match client.execute(sql::COMMIT_ADD, &[&&id[..], &false]).await {
            Ok(_) => return Ok(false),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            Err(error) => return Err(sql_error(&error)),
        }
        // Somebody's row is there: the commit's, or our own from an attempt whose answer was lost.
        let row = client.query_one(sql::COMMIT_GET, &[&&id[..]]).await;
        row.map(|row| row.get(0)).map_err(|error| sql_error(&error))
    }

    /// Deletes rows of commits that nobody can ask for any more.
    pub(crate) async fn trim_commits(&self) -> Result<u64> {
        let client = self.client().await?;
        client.execute(sql::COMMITS_TRIM, &[]).await.map_err(|error| sql_error(&error))
    }
}
