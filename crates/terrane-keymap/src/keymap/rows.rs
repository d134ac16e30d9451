//! Rows of any engine, as a [`RowReader`], and an engine in memory for tests and simulations.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::{KeymapRead, Keyspace, Mutation};
use crate::head::RowHead;
use crate::reader::{ReadError, Row, RowReader, Rows};
use crate::rows::RowId;

/// The rows table of an engine.
pub struct KeymapRows<K>(pub K);

fn decode(row: RowId, bytes: &[u8]) -> Result<Row, ReadError> {
    match RowHead::decode(bytes) {
        Ok(head) => Ok((row, Arc::new(head))),
        Err(source) => Err(ReadError::Corrupt { row, source }),
    }
}

impl<K: KeymapRead> RowReader for KeymapRows<K> {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        let bytes = self.0.get(Keyspace::Rows, row.as_bytes())?;
        bytes.map(|bytes| Ok(decode(row.clone(), &bytes)?.1)).transpose()
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        let (from, to) = (from.to_vec(), to.to_vec());
        Box::new(Pages { keymap: &self.0, from: Some(from), to, page: VecDeque::new(), size: 8 })
    }
}

/// Pages that grow, so that short scans read little.
struct Pages<'a, K> {
    keymap: &'a K,
    from: Option<Vec<u8>>,
    to: Vec<u8>,
    page: VecDeque<(Bytes, Bytes)>,
    size: usize,
}

impl<K: KeymapRead> Iterator for Pages<'_, K> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Some(from) = self.from.take()
            && (self.to.is_empty() || from < self.to)
        {
            match self.keymap.range(Keyspace::Rows, &from, &self.to, self.size) {
                Err(error) => return Some(Err(error)),
                Ok(page) => {
                    let full = page.len() == self.size;
                    self.from = page.last().filter(|_| full).map(|(key, _)| [&key[..], &[0]].concat());
                    self.page = page.into();
                    self.size = (self.size * 4).min(1_024);
                }
            }
        }
        let (key, value) = self.page.pop_front()?;
        Some(decode(RowId::from_bytes(&key), &value))
    }
}

impl<K: KeymapRead + ?Sized> KeymapRead for &K {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        (**self).get(keyspace, key)
    }

    fn range(
        &self,
        keyspace: Keyspace,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        (**self).range(keyspace, from, to, limit)
    }
}

/// An engine in memory. Cloning takes a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryKeymap {
    tables: OrdMap<(Keyspace, Vec<u8>), Bytes>,
}

impl MemoryKeymap {
    /// Commits one atomic batch.
    pub fn commit(&mut self, mutations: Vec<Mutation>) {
        for Mutation { keyspace, key, value } in mutations {
            match value {
                Some(value) => self.tables.insert((keyspace, key), value.into()),
                None => self.tables.remove(&(keyspace, key)),
            };
        }
    }
}

impl KeymapRead for MemoryKeymap {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.tables.get(&(keyspace, key.to_vec())).cloned())
    }

    fn range(
        &self,
        keyspace: Keyspace,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let inside = |key: &[u8]| to.is_empty() || key < to;
        let rows = self.tables.range((Bound::Included((keyspace, from.to_vec())), Bound::Unbounded));
        let rows = rows.take_while(|((table, key), _)| *table == keyspace && inside(key)).take(limit);
        Ok(rows.map(|((_, key), value)| (Bytes::copy_from_slice(key), value.clone())).collect())
    }
}
