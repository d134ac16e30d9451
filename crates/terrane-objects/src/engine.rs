//! The keymap's engine: the core's tables in a replayable view, and spill runs beside it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use terrane_keymap::head::RowHead;
use terrane_keymap::keymap::{KeymapRead, Keyspace, Mutation};
use terrane_keymap::reader::{ReadError, RowReader, Rows};
use terrane_keymap::rows::RowId;
use terrane_keymap::run::RunEntry;
use terrane_view::{Batch, View, ViewError, ViewIter, ViewSnapshot};

use crate::runs::RunFile;

/// The keymap's tables in a view.
#[derive(Clone)]
pub(crate) struct Engine {
    view: View,
    tables: Tables,
}

/// The view's names for the core's tables.
#[derive(Clone, Copy)]
struct Tables([terrane_view::Keyspace; Keyspace::ALL.len()]);

impl Tables {
    fn of(&self, keyspace: Keyspace) -> terrane_view::Keyspace {
        self.0[keyspace as usize]
    }
}

/// The keymap at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    view: ViewSnapshot,
    tables: Tables,
}

impl Engine {
    pub(crate) fn new(view: View) -> Result<Self, ViewError> {
        let mut tables = [view.keyspace(Keyspace::ALL[0].name())?; Keyspace::ALL.len()];
        for keyspace in Keyspace::ALL {
            tables[keyspace as usize] = view.keyspace(keyspace.name())?;
        }
        Ok(Self { view, tables: Tables(tables) })
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { view: self.view.snapshot(), tables: self.tables }
    }

    /// Commits mutations atomically.
    pub(crate) fn commit(&self, mutations: Vec<Mutation>) -> Result<(), ViewError> {
        let mut batch = Batch::new();
        for mutation in mutations {
            let table = self.tables.of(mutation.keyspace);
            match mutation.value {
                Some(value) => batch.put(table, &mutation.key, value),
                None => batch.delete(table, &mutation.key),
            }
        }
        self.view.apply(batch)
    }
}

/// How far the log reached when the keymap was last synced.
///
/// Damage to the very last batch of a log looks like a torn write, and is erased as one. Where the keymap has seen
/// more of the log than there is, it was no torn write.
pub(crate) mod log_end {
    use super::{KeymapRead, Keyspace, Mutation, ReadError, Snapshot};
    use terrane_log::{Position, RecordLocator};

    const KEY: &[u8] = b"log-end";
    const VERSION: u8 = 1;

    /// Notes it.
    pub(crate) fn mutation(end: Position) -> Mutation {
        let place = RecordLocator { segment: end.segment, offset: end.offset, len: 0 };
        let value = [&[VERSION][..], &place.encode()].concat();
        Mutation { keyspace: Keyspace::Meta, key: KEY.to_vec(), value: Some(value) }
    }

    /// What was noted; the log's beginning if nothing was.
    pub(crate) fn load(keymap: &Snapshot) -> Result<Position, ReadError> {
        let Some(value) = KeymapRead::get(keymap, Keyspace::Meta, KEY)? else {
            return Ok(Position::default());
        };
        let place = value.strip_prefix(&[VERSION]).and_then(|bytes| bytes.try_into().ok());
        let place = place.map(RecordLocator::decode);
        let place = place.ok_or_else(|| super::storage("malformed end of the log"))?;
        Ok(Position { segment: place.segment, offset: place.offset })
    }
}

fn storage(error: impl std::fmt::Display) -> ReadError {
    ReadError::Storage(error.to_string().into())
}

impl Snapshot {
    /// Pairs with `from` ≤ key < `to` (empty: no end).
    pub(crate) fn iter(&self, keyspace: Keyspace, from: &[u8], to: &[u8]) -> ViewIter {
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        self.view.range(self.tables.of(keyspace), Bound::Included(from), end)
    }
}

impl KeymapRead for Snapshot {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.view.get(self.tables.of(keyspace), key).map_err(storage)
    }

    fn range(
        &self,
        keyspace: Keyspace,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.iter(keyspace, from, to).take(limit).map(|pair| pair.map_err(storage)).collect()
    }
}

fn decode_head(row: &[u8], value: &[u8]) -> Result<Arc<RowHead>, ReadError> {
    let head = RowHead::decode(value);
    head.map(Arc::new).map_err(|source| ReadError::Corrupt { row: RowId::from_bytes(row), source })
}

impl RowReader for Snapshot {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        let value = KeymapRead::get(self, Keyspace::Rows, row.as_bytes())?;
        value.map(|value| decode_head(row.as_bytes(), &value)).transpose()
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        Box::new(self.iter(Keyspace::Rows, from, to).map(|pair| {
            let (key, value) = pair.map_err(storage)?;
            Ok((RowId::from_bytes(&key), decode_head(&key, &value)?))
        }))
    }
}

impl RunFile {
    /// Bytes of records that the run's rows refer to, by log segment. Reads the whole run, once.
    pub(crate) fn log_usage(&self) -> Result<&BTreeMap<u64, u64>, ReadError> {
        if let Some(usage) = self.log_usage.get() {
            return Ok(usage);
        }
        let mut usage = BTreeMap::new();
        for row in RowReader::scan(self, &[], &[]) {
            let (_, head) = row?;
            if !head.is_tombstone() {
                *usage.entry(head.record.segment).or_default() += u64::from(head.record.len);
            }
        }
        Ok(self.log_usage.get_or_init(|| usage))
    }
}

impl RowReader for RunFile {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        let Some(value) = RunFile::get(self, row.as_bytes()).map_err(storage)? else { return Ok(None) };
        RunEntry::decode_row(row.clone(), &value).map(|(_, head)| Some(head)).map_err(storage)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        Box::new(RunFile::scan(self, from, to).map(|entry| {
            let (key, value) = entry.map_err(storage)?;
            RunEntry::decode_row(RowId::from_bytes(&key), &value).map_err(storage)
        }))
    }
}
