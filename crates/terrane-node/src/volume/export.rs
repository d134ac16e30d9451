//! A volume as an NBD export.
//!
//! Any byte may be addressed. Parts of blocks are written by reading and writing back whole ones, alone
//! ([`crate::turns`]); what is aligned to 4,096 bytes needs none of that.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, Extent as Place};
use terrane_nbd::{Export, ExportInfo, Extent, ExtentKind, NbdError, Piece, ZeroOptions};
use tokio::sync::SemaphorePermit;

use super::{Pending, Volume};
use crate::layout::{self, BLOCK, Blocks, DATA_BLOCKS_MAX, ZERO_BLOCKS_MAX};
use crate::metrics::observe;
use crate::stripe::Runs;
use crate::turns::Ticket;

/// The longest read or write; also what CACHE reads at most.
const PAYLOAD_MAX: u32 = 32 << 20;
/// Requests without content (TRIM) that are handed to stripes at the same time.
const ZEROES_MAX: usize = 64;
/// Blocks of one question for what holds data: 1 GiB.
const STATUS_BLOCKS_MAX: u64 = 1 << 18;
/// Questions of one BLOCK_STATUS.
const QUESTIONS_MAX: usize = 64;
/// An answer that takes longer is not waited for: the blocks may hold data.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// A place among the writes, given back at the end.
struct Turn<'a> {
    volume: &'a Volume,
    ticket: Ticket,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.volume.lock().turns.leave(self.ticket);
    }
}

/// A connection that uses the volume.
struct Client(Arc<Volume>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.lock().clients -= 1;
        self.0.site.metrics.clients.dec();
        self.0.clients_changed.notify_waiters();
    }
}

fn is_aligned(offset: u64, len: u64) -> bool {
    offset.is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK)
}

fn done(answer: Option<Outcome<Bytes>>) -> Result<(), NbdError> {
    match answer {
        Some(Outcome::Done) => Ok(()),
        Some(Outcome::Damaged) => Err(NbdError::io("no copy has an undamaged content of these blocks")),
        Some(Outcome::OutOfRange) => Err(NbdError::invalid("beyond the end of the volume")),
        Some(Outcome::NoSpace) => Err(NbdError::no_space("no room on the volume's only copy")),
        Some(Outcome::Content(_)) => Err(NbdError::io("the primary answered something else")),
        None => Err(NbdError::shutdown()),
    }
}

fn content(answer: Option<Outcome<Bytes>>, blocks: u64) -> Result<Content<Bytes>, NbdError> {
    match answer {
        Some(Outcome::Content(Content::Data(data))) if data.len() as u64 != blocks * BLOCK => {
            Err(NbdError::io("the primary answered with another length"))
        }
        Some(Outcome::Content(content)) => Ok(content),
        Some(Outcome::Done) => Err(NbdError::io("the primary answered something else")),
        other => Err(done(other).err().unwrap_or_else(NbdError::shutdown)),
    }
}

impl Volume {
    /// The volume may have shrunk since the connection was made.
    fn check(&self, offset: u64, len: u64) -> Result<(), NbdError> {
        if self.has_ended() {
            return Err(NbdError::shutdown());
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.size.load(Ordering::Acquire) => Ok(()),
            _ => Err(NbdError::invalid("the volume has become smaller")),
        }
    }

