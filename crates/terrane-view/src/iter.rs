use std::sync::Arc;

use bytes::Bytes;
use lsm_tree::{Guard, IterGuardImpl};

use crate::Result;
use crate::snapshot::Pinned;

/// Rows of a range in key order; `next_back` walks from the end.
pub struct ViewIter {
    rows: Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send + 'static>,
    /// Keeps what is iterated over from being compacted away.
    _pinned: Arc<Pinned>,
}

impl ViewIter {
    pub(crate) fn new(
        rows: Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send + 'static>,
        pinned: Arc<Pinned>,
    ) -> Self {
        Self { rows, _pinned: pinned }
    }
}

fn decode(row: IterGuardImpl) -> Result<(Bytes, Bytes)> {
    let (key, value) = row.into_inner()?;
    Ok((Bytes::from(key).slice(1..), value.into()))
}

impl Iterator for ViewIter {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(decode)
    }
}

impl DoubleEndedIterator for ViewIter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(decode)
    }
}

impl std::fmt::Debug for ViewIter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewIter").finish_non_exhaustive()
    }
}
