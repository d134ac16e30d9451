use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::engine::{EngineTx, Row};
use crate::key::{COMMIT_BYTES_MAX, READS_MAX, SCAN_ROWS_MAX, VALUE_BYTES_MAX, check_key, successor};
use crate::{KeyRange, Result, StoreError};

/// One attempt of a transaction: a handle, to be cloned freely within the closure.
///
/// Reads see the snapshot and the transaction's own writes. Writes are kept here until the end.
#[derive(Clone)]
pub struct Tx {
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` after the end.
    engine: Option<EngineTx>,
    writable: bool,
    reads: Vec<KeyRange>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    write_bytes: usize,
    /// The engine has already said that this attempt cannot succeed.
    conflicted: bool,
}

impl Tx {
    pub(crate) fn new(engine: EngineTx, writable: bool) -> Self {
        let state = State {
            engine: Some(engine),
            writable,
            reads: Vec::new(),
            writes: BTreeMap::new(),
            write_bytes: 0,
            conflicted: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::ReservedKey`], or the engine's.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        check_key(key)?;
        let mut state = self.state.lock().await;
        if let Some(own) = state.writes.get(key) {
            return Ok(own.clone());
        }
        state.add_read(KeyRange::key(key))?;
        let found = state.engine()?.get(key).await;
        state.note(found)
    }

    /// Sets `key` to `value` when the transaction commits.
    ///
    /// # Errors
    /// [`StoreError::ReservedKey`], [`StoreError::TooLarge`], [`StoreError::Usage`] in a read.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "value bytes",
                len: value.len(),
                limit: VALUE_BYTES_MAX,
            });
        }
        self.state.lock().await.write(key.into(), Some(value))
    }

    /// Deletes `key` when the transaction commits; deleting what is not there is no error.
    ///
    /// # Errors
    /// As [`Tx::put`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<()> {
        self.state.lock().await.write(key.into(), None)
    }

    /// The first `limit` rows (at most [`SCAN_ROWS_MAX`]) of a range, in key order.
    ///
    /// Only what was looked at counts as read: a scan that stops at its limit does not conflict
    /// with writes behind its last row. Continue with [`KeyRange::rest`].
    ///
    /// # Errors
    /// The engine's.
    pub async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>> {
        self.scan_in(range, limit, false).await
    }

    /// As [`Tx::scan`], from the end of the range backwards.
    ///
    /// # Errors
    /// The engine's.
    pub async fn scan_back(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>> {
        self.scan_in(range, limit, true).await
    }

    async fn scan_in(&self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        let limit = limit.min(SCAN_ROWS_MAX);
        let mut range = range.clone();
        range.end = range.end.min(KeyRange::all().end);
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let mut state = self.state.lock().await;
        // Own deletes hide rows: ask for as many more.
        let own = state.own_writes(&range);
        let wanted = limit + own.iter().filter(|(_, value)| value.is_none()).count();
        let found = state.engine()?.scan(&range, wanted, reverse).await;
        let found = state.note(found)?;
        let exhausted = found.len() < wanted;
        let edge = found.last().map(|(key, _)| key.clone());
        let mut merged: BTreeMap<Bytes, Bytes> = found.into_iter().collect();
        for (key, value) in own {
            // Behind the last row that was fetched there may be others that come first.
            let known = exhausted
                || edge.as_ref().is_some_and(|edge| if reverse { key >= *edge } else { key <= *edge });
            match value {
                Some(value) if known => _ = merged.insert(key, value),
                _ => _ = merged.remove(&key),
            }
        }
        let mut rows: Vec<Row> = if reverse {
            merged.into_iter().rev().take(limit).collect()
        } else {
            merged.into_iter().take(limit).collect()
        };
        rows.shrink_to_fit();
        let read = match rows.last() {
            Some((last, _)) if rows.len() == limit => {
                if reverse {
                    KeyRange::new(last.clone(), range.end)
                } else {
                    KeyRange::new(range.start, successor(last))
                }
            }
            _ => range,
        };
        state.add_read(read)?;
        Ok(rows)
    }

    pub(crate) async fn conflicted(&self) -> bool {
        self.state.lock().await.conflicted
    }

    /// Commits; with `keep_writes` false only the reads are validated.
    pub(crate) async fn finish(&self, keep_writes: bool) -> Result<()> {
        let mut state = self.state.lock().await;
        let engine = state.engine.take().ok_or(ENDED)?;
        let writes = std::mem::take(&mut state.writes);
        let writes = if keep_writes { writes.into_iter().collect() } else { Vec::new() };
        let reads = std::mem::take(&mut state.reads);
        drop(state);
        engine.commit(reads, writes).await
    }
}

const ENDED: StoreError = StoreError::Usage("the transaction has ended");

impl State {
    fn engine(&mut self) -> Result<&mut EngineTx> {
        self.engine.as_mut().ok_or(ENDED)
    }

    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        self.conflicted |= matches!(result, Err(StoreError::Conflict));
        result
    }

    /// Remembers what was read, for validation; reads that write nothing need none.
    fn add_read(&mut self, range: KeyRange) -> Result<()> {
        if !self.writable || self.reads.last() == Some(&range) {
            return Ok(());
        }
        if self.reads.len() >= READS_MAX {
            let len = self.reads.len() + 1;
            return Err(StoreError::TooLarge { what: "transaction's reads", len, limit: READS_MAX });
        }
        self.reads.push(range);
        Ok(())
    }

    fn own_writes(&self, range: &KeyRange) -> Vec<(Bytes, Option<Bytes>)> {
        let own = self.writes.range(range.start.clone()..range.end.clone());
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>) -> Result<()> {
        check_key(&key)?;
        if self.engine.is_none() {
            return Err(ENDED);
        }
        if !self.writable {
            return Err(StoreError::Usage("a write in a transaction that only reads"));
        }
        self.write_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        if self.write_bytes > COMMIT_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "transaction's bytes",
                len: self.write_bytes,
                limit: COMMIT_BYTES_MAX,
            });
        }
        self.writes.insert(key, value);
        Ok(())
    }
}
