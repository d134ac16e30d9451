use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use lsm_tree::AbstractTree;

use crate::generation::Generation;
use crate::tracker::Instant;
use crate::{Keyspace, Result, ViewIter};

/// The view as it was at one moment; cheap to take, to clone and to send.
///
/// Old versions of rows are kept on disk while a snapshot that sees them is open: do not hold one
/// for longer than a request. A snapshot from before [`View::recover`](crate::View::recover) or
/// [`View::wipe`](crate::View::wipe) may answer with an error.
#[derive(Clone)]
pub struct ViewSnapshot {
    pinned: Arc<Pinned>,
}

pub(crate) struct Pinned {
    generation: Arc<Generation>,
    instant: Instant,
}

impl ViewSnapshot {
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        let instant = generation.tracker.open();
        Self { pinned: Arc::new(Pinned { generation, instant }) }
    }

    /// The value of `key`.
    pub fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>> {
        let Pinned { generation, instant } = &*self.pinned;
        Ok(generation.tree.get(keyspace.encode(key), instant.seqno())?.map(Bytes::from))
    }

    /// Rows with `lower ≤ key < upper`, bounds as given; iterate with `.rev()` for descending order.
    pub fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> ViewIter {
        let lower = match lower {
            Bound::Included(key) => Bound::Included(keyspace.encode(key)),
            Bound::Excluded(key) => Bound::Excluded(keyspace.encode(key)),
            Bound::Unbounded => Bound::Included(Bytes::copy_from_slice(&[keyspace.0])),
        };
        let upper = match upper {
            Bound::Included(key) => Bound::Included(keyspace.encode(key)),
            Bound::Excluded(key) => Bound::Excluded(keyspace.encode(key)),
            Bound::Unbounded => Bound::Excluded(Bytes::copy_from_slice(&[keyspace.0 + 1])),
        };
        let Pinned { generation, instant } = &*self.pinned;
        let rows: Box<dyn DoubleEndedIterator<Item = _> + Send> = if is_empty(&lower, &upper) {
            Box::new(std::iter::empty())
        } else {
            generation.tree.range((lower, upper), instant.seqno(), None)
        };
        ViewIter::new(rows, Arc::clone(&self.pinned))
    }

    /// All rows of a keyspace.
    pub fn iter(&self, keyspace: Keyspace) -> ViewIter {
        self.range(keyspace, Bound::Unbounded, Bound::Unbounded)
    }
}

/// The tree may panic on a range whose end comes before its start.
fn is_empty(lower: &Bound<Bytes>, upper: &Bound<Bytes>) -> bool {
    match (lower, upper) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

impl std::fmt::Debug for ViewSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewSnapshot").field("instant", &self.pinned.instant.seqno()).finish_non_exhaustive()
    }
}
