//! Names and sizes: chunks, objects, captures.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Result, SnapshotError};

/// Bytes of a chunk; chunks are aligned to it.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks that one segment manifest covers.
pub const SEGMENT_CHUNKS: u64 = 1024;
/// Chunks of the largest volume: 64 TiB.
pub const CHUNKS_MAX: u64 = (64 << 40) / CHUNK_BYTES as u64;

/// BLAKE3 of a chunk's or a manifest's plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkHash(pub [u8; 32]);

impl ChunkHash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// Who writes objects: a capture, or anything else that builds a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CaptureId {
    /// Grows from capture to capture ([`gc::Ledger`](crate::gc::Ledger) gives it out): garbage collection
    /// tells by it what a capture in progress may still refer to.
    pub number: u64,
    /// Random, so that names stay unique after the ledger was restored from a backup.
    pub nonce: u64,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Chunks.
    Pack,
    /// The references of 1,024 chunks.
    Segment,
    /// The references of a snapshot's segments.
    Manifest,
}

impl Kind {
    /// The directory of such objects.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Pack => "packs/",
            Self::Segment => "segments/",
            Self::Manifest => "manifests/",
        }
    }
}

/// The name of an object, never used twice: `packs/<capture>-<nonce>-<n>`, all hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// What it is.
    pub kind: Kind,
    /// Who wrote it.
    pub capture: CaptureId,
    /// Counts the objects of this kind of that capture.
    pub n: u32,
}

impl ObjectName {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`SnapshotError::BadName`].
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || SnapshotError::BadName(text.chars().take(100).collect());
        let kinds = [Kind::Pack, Kind::Segment, Kind::Manifest];
        let found = kinds.iter().find_map(|kind| Some((*kind, text.strip_prefix(kind.prefix())?)));
        let (kind, rest) = found.ok_or_else(bad)?;
        let mut parts = rest.split('-');
        let mut part = |digits: usize| {
            let text = parts.next().filter(|text| text.len() == digits)?;
            let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            text.bytes().all(legal).then(|| u64::from_str_radix(text, 16).ok())?
        };
        let fields = (part(16), part(16), part(8).and_then(|n| u32::try_from(n).ok()));
        match (fields, parts.next()) {
            ((Some(number), Some(nonce), Some(n)), None) => {
                Ok(Self { kind, capture: CaptureId { number, nonce }, n })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaptureId { number, nonce } = self.capture;
        write!(f, "{}{number:016x}-{nonce:016x}-{:08x}", self.kind.prefix(), self.n)
    }
}

/// A reference to a whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The object.
    pub name: ObjectName,
    /// Its length in bytes, as stored.
    pub len: u32,
    /// The hash of its plain content.
    pub hash: ChunkHash,
}

/// A reference to a chunk in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The pack.
    pub pack: ObjectName,
    /// Where its sealed bytes begin in the pack.
    pub offset: u32,
    /// Their length.
    pub len: u32,
    /// The hash of the chunk.
    pub hash: ChunkHash,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_pinned() {
        let capture = CaptureId { number: 1, nonce: 0xab };
        let name = ObjectName { kind: Kind::Pack, capture, n: 2 };
        assert_eq!(name.to_string(), "packs/0000000000000001-00000000000000ab-00000002");
        let same = ["packs/1-2-3", "packs/0000000000000001-00000000000000AB-00000002", "x"];
        assert!(same.iter().all(|text| ObjectName::parse(text).is_err()));
    }

    proptest! {
        #[test]
        fn names_round_trip_and_others_are_refused(number: u64, nonce: u64, n: u32, text: String) {
            for kind in [Kind::Pack, Kind::Segment, Kind::Manifest] {
                let name = ObjectName { kind, capture: CaptureId { number, nonce }, n };
                prop_assert_eq!(ObjectName::parse(&name.to_string()).unwrap(), name);
            }
            if let Ok(name) = ObjectName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
