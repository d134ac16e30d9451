//! Handing the primary's role over, with a pause of some round trips. (Rules 2, 4, 7.)
//!
//! A fail-over waits until leases have lapsed, and compares what may differ. Here the primary does both while it can:
//! 1. it flushes while clients go on, so that little is left to flush;
//! 2. it holds what clients want and lets all that is under way end;
//! 3. it flushes again, so that the logs of all copies are empty: nothing will be suspect;
//! 4. it *relinquishes*: this life never acts in this generation again, whatever happens. That needs no disk: another
//!    life is out of sync in this generation anyway. It releases its leases and asks the manager for generation + 1.
//!
//! Until the last step it may be given up at any time; from then on things go on as after any promotion.

use super::{Effect, Effects, State};
use crate::ids::{CopyId, Generation, Payload};
use crate::manager::Request;
use crate::message::Message;

/// A role that is being handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandOver {
    /// To whom.
    pub to: CopyId,
    /// How far it is.
    pub stage: HandOverStage,
}

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandOverStage {
    /// A FLUSH, while clients go on.
    Flushing,
    /// What is under way ends; nothing new begins.
    Draining,
    /// The last FLUSH, and all copies retire what it covered.
    Emptying,
}

impl<P: Payload> State<P> {
    /// The manager wants it.
    pub(super) fn hand_over(&mut self, generation: Generation, to: CopyId, out: &mut Effects<P>) {
        let fits = self.volatile.active
            && self.ruling().is_some_and(|record| {
                let in_sync = record.now.in_sync.contains_key(&to);
                record.generation == generation && in_sync && to != self.settings.id
            });
        if fits && self.volatile.relinquished == Some(to) {
            return out.push(Effect::HandOver { to, given: true });
        }
        let free = fits && self.volatile.relinquished.is_none();
        match &mut self.volatile.primary {
            // The order came twice.
            Some(primary) if free && primary.hand_over.is_some_and(|under_way| under_way.to == to) => {}
            Some(primary) if free && primary.hand_over.is_none() => {
                primary.hand_over = Some(HandOver { to, stage: HandOverStage::Flushing });
                primary.flush_wanted = true;
            }
            _ => out.push(Effect::HandOver { to, given: false }),
        }
    }

    /// It takes too long.
    pub(super) fn abandon(&mut self, out: &mut Effects<P>) {
        if self.settings.bugs.resume_relinquished {
            self.volatile.relinquished = None;
        }
        let under_way = self.volatile.primary.as_mut().and_then(|primary| primary.hand_over.take());
        if let Some(HandOver { to, .. }) = under_way {
            out.push(Effect::HandOver { to, given: false });
        }
    }

    /// The generation is over: what was to be handed over in it is not, or was.
    pub(super) fn end_hand_over(&mut self, out: &mut Effects<P>) {
        self.abandon(out);
        self.volatile.relinquished = None;
    }

    /// Whether this copy was the primary of the adopted generation, and is it no more.
    pub(super) fn has_stopped(&self) -> bool {
        self.volatile.relinquished.is_some() && !self.settings.bugs.serve_relinquished
    }

    /// Whether clients' requests are held, and nothing of its own is begun either. A driver bounds that in time by
    /// [`super::Event::Abandon`].
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let stage = self.hand_over_stage();
        self.has_stopped() || stage.is_some_and(|stage| stage != HandOverStage::Flushing)
    }

    /// How far the hand-over is that is under way.
    #[must_use]
    pub fn hand_over_stage(&self) -> Option<HandOverStage> {
        let under_way = self.volatile.primary.as_ref().and_then(|primary| primary.hand_over);
        under_way.map(|under_way| under_way.stage)
    }

    /// A FLUSH may begin: the last one of a hand-over is the only one while requests are held.
    pub(super) fn may_flush(&self) -> bool {
        let wanted = self.volatile.primary.as_ref().is_some_and(|primary| primary.flush_wanted);
        !self.is_frozen() || self.hand_over_stage() == Some(HandOverStage::Emptying) && wanted
    }

    /// The next steps of a hand-over, as far as they are possible; behind the gate.
    pub(super) fn go_on_handing_over(&mut self, out: &mut Effects<P>) {
        let idle = self.is_drained() || self.settings.bugs.relinquish_undrained;
        let empty = self.is_emptied() || self.settings.bugs.relinquish_undrained;
        let Some(primary) = &mut self.volatile.primary else { return };
        let Some(HandOver { to, stage }) = &mut primary.hand_over else { return };
        let flushed = primary.flush.is_none() && !primary.flush_wanted;
        match stage {
            HandOverStage::Flushing if flushed => {
                *stage = HandOverStage::Draining;
                self.go_on_handing_over(out);
            }
            HandOverStage::Draining if idle => {
                *stage = HandOverStage::Emptying;
                primary.flush_wanted = true;
            }
            HandOverStage::Emptying if flushed && empty => {
                let to = *to;
                self.relinquish(to, out);
            }
            HandOverStage::Flushing | HandOverStage::Draining | HandOverStage::Emptying => {}
        }
    }

    /// Nothing is under way that holds blocks.
    fn is_drained(&self) -> bool {
        let ops = self.volatile.primary.as_ref().is_none_or(|primary| primary.ops.is_empty());
        ops && self.volatile.applies.is_empty()
    }

    /// All copies have answered everything, and no log entry is left here; nor there, since they retire the same.
    fn is_emptied(&self) -> bool {
        let links = self.volatile.primary.iter().flat_map(|primary| primary.links.values());
        let answered = links.into_iter().all(|link| link.unanswered.is_empty());
        answered && self.volatile.persisting.is_empty() && self.durable.log.is_empty()
    }

    /// From here there is no way back.
    fn relinquish(&mut self, to: CopyId, out: &mut Effects<P>) {
        self.volatile.relinquished = Some(to);
        if let Some(primary) = &mut self.volatile.primary {
            primary.hand_over = None;
            if !self.settings.bugs.serve_relinquished {
                primary.leases.held.clear();
            }
        }
        self.say_relinquished(out);
        out.push(Effect::HandOver { to, given: true });
    }

    /// Tells whoever granted leases, and asks the manager for the next generation; again until that is there.
    pub(super) fn say_relinquished(&self, out: &mut Effects<P>) {
        let (Some(record), Some(to)) = (self.ruling(), self.volatile.relinquished) else { return };
        let (copy, incarnation) = (self.settings.id, self.volatile.incarnation);
        for (member, _) in record.now.acknowledgers().filter(|(member, _)| *member != copy) {
            if let Some(stamp) = self.stamp_to(member) {
                out.push(Effect::Send(member, Message::Release { stamp }));
            }
        }
        let generation = record.generation;
        out.push(Effect::Ask(Request::Relinquish { copy, incarnation, generation, to }));
    }
}
