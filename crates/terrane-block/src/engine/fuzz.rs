//! Entries for fuzzing: everything that the engine decodes from a drive. None of them may panic.

use super::entry::Entry;
use super::identity::Identity;
use super::journal::replay_payloads;
use super::layout::{Geometry, Header};
use super::leaf;
use super::record::{CutId, Record};

/// A pool's identity.
///
/// # Panics
/// If what was decoded does not encode to the same bytes.
pub fn identity(bytes: &[u8]) {
    if let Ok(identity) = Identity::decode(bytes) {
        assert_eq!(identity.encode(), bytes, "one identity has one encoding");
    }
}

/// A copy's header.
///
/// # Panics
/// If what was decoded does not decode to the same again.
pub fn header(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(Header::decode(&header.encode()).ok(), Some(header), "what was decoded encodes");
    }
}

/// Table entries.
///
/// # Panics
/// If what was decoded does not encode to the same bytes.
pub fn table(bytes: &[u8]) {
    let (entries, _) = bytes.as_chunks();
    for (entry, block) in entries.iter().zip(0..) {
        if let Some(decoded) = Entry::decode(entry, 1, block) {
            assert_eq!(&decoded.encode(1, block), entry, "one entry has one encoding");
            let _ = decoded.resolve(bytes, 7);
        }
    }
}

/// What a group was at a cut.
///
/// # Panics
/// If what was decoded does not encode to the same bytes.
pub fn leaf(bytes: &[u8]) {
    let (cut, shape) = (CutId(1), Geometry { group_blocks: 8 });
    if let Ok(Some(contents)) = leaf::decode(bytes, cut, 2, shape) {
        assert_eq!(leaf::encode(cut, 2, &contents), bytes, "one group has one encoding");
    }
}

/// A journal: records, each after its length in two bytes.
///
/// # Panics
/// If what was decoded does not decode to the same again.
pub fn journal(mut bytes: &[u8]) {
    let mut payloads = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
        payloads.push(payload);
        bytes = rest;
        if let Ok(record) = Record::decode(payload) {
            assert_eq!(Record::decode(&record.encode()).ok(), Some(record), "what was decoded encodes");
        }
    }
    let _ = replay_payloads(&payloads);
}
