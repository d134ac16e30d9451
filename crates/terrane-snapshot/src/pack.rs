//! Packs: sealed chunks one behind the other, and at the end what they are.
//!
//! ```text
//! version u8 = 1 | "TRNPACK" | sealed chunks … | sealed index | hash of the index [32] | its length u32
//! ```
//! Reading a chunk needs no index: manifests say where chunks are. The index lets the table of known chunks
//! be rebuilt from packs alone.

use serde::{Deserialize, Serialize};

use crate::seal::{Context, Sealed, seal};
use crate::{CHUNK_BYTES, ChunkHash, ChunkKey, Kind, Result, SnapshotError};
use terrane_types::AccountId;

/// Smallest pack that is begun in vain: a capture closes packs of at least this size, except for its last.
pub const PACK_BYTES_MIN: usize = 8 << 20;
/// Largest pack.
pub const PACK_BYTES_MAX: usize = 32 << 20;

const MAGIC: [u8; 8] = *b"\x01TRNPACK";
/// The form of the index.
const INDEX_VERSION: u8 = 1;
/// Hash and length of the index.
const TAIL_BYTES: usize = 36;
/// What a pack's head, index and tail may take.
const ROOM_BYTES: usize = 1 << 20;

/// One chunk of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackEntry {
    /// The chunk's hash.
    pub hash: ChunkHash,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// Their length.
    pub len: u32,
}

/// A pack that is being filled.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
}

impl PackBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), entries: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether another chunk, however well it compresses, might not fit.
    pub(crate) fn is_full(&self, target: usize) -> bool {
        let worst = self.bytes.len() + CHUNK_BYTES + ROOM_BYTES;
        self.bytes.len() >= target || worst > PACK_BYTES_MAX || self.entries.len() >= ENTRIES_MAX
    }

    /// Adds a sealed chunk; returns where it is.
    pub(crate) fn add(&mut self, hash: ChunkHash, sealed: &[u8]) -> PackEntry {
        let number = |n: usize| u32::try_from(n).expect("a pack is at most PACK_BYTES_MAX long");
        let entry = PackEntry { hash, offset: number(self.bytes.len()), len: number(sealed.len()) };
        self.bytes.extend_from_slice(sealed);
        self.entries.push(entry);
        entry
    }

    /// Closes the pack.
    pub(crate) fn finish(
        mut self,
        key: &ChunkKey,
        nonce: [u8; 12],
        account: &AccountId,
    ) -> (Vec<u8>, Vec<PackEntry>) {
        let index = postcard::to_extend(&self.entries, vec![INDEX_VERSION]).expect("entries encode");
        let hash = ChunkHash::of(&index);
        let sealed = seal(key, nonce, Context { account, kind: Kind::Pack, hash }, &index);
        self.bytes.extend_from_slice(&sealed);
        self.bytes.extend_from_slice(&hash.0);
        let len = u32::try_from(sealed.len()).expect("an index is shorter than ROOM_BYTES");
        self.bytes.extend_from_slice(&len.to_be_bytes());
        (self.bytes, self.entries)
    }
}

/// Chunks of a pack: of zeros in all but one byte there could be very many.
const ENTRIES_MAX: usize = 8192;

/// Where a pack's index lies and what it hashes to, from the last bytes of the pack.
fn tail<'a>(object: &str, pack: &'a [u8]) -> Result<(ChunkHash, &'a [u8])> {
    let corrupt = |what| SnapshotError::corrupt(object, what);
    let body = pack.strip_prefix(&MAGIC).ok_or_else(|| match pack.first() {
        Some(version) if *version > MAGIC[0] && pack.get(1..8) == Some(&MAGIC[1..]) => {
            SnapshotError::NewerFormat { object: object.into(), found: *version, known: MAGIC[0] }
        }
        _ => corrupt("not a pack"),
    })?;
    let (body, tail) = body.split_last_chunk::<TAIL_BYTES>().ok_or_else(|| corrupt("cut short"))?;
    let (hash, len) = tail.split_first_chunk::<32>().ok_or_else(|| corrupt("cut short"))?;
    let len = len.try_into().map(u32::from_be_bytes).map_err(|_| corrupt("cut short"))?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let start = body.len().checked_sub(len).ok_or_else(|| corrupt("an index longer than the pack"))?;
    Ok((ChunkHash(*hash), &body[start..]))
}

/// Which key a pack's index is sealed with.
pub(crate) fn index_key(object: &str, pack: &[u8]) -> Result<u32> {
    Ok(Sealed::parse(&object, tail(object, pack)?.1)?.key)
}

/// The chunks of a pack, from the pack's bytes.
pub(crate) fn index(
    object: &str,
    pack: &[u8],
    key: &ChunkKey,
    account: &AccountId,
) -> Result<Vec<PackEntry>> {
    let (hash, sealed) = tail(object, pack)?;
    let context = Context { account, kind: Kind::Pack, hash };
    let plain = Sealed::parse(&object, sealed)?.open(&object, key, context)?;
    let entries = decode_index(object, &plain)?;
    let end = pack.len().saturating_sub(TAIL_BYTES + sealed.len());
    let inside = |entry: &PackEntry| {
        let begin = usize::try_from(entry.offset).unwrap_or(usize::MAX);
        let stop = begin.saturating_add(usize::try_from(entry.len).unwrap_or(usize::MAX));
        begin >= MAGIC.len() && stop <= end
    };
    if entries.iter().all(inside) {
        Ok(entries)
    } else {
        Err(SnapshotError::corrupt(object, "an index beyond the pack"))
    }
}

fn decode_index(object: &str, plain: &[u8]) -> Result<Vec<PackEntry>> {
    let corrupt = || SnapshotError::corrupt(object, "an index that does not decode");
    let rest = plain.strip_prefix(&[INDEX_VERSION]).ok_or_else(corrupt)?;
    postcard::from_bytes(rest).map_err(|_| corrupt())
}

/// Decodes whatever bytes are; for fuzzing.
pub(crate) fn fuzz_decode(bytes: &[u8]) {
    let _ = decode_index("fuzz", bytes);
    let _ = index_key("fuzz", bytes);
}

#[cfg(test)]
mod tests;
