//! Spill runs: pending entries that moved from memory into one sorted file each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::class::ClassName;
use crate::completion::Completion;
use crate::head::RowHead;
use crate::ids::{Lsn, RunId, Timestamp};
use crate::reader::Row;
use crate::rows::RowId;

/// One row of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// The row.
    pub row: RowId,
    /// Its newest state when it was spilled.
    pub head: Arc<RowHead>,
    /// Completions to be announced once the keymap contains the row (cursors are assigned then).
    pub completions: Vec<Completion>,
}

/// Bytes that are no run entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed run entry")]
pub struct RunEntryError;

const VERSION: u8 = 1;

impl RunEntry {
    /// What the run file keeps under the row's bytes.
    pub fn encode_value(&self) -> Vec<u8> {
        let body = (&*self.head, &self.completions);
        postcard::to_extend(&body, vec![VERSION]).expect("a run entry always serialises into memory")
    }

    /// Decodes.
    pub fn decode(row: RowId, value: &[u8]) -> Result<Self, RunEntryError> {
        let (head, completions): (RowHead, Vec<Completion>) = match value.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| RunEntryError)?,
            _ => return Err(RunEntryError),
        };
        Ok(Self { row, head: Arc::new(head), completions })
    }

    /// The row alone, for readers that merge.
    pub fn decode_row(row: RowId, value: &[u8]) -> Result<Row, RunEntryError> {
        match value.split_first() {
            Some((&VERSION, rest)) => {
                let (head, _) = postcard::take_from_bytes::<RowHead>(rest).map_err(|_| RunEntryError)?;
                Ok((row, Arc::new(head)))
            }
            _ => Err(RunEntryError),
        }
    }
}

/// What the keymap records of a run, and the shard keeps in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its number.
    pub run: RunId,
    /// The queue that it was taken from (with what older entries of the same rows others held).
    pub class: ClassName,
    /// Rows in it.
    pub entries: u64,
    /// The least LSN in it: tombstones from here on are kept while the run lives.
    pub lsn_min: Lsn,
    /// When its first entry is due.
    pub due: Timestamp,
    /// When its oldest entry was accepted.
    pub accepted: Timestamp,
    /// LSNs of the writes in it, as ranges (first, count), ascending.
    pub lsns: Vec<(u64, u32)>,
}
