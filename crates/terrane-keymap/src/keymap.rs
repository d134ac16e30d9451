//! The keymap's tables, as any ordered key-value engine with atomic batches keeps them, and how a batch changes them.
//!
//! The engine's part is small: point reads, ordered ranges, one atomic batch of [`Mutation`]s, a sync. What to read
//! and what to write is decided here, so that the driver and the simulator do the same.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{Locator, Lsn};
use crate::reader::ReadError;

/// Tables. Use [`Keyspace::name`] as the engine's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keyspace {
    /// Row bytes → row head.
    Rows,
    /// Replay point, per-slot progress, spill runs.
    Meta,
    /// (slot, class, LSN) of entries applied beyond their watermark.
    Exceptions,
    /// (slot, LSN, row) of tombstones in [`Keyspace::Rows`].
    Tombstones,
    /// (data segment, offset, row) → extent: who refers to which bytes.
    Referrers,
    /// (log segment, slot) → bytes of records that hold the present state of some row.
    Usage,
    /// Cursor → completion.
    Outbox,
}

impl Keyspace {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Rows,
        Self::Meta,
        Self::Exceptions,
        Self::Tombstones,
        Self::Referrers,
        Self::Usage,
        Self::Outbox,
    ];

    /// The engine's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Meta => "meta",
            Self::Exceptions => "exceptions",
            Self::Tombstones => "tombstones",
            Self::Referrers => "referrers",
            Self::Usage => "usage",
            Self::Outbox => "outbox",
        }
    }
}

/// One change of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The table.
    pub keyspace: Keyspace,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// What [`plan`] and recovery read of the engine.
pub trait KeymapRead {
    /// A value.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, ReadError>;
    /// At most `limit` pairs with `from` ≤ key < `to` (empty: no end), ascending.
    fn range(
        &self,
        keyspace: Keyspace,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError>;
}

/// Where replay begins: earlier records are applied or in spill runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPoint {
    /// The first record to read; `None`: the log's oldest.
    pub from: Option<Locator>,
    /// Records with lesser LSNs are skipped.
    pub lsn: Lsn,
    /// All LSNs given so far are less than this.
    pub next_lsn: Lsn,
}

mod meta;
mod plan;
mod rows;

pub use meta::{KeymapMeta, SlotProgress, referrers_of, usage_of};
pub use plan::{ExtentsOf, PlanError, Planned, plan};
pub use rows::{KeymapRows, MemoryKeymap};

pub(crate) use meta::{replay_mutation, run_mutation};

#[cfg(test)]
mod tests;
