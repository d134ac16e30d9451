//! Writing a body into leased segments.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::format::{self, BLOCK_BYTES, CRC_BYTES};
use super::table::{Lease, StagedExtents};
use super::{DataError, DataStore, Extent, Segment, ids};

/// Bytes gathered before they are written: two such buffers per writer.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes after which a writer begins to sync while its client is still sending, so that the last sync is short.
const EARLY_SYNC_BYTES: u64 = 8 << 20;

/// Something that a thread does.
type Running = JoinHandle<Result<(), DataError>>;

/// Writes one body. [`SegmentWriter::finish`] makes it durable; dropping the writer instead cuts it off again.
pub(crate) struct SegmentWriter {
    store: DataStore,
    lease: Option<Lease>,
    /// The extent being written; its `len` grows.
    extent: Extent,
    finished: Vec<Extent>,
    chunk: BytesMut,
    /// Payload bytes of the last block in `chunk`, which has no checksum yet.
    open_block: usize,
    /// Payload of the body's last block, hashed so far block by block.
    crc: crc_fast::Digest,
    unsynced: u64,
    /// A write or sync failed: what the file holds is unknown, so nothing is appended to it again.
    broken: bool,
    writing: Option<Running>,
    /// An early sync beside the writing.
    syncing: Option<Running>,
    /// Given back when the segment is; taken by the abort that runs behind the last write.
    permit: Option<OwnedSemaphorePermit>,
}

impl DataStore {
    /// Begins a body; waits while too many are being written.
    pub(crate) async fn writer(&self) -> Result<SegmentWriter, DataError> {
        let permit = self.shared.leases.clone().acquire_owned().await;
        let permit = permit.map_err(|_| DataError::NoSpace)?;
        let lease = self.lease().await?;
        let extent = Extent { segment: lease.segment.id, offset: lease.end, len: 0, crc: 0 };
        Ok(SegmentWriter {
            store: self.clone(),
            lease: Some(lease),
            extent,
            finished: Vec::new(),
            chunk: BytesMut::with_capacity(CHUNK_BYTES + BLOCK_BYTES as usize),
            open_block: 0,
            crc: new_digest(),
            unsynced: 0,
            broken: false,
            writing: None,
            syncing: None,
            permit: Some(permit),
        })
    }

    /// A segment of the pool, which gets another one if it is empty.
    async fn lease(&self) -> Result<Lease, DataError> {
        loop {
            let count = match self.shared.table.lock().lease() {
                Ok(lease) => return Ok(lease),
                Err(count) => count,
            };
            let (store, id) = (self.clone(), ids::compose(self.shared.epoch, count));
            blocking(move || store.create(id)).await?;
        }
    }

    fn create(&self, id: u64) -> Result<(), DataError> {
        let path = ids::path(&self.shared.dir, id);
        let segment = Segment::create(&path, id).and_then(|segment| {
            std::fs::File::open(&self.shared.dir)?.sync_all()?;
            Ok(segment)
        });
        let segment = segment.map_err(|source| {
            // Only this call knows the number, and it will not be handed out again.
            let _ = std::fs::remove_file(&path);
            self.failed(id, "create", source)
        })?;
        self.shared.table.lock().created(Arc::new(segment));
        Ok(())
    }

    fn failed(&self, segment: u64, doing: &'static str, source: std::io::Error) -> DataError {
        if source.kind() == std::io::ErrorKind::StorageFull {
            self.shared.space.mark_full();
            return DataError::NoSpace;
        }
        DataError::Io { segment, doing, source }
    }
}

