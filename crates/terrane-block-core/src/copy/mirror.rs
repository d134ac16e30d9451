//! Following the primary's stream. (Rules 1, 2.)

use super::durable::{blocks_of, log_of};
use super::{Effect, Effects, ReadFor, Source, State, Update};
use crate::ids::{CopyId, Extent, Generation, Payload};
use crate::message::{Answer, Body, Message, Stamp};
use crate::set::BlockSet;
use std::collections::BTreeSet;

/// Runs of each set in [`Answer::Touched`]; they get coarser to fit.
const TOUCHED_RUNS_MAX: usize = 1 << 14;

/// The primary's stream in the adopted generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inbound {
    /// The number taken last.
    pub taken: u64,
    /// Numbers that were taken and are not done.
    pub busy: BTreeSet<u64>,
    /// Flushes that wait for the writes before them.
    pub flushes: Vec<WaitingFlush>,
    /// The number of the last flush begun, and the log extents that retire if it completes everywhere.
    pub retiring: Option<(u64, BlockSet)>,
    /// The primary has said that it will not act any more: it gets no more leases.
    pub released: bool,
}

/// A flush that waits for the writes before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingFlush {
    /// Its number.
    pub seq: u64,
    /// Blocks of which it must retire no log extent.
    pub exclude: BlockSet,
}

impl<P: Payload> State<P> {
    pub(super) fn on_link(
        &mut self,
        from: CopyId,
        stamp: Stamp,
        seq: u64,
        body: Body<P>,
        out: &mut Effects<P>,
    ) {
        if !self.accepts(from, stamp, out) {
            return;
        }
        let old = stamp.generation < self.adopted_generation();
        let inbound = &mut self.volatile.inbound;
        let again = seq <= inbound.taken;
        if old || again && self.settings.bugs.apply_duplicates {
            // Only with a rule taken away.
            if let Body::Write { extent, content, .. } = body {
                self.apply(extent, content, Source::Nobody);
            }
            return;
        }
        if again {
            self.answer_again(seq, &body, out);
        } else if seq == inbound.taken + 1 && !self.must_wait(&body) {
            self.volatile.inbound.taken = seq;
            self.take(stamp, seq, body, out);
        }
    }

    /// A fetch or comparison while the blocks are still being written for an earlier primary: it will be sent again.
    fn must_wait(&self, body: &Body<P>) -> bool {
        matches!(body, Body::Fetch { extent } | Body::Digest { extent } if self.is_being_written(extent))
    }

    fn answer_again(&mut self, seq: u64, body: &Body<P>, out: &mut Effects<P>) {
        if self.volatile.inbound.busy.contains(&seq) {
            return;
        }
        match body {
            Body::Query => self.answer_query(seq, out),
            Body::Fetch { extent } => self.fetch(seq, *extent, out),
            Body::Digest { extent } => self.digest(seq, *extent, out),
            Body::Write { .. } | Body::Flush { .. } | Body::Retire { .. } => {
                self.answer(seq, Answer::Done, out);
            }
        }
    }

    fn take(&mut self, stamp: Stamp, seq: u64, body: Body<P>, out: &mut Effects<P>) {
        match body {
            Body::Query => self.answer_query(seq, out),
            Body::Write { extent, content, recopied } => {
                self.volatile.inbound.busy.insert(seq);
                self.spare_from_waiting_flushes(extent);
                let generation = stamp.generation;
                self.apply(extent, content, Source::Link { generation, seq, recopied });
            }
            Body::Flush { exclude } => {
                self.volatile.inbound.busy.insert(seq);
                self.volatile.inbound.flushes.push(WaitingFlush { seq, exclude });
            }
            Body::Retire { flush } => {
                self.retire(flush, out);
                self.answer(seq, Answer::Done, out);
            }
            Body::Fetch { extent } => self.fetch(seq, extent, out),
            Body::Digest { extent } => self.digest(seq, extent, out),
        }
    }