    /// Waits until so many blocks of content may be taken on.
    async fn room(&self, blocks: u64) -> Result<SemaphorePermit<'_>, NbdError> {
        let most = super::CONTENT_BLOCKS_MAX as u64;
        let permits = u32::try_from(blocks.min(most)).unwrap_or(u32::MAX);
        self.room.acquire_many(permits).await.map_err(|_| NbdError::shutdown())
    }

    /// Waits until nothing that came earlier is in the way of a write.
    async fn turn(&self, blocks: Blocks, alone: bool) -> Turn<'_> {
        let ticket = self.lock().turns.enter(blocks, alone);
        let turn = Turn { volume: self, ticket };
        std::future::poll_fn(|cx| self.lock().turns.poll(ticket, cx)).await;
        turn
    }

    /// Hands requests to their stripes, in order.
    fn submit_all(&self, ops: impl Iterator<Item = (usize, Op<Bytes>)>) -> Vec<Pending<'_>> {
        let now = Instant::now();
        let mut state = self.lock();
        ops.map(|(stripe, op)| self.submit(&mut state, stripe, op, now)).collect()
    }

    /// What blocks hold, piece by piece. There must be room for them.
    pub(super) async fn load(&self, blocks: Blocks) -> Result<Vec<(u64, Content<Bytes>)>, NbdError> {
        let pieces: Vec<layout::Piece> = self.layout.pieces(blocks, DATA_BLOCKS_MAX).collect();
        let pending = self.submit_all(pieces.iter().map(|piece| (piece.stripe, Op::Read(piece.extent))));
        let mut contents = Vec::with_capacity(pieces.len());
        for (piece, pending) in pieces.iter().zip(pending) {
            contents.push((piece.extent.len, content(pending.await, piece.extent.len)?));
        }
        Ok(contents)
    }

    /// One block, as bytes.
    async fn block(&self, block: u64) -> Result<BytesMut, NbdError> {
        let contents = self.load(Blocks { start: block, len: 1 }).await?;
        let mut bytes = BytesMut::zeroed(BLOCK as usize);
        if let Some((_, Content::Data(data))) = contents.first() {
            bytes.copy_from_slice(data);
        }
        Ok(bytes)
    }

    /// Writes whole blocks. There must be room for them.
    async fn store(&self, start: u64, data: &Bytes) -> Result<(), NbdError> {
        let blocks = Blocks { start, len: data.len() as u64 / BLOCK };
        let mut from = 0;
        let ops = self.layout.pieces(blocks, DATA_BLOCKS_MAX).map(|piece| {
            let to = from + (piece.extent.len * BLOCK) as usize;
            let op = Op::Write(piece.extent, Content::Data(data.slice(from..to)));
            from = to;
            (piece.stripe, op)
        });
        let pending = self.submit_all(ops);
        all_done(pending).await
    }

    /// Makes whole blocks zero.
    async fn erase(&self, blocks: Blocks) -> Result<(), NbdError> {
        let mut spans = self.layout.spans(blocks, ZERO_BLOCKS_MAX).peekable();
        while spans.peek().is_some() {
            let some = spans.by_ref().take(ZEROES_MAX);
            let pending =
                self.submit_all(some.map(|piece| (piece.stripe, Op::Write(piece.extent, Content::Zero))));
            all_done(pending).await?;
        }
        Ok(())
    }

    /// Writes bytes that begin or end within a block. Runs alone.
    async fn store_part(&self, offset: u64, data: &[u8]) -> Result<(), NbdError> {
        let end = offset + data.len() as u64;
        let blocks = Blocks::touched(offset, data.len() as u64);
        let mut bytes = BytesMut::zeroed((blocks.len * BLOCK) as usize);
        let base = blocks.start * BLOCK;
        if !offset.is_multiple_of(BLOCK) {
            bytes[..BLOCK as usize].copy_from_slice(&self.block(blocks.start).await?);
        }
        if !end.is_multiple_of(BLOCK) && (blocks.len > 1 || offset.is_multiple_of(BLOCK)) {
            let last = ((blocks.len - 1) * BLOCK) as usize;
            bytes[last..].copy_from_slice(&self.block(blocks.end() - 1).await?);
        }
        bytes[(offset - base) as usize..(end - base) as usize].copy_from_slice(data);
        self.site.metrics.partial_writes.inc();
        self.store(blocks.start, &bytes.freeze()).await
    }

    /// Writes bytes in their turn.
    async fn put(&self, offset: u64, data: &Bytes) -> Result<(), NbdError> {
        let len = data.len() as u64;
        let blocks = Blocks::touched(offset, len);
        let aligned = is_aligned(offset, len);
        let _turn = self.turn(blocks, !aligned).await;
        let _room = self.room(blocks.len).await?;
        if aligned { self.store(blocks.start, data).await } else { self.store_part(offset, data).await }
    }

    /// Makes bytes zero.
    async fn zero(&self, offset: u64, len: u64, fua: bool) -> Result<(), NbdError> {
        self.check(offset, len)?;
        let began = Instant::now();
        let request = self.begin_write(Blocks::touched(offset, len));
        let written = self.wipe(offset, len).await;
        let known = written.is_ok() && is_aligned(offset, len);
        request.written(known.then_some(Content::Zero));
        written?;
        if fua {
            self.flush().await?;
        }
        observe(&self.site.metrics.zero, began.elapsed());
        Ok(())
    }

    /// Makes bytes zero in their turn; whole blocks by themselves, the parts at both ends with what is around them.
    async fn wipe(&self, offset: u64, len: u64) -> Result<(), NbdError> {
        let end = offset + len;
        let aligned = is_aligned(offset, len);
        let _turn = self.turn(Blocks::touched(offset, len), !aligned).await;
        let (first, last) = (offset.next_multiple_of(BLOCK), end / BLOCK * BLOCK);
        if first > last {
            // Within one block.
            let _room = self.room(1).await?;
            self.store_part(offset, &vec![0; len as usize]).await?;
        } else {
            for (from, to) in [(offset, first), (last, end)] {
                if from < to {
                    let _room = self.room(1).await?;
                    self.store_part(from, &vec![0; (to - from) as usize]).await?;
                }
            }
            let blocks = Blocks { start: first / BLOCK, len: (last - first) / BLOCK };
            if blocks.len > 0 {
                self.erase(blocks).await?;
            }
        }
        Ok(())
    }

    /// Runs of a part of a stripe; data where nobody knows.
    async fn runs(&self, stripe: usize, extent: Place) -> Runs {
        let unknown = vec![(extent.len, true)];
        let Some(answer) = self.ask(stripe, extent.start, extent.len) else { return unknown };
        match tokio::time::timeout(STATUS_PATIENCE, answer).await {
            Ok(Ok(runs)) if runs.iter().any(|(len, _)| *len > 0) => runs,
            _ => unknown,
        }
    }
}