impl SegmentWriter {
    /// Appends to the body.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), DataError> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES as usize - self.open_block;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            self.open_block += now.len();
            self.extent.len += now.len() as u64;
            bytes = later;
            if self.open_block == BLOCK_BYTES as usize {
                self.seal_block();
                if self.chunk.len() >= CHUNK_BYTES {
                    self.flush().await?;
                    self.roll_over().await?;
                }
            }
        }
        Ok(())
    }

    /// Payload bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.finished.iter().map(|e| e.len).sum::<u64>() + self.extent.len
    }

    /// Makes the body durable.
    pub(crate) async fn finish(mut self) -> Result<StagedExtents, DataError> {
        self.end_extent().await?;
        if let Some(lease) = self.lease.take() {
            let full = lease.end >= self.store.shared.config.segment_bytes;
            self.store.shared.table.lock().release(lease, full);
        }
        let extents = std::mem::take(&mut self.finished);
        Ok(StagedExtents::written(self.store.clone(), extents))
    }

    fn seal_block(&mut self) {
        let start = self.chunk.len() - self.open_block;
        let payload = &self.chunk[start..];
        let crc = format::crc32c(payload);
        self.crc.update(payload);
        let index = (self.extent.len - 1) / BLOCK_BYTES;
        let offset = self.extent.offset + format::block_offset(index);
        let sealed = format::seal(self.extent.segment, offset, crc);
        self.chunk.extend_from_slice(&sealed.to_le_bytes());
        debug_assert_eq!(CRC_BYTES as usize, sealed.to_le_bytes().len());
        self.open_block = 0;
    }

    /// Hands the gathered blocks to a thread, after the ones before them.
    async fn flush(&mut self) -> Result<(), DataError> {
        self.written().await?;
        let Some(lease) = self.lease.as_mut() else { return Ok(()) };
        let fresh = BytesMut::with_capacity(CHUNK_BYTES + BLOCK_BYTES as usize);
        let chunk = std::mem::replace(&mut self.chunk, fresh);
        let (segment, offset) = (lease.segment.clone(), lease.end);
        lease.end += chunk.len() as u64;
        self.unsynced += chunk.len() as u64;
        let store = self.store.clone();
        let writes = segment.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            writes.write_at(&chunk, offset).map_err(|e| store.failed(writes.id, "write", e))
        }));
        let idle = self.syncing.as_ref().is_none_or(JoinHandle::is_finished);
        if self.unsynced >= EARLY_SYNC_BYTES && idle {
            self.unsynced = 0;
            self.synced().await?;
            self.syncing = Some(self.spawn_sync(segment));
        }
        Ok(())
    }

    fn spawn_sync(&self, segment: Arc<Segment>) -> Running {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            segment.sync_data().map_err(|e| store.failed(segment.id, "sync", e))
        })
    }

    /// Waits for the writing thread.
    async fn written(&mut self) -> Result<(), DataError> {
        let result = finished(&mut self.writing, self.extent.segment).await;
        self.broken |= result.is_err();
        result
    }

    /// Waits for the early sync: an error is reported to one of the syncs only.
    async fn synced(&mut self) -> Result<(), DataError> {
        let result = finished(&mut self.syncing, self.extent.segment).await;
        self.broken |= result.is_err();
        result
    }

    async fn end_extent(&mut self) -> Result<(), DataError> {
        if self.open_block > 0 {
            self.seal_block();
        }
        if self.extent.len == 0 {
            return Ok(());
        }
        self.flush().await?;
        self.written().await?;
        self.synced().await?;
        if let Some(lease) = &self.lease {
            self.syncing = Some(self.spawn_sync(lease.segment.clone()));
            self.synced().await?;
        }
        self.extent.crc = std::mem::replace(&mut self.crc, new_digest()).finalize() as u32;
        self.store.shared.table.lock().add_in_flight(&self.extent);
        self.finished.push(self.extent);
        Ok(())
    }

    /// Goes on in another segment where this one is full.
    async fn roll_over(&mut self) -> Result<(), DataError> {
        let full = |lease: &Lease| lease.end >= self.store.shared.config.segment_bytes;
        if !self.lease.as_ref().is_some_and(full) {
            return Ok(());
        }
        self.end_extent().await?;
        if let Some(lease) = self.lease.take() {
            self.store.shared.table.lock().release(lease, true);
        }
        let lease = self.store.lease().await?;
        self.extent = Extent { segment: lease.segment.id, offset: lease.end, len: 0, crc: 0 };
        self.lease = Some(lease);
        Ok(())
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        let whole = StagedExtents::written(self.store.clone(), std::mem::take(&mut self.finished));
        let Some(mut lease) = self.lease.take() else { return };
        let (store, start) = (self.store.clone(), self.extent.offset);
        let (broken, permit) = (self.broken, self.permit.take());
        let abort = move |failed: bool| {
            let cut = lease.segment.set_len(start);
            lease.end = if cut.is_ok() { start } else { lease.end };
            store.shared.table.lock().release(lease, failed || cut.is_err());
            drop((whole, permit));
        };
        let running: Vec<Running> = self.writing.take().into_iter().chain(self.syncing.take()).collect();
        if running.is_empty() {
            return abort(broken);
        }
        // A write may still run; the tail may be cut only behind it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let mut failed = broken;
                for thread in running {
                    failed |= !matches!(thread.await, Ok(Ok(())));
                }
                // A join error here means that the runtime is going down, and with it this store.
                let _ = tokio::task::spawn_blocking(move || abort(failed)).await;
            })),
            Err(_) => self.store.shared.table.lock().abandon(self.extent.segment),
        }
    }
}

/// Waits for a thread. What is not finished stays, also when the waiting is given up.
async fn finished(running: &mut Option<Running>, segment: u64) -> Result<(), DataError> {
    let Some(thread) = running.as_mut() else { return Ok(()) };
    let result = thread.await;
    *running = None;
    result
        .unwrap_or_else(|e| Err(DataError::Io { segment, doing: "write", source: std::io::Error::other(e) }))
}

fn new_digest() -> crc_fast::Digest {
    crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DataError> + Send + 'static,
) -> Result<T, DataError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(DataError::Io { segment: 0, doing: "run", source: std::io::Error::other(e) }))
}