    /// A flush that waits for earlier writes begins when they are done, and this later one may be done as well by then, but
    /// not on the other copies: none of the flushes may retire it.
    fn spare_from_waiting_flushes(&mut self, extent: Extent) {
        if self.settings.bugs.retire_later_writes {
            return;
        }
        for flush in &mut self.volatile.inbound.flushes {
            flush.exclude.insert_range(extent.range());
        }
    }

    /// What may differ from the new primary: the log, also what is only on its way there, and what this copy knows
    /// the other to have missed.
    fn answer_query(&self, seq: u64, out: &mut Effects<P>) {
        let Some(record) = &self.durable.record else { return };
        let asker = record.now.primary;
        let mut log = blocks_of(&self.touched(), &self.settings);
        let mut blocks = self.durable.bitmaps.get(&asker).cloned().unwrap_or_default();
        if let Some(bits) = self.volatile.bits.get(&asker) {
            blocks.extend(bits);
        }
        log.coarsen(TOUCHED_RUNS_MAX);
        blocks.coarsen(TOUCHED_RUNS_MAX);
        self.answer(seq, Answer::Touched { log, blocks }, out);
    }

    /// The log with what is on its way there, or will be: writes of an earlier primary that are still being applied.
    pub(super) fn touched(&self) -> BlockSet {
        let mut log = self.durable.log.clone();
        if !self.settings.bugs.forget_applies {
            for apply in &self.volatile.applies {
                log.insert_range(log_of(apply.extent, &self.settings));
            }
        }
        for update in &self.volatile.persisting {
            if let Update::Enter(extents) = update {
                log.extend(extents);
            }
        }
        log
    }

    fn fetch(&mut self, seq: u64, extent: Extent, out: &mut Effects<P>) {
        self.volatile.inbound.busy.insert(seq);
        let generation = self.adopted_generation();
        self.read(extent, ReadFor::Link { generation, seq }, out);
    }

    fn digest(&mut self, seq: u64, extent: Extent, out: &mut Effects<P>) {
        self.volatile.inbound.busy.insert(seq);
        let generation = self.adopted_generation();
        self.read_digests(extent, ReadFor::Link { generation, seq }, out);
    }

    fn retire(&mut self, flush: u64, out: &mut Effects<P>) {
        if let Some((_, extents)) = self.volatile.inbound.retiring.take_if(|(seq, _)| *seq == flush) {
            self.persist_retirement(extents, out);
        }
    }

    pub(super) fn link_written(&mut self, generation: Generation, seq: u64, out: &mut Effects<P>) {
        if self.link_done(generation, seq) {
            self.answer(seq, Answer::Done, out);
        }
    }

    /// Answers the adopted generation's primary.
    pub(super) fn answer(&self, seq: u64, answer: Answer<P>, out: &mut Effects<P>) {
        let Some(record) = &self.durable.record else { return };
        let to = record.now.primary;
        if let Some(stamp) = self.stamp_to(to) {
            out.push(Effect::Send(to, Message::Ack { stamp, seq, answer }));
        }
    }

    /// Something that the primary waits for is done.
    pub(super) fn link_done(&mut self, generation: Generation, seq: u64) -> bool {
        generation == self.adopted_generation() && self.volatile.inbound.busy.remove(&seq)
    }

    /// Scrubbing found damage: the primary orders the repair, among all other writes.
    pub(super) fn scrubbed(&mut self, extent: Extent, out: &mut Effects<P>) {
        let Some(record) = &self.durable.record else { return };
        let to = record.now.primary;
        if to != self.settings.id
            && let Some(stamp) = self.stamp_to(to)
        {
            out.push(Effect::Send(to, Message::Damaged { stamp, extent }));
        } else if self.ruling().is_some()
            && let Some(primary) = &mut self.volatile.primary
        {
            primary.repairs.insert_range(extent.range());
        }
    }
}
