use bytes::Bytes;

use crate::{Keyspace, Result, ViewError};

/// Longest key in bytes (the tree stores `u16` lengths; one byte names the keyspace).
pub const KEY_BYTES_MAX: usize = u16::MAX as usize - 1;

/// Writes that become visible together, across keyspaces.
///
/// Within a batch the last write to a key wins.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(crate) writes: Vec<(Bytes, Option<Bytes>)>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, keyspace: Keyspace, key: &[u8], value: impl Into<Bytes>) {
        self.push(keyspace, key, Some(value.into()));
    }

    /// Removes `key`; removing what is not there is no error.
    pub fn delete(&mut self, keyspace: Keyspace, key: &[u8]) {
        self.push(keyspace, key, None);
    }

    /// Number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, keyspace: Keyspace, key: &[u8], value: Option<Bytes>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.writes.push((keyspace.encode(key), value));
    }

    /// Checks the limits and leaves only the last write to each key: two entries of one key with
    /// one sequence number would be ambiguous in the tree.
    pub(crate) fn into_checked_writes(mut self) -> Result<Vec<(Bytes, Option<Bytes>)>> {
        for (key, value) in &self.writes {
            if key.len() > KEY_BYTES_MAX + 1 {
                return Err(ViewError::TooLarge { what: "key", len: key.len() - 1 });
            }
            let len = value.as_ref().map_or(0, Bytes::len);
            if u32::try_from(len).is_err() {
                return Err(ViewError::TooLarge { what: "value", len });
            }
        }
        self.writes.reverse();
        self.writes.sort_by(|a, b| a.0.cmp(&b.0));
        self.writes.dedup_by(|later, kept| later.0 == kept.0);
        Ok(self.writes)
    }
}
