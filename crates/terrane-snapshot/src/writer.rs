//! The writer: a stream of chunks becomes packs and manifests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::manifest::locate;
use crate::pack::{PACK_BYTES_MIN, PackBuilder};
use crate::seal::{Context, seal};
use crate::{
    CHUNK_BYTES, CHUNKS_MAX, CaptureId, ChunkHash, ChunkKey, ChunkRef, Kind, Manifest, ObjectName, ObjectRef,
    Result, SEGMENT_CHUNKS, Segment, SnapshotError, Vault,
};

/// Chunks of this capture that are remembered, to store each content once.
const OWN_CHUNKS_MAX: usize = 1 << 18;

/// A chunk of zeros, to compare with.
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// What a chunk contains.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes, [`CHUNK_BYTES`] of them.
    Data(&'a [u8]),
    /// Zeros.
    Zero,
    /// What the parent has there.
    Unchanged,
}

/// The account's table of known chunks.
#[async_trait]
pub trait Dedup: Send + Sync {
    /// Where a chunk of this content lies already, if this capture may refer to it
    /// ([`gc::Ledger::find`](crate::gc::Ledger::find)).
    async fn find(&self, hash: &ChunkHash) -> Result<Option<ChunkRef>>;

    /// These chunks lie in a pack that was stored. Other captures may find them once this one is committed.
    async fn stored(&self, chunks: &[ChunkRef]) -> Result<()>;
}

/// No table: every capture stores all that its parent does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDedup;

#[async_trait]
impl Dedup for NoDedup {
    async fn find(&self, _hash: &ChunkHash) -> Result<Option<ChunkRef>> {
        Ok(None)
    }

    async fn stored(&self, _chunks: &[ChunkRef]) -> Result<()> {
        Ok(())
    }
}

/// Bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterConfig {
    /// Packs are closed at this size in bytes, between [`PACK_BYTES_MIN`] and
    /// [`PACK_BYTES_MAX`](crate::PACK_BYTES_MAX).
    pub pack_bytes: usize,
    /// Packs that are being stored at the same time; each takes its size of memory.
    pub uploads_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { pack_bytes: 16 << 20, uploads_max: 4 }
    }
}

/// What a capture did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chunks given as data.
    pub data: u64,
    /// Of these, all zeros.
    pub zero: u64,
    /// Of these, as the parent had them.
    pub same: u64,
    /// Of these, known to the account.
    pub known: u64,
    /// Of these, stored in packs.
    pub stored: u64,
    /// Bytes that were stored, manifests included.
    pub bytes: u64,
    /// Packs that were stored.
    pub packs: u32,
    /// Segment manifests that were stored.
    pub segments: u32,
}

/// Builds one snapshot. What is neither written nor in the parent is zeros.
pub struct Writer {
    vault: Vault,
    capture: CaptureId,
    dedup: Arc<dyn Dedup>,
    config: WriterConfig,
    key: ChunkKey,
    parent: Option<Manifest>,
    manifest: Manifest,
    last: Option<u64>,
    current: Option<Current>,
    pack: PackBuilder,
    own: HashMap<ChunkHash, ChunkRef>,
    uploads: JoinSet<Result<()>>,
    stats: Stats,
}

/// The segment that is being written.
struct Current {
    number: u32,
    before: Segment,
    segment: Segment,
}

impl Writer {
    /// Begins a snapshot of a volume of `chunks` chunks. With a parent it begins as the parent is, cut or
    /// extended with zeros to the length.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`], [`SnapshotError::Keys`].
    pub async fn new(
        vault: Vault,
        capture: CaptureId,
        chunks: u64,
        parent: Option<Manifest>,
        dedup: Arc<dyn Dedup>,
        config: WriterConfig,
    ) -> Result<Self> {
        if chunks > CHUNKS_MAX {
            return Err(SnapshotError::OutOfRange { chunk: chunks, chunks: CHUNKS_MAX });
        }
        let key = vault.newest_key().await?;
        let ends = chunks.div_ceil(SEGMENT_CHUNKS);
        let mut segments = parent.as_ref().map(|parent| parent.segments.clone()).unwrap_or_default();
        segments.retain(|number, _| u64::from(*number) < ends);
        Ok(Self {
            vault,
            capture,
            dedup,
            config,
            key,
            parent,
            manifest: Manifest { chunks, segments },
            last: None,
            current: None,
            pack: PackBuilder::new(),
            own: HashMap::new(),
            uploads: JoinSet::new(),
            stats: Stats::default(),
        })
    }

