//! Reads from the cache, and what writes leave there.
//!
//! The cache has what the primary had when this machine last heard of it. Whether the volume is still this machine's it
//! cannot tell by itself: this process may have stood still while a forced detach gave the volume to another one, which has
//! written since. So the primary is asked before a read is answered from here: one block is read in the session, and the
//! answer is thrown away. It comes only if the session is not fenced and the primary may act, *after* the read has come:
//! until then nobody else can have written. All reads that have come when a question is sent share its answer.

use std::time::Instant;

use bytes::Bytes;
use terrane_block_core::message::{Op, Outcome};
use terrane_block_core::{Content, Extent};
use terrane_nbd::NbdError;

use super::Volume;
use crate::cache::{Cached, Looked};
use crate::layout::{Blocks, ZERO_BLOCKS_MAX};

/// A request that the cache knows of. Dropped before its end, it is abandoned.
pub(super) struct Request<'a> {
    volume: &'a Volume,
    number: Option<u64>,
}

impl Request<'_> {
    fn end(mut self, end: impl FnOnce(&mut Cached, u64)) {
        if let Some(number) = self.number.take()
            && let Some(cached) = &mut self.volume.lock().cached
        {
            end(cached, number);
        }
    }

    /// A write has ended; `content` is what its blocks hold now, if that is known.
    pub(super) fn written(self, content: Option<Content<Bytes>>) {
        self.end(|cached, number| cached.end_write(number, content.as_ref()));
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && let Some(cached) = &mut self.volume.lock().cached
        {
            cached.abandon(number);
        }
    }
}

/// A question to a stripe's primary, until it is answered.
struct Question<'a> {
    volume: &'a Volume,
    stripe: usize,
    confirmed: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(cached) = &mut self.volume.lock().cached {
            cached.rounds[self.stripe].end(self.confirmed);
        }
        self.volume.confirmed.notify_waiters();
    }
}

impl Volume {
    /// A write begins, of a part of these blocks or of all.
    pub(super) fn begin_write(&self, blocks: Blocks) -> Request<'_> {
        let number = self.lock().cached.as_mut().and_then(|cached| cached.begin_write(blocks));
        Request { volume: self, number }
    }

    /// What blocks hold, piece by piece. There must be room for them.
    pub(super) async fn read_blocks(&self, blocks: Blocks) -> Result<Vec<(u64, Content<Bytes>)>, NbdError> {
        let Some(looked) = self.lock().cached.as_mut().map(|cached| cached.look(blocks)) else {
            return self.load(blocks).await;
        };
        let metrics = &self.site.metrics;
        match looked {
            Looked::Hit(contents, life) => {
                let lives = |cached: &Cached| cached.lives(life);
                if self.confirm(blocks).await && self.lock().cached.as_ref().is_some_and(lives) {
                    metrics.cache_hits.inc();
                    return Ok(contents);
                }
                metrics.cache_misses.inc();
                self.load(blocks).await
            }
            Looked::Fill(number) => {
                let request = Request { volume: self, number: Some(number) };
                metrics.cache_misses.inc();
                let contents = self.load(blocks).await?;
                request.end(|cached, number| cached.end_read(number, &contents));
                Ok(contents)
            }
            Looked::Pass => {
                metrics.cache_misses.inc();
                self.load(blocks).await
            }
        }
    }

    /// Whether the primaries of these blocks say, after this was called, that the sessions with them are valid.
    async fn confirm(&self, blocks: Blocks) -> bool {
        for piece in self.layout.spans(blocks, ZERO_BLOCKS_MAX) {
            if !self.confirm_stripe(piece.stripe, piece.extent.start).await {
                return false;
            }
        }
        true
    }

    async fn confirm_stripe(&self, stripe: usize, block: u64) -> bool {
        let mut wanted = None;
        loop {
            let told = self.confirmed.notified();
            let asked = {
                let mut state = self.lock();
                let Some(cached) = &mut state.cached else { return false };
                let rounds = &mut cached.rounds[stripe];
                let wanted = *wanted.get_or_insert(rounds.wanted());
                if let Some(outcome) = rounds.outcome(wanted) {
                    return outcome;
                }
                rounds.begin().then(|| {
                    let op = Op::Read(Extent::block(block));
                    self.submit(&mut state, stripe, op, Instant::now())
                })
            };
            let Some(pending) = asked else {
                told.await;
                continue;
            };
            let mut question = Question { volume: self, stripe, confirmed: false };
            question.confirmed = matches!(pending.await, Some(Outcome::Content(_)));
        }
    }
}
