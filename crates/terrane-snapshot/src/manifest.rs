//! Manifests: where the chunks of a snapshot are. A chunk without a reference is all zeros.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::seal::SEAL_BYTES;
use crate::{
    CHUNK_BYTES, CHUNKS_MAX, ChunkHash, ChunkRef, Kind, ObjectName, ObjectRef, PACK_BYTES_MAX, Result,
    SEGMENT_CHUNKS, SnapshotError,
};

/// The form of manifests and segment manifests that is written.
const VERSION: u8 = 1;

/// What a snapshot consists of: its length and its segment manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Length of the volume in chunks.
    pub chunks: u64,
    /// Segment manifests by number (chunk / 1,024); what is missing is all zeros.
    pub segments: BTreeMap<u32, ObjectRef>,
}

/// The chunks of one segment, by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// References by chunk % 1,024; what is missing is all zeros.
    pub chunks: BTreeMap<u16, ChunkRef>,
}

#[derive(Serialize, Deserialize)]
struct ManifestForm {
    chunks: u64,
    segments: Vec<(u32, ObjectRef)>,
}

/// Packs are named once, chunks by the pack's place.
#[derive(Serialize, Deserialize)]
struct SegmentForm {
    packs: Vec<ObjectName>,
    chunks: Vec<ChunkForm>,
}

#[derive(Serialize, Deserialize)]
struct ChunkForm {
    slot: u16,
    pack: u16,
    offset: u32,
    len: u32,
    hash: ChunkHash,
}

impl Manifest {
    /// The manifest of a volume that is all zeros.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`] for more chunks than a volume can have.
    pub fn empty(chunks: u64) -> Result<Self> {
        if chunks > CHUNKS_MAX {
            return Err(SnapshotError::OutOfRange { chunk: chunks, chunks: CHUNKS_MAX });
        }
        Ok(Self { chunks, segments: BTreeMap::new() })
    }

    /// Version byte and postcard.
    pub fn encode(&self) -> Vec<u8> {
        let segments = self.segments.iter().map(|(number, segment)| (*number, *segment)).collect();
        let form = ManifestForm { chunks: self.chunks, segments };
        postcard::to_extend(&form, vec![VERSION]).expect("a manifest encodes")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`], [`SnapshotError::NewerFormat`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |what| SnapshotError::corrupt("manifest", what);
        let form: ManifestForm = decode("manifest", bytes)?;
        let ends = form.chunks.div_ceil(SEGMENT_CHUNKS);
        let legal = |(number, segment): &(u32, ObjectRef)| {
            u64::from(*number) < ends && segment.name.kind == Kind::Segment
        };
        if form.chunks > CHUNKS_MAX || !form.segments.iter().all(legal) {
            return Err(corrupt("a segment that cannot be"));
        }
        if !form.segments.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(corrupt("segments out of order"));
        }
        Ok(Self { chunks: form.chunks, segments: form.segments.into_iter().collect() })
    }

    /// The segment and the place in it of a chunk.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`].
    pub fn locate(&self, chunk: u64) -> Result<(u32, u16)> {
        locate(chunk, self.chunks)
    }
}

pub(crate) fn locate(chunk: u64, chunks: u64) -> Result<(u32, u16)> {
    let out_of_range = || SnapshotError::OutOfRange { chunk, chunks };
    if chunk >= chunks {
        return Err(out_of_range());
    }
    let segment = u32::try_from(chunk / SEGMENT_CHUNKS).map_err(|_| out_of_range())?;
    let slot = u16::try_from(chunk % SEGMENT_CHUNKS).map_err(|_| out_of_range())?;
    Ok((segment, slot))
}

impl Segment {
    /// Version byte and postcard.
    pub fn encode(&self) -> Vec<u8> {
        let mut packs: Vec<ObjectName> = self.chunks.values().map(|chunk| chunk.pack).collect();
        packs.sort_unstable();
        packs.dedup();
        let number = |pack: &ObjectName| packs.binary_search(pack).expect("every chunk's pack is there");
        let chunk = |(slot, chunk): (&u16, &ChunkRef)| ChunkForm {
            slot: *slot,
            pack: u16::try_from(number(&chunk.pack)).expect("at most 1,024 chunks, hence packs"),
            offset: chunk.offset,
            len: chunk.len,
            hash: chunk.hash,
        };
        let chunks = self.chunks.iter().map(chunk).collect();
        postcard::to_extend(&SegmentForm { packs, chunks }, vec![VERSION]).expect("a segment encodes")
    }

    /// Reads a segment manifest.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`], [`SnapshotError::NewerFormat`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |what| SnapshotError::corrupt("segment manifest", what);
        let form: SegmentForm = decode("segment manifest", bytes)?;
        if !form.chunks.is_sorted_by(|a, b| a.slot < b.slot) {
            return Err(corrupt("chunks out of order"));
        }
        let chunk = |form_chunk: ChunkForm| {
            let ChunkForm { slot, pack, offset, len, hash } = form_chunk;
            let pack = form.packs.get(usize::from(pack)).copied();
            let pack = pack.filter(|pack| pack.kind == Kind::Pack).ok_or_else(|| corrupt("no such pack"))?;
            let length = usize::try_from(len).unwrap_or(usize::MAX);
            let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(length);
            let fits = (SEAL_BYTES..=CHUNK_BYTES + SEAL_BYTES).contains(&length) && end <= PACK_BYTES_MAX;
            if u64::from(slot) >= SEGMENT_CHUNKS || !fits {
                return Err(corrupt("a chunk that cannot be"));
            }
            Ok((slot, ChunkRef { pack, offset, len, hash }))
        };
        let chunks = form.chunks.into_iter().map(chunk).collect::<Result<_>>()?;
        Ok(Self { chunks })
    }

    /// The packs that its chunks lie in.
    pub fn packs(&self) -> std::collections::BTreeSet<ObjectName> {
        self.chunks.values().map(|chunk| chunk.pack).collect()
    }
}

fn decode<'a, T: Deserialize<'a>>(object: &str, bytes: &'a [u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|_| SnapshotError::corrupt(object, "does not decode"))
        }
        Some((version, _)) if *version > VERSION => {
            Err(SnapshotError::NewerFormat { object: object.into(), found: *version, known: VERSION })
        }
        _ => Err(SnapshotError::corrupt(object, "not a manifest")),
    }
}

#[cfg(test)]
mod tests;