async fn all_done(pending: Vec<Pending<'_>>) -> Result<(), NbdError> {
    let mut result = Ok(());
    for pending in pending {
        // All are waited for, whatever becomes of one.
        let one = done(pending.await);
        result = result.and(one);
    }
    result
}

/// Cuts what lies before and behind the bytes asked for.
fn trim_pieces(contents: Vec<(u64, Content<Bytes>)>, offset: u64, len: u32) -> Vec<Piece> {
    let mut skip = (offset % BLOCK) as usize;
    let mut left = len as usize;
    let mut pieces: Vec<Piece> = Vec::with_capacity(contents.len());
    for (blocks, content) in contents {
        let bytes = (blocks * BLOCK) as usize;
        let take = (bytes - skip).min(left);
        if take == 0 {
            break;
        }
        match (content, pieces.last_mut()) {
            (Content::Data(data), _) => pieces.push(Piece::Data(data.slice(skip..skip + take))),
            (Content::Zero, Some(Piece::Zeroes(zeroes))) => *zeroes += take as u32,
            (Content::Zero, _) => pieces.push(Piece::Zeroes(take as u32)),
        }
        (skip, left) = (0, left - take);
    }
    pieces
}

#[async_trait]
impl Export for Volume {
    fn info(&self) -> ExportInfo {
        ExportInfo {
            min_block: 1,
            preferred_block: BLOCK as u32,
            max_payload: PAYLOAD_MAX,
            read_only: self.read_only,
            // All connections share one core per stripe, and a stripe's FLUSH covers every write that was answered.
            multi_conn: true,
            ..ExportInfo::new(self.size.load(Ordering::Acquire))
        }
    }

