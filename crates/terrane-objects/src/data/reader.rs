//! Streaming ranges of bodies out of segments.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::format::{self, BLOCK_BYTES};
use super::{DataError, DataStore, Extent, Segment};
use crate::service::{BodyError, ByteStream};

/// Blocks fetched at first, so that the first byte comes soon, and at a time from then on.
const FIRST_BLOCKS: u64 = 4;
const NEXT_BLOCKS: u64 = 16;

/// A body's extents with the files that hold them.
#[derive(Clone)]
pub(crate) struct ExtentReader {
    extents: Arc<[(Extent, Arc<Segment>)]>,
    on_corrupt: Arc<dyn Fn(&DataError) + Send + Sync>,
}

/// A piece of work for a reading thread: some blocks of one extent, cut to the range asked for.
struct Fetch {
    extent: usize,
    range: Range<u64>,
}

impl ExtentReader {
    /// Pins the segments of a body.
    pub(crate) fn pin(
        store: &DataStore,
        extents: &[Extent],
        on_corrupt: Arc<dyn Fn(&DataError) + Send + Sync>,
    ) -> Result<Self, DataError> {
        let pinned: Result<Vec<_>, _> =
            extents.iter().map(|e| store.pin(e.segment).map(|segment| (*e, segment))).collect();
        Ok(Self { extents: pinned?.into(), on_corrupt })
    }

    /// The bytes of a range of the body, verified; the next piece is fetched while one is being sent.
    pub(crate) fn stream(&self, range: Range<u64>) -> ByteStream {
        let mut plan = self.plan(range).into_iter();
        let first = plan.next().map(|fetch| self.spawn(fetch));
        let reader = self.clone();
        stream::unfold((first, plan, reader), |(running, mut plan, reader)| async move {
            let done = running?.await;
            let next = plan.next().map(|fetch| reader.spawn(fetch));
            let pieces = match done {
                Ok(Ok(pieces)) => pieces.into_iter().map(Ok).collect::<Vec<_>>(),
                Ok(Err(error)) => {
                    (reader.on_corrupt)(&error);
                    vec![Err(BodyError(error.to_string().into()))]
                }
                Err(error) => vec![Err(BodyError(error.to_string().into()))],
            };
            let failed = pieces.iter().any(Result::is_err);
            Some((stream::iter(pieces), (next.filter(|_| !failed), plan, reader)))
        })
        .flatten()
        .boxed()
    }

    fn spawn(&self, fetch: Fetch) -> JoinHandle<Result<Vec<Bytes>, DataError>> {
        let reader = self.clone();
        tokio::task::spawn_blocking(move || reader.fetch(&fetch))
    }

    fn fetch(&self, fetch: &Fetch) -> Result<Vec<Bytes>, DataError> {
        let (extent, segment) = &self.extents[fetch.extent];
        let blocks = format::blocks_of(&fetch.range);
        let first = blocks.start;
        let mut pieces = segment.read_blocks(extent, blocks)?;
        for (index, piece) in (first..).zip(pieces.iter_mut()) {
            let start = index * BLOCK_BYTES;
            let from = fetch.range.start.saturating_sub(start).min(piece.len() as u64);
            let to = fetch.range.end.saturating_sub(start).min(piece.len() as u64);
            *piece = piece.slice(from as usize..to as usize);
        }
        Ok(pieces)
    }

    /// Cuts a range of the body into fetches, each within one extent.
    fn plan(&self, range: Range<u64>) -> Vec<Fetch> {
        let mut fetches = Vec::new();
        let mut base = 0;
        for (index, (extent, _)) in self.extents.iter().enumerate() {
            let from = range.start.clamp(base, base + extent.len) - base;
            let to = range.end.clamp(base, base + extent.len) - base;
            let mut at = from;
            while at < to {
                let blocks = if fetches.is_empty() { FIRST_BLOCKS } else { NEXT_BLOCKS };
                let end = ((at / BLOCK_BYTES + blocks) * BLOCK_BYTES).min(to);
                fetches.push(Fetch { extent: index, range: at..end });
                at = end;
            }
            base += extent.len;
        }
        fetches
    }
}