    /// Writes a chunk; chunks come in ascending order.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfRange`], [`SnapshotError::OutOfOrder`], [`SnapshotError::ChunkLength`],
    /// [`SnapshotError::NoParent`]; the object store's and the index's, after which the writer is to be
    /// dropped and its capture aborted.
    pub async fn chunk(&mut self, chunk: u64, content: Content<'_>) -> Result<()> {
        let (number, slot) = locate(chunk, self.manifest.chunks)?;
        if let Some(last) = self.last.filter(|last| *last >= chunk) {
            return Err(SnapshotError::OutOfOrder { chunk, last });
        }
        match content {
            Content::Data(bytes) if bytes.len() != CHUNK_BYTES => {
                return Err(SnapshotError::ChunkLength(bytes.len()));
            }
            Content::Unchanged if self.parent.is_none() => return Err(SnapshotError::NoParent(chunk)),
            Content::Data(_) | Content::Zero | Content::Unchanged => {}
        }
        self.last = Some(chunk);
        let bytes = match content {
            Content::Unchanged => return Ok(()),
            Content::Zero => None,
            Content::Data(bytes) => {
                self.stats.data += 1;
                let zero = *bytes == ZEROS;
                self.stats.zero += u64::from(zero);
                (!zero).then_some(bytes)
            }
        };
        self.enter(number).await?;
        let old = self.current.as_ref().and_then(|current| current.segment.chunks.get(&slot)).copied();
        let reference = match bytes {
            None => None,
            Some(bytes) => Some(self.place(old, bytes).await?),
        };
        if let Some(current) = &mut self.current {
            match reference {
                Some(reference) => _ = current.segment.chunks.insert(slot, reference),
                None => _ = current.segment.chunks.remove(&slot),
            }
        }
        Ok(())
    }

    /// Where the content of a chunk is: in the parent, in the account, in this capture, or in a new place.
    async fn place(&mut self, old: Option<ChunkRef>, bytes: &[u8]) -> Result<ChunkRef> {
        let hash = ChunkHash::of(bytes);
        if let Some(old) = old.filter(|old| old.hash == hash) {
            self.stats.same += 1;
            return Ok(old);
        }
        let known = match self.own.get(&hash) {
            Some(known) => Some(*known),
            None => self.dedup.find(&hash).await?.filter(|known| known.hash == hash),
        };
        if let Some(known) = known {
            self.stats.known += 1;
            return Ok(known);
        }
        let context = Context { account: self.vault.account(), kind: Kind::Pack, hash };
        let sealed = seal(&self.key, rand::random(), context, bytes);
        let pack = ObjectName { kind: Kind::Pack, capture: self.capture, n: self.stats.packs };
        let entry = self.pack.add(hash, &sealed);
        let placed = ChunkRef { pack, offset: entry.offset, len: entry.len, hash };
        self.stats.stored += 1;
        if self.own.len() < OWN_CHUNKS_MAX {
            self.own.insert(hash, placed);
        }
        if self.pack.is_full(self.config.pack_bytes.max(PACK_BYTES_MIN)) {
            self.close_pack().await?;
        }
        Ok(placed)
    }