    fn enter(self: Arc<Self>) -> Box<dyn Any + Send + Sync> {
        self.lock().clients += 1;
        self.site.metrics.clients.inc();
        Box::new(Client(self))
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError> {
        Ok(Piece::join(self.read_pieces(offset, len).await?))
    }

    async fn read_pieces(&self, offset: u64, len: u32) -> Result<Vec<Piece>, NbdError> {
        self.check(offset, len.into())?;
        let began = Instant::now();
        let blocks = Blocks::touched(offset, len.into());
        let _room = self.room(blocks.len).await?;
        let contents = self.read_blocks(blocks).await?;
        observe(&self.site.metrics.read, began.elapsed());
        Ok(trim_pieces(contents, offset, len))
    }

    async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<(), NbdError> {
        let len = data.len() as u64;
        self.check(offset, len)?;
        let began = Instant::now();
        let request = self.begin_write(Blocks::touched(offset, len));
        let written = self.put(offset, &data).await;
        let known = written.is_ok() && is_aligned(offset, len);
        request.written(known.then_some(Content::Data(data)));
        written?;
        if fua {
            self.flush().await?;
        }
        observe(&self.site.metrics.write, began.elapsed());
        Ok(())
    }

    async fn flush(&self) -> Result<(), NbdError> {
        self.check(0, 0)?;
        let began = Instant::now();
        let stripes = self.lock().stripes.len();
        all_done(self.submit_all((0..stripes).map(|stripe| (stripe, Op::Flush)))).await?;
        observe(&self.site.metrics.flush, began.elapsed());
        Ok(())
    }

    async fn trim(&self, offset: u64, len: u64, fua: bool) -> Result<(), NbdError> {
        self.zero(offset, len, fua).await
    }

    /// Volumes are thin: `no_hole` keeps no room, and zeroing is always fast.
    async fn write_zeroes(&self, offset: u64, len: u64, options: ZeroOptions) -> Result<(), NbdError> {
        self.zero(offset, len, options.fua).await
    }

    /// Reads, at most 32 MiB.
    async fn cache(&self, offset: u64, len: u64) -> Result<(), NbdError> {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(PAYLOAD_MAX);
        self.read_pieces(offset, len).await.map(drop)
    }

    async fn block_status(&self, offset: u64, len: u64, max_extents: usize) -> Result<Vec<Extent>, NbdError> {
        self.check(offset, len)?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut skip = offset % BLOCK;
        let pieces = self.layout.pieces(Blocks::touched(offset, len), STATUS_BLOCKS_MAX);
        'pieces: for piece in pieces.take(QUESTIONS_MAX) {
            let mut left = piece.extent.len;
            for (blocks, data) in self.runs(piece.stripe, piece.extent).await {
                let blocks = blocks.min(left);
                if blocks == 0 {
                    continue;
                }
                left -= blocks;
                let kind = if data { ExtentKind::Data } else { ExtentKind::Hole };
                let len = (blocks * BLOCK).saturating_sub(std::mem::take(&mut skip));
                let full = extents.len() == max_extents;
                match extents.last_mut() {
                    Some(last) if last.kind == kind => last.len += len,
                    _ if full => break 'pieces,
                    _ => extents.push(Extent { len, kind }),
                }
            }
            if left > 0 {
                break;
            }
        }
        Ok(extents)
    }

    async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_to_the_bytes_asked_for() {
        let data = Bytes::from(vec![7; 8192]);
        let contents =
            vec![(1, Content::Zero), (2, Content::Zero), (2, Content::Data(data)), (1, Content::Zero)];
        let pieces = trim_pieces(contents, 4096 * 5 + 100, 3 * 4096 + 10);
        assert_eq!(pieces, [Piece::Zeroes(3 * 4096 - 100), Piece::Data(Bytes::from(vec![7; 110]))]);
    }
}
