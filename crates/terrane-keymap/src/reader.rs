//! Reading rows: one trait for every layer (keymap snapshot, spill run, overlay), and their merge.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use crate::events::Overlay;
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

/// The merge of an overlay with older layers. Tombstones are passed on.
pub struct Merged<'a> {
    overlay: &'a Overlay,
    layers: Vec<&'a dyn RowReader>,
}

impl<'a> Merged<'a> {
    /// The order of the layers does not matter: guards decide.
    pub fn new(overlay: &'a Overlay, layers: Vec<&'a dyn RowReader>) -> Self {
        Self { overlay, layers }
    }
}

/// Keeps the state with the greater guard.
pub fn merge_into(best: &mut Option<Arc<RowHead>>, other: Option<Arc<RowHead>>) {
    if let Some(other) = other
        && best.as_ref().is_none_or(|best| best.guard < other.guard)
    {
        *best = Some(other);
    }
}

impl RowReader for Overlay {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        Ok(Overlay::get(self, row).cloned())
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        if !to.is_empty() && from >= to {
            return Box::new(std::iter::empty());
        }
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let rows = self.range::<_, [u8]>((Bound::Included(from), end));
        Box::new(rows.map(|(row, head)| Ok((row.clone(), Arc::clone(head)))))
    }
}

impl RowReader for Merged<'_> {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        let mut best = self.overlay.get(row).cloned();
        for layer in &self.layers {
            merge_into(&mut best, layer.get(row)?);
        }
        Ok(best)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        let overlay = RowReader::scan(self.overlay, from, to);
        let layers = self.layers.iter().map(|layer| layer.scan(from, to));
        let inputs = std::iter::once(overlay).chain(layers);
        // A layer without rows in the range costs nothing per row.
        let mut inputs: Vec<_> = inputs.map(Iterator::peekable).filter_map(non_empty).collect();
        match inputs.len() {
            0 => Box::new(std::iter::empty()),
            1 => Box::new(inputs.swap_remove(0)),
            _ => Box::new(MergeIter { inputs }),
        }
    }
}

fn non_empty(mut rows: Peekable<Rows<'_>>) -> Option<Peekable<Rows<'_>>> {
    rows.peek().is_some().then_some(rows)
}

struct MergeIter<'a> {
    inputs: Vec<Peekable<Rows<'a>>>,
}

impl Iterator for MergeIter<'_> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut least: Option<(usize, &RowId)> = None;
        for (index, input) in self.inputs.iter_mut().enumerate() {
            match input.peek() {
                None => {}
                Some(Err(error)) => return Some(Err(error.clone())),
                Some(Ok((row, _))) if least.is_none_or(|(_, best)| row < best) => least = Some((index, row)),
                Some(Ok(_)) => {}
            }
        }
        let first = least?.0;
        let (row, head) = self.inputs[first].next()?.ok()?;
        let mut best = Some(head);
        for input in &mut self.inputs[first + 1..] {
            let same = input.next_if(|next| matches!(next, Ok((other, _)) if *other == row));
            merge_into(&mut best, same.and_then(Result::ok).map(|(_, head)| head));
        }
        best.map(|head| Ok((row, head)))
    }
}
