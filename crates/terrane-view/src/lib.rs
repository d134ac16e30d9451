//! A replayable sorted view: the ordered key-value index that stands behind a log.
//!
//! The log is what makes writes durable; the view only makes them findable. So the view keeps no
//! write-ahead log of its own: [`View::apply`] changes memory and costs microseconds,
//! [`View::sync`] makes everything applied before it durable, and after a crash the view is again
//! what it was **at some moment between its last sync and the crash**; the owner replays its log
//! from the position that it keeps as a row inside the view.
//!
//! It is fjall's storage engine, `lsm-tree`, without fjall's journal around it (README.md says why).
//!
//! # Invariants
//! 1. A batch is atomic: in memory, in every snapshot, and across crashes, over all keyspaces.
//!    All keyspaces share one tree, and memory moves to disk only between batches.
//! 2. What is on disk is always a prefix of the applied batches.
//! 3. [`View::open`] never fails because of a crash. Only a damaged disk can make the tree
//!    unreadable; then its files are set aside, and the caller is told [`Opened::Empty`].
//! 4. After a write error of unknown outcome nothing is written until [`View::recover`].

mod batch;
mod error;
mod generation;
mod iter;
mod snapshot;
mod tracker;
mod view;

pub use batch::{Batch, KEY_BYTES_MAX};
pub use error::{Result, ViewError};
pub use iter::ViewIter;
pub use snapshot::ViewSnapshot;
pub use view::View;

use bytes::{BufMut, Bytes, BytesMut};

/// What [`View::open`] and [`View::recover`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The view was closed in order: everything that was ever applied is there.
    Clean,
    /// The view is what it was at `point` or at a later moment before the crash.
    Restored {
        /// The last completed sync.
        point: SyncPoint,
    },
    /// There is nothing: a new directory, a wiped view, or one whose files were damaged (they are
    /// kept beside it, in a directory `tree.damaged-…`).
    Empty,
}

/// Counts a view's syncs; later points include earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncPoint(pub u64);

/// Bounds of a view.
#[derive(Debug, Clone)]
pub struct ViewConfig {
    /// Cache of table blocks, bytes.
    pub cache_bytes: u64,
    /// Size at which memory is written out as a table without a sync being asked for, bytes.
    pub memtable_bytes: u64,
    /// Table writing stops while the disk has fewer free bytes than this (in addition to what the
    /// table itself needs); [`ViewError::NoSpace`].
    pub free_bytes_min: u64,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, memtable_bytes: 32 << 20, free_bytes_min: 16 << 20 }
    }
}

/// A named keyspace of one view; from [`View::keyspace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keyspace(u8);

impl Keyspace {
    /// The view's own rows: format, sync point, names of the keyspaces.
    const SYSTEM: Self = Self(0);

    fn encode(self, key: &[u8]) -> Bytes {
        let mut encoded = BytesMut::with_capacity(key.len() + 1);
        encoded.put_u8(self.0);
        encoded.put_slice(key);
        encoded.freeze()
    }
}
