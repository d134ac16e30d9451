use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Result, StoreError};

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys and values of all writes of one transaction, bytes.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Rows that one call of [`Tx::scan`](crate::Tx::scan) returns at most.
pub const SCAN_ROWS_MAX: usize = 4096;

/// Reads of one transaction that writes: keys and scanned ranges.
pub const READS_MAX: usize = 65_536;

/// All keys that begin with this byte are the store's own.
pub(crate) const RESERVED: u8 = 0xff;

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.first().is_none_or(|first| *first == RESERVED) {
        let shown = key.get(..key.len().min(16)).unwrap_or_default();
        return Err(StoreError::ReservedKey(shown.to_vec()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "key bytes", len: key.len(), limit: KEY_BYTES_MAX });
    }
    Ok(())
}

/// The keys `k` with `start ≤ k < end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// First key that may be in the range.
    pub start: Bytes,
    /// First key behind the range.
    pub end: Bytes,
}

impl KeyRange {
    /// From `start` up to but not including `end`.
    pub fn new(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: end.into() }
    }

    /// All keys that a user may have.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: Bytes::from_static(&[RESERVED]) }
    }

    /// Exactly one key.
    pub fn key(key: &[u8]) -> Self {
        Self { start: Bytes::copy_from_slice(key), end: successor(key) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.push(RESERVED),
        }
        Self { start: Bytes::copy_from_slice(prefix), end: end.into() }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether the key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && *key < *self.end
    }

    /// Whether it is exactly one key.
    pub fn is_single_key(&self) -> bool {
        self.end.len() == self.start.len() + 1
            && self.end.starts_with(&self.start)
            && self.end.ends_with(&[0])
    }

    /// What is left of the range behind (or, in a reverse scan, before) the row of `key`: the next
    /// page of a scan.
    #[must_use]
    pub fn rest(&self, key: &[u8], reverse: bool) -> Self {
        if reverse {
            Self { start: self.start.clone(), end: Bytes::copy_from_slice(key) }
        } else {
            Self { start: successor(key), end: self.end.clone() }
        }
    }
}

/// The key right behind `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_range_has_the_keys_with_the_prefix(prefix: Vec<u8>, key: Vec<u8>) {
            prop_assume!(check_key(&key).is_ok());
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn a_key_range_has_one_key(key: Vec<u8>, other: Vec<u8>) {
            let range = KeyRange::key(&key);
            prop_assert!(range.is_single_key() && range.contains(&key));
            prop_assert_eq!(range.contains(&other), key == other);
        }
    }
}
