//! An export that a test holds back, watches and breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use terrane_nbd::{Export, ExportInfo, Extent, MemoryExport, NbdError, Piece, ZeroOptions};
use tokio::sync::Semaphore;

/// Memory behind a gate.
pub(crate) struct Probe {
    pub(crate) memory: MemoryExport,
    /// Every operation takes one of these for good.
    pub(crate) gate: Semaphore,
    /// Operations at offset 0 do not.
    pub(crate) free_at_zero: bool,
    /// Reads come back short.
    pub(crate) broken: bool,
    pub(crate) started: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
}

impl Probe {
    pub(crate) fn new(size: u64) -> Self {
        Self {
            memory: MemoryExport::new(size),
            gate: Semaphore::new(0),
            free_at_zero: false,
            broken: false,
            started: 0.into(),
            ended: 0.into(),
            most_at_once: 0.into(),
        }
    }

    /// An export whose operations wait for nothing.
    pub(crate) fn open(size: u64) -> Arc<Self> {
        let probe = Self::new(size);
        probe.release_all();
        Arc::new(probe)
    }

    pub(crate) fn release_all(&self) {
        self.gate.add_permits(1 << 20);
    }

    async fn pass(&self, offset: u64) {
        let started = self.started.fetch_add(1, SeqCst) + 1;
        self.most_at_once.fetch_max(started - self.ended.load(SeqCst), SeqCst);
        if !(self.free_at_zero && offset == 0) {
            self.gate.acquire().await.unwrap().forget();
        }
        self.ended.fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl Export for Probe {
    fn info(&self) -> ExportInfo {
        self.memory.info()
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError> {
        self.pass(offset).await;
        let data = self.memory.read(offset, len).await?;
        Ok(if self.broken { data.slice(1..) } else { data })
    }

    async fn read_pieces(&self, offset: u64, len: u32) -> Result<Vec<Piece>, NbdError> {
        self.pass(offset).await;
        let mut pieces = self.memory.read_pieces(offset, len).await?;
        if self.broken {
            pieces.push(Piece::Zeroes(1));
        }
        Ok(pieces)
    }

    async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<(), NbdError> {
        self.pass(offset).await;
        self.memory.write(offset, data, fua).await
    }

    async fn flush(&self) -> Result<(), NbdError> {
        self.pass(u64::MAX).await;
        self.memory.flush().await
    }

    async fn trim(&self, offset: u64, len: u64, fua: bool) -> Result<(), NbdError> {
        self.memory.trim(offset, len, fua).await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, options: ZeroOptions) -> Result<(), NbdError> {
        self.memory.write_zeroes(offset, len, options).await
    }

    async fn block_status(&self, offset: u64, len: u64, max: usize) -> Result<Vec<Extent>, NbdError> {
        if self.broken {
            return Ok(Vec::new());
        }
        self.memory.block_status(offset, len, max).await
    }

    async fn gone(&self) {
        self.memory.gone().await;
    }
}
