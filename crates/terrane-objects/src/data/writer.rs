//! Writing a body into leased segments.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::code::Framer;
use super::format::{self, BLOCK_BYTES};
use super::table::{Lease, StagedExtents};
use super::{DataError, DataStore, Extent, Segment, ids};
use crate::redundancy::Redundancy;

/// Bytes of payload, about, gathered before they are written: two such buffers per writer.
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
    redundancy: Redundancy,
    framer: Framer,
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
    pub(crate) async fn writer(&self, redundancy: Redundancy) -> Result<SegmentWriter, DataError> {
        let permit = self.shared.leases.clone().acquire_owned().await;
        let permit = permit.map_err(|_| DataError::NoSpace)?;
        let lease = self.lease(redundancy).await?;
        let extent = Extent { segment: lease.segment.id, offset: lease.end, len: 0, crc: 0 };
        Ok(SegmentWriter {
            store: self.clone(),
            framer: framer(extent.segment, redundancy),
            lease: Some(lease),
            extent,
            finished: Vec::new(),
            redundancy,
            crc: new_digest(),
            unsynced: 0,
            broken: false,
            writing: None,
            syncing: None,
            permit: Some(permit),
        })
    }

    /// A segment of the pool, which gets another one if it is empty.
    async fn lease(&self, redundancy: Redundancy) -> Result<Lease, DataError> {
        loop {
            let count = match self.shared.table.lock().lease(redundancy) {
                Ok(lease) => return Ok(lease),
                Err(count) => count,
            };
            let (store, id) = (self.clone(), ids::compose(self.shared.epoch, count));
            match blocking(move || store.create(id, redundancy)).await {
                // Again, with one drive fewer: that ends.
                Ok(()) | Err(DataError::DriveLost(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn create(&self, id: u64, redundancy: Redundancy) -> Result<(), DataError> {
        let drives = self.shared.drives.place(redundancy.shards(), &[]);
        if drives.len() < redundancy.shards_at_least() {
            return Err(DataError::TooFewDrives { redundancy, live: drives.len() });
        }
        let segment = Segment::create(id, redundancy, &drives, self.shared.damage.clone());
        let segment = self.noted(segment)?;
        self.shared.table.lock().created(Arc::new(segment));
        Ok(())
    }

    /// Has no further bytes admitted where a disk was found full.
    pub(super) fn noted<T>(&self, result: Result<T, DataError>) -> Result<T, DataError> {
        if matches!(result, Err(DataError::NoSpace)) {
            self.shared.space.mark_full();
        }
        result
    }
}

impl SegmentWriter {
    /// Appends to the body.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), DataError> {
        while !bytes.is_empty() {
            bytes = self.gather(bytes);
            if self.framer.is_sealed() && self.framer.len() >= CHUNK_BYTES / self.redundancy.data_shards() {
                self.flush().await?;
                self.roll_over().await?;
            }
        }
        Ok(())
    }

    /// Takes as much as completes a block; gives the rest.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(self.framer.room().min(bytes.len()));
        self.framer.push(now);
        self.extent.len += now.len() as u64;
        if self.framer.room() == 0 {
            self.seal_block();
        }
        later
    }

    /// The segment that is being written to.
    #[cfg(test)]
    pub(super) fn segment(&self) -> u64 {
        self.extent.segment
    }

    /// Payload bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.finished.iter().map(|e| e.len).sum::<u64>() + self.extent.len
    }

    /// Makes the body durable.
    pub(crate) async fn finish(mut self) -> Result<StagedExtents, DataError> {
        self.end_extent().await?;
        if let Some(lease) = self.lease.take() {
            let full = self.is_full(&lease);
            self.store.shared.table.lock().release(lease, full);
        }
        let extents = std::mem::take(&mut self.finished);
        Ok(StagedExtents::written(self.store.clone(), extents))
    }

    fn seal_block(&mut self) {
        let index = (self.extent.len - 1) / BLOCK_BYTES;
        let offset = self.extent.offset + format::block_offset(self.redundancy, index);
        self.framer.seal(offset, &mut self.crc);
    }

    /// Hands the gathered blocks to a thread, after the ones before them.
    async fn flush(&mut self) -> Result<(), DataError> {
        match self.try_flush().await {
            Err(DataError::DriveLost(_)) => self.begin_anew().await,
            other => other,
        }
    }

    async fn try_flush(&mut self) -> Result<(), DataError> {
        self.written().await?;
        let Some(lease) = self.lease.as_mut() else { return Ok(()) };
        let streams = self.framer.take();
        let (segment, offset) = (lease.segment.clone(), lease.end);
        lease.end += streams[0].len() as u64;
        self.unsynced += (streams[0].len() * self.redundancy.data_shards()) as u64;
        self.writing = Some(self.spawn_write(segment.clone(), streams, offset));
        let idle = self.syncing.as_ref().is_none_or(JoinHandle::is_finished);
        if self.unsynced >= EARLY_SYNC_BYTES && idle {
            self.unsynced = 0;
            self.synced().await?;
            self.syncing = Some(self.spawn_sync(segment));
        }
        Ok(())
    }

    fn spawn_write(&self, segment: Arc<Segment>, streams: Vec<Bytes>, offset: u64) -> Running {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.noted(segment.write_at(&streams, offset)))
    }

    fn spawn_sync(&self, segment: Arc<Segment>) -> Running {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.noted(segment.sync_data()))
    }

    /// A drive of the segment is lost: what was written of the extent is read from the others and goes to another segment.
    async fn begin_anew(&mut self) -> Result<(), DataError> {
        let Some(mut lease) = self.lease.take() else { return Ok(()) };
        let old = self.extent;
        let streams = self.framer.take();
        if !streams[0].is_empty() {
            self.settle().await?;
            let offset = lease.end;
            lease.end += streams[0].len() as u64;
            self.writing = Some(self.spawn_write(lease.segment.clone(), streams, offset));
        }
        let result = match self.settle().await {
            Ok(()) => self.copy_from(&lease.segment, &old).await,
            failed => failed,
        };
        let cut = lease.segment.clone();
        // Cut or not, nothing follows in it; a tail that stays is garbage for the collector.
        let _ = blocking(move || cut.set_len(old.offset)).await;
        lease.end = old.offset;
        self.store.shared.table.lock().release(lease, true);
        result
    }

    /// Waits for the threads; that a drive is lost is known.
    async fn settle(&mut self) -> Result<(), DataError> {
        for result in [self.written().await, self.synced().await] {
            match result {
                Ok(()) | Err(DataError::DriveLost(_)) => {}
                failed => return failed,
            }
        }
        Ok(())
    }

    /// Writes an extent of another segment again; anew whenever one more drive is lost.
    async fn copy_from(&mut self, segment: &Arc<Segment>, old: &Extent) -> Result<(), DataError> {
        const BATCH: u64 = 16;
        let count = old.len.div_ceil(BLOCK_BYTES);
        'anew: loop {
            let lease = self.store.lease(self.redundancy).await?;
            self.extent = Extent { segment: lease.segment.id, offset: lease.end, len: 0, crc: 0 };
            self.framer = framer(self.extent.segment, self.redundancy);
            (self.lease, self.crc, self.unsynced, self.broken) = (Some(lease), new_digest(), 0, false);
            for first in (0..count).step_by(BATCH as usize) {
                let (segment, old) = (segment.clone(), *old);
                let blocks = first..(first + BATCH).min(count);
                for payload in blocking(move || segment.read_blocks(&old, blocks)).await? {
                    let mut rest = &payload[..];
                    while !rest.is_empty() {
                        rest = self.gather(rest);
                    }
                }
                if !self.framer.is_sealed() {
                    break;
                }
                match self.try_flush().await {
                    Err(DataError::DriveLost(_)) => {
                        self.settle().await?;
                        if let Some(lease) = self.lease.take() {
                            self.store.shared.table.lock().release(lease, true);
                        }
                        continue 'anew;
                    }
                    other => other?,
                }
            }
            return Ok(());
        }
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
        loop {
            match self.try_end_extent().await {
                Err(DataError::DriveLost(_)) => self.begin_anew().await?,
                other => return other,
            }
        }
    }

    async fn try_end_extent(&mut self) -> Result<(), DataError> {
        if !self.framer.is_sealed() {
            self.seal_block();
        }
        if self.extent.len == 0 {
            return Ok(());
        }
        self.try_flush().await?;
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
        let full = |lease: &Lease| self.is_full(lease);
        if !self.lease.as_ref().is_some_and(full) {
            return Ok(());
        }
        self.end_extent().await?;
        if let Some(lease) = self.lease.take() {
            self.store.shared.table.lock().release(lease, true);
        }
        let lease = self.store.lease(self.redundancy).await?;
        self.extent = Extent { segment: lease.segment.id, offset: lease.end, len: 0, crc: 0 };
        self.framer = framer(self.extent.segment, self.redundancy);
        self.lease = Some(lease);
        Ok(())
    }

    fn is_full(&self, lease: &Lease) -> bool {
        lease.end * self.redundancy.data_shards() as u64 >= self.store.shared.config.segment_bytes
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

fn framer(segment: u64, redundancy: Redundancy) -> Framer {
    Framer::new(segment, redundancy, CHUNK_BYTES + BLOCK_BYTES as usize)
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
