//! The messages, version 1. A message is a version byte and postcard.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use terrane_types::RandomId;

use crate::committer::{CommitRequest, Version};
use crate::engine::Row;
use crate::{KeyRange, Result, StoreError};

/// The protocol that this program speaks.
pub(super) const PROTOCOL: u8 = 1;

pub(super) const MAGIC: [u8; 8] = *b"TERRSTOR";

/// The client's first message. It has the token, so it cannot be printed.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) magic: [u8; 8],
    /// The oldest and the newest protocol that the client speaks.
    pub(super) protocols: (u8, u8),
    pub(super) token: Vec<u8>,
}

/// The server's answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Welcome {
    Accepted { protocol: u8, incarnation: RandomId, snapshot_ttl_ms: u64 },
    Refused(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Chosen by the client; the answer carries it.
    pub(super) number: u64,
    pub(super) body: Ask,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Opens a snapshot.
    Begin,
    Get {
        snapshot: u64,
        key: Bytes,
    },
    Scan {
        snapshot: u64,
        range: KeyRange,
        limit: u32,
        reverse: bool,
    },
    /// The snapshot is no longer needed. Not answered.
    End {
        snapshot: u64,
    },
    Commit {
        incarnation: RandomId,
        commit: CommitRequest,
    },
    /// Answered when there is a later version, or after a while.
    Changed {
        seen: Version,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Response {
    pub(super) number: u64,
    pub(super) body: Answer,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Begun { snapshot: u64, version: Version },
    Value(Option<Bytes>),
    Rows(Vec<Row>),
    Version(Version),
    Failed(Failure),
}

/// The errors that clients treat differently.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// Also of a snapshot that has expired.
    Conflict,
    NoSpace(String),
    Unavailable(String),
    UnknownOutcome(String),
    TooLarge {
        len: u64,
        limit: u64,
    },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::NoSpace(why) => Self::NoSpace(why),
            StoreError::UnknownOutcome(why) => Self::UnknownOutcome(why),
            StoreError::TooLarge { len, limit, .. } => {
                Self::TooLarge { len: len as u64, limit: limit as u64 }
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match failure {
            Failure::Conflict => Self::Conflict,
            Failure::NoSpace(why) => Self::NoSpace(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::UnknownOutcome(why) => Self::UnknownOutcome(why),
            Failure::TooLarge { len, limit } => {
                Self::TooLarge { what: "message", len: size(len), limit: size(limit) }
            }
        }
    }
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    postcard::to_extend(message, vec![PROTOCOL]).map_err(|error| StoreError::decode("message", error))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&PROTOCOL, rest)) => {
            postcard::from_bytes(rest).map_err(|error| StoreError::decode("message", error))
        }
        _ => Err(StoreError::decode("message", "another protocol version")),
    }
}

/// Decodes bytes as each kind of message, for fuzzing; tells how many kinds took them.
pub fn decode_any(bytes: &[u8]) -> usize {
    [
        decode::<Hello>(bytes).is_ok(),
        decode::<Welcome>(bytes).is_ok(),
        decode::<Request>(bytes).is_ok(),
        decode::<Response>(bytes).is_ok(),
    ]
    .into_iter()
    .filter(|ok| *ok)
    .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::committer::CommitId;

    #[test]
    fn the_handshake_is_pinned() {
        let hello = Hello { magic: MAGIC, protocols: (1, 1), token: vec![9] };
        assert_eq!(encode(&hello).unwrap(), *b"\x01TERRSTOR\x01\x01\x01\x09");
        let welcome = Welcome::Accepted { protocol: 1, incarnation: RandomId(300), snapshot_ttl_ms: 5 };
        assert_eq!(encode(&welcome).unwrap(), [1, 0, 1, 0xac, 2, 5]);
        assert_eq!(encode(&Welcome::Refused("x".into())).unwrap(), [1, 1, 1, b'x']);
    }

    fn commit() -> Request {
        let commit = CommitRequest {
            snapshot: 2,
            reads: vec![KeyRange::new(&b"a"[..], &b"b"[..])],
            writes: vec![(Bytes::from("k"), Some(Bytes::from("v"))), (Bytes::from("l"), None)],
            id: Some(CommitId(7)),
            retry: true,
        };
        Request { number: 3, body: Ask::Commit { incarnation: RandomId(4), commit } }
    }

    #[test]
    fn the_messages_are_pinned() {
        let expected = [
            1, 3, 4, 4, // version byte, number, Commit, incarnation
            2, 1, 1, b'a', 1, b'b', // snapshot, one range
            2, 1, b'k', 1, 1, b'v', 1, b'l', 0, // two writes
            1, 7, 1, // identifier, retry
        ];
        assert_eq!(encode(&commit()).unwrap(), expected);
        let get = Request { number: 1, body: Ask::Get { snapshot: 2, key: Bytes::from("k") } };
        assert_eq!(encode(&get).unwrap(), [1, 1, 1, 2, 1, b'k']);
        let answer = Response { number: 1, body: Answer::Failed(Failure::Conflict) };
        assert_eq!(encode(&answer).unwrap(), [1, 1, 4, 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, at: prop::sample::Index, flip: u8) {
            decode_any(&bytes);
            bytes.insert(0, PROTOCOL);
            decode_any(&bytes);
            let mut good = encode(&commit()).unwrap();
            prop_assert_eq!(decode::<Request>(&good).unwrap(), commit());
            let at = at.index(good.len());
            good[at] ^= flip;
            decode_any(&good);
        }
    }
}
