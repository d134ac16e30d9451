//! What the embedded engine writes into its log.

use serde::{Deserialize, Serialize};
use terrane_types::RandomId;

use crate::committer::{CommitId, Version, Writes};
use crate::{Result, StoreError};

/// Layout of the store's data as a whole; a store with a newer one is refused.
pub const DATA_FORMAT: u32 = 1;

/// Version byte of a record.
const VERSION: u8 = 1;

/// One record of the log. Encoded as a version byte and postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogRecord {
    /// The first record of every store.
    Genesis {
        /// See [`DATA_FORMAT`].
        format: u32,
        /// The store's identity.
        incarnation: RandomId,
    },
    /// One commit.
    Commit {
        /// Its number; larger than that of every record before.
        version: Version,
        /// Set if the committer may ask again.
        id: Option<CommitId>,
        /// What it wrote.
        writes: Writes,
    },
}

impl LogRecord {
    /// The bytes of a record.
    ///
    /// # Errors
    /// None that is known; postcard's.
    pub fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_extend(self, vec![VERSION]).map_err(|error| StoreError::decode("log record", error))
    }

    /// Reads a record; no input makes it panic.
    ///
    /// # Errors
    /// [`StoreError::Decode`] or [`StoreError::NewerFormat`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| StoreError::decode("log record", error))
            }
            Some((&found, _)) if found > VERSION => {
                Err(StoreError::NewerFormat { found: found.into(), supported: VERSION.into() })
            }
            _ => Err(StoreError::decode("log record", "unknown version")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_records_are_pinned() {
        let genesis = LogRecord::Genesis { format: 1, incarnation: RandomId(300) };
        assert_eq!(genesis.encode().unwrap(), [1, 0, 1, 0xac, 2]);
        let writes = vec![(Bytes::from("k"), Some(Bytes::from("vv"))), (Bytes::from("l"), None)];
        let commit = LogRecord::Commit { version: 2, id: Some(CommitId(3)), writes };
        let expected = [1, 1, 2, 1, 3, 2, 1, b'k', 1, 2, b'v', b'v', 1, b'l', 0];
        assert_eq!(commit.encode().unwrap(), expected);
    }

    proptest! {
        #[test]
        fn commits_round_trip(version: u64, id: Option<u128>, keys: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let writes = keys.into_iter().map(|(k, v)| (k.into(), v.map(Bytes::from))).collect();
            let record = LogRecord::Commit { version, id: id.map(CommitId), writes };
            prop_assert_eq!(LogRecord::decode(&record.encode().unwrap()).unwrap(), record);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, at: prop::sample::Index, flip: u8) {
            let _ = LogRecord::decode(&bytes);
            bytes.insert(0, 1);
            let _ = LogRecord::decode(&bytes);
            let writes = vec![(Bytes::from(bytes), None)];
            let mut good = LogRecord::Commit { version: 9, id: None, writes }.encode().unwrap();
            let at = at.index(good.len());
            good[at] ^= flip;
            let _ = LogRecord::decode(&good);
        }
    }
}
