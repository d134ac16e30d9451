//! Which chunks differ between two snapshots: what ListChangedBlocks lists, and what an increment moves.

use std::collections::BTreeSet;

use crate::{ChunkHash, Manifest, Result, SEGMENT_CHUNKS, Segment, SnapshotError, Vault};

/// Changes that one call returns at most.
pub const CHANGES_MAX: usize = 10_000;

/// A chunk that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The chunk.
    pub chunk: u64,
    /// Its hash in the first snapshot; `None` if it is zeros or behind the end there.
    pub first: Option<ChunkHash>,
    /// Its hash in the second one.
    pub second: Option<ChunkHash>,
}

/// A page of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In ascending order.
    pub changes: Vec<Change>,
    /// The chunk to go on from, if there may be more.
    pub next: Option<u64>,
}

/// The chunks from `from` on that differ, at most `limit`; against no first snapshot, those that are not
/// zeros. Segments that both share are not even read.
///
/// # Errors
/// [`SnapshotError::Corrupt`]; the object store's.
pub async fn changed(
    vault: &Vault,
    first: Option<&Manifest>,
    second: &Manifest,
    from: u64,
    limit: usize,
) -> Result<Changes> {
    let limit = limit.clamp(1, CHANGES_MAX);
    let mut changes = Vec::new();
    let segment = |manifest: Option<&Manifest>, number: u32| {
        manifest.and_then(|manifest| manifest.segments.get(&number).copied())
    };
    let mut numbers: BTreeSet<u32> = second.segments.keys().copied().collect();
    numbers.extend(first.iter().flat_map(|first| first.segments.keys()));
    for number in numbers {
        let start = u64::from(number) * SEGMENT_CHUNKS;
        let (old, new) = (segment(first, number), segment(Some(second), number));
        if start + SEGMENT_CHUNKS <= from || old.map(|old| old.hash) == new.map(|new| new.hash) {
            continue;
        }
        let old = load(vault, old).await?;
        let new = load(vault, new).await?;
        let slots: BTreeSet<u16> = old.chunks.keys().chain(new.chunks.keys()).copied().collect();
        for slot in slots {
            let chunk = start + u64::from(slot);
            let hash = |segment: &Segment| segment.chunks.get(&slot).map(|chunk| chunk.hash);
            let change = Change { chunk, first: hash(&old), second: hash(&new) };
            if chunk < from || change.first == change.second {
                continue;
            }
            if changes.len() == limit {
                return Ok(Changes { changes, next: Some(chunk) });
            }
            changes.push(change);
        }
    }
    Ok(Changes { changes, next: None })
}

async fn load(vault: &Vault, reference: Option<crate::ObjectRef>) -> Result<Segment, SnapshotError> {
    match reference {
        Some(reference) => vault.segment(&reference).await,
        None => Ok(Segment::default()),
    }
}
