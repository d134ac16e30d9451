//! What the pipeline asks of a sorted view, and the real one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use terrane_log::Position;
use terrane_types::RandomId;
use terrane_view::{Batch, Keyspace, View, ViewConfig, ViewSnapshot};

use super::LocalSnapshot;
use crate::committer::{CommitId, Version};
use crate::{Result, StoreError};

/// How far a view is, written into it with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Layout of the data.
    pub format: u32,
    /// The store's identity.
    pub incarnation: RandomId,
    /// The last commit that is in the view.
    pub version: Version,
    /// The place in the log right behind it.
    pub position: Position,
    /// Commit identifiers up to this version may be missing.
    pub ids_floor: Version,
}

/// The stored form of [`Applied`], behind a version byte.
#[derive(Serialize, Deserialize)]
struct AppliedRow {
    format: u32,
    incarnation: RandomId,
    version: Version,
    segment: u64,
    offset: u32,
    ids_floor: Version,
}

impl Applied {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let row = AppliedRow {
            format: self.format,
            incarnation: self.incarnation,
            version: self.version,
            segment: self.position.segment,
            offset: self.position.offset,
            ids_floor: self.ids_floor,
        };
        postcard::to_extend(&row, vec![1]).map_err(|error| StoreError::decode("applied", error))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(&[1]) else {
            return Err(StoreError::decode("applied", "unknown version"));
        };
        let row: AppliedRow =
            postcard::from_bytes(rest).map_err(|error| StoreError::decode("applied", error))?;
        Ok(Self {
            format: row.format,
            incarnation: row.incarnation,
            version: row.version,
            position: Position { segment: row.segment, offset: row.offset },
            ids_floor: row.ids_floor,
        })
    }
}

/// Changes that become visible together.
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// Rows to set or delete.
    pub writes: BTreeMap<Bytes, Option<Bytes>>,
    /// Commit identifiers to remember.
    pub ids: Vec<(Version, CommitId)>,
    /// Commit identifiers to forget.
    pub forgotten: Vec<(Version, CommitId)>,
    /// How far the view is with this batch.
    pub applied: Applied,
}

impl RowBatch {
    /// A batch that changes nothing but how far the view is.
    pub fn new(applied: Applied) -> Self {
        Self { writes: BTreeMap::new(), ids: Vec::new(), forgotten: Vec::new(), applied }
    }
}

/// A sorted view that may lose what was applied after its last sync, but only from the end and
/// only whole batches.
pub trait Rows {
    /// How far it is; `None` for an empty one.
    ///
    /// # Errors
    /// The view's.
    fn applied(&self) -> Result<Option<Applied>>;

    /// All remembered commit identifiers in the order of their versions.
    ///
    /// # Errors
    /// The view's.
    fn ids(&self) -> Result<Vec<(Version, CommitId)>>;

    /// Makes a batch visible; durable only after [`Rows::sync`].
    ///
    /// # Errors
    /// The view's; then nothing of the batch is visible.
    fn apply(&self, batch: RowBatch) -> Result<()>;

    /// Makes everything applied before durable, and says how far that is: a view that was recovered a moment
    /// before is further back than it was.
    ///
    /// # Errors
    /// The view's.
    fn sync(&self) -> Result<Option<Applied>>;

    /// Goes back to what is durable, clearing a failure.
    ///
    /// # Errors
    /// The view's.
    fn recover(&self) -> Result<()>;
}

/// [`Rows`] in a [`View`].
#[derive(Debug, Clone)]
pub(crate) struct ViewRows {
    view: View,
    rows: Keyspace,
    meta: Keyspace,
    ids: Keyspace,
}

const APPLIED: &[u8] = b"applied";

impl ViewRows {
    pub(crate) fn open(dir: &Path, config: ViewConfig) -> Result<Self> {
        let (view, opened) = View::open(dir, &["rows", "meta", "ids"], config)?;
        tracing::debug!(dir = %dir.display(), ?opened, "store view");
        let (rows, meta, ids) = (view.keyspace("rows")?, view.keyspace("meta")?, view.keyspace("ids")?);
        Ok(Self { view, rows, meta, ids })
    }

    pub(crate) fn snapshot(&self) -> LocalSnapshot {
        LocalSnapshot::View { snapshot: self.view.snapshot(), rows: self.rows }
    }

    /// All rows of the store, decoded from the view's tables one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<(Bytes, Bytes)>> {
        self.view.snapshot().iter(self.rows).map(|row| Ok(row?))
    }

    fn applied_in(&self, snapshot: &ViewSnapshot) -> Result<Option<Applied>> {
        let row = snapshot.get(self.meta, APPLIED)?;
        row.map(|row| Applied::decode(&row)).transpose()
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(self.view.close()?)
    }
}

/// Version, identifier.
fn id_key((version, id): (Version, CommitId)) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&version.to_be_bytes());
    key[8..].copy_from_slice(&id.0.to_be_bytes());
    key
}

fn parse_id_key(key: &[u8]) -> Option<(Version, CommitId)> {
    let (version, id) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*version), CommitId(u128::from_be_bytes(id.try_into().ok()?))))
}

impl Rows for ViewRows {
    fn applied(&self) -> Result<Option<Applied>> {
        self.applied_in(&self.view.snapshot())
    }

    fn ids(&self) -> Result<Vec<(Version, CommitId)>> {
        let rows = self.view.snapshot().range(self.ids, Bound::Unbounded, Bound::Unbounded);
        let parse = |row: terrane_view::Result<(Bytes, Bytes)>| {
            parse_id_key(&row?.0).ok_or_else(|| StoreError::decode("commit identifier", "cut"))
        };
        rows.map(parse).collect()
    }

    fn apply(&self, changes: RowBatch) -> Result<()> {
        let mut batch = Batch::new();
        for (key, value) in changes.writes {
            match value {
                Some(value) => batch.put(self.rows, &key, value),
                None => batch.delete(self.rows, &key),
            }
        }
        for id in changes.ids {
            batch.put(self.ids, &id_key(id), Bytes::new());
        }
        for id in changes.forgotten {
            batch.delete(self.ids, &id_key(id));
        }
        batch.put(self.meta, APPLIED, changes.applied.encode()?);
        Ok(self.view.apply(batch)?)
    }

    fn sync(&self) -> Result<Option<Applied>> {
        let (_, synced) = self.view.sync_snapshot()?;
        self.applied_in(&synced)
    }

    fn recover(&self) -> Result<()> {
        self.view.recover()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_applied_row_is_pinned() {
        let position = Position { segment: 4, offset: 300 };
        let applied = Applied { format: 1, incarnation: RandomId(2), version: 3, position, ids_floor: 5 };
        assert_eq!(applied.encode().unwrap(), [1, 1, 2, 3, 4, 0xac, 2, 5]);
        assert_eq!(Applied::decode(&applied.encode().unwrap()).unwrap(), applied);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>, id: (u64, u128)) {
            let _ = Applied::decode(&bytes);
            let _ = parse_id_key(&bytes);
            let id = (id.0, CommitId(id.1));
            prop_assert_eq!(parse_id_key(&id_key(id)), Some(id));
        }
    }
}