    async fn close_pack(&mut self) -> Result<()> {
        let pack = std::mem::replace(&mut self.pack, PackBuilder::new());
        if pack.is_empty() {
            return Ok(());
        }
        let name = ObjectName { kind: Kind::Pack, capture: self.capture, n: self.stats.packs };
        let (bytes, entries) = pack.finish(&self.key, rand::random(), self.vault.account());
        self.stats.packs += 1;
        self.stats.bytes += bytes.len() as u64;
        while self.uploads.len() >= self.config.uploads_max.max(1) {
            self.uploaded().await?;
        }
        let (vault, dedup) = (self.vault.clone(), self.dedup.clone());
        self.uploads.spawn(async move {
            vault.put(name, bytes.into()).await?;
            let place = |entry: &crate::PackEntry| ChunkRef {
                pack: name,
                offset: entry.offset,
                len: entry.len,
                hash: entry.hash,
            };
            dedup.stored(&entries.iter().map(place).collect::<Vec<_>>()).await
        });
        Ok(())
    }

    /// Waits for one upload; nothing if there is none.
    async fn uploaded(&mut self) -> Result<()> {
        match self.uploads.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(SnapshotError::Index(format!("an upload ended: {error}"))),
            None => Ok(()),
        }
    }

    /// Makes a segment the current one.
    async fn enter(&mut self, number: u32) -> Result<()> {
        if self.current.as_ref().is_some_and(|current| current.number == number) {
            return Ok(());
        }
        self.leave().await?;
        let before = match self.manifest.segments.get(&number) {
            Some(reference) => self.vault.segment(reference).await?,
            None => Segment::default(),
        };
        self.current = Some(Current { number, segment: before.clone(), before });
        Ok(())
    }

    /// Stores the current segment, unless it is as it was.
    async fn leave(&mut self) -> Result<()> {
        let Some(Current { number, before, segment }) = self.current.take() else { return Ok(()) };
        if segment == before {
            return Ok(());
        }
        if segment.chunks.is_empty() {
            self.manifest.segments.remove(&number);
            return Ok(());
        }
        let name = ObjectName { kind: Kind::Segment, capture: self.capture, n: self.stats.segments };
        let reference = self.vault.put_plain(&self.key, name, &segment.encode()).await?;
        self.stats.segments += 1;
        self.stats.bytes += u64::from(reference.len);
        self.manifest.segments.insert(number, reference);
        Ok(())
    }

    /// What a shorter volume than its parent's loses within its last segment.
    async fn cut(&mut self) -> Result<()> {
        let chunks = self.manifest.chunks;
        let longer = self.parent.as_ref().is_some_and(|parent| parent.chunks > chunks);
        if longer && !chunks.is_multiple_of(SEGMENT_CHUNKS) {
            let (number, slot) = locate(chunks - 1, chunks)?;
            self.enter(number).await?;
            if let Some(current) = &mut self.current {
                current.segment.chunks.retain(|other, _| *other <= slot);
            }
        }
        Ok(())
    }

    /// Stores what is left. The snapshot exists when the reference that is returned is committed.
    ///
    /// # Errors
    /// As [`Writer::chunk`].
    pub async fn finish(mut self) -> Result<(Manifest, ObjectRef, Stats)> {
        self.cut().await?;
        self.leave().await?;
        self.close_pack().await?;
        while !self.uploads.is_empty() {
            self.uploaded().await?;
        }
        let name = ObjectName { kind: Kind::Manifest, capture: self.capture, n: 0 };
        let reference = self.vault.put_plain(&self.key, name, &self.manifest.encode()).await?;
        self.stats.bytes += u64::from(reference.len);
        Ok((self.manifest, reference, self.stats))
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("capture", &self.capture)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// A table of known chunks in memory: one account's, in one process.
#[derive(Debug, Default)]
pub struct MemoryDedup(parking_lot::Mutex<BTreeMap<ChunkHash, ChunkRef>>);

#[async_trait]
impl Dedup for MemoryDedup {
    async fn find(&self, hash: &ChunkHash) -> Result<Option<ChunkRef>> {
        Ok(self.0.lock().get(hash).copied())
    }

    async fn stored(&self, chunks: &[ChunkRef]) -> Result<()> {
        self.0.lock().extend(chunks.iter().map(|chunk| (chunk.hash, *chunk)));
        Ok(())
    }
}
