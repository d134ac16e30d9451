//! The reader: any range of bytes of a snapshot, verified.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::manifest::locate;
use crate::{CHUNK_BYTES, ChunkHash, ChunkRef, Manifest, Result, Segment, SnapshotError, Vault};

/// Longest read in bytes.
pub const READ_BYTES_MAX: u64 = 64 << 20;

/// Bounds of a reader.
#[derive(Clone, Copy, Debug)]
pub struct ReaderConfig {
    /// Segment manifests in memory, some 50 KiB each.
    pub segments_cached: usize,
    /// Chunks in memory, 512 KiB each.
    pub chunks_cached: usize,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self { segments_cached: 64, chunks_cached: 16 }
    }
}

/// What was used last is at the front.
struct Cache<K, V> {
    entries: Mutex<VecDeque<(K, V)>>,
    max: usize,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    fn new(max: usize) -> Self {
        Self { entries: Mutex::new(VecDeque::new()), max }
    }

    fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock();
        let at = entries.iter().position(|(known, _)| known == key)?;
        let entry = entries.remove(at)?;
        let value = entry.1.clone();
        entries.push_front(entry);
        Some(value)
    }

    fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock();
        entries.push_front((key, value));
        entries.truncate(self.max);
    }
}

/// Reads one snapshot. Nothing that it returns was not verified against the manifest.
pub struct Reader {
    vault: Vault,
    manifest: Manifest,
    segments: Cache<u32, Arc<Segment>>,
    chunks: Cache<ChunkHash, Bytes>,
}

impl Reader {
    /// Reads the snapshot of this manifest.
    pub fn new(vault: Vault, manifest: Manifest, config: ReaderConfig) -> Self {
        let segments = Cache::new(config.segments_cached);
        Self { vault, manifest, segments, chunks: Cache::new(config.chunks_cached) }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a chunk is; `None` if it is all zeros.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`]; [`SnapshotError::Corrupt`]; the object store's.
    pub async fn locate(&self, chunk: u64) -> Result<Option<ChunkRef>> {
        let (number, slot) = locate(chunk, self.manifest.chunks)?;
        let Some(segment) = self.segment(number).await? else { return Ok(None) };
        Ok(segment.chunks.get(&slot).copied())
    }

    async fn segment(&self, number: u32) -> Result<Option<Arc<Segment>>> {
        let Some(reference) = self.manifest.segments.get(&number) else { return Ok(None) };
        if let Some(segment) = self.segments.get(&number) {
            return Ok(Some(segment));
        }
        let segment = Arc::new(self.vault.segment(reference).await?);
        self.segments.put(number, segment.clone());
        Ok(Some(segment))
    }

    /// A chunk; `None` if it is all zeros.
    ///
    /// # Errors
    /// As [`Reader::locate`].
    pub async fn chunk(&self, chunk: u64) -> Result<Option<Bytes>> {
        let Some(reference) = self.locate(chunk).await? else { return Ok(None) };
        if let Some(bytes) = self.chunks.get(&reference.hash) {
            return Ok(Some(bytes));
        }
        let bytes = self.vault.chunk(&reference).await?;
        self.chunks.put(reference.hash, bytes.clone());
        Ok(Some(bytes))
    }

    /// Bytes of the volume from `offset` on.
    ///
    /// # Errors
    /// As [`Reader::locate`]; [`SnapshotError::ReadTooLong`] for more than [`READ_BYTES_MAX`].
    pub async fn read(&self, offset: u64, len: u64) -> Result<Bytes> {
        if len > READ_BYTES_MAX {
            return Err(SnapshotError::ReadTooLong { len, max: READ_BYTES_MAX });
        }
        let size = CHUNK_BYTES as u64;
        let mut out = BytesMut::new();
        let volume = self.manifest.chunks.saturating_mul(size);
        let out_of_range =
            || SnapshotError::OutOfRange { chunk: volume.max(offset) / size, chunks: self.manifest.chunks };
        let end = offset.checked_add(len).filter(|end| *end <= volume).ok_or_else(out_of_range)?;
        let mut at = offset;
        while at < end {
            let chunk = at / size;
            let stop = ((chunk + 1) * size).min(end);
            let inside = |place: u64| usize::try_from(place - chunk * size).expect("within a chunk");
            match self.chunk(chunk).await? {
                Some(bytes) => out.extend_from_slice(&bytes[inside(at)..inside(stop)]),
                None => out.resize(out.len() + inside(stop) - inside(at), 0),
            }
            at = stop;
        }
        Ok(out.freeze())
    }

    /// Reads every chunk, each content once; returns how many there were.
    ///
    /// # Errors
    /// The first chunk or manifest that is not as it should be.
    pub async fn verify(&self) -> Result<u64> {
        let mut seen = BTreeSet::new();
        for number in self.manifest.segments.keys() {
            let Some(segment) = self.segment(*number).await? else { continue };
            for reference in segment.chunks.values() {
                if seen.insert((reference.pack, reference.offset)) {
                    self.vault.chunk(reference).await?;
                }
            }
        }
        Ok(seen.len() as u64)
    }

    /// Which chunks of a segment have content, from `first` on; at most `limit`, and where to go on. For
    /// ListSnapshotBlocks.
    ///
    /// # Errors
    /// As [`Reader::locate`].
    pub async fn list(&self, first: u64, limit: usize) -> Result<(Vec<(u64, ChunkHash)>, Option<u64>)> {
        let changes = crate::diff::changed(&self.vault, None, &self.manifest, first, limit).await?;
        let blocks = changes.changes.iter().filter_map(|change| Some((change.chunk, change.second?)));
        Ok((blocks.collect(), changes.next))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("vault", &self.vault).finish_non_exhaustive()
    }
}
