//! Making writes durable everywhere, and forgetting which they were. (Rules 1, 5, 6, 7.)

use super::durable::{log_of, logs_of};
use super::{Effect, Effects, Origin, Purpose, Source, State, Update, free};
use crate::ids::{CopyId, Generation, Payload};
use crate::message::{Answer, Body, Message, Outcome};
use crate::set::BlockSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Who waits for a flush of the local disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlushFor {
    /// The primary's FLUSH in this generation.
    Own(Generation),
    /// The primary's stream.
    Link {
        /// In which generation.
        generation: Generation,
        /// Its number there.
        seq: u64,
    },
}

/// A FLUSH under way at the primary; those that come meanwhile share the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flushing {
    /// The local disk is not done.
    pub own: bool,
    /// Copies that are not done.
    pub missing: BTreeSet<CopyId>,
    /// Its number in each copy's stream.
    pub seqs: BTreeMap<CopyId, u64>,
    /// Log extents that retire when all are done: those without a write in flight at the start, or written since.
    pub retiring: BlockSet,
    /// It is there for the log's sake: all that may retire does.
    pub thorough: bool,
    /// Who asked.
    pub origins: Vec<Origin>,
}

impl<P: Payload> State<P> {
    /// A FLUSH for the log's sake: a primary has one, a mirror asks for one.
    pub(super) fn want_flush(&mut self, out: &mut Effects<P>) {
        if let Some(primary) = &mut self.volatile.primary {
            primary.flush_wanted = true;
        } else if let Some(to) = self.durable.record.as_ref().map(|record| record.now.primary)
            && to != self.settings.id
            && let Some(stamp) = self.stamp_to(to)
        {
            out.push(Effect::Send(to, Message::FlushWanted { stamp }));
        }
    }

    /// A mirror's flush starts once the writes before it in the stream are on the disk.
    pub(super) fn start_flushes(&mut self, out: &mut Effects<P>) {
        let generation = self.adopted_generation();
        while let Some(first) = self.volatile.inbound.flushes.first() {
            let seq = first.seq;
            let waits = |source: &Source| matches!(source, Source::Link { generation: g, seq: s, .. } if *g == generation && *s < seq);
            if self.volatile.applies.iter().any(|apply| waits(&apply.source)) {
                return;
            }
            let exclude = self.volatile.inbound.flushes.remove(0).exclude;
            let mut retiring = self.touched();
            for apply in &self.volatile.applies {
                retiring.remove_range(log_of(apply.extent, &self.settings));
            }
            retiring.subtract(&logs_of(&exclude, &self.settings));
            if !self.settings.bugs.joiner_retires {
                retiring.subtract(&self.volatile.kept_log);
            }
            self.volatile.inbound.retiring = Some((seq, retiring));
            self.flush_disk(FlushFor::Link { generation, seq }, out);
        }
    }

    fn flush_disk(&mut self, who: FlushFor, out: &mut Effects<P>) {
        let id = free(&self.volatile.flushes);
        self.volatile.flushes.insert(id, who);
        out.push(Effect::Flush(id));
    }

    /// A write enters the log extents: no flush that began before may retire them.
    pub(super) fn spare_from_retiring(&mut self, log_extents: Range<u64>) {
        if let Some((_, retiring)) = &mut self.volatile.inbound.retiring {
            retiring.remove_range(log_extents.clone());
        }
        if let Some(flush) = self.volatile.primary.as_mut().and_then(|primary| primary.flush.as_mut()) {
            flush.retiring.remove_range(log_extents);
        }
    }

    pub(super) fn flushed(&mut self, id: u64, out: &mut Effects<P>) {
        match self.volatile.flushes.remove(&id) {
            Some(FlushFor::Link { generation, seq }) => {
                if self.link_done(generation, seq) {
                    self.answer(seq, Answer::Done, out);
                }
            }
            Some(FlushFor::Own(generation)) if generation == self.adopted_generation() => {
                if let Some(flush) = self.volatile.primary.as_mut().and_then(|primary| primary.flush.as_mut())
                {
                    flush.own = false;
                }
            }
            Some(FlushFor::Own(_)) | None => {}
        }
    }

    /// Starts the next FLUSH, if one is wanted and the copies are known to be equal.
    pub(super) fn start_flush(&mut self, out: &mut Effects<P>) {
        let wanted =
            |p: &super::Primary<P>| p.flush.is_none() && (p.flush_wanted || !p.flush_queue.is_empty());
        let may = self.may_flush() && self.is_equalised();
        if !may || !self.volatile.primary.as_ref().is_some_and(wanted) {
            return;
        }
        let Some(record) = self.durable.record.clone() else { return };
        let mut retiring = self.touched();
        let mut exclude = self.in_flight();
        if self.settings.bugs.retire_in_flight {
            exclude = BlockSet::new();
        }
        retiring.subtract(&logs_of(&exclude, &self.settings));
        let mut flush = Flushing { own: true, retiring, ..Flushing::default() };
        let me = self.settings.id;
        for (copy, _) in record.now.acknowledgers().filter(|(copy, _)| *copy != me) {
            if self.settings.bugs.joiner_skips_flush && record.now.joining.contains_key(&copy) {
                continue;
            }
            let body = Body::Flush { exclude: exclude.clone() };
            let seq = self.send(copy, body, Purpose::Flush, out);
            flush.missing.insert(copy);
            flush.seqs.insert(copy, seq);
        }
        if let Some(primary) = &mut self.volatile.primary {
            flush.origins = std::mem::take(&mut primary.flush_queue);
            flush.thorough = primary.flush_wanted;
            primary.flush_wanted = false;
            primary.flush = Some(flush);
        }
        self.flush_disk(FlushFor::Own(record.generation), out);
    }

    /// Blocks with a write in flight anywhere.
    fn in_flight(&self) -> BlockSet {
        let ops = self.volatile.primary.iter().flat_map(|primary| primary.ops.values());
        let writes = ops.filter(|op| op.is_writing()).map(|op| op.extent);
        let applies = self.volatile.applies.iter().map(|apply| apply.extent);
        writes.chain(applies).map(|extent| extent.range()).collect()
    }

    /// Completes the FLUSH that all copies are done with; then, and only then, its log extents retire everywhere.
    pub(super) fn finish_flush(&mut self, out: &mut Effects<P>) {
        let done = |flush: &mut Flushing| !flush.own && flush.missing.is_empty();
        let equal = self.is_equalised();
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(flush) = primary.flush.take_if(|flush| equal && done(flush)) else { return };
        for origin in flush.origins {
            self.reply(origin, Outcome::Done, out);
        }
        if !flush.thorough && self.durable.log.len() <= self.settings.log_hot {
            return;
        }
        for (copy, seq) in flush.seqs {
            self.send(copy, Body::Retire { flush: seq }, Purpose::Retire, out);
        }
        self.persist_retirement(flush.retiring, out);
    }

    pub(super) fn persist_retirement(&mut self, extents: BlockSet, out: &mut Effects<P>) {
        if !extents.is_empty() {
            let bits = self.volatile.bits.clone();
            self.persist(Update::Retire { extents, bits }, out);
        }
    }
}
