use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;
use terrane_view::{Keyspace, ViewSnapshot};

use crate::committer::Version;
use crate::{KeyRange, Result, Row};

/// All rows at one version.
#[derive(Debug, Clone)]
pub(crate) enum LocalSnapshot {
    Memory(OrdMap<Bytes, Bytes>),
    View { snapshot: ViewSnapshot, rows: Keyspace },
}

/// A state that readers may see: everything in it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) version: Version,
    pub(crate) snapshot: LocalSnapshot,
}

impl LocalSnapshot {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Self::Memory(rows) => Ok(rows.get(key).cloned()),
            Self::View { snapshot, rows } => Ok(snapshot.get(*rows, key)?),
        }
    }

    pub(crate) fn scan(&self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<Row>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Memory(rows) => {
                let bounds = (Bound::Included(range.start.clone()), Bound::Excluded(range.end.clone()));
                let row = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
                let found = rows.range(bounds);
                Ok(if reverse {
                    found.rev().take(limit).map(row).collect()
                } else {
                    found.take(limit).map(row).collect()
                })
            }
            Self::View { snapshot, rows } => {
                let found = snapshot.range(*rows, Bound::Included(&range.start), Bound::Excluded(&range.end));
                let rows: Result<Vec<Row>, _> =
                    if reverse { found.rev().take(limit).collect() } else { found.take(limit).collect() };
                Ok(rows?)
            }
        }
    }
}
