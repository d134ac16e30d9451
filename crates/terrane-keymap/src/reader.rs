//! Reading rows: one trait for every layer (keymap snapshot, spill run, overlay), and their merge.

use std::sync::Arc;

use crate::head::{HeadError, RowHead};
use crate::rows::RowId;

/// Why rows could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The engine or a file failed.
    #[error("reading rows: {0}")]
    Storage(Arc<str>),
    /// A row does not decode.
    #[error("row {row:?}: {source}")]
    Corrupt {
        /// Which.
        row: RowId,
        /// Why not.
        source: HeadError,
    },
}

/// A row with its state.
pub type Row = (RowId, Arc<RowHead>);

/// Rows in ascending order.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, ReadError>> + 'a>;

/// A sorted set of rows, tombstones included.
pub trait RowReader {
    /// One row.
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError>;
    /// Rows from `from` (included) up to `to` (excluded; empty: no end).
    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a>;
}
