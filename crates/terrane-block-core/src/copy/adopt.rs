//! Which record a copy follows. (Rules 2, 4, 10.)

use super::{Effect, Effects, Primary, State, Update};
use crate::ids::{CopyId, Generation, Payload};
use crate::manager::Request;
use crate::message::{Message, Stamp};
use crate::record::Record;
use crate::set::BlockSet;

impl<P: Payload> State<P> {
    /// The generation that is durably adopted here; 0 before the first.
    #[must_use]
    pub fn adopted_generation(&self) -> Generation {
        self.durable.record.as_ref().map_or(Generation(0), |record| record.generation)
    }

    /// The manager's record, new or not.
    pub(super) fn hear(&mut self, record: Record, out: &mut Effects<P>) {
        let adopted = self.adopted_generation();
        if record.generation == adopted {
            let starts = record.active && !self.volatile.active;
            self.volatile.active |= record.active;
            let fences = record.fencing;
            if let Some(own) = &mut self.durable.record {
                own.fencing = fences;
            }
            if starts {
                self.begin_acting(out);
            }
        } else if record.generation > adopted
            && self.volatile.known.as_ref().is_none_or(|known| known.generation < record.generation)
        {
            self.volatile.known = Some(record);
        }
    }

    /// Adopts the newest record known, one at a time; one that promotes this copy only when nobody can hold a lease
    /// of it any more.
    pub(super) fn try_adopt(&mut self, out: &mut Effects<P>) {
        let Some(known) = &self.volatile.known else { return };
        let adopting = |update: &Update| matches!(update, Update::Adopt(_));
        if self.volatile.persisting.iter().any(adopting) {
            return;
        }
        let promotes = known.now.primary == self.settings.id;
        if promotes && !self.grants_lapsed() {
            return;
        }
        let update = Update::Adopt(Box::new(known.clone()));
        self.persist(update, out);
    }

    pub(super) fn persist(&mut self, update: Update, out: &mut Effects<P>) {
        self.volatile.persisting.push_back(update.clone());
        out.push(Effect::Persist(update));
    }

    /// The oldest update is durable.
    pub(super) fn persisted(&mut self, out: &mut Effects<P>) {
        let Some(update) = self.volatile.persisting.pop_front() else { return };
        let in_sync = match &update {
            Update::Adopt(record) => record.now.is_in_sync(self.settings.id, self.volatile.incarnation),
            Update::Enter(_) | Update::Retire { .. } => true,
        };
        if let Update::Retire { bits, .. } = &update {
            for (copy, blocks) in bits {
                if let Some(fresh) = self.volatile.bits.get_mut(copy) {
                    fresh.subtract(blocks);
                }
            }
        }
        let adopted = matches!(update, Update::Adopt(_));
        self.durable.apply(update, &self.settings, in_sync);
        if adopted {
            self.adopted(out);
        }
    }

    fn adopted(&mut self, out: &mut Effects<P>) {
        self.end_hand_over(out);
        let generation = self.adopted_generation();
        let (me, life) = (self.settings.id, self.volatile.incarnation);
        let in_sync = self.durable.record.as_ref().is_some_and(|record| record.now.is_in_sync(me, life));
        self.volatile.kept_log = if in_sync { BlockSet::new() } else { self.touched() };
        let volatile = &mut self.volatile;
        volatile.known = volatile.known.take().filter(|known| known.generation > generation);
        volatile.active = self.settings.bugs.act_before_confirmation;
        volatile.confirmed = false;
        volatile.inbound = super::Inbound::default();
        volatile.bits.retain(|copy, _| self.durable.bitmaps.contains_key(copy));
        for copy in self.durable.bitmaps.keys() {
            volatile.bits.entry(*copy).or_default();
        }
        if let Some(record) = self.ruling().cloned() {
            let primary = self.volatile.primary.take().unwrap_or_default();
            self.volatile.primary = Some(primary.next_generation(&record, self.settings.id));
            self.ask_activation(out);
            if self.settings.bugs.act_before_confirmation {
                self.begin_acting(out);
            }
        } else {
            // Losing the role drops all sessions and what they asked for. What is being written goes on.
            self.volatile.primary = None;
            for apply in &mut self.volatile.applies {
                apply.orphan_own();
            }
        }
    }

    pub(super) fn ask_activation(&self, out: &mut Effects<P>) {
        let (copy, incarnation) = (self.settings.id, self.volatile.incarnation);
        let generation = self.adopted_generation();
        let unconfirmed = !self.volatile.active || self.settings.bugs.act_before_confirmation;
        if self.ruling().is_some() && unconfirmed {
            out.push(Effect::Ask(Request::Activate { copy, incarnation, generation }));
        }
    }

    /// While the manager fences: tells it that nothing older than the adopted attachment can happen here any more.
    pub(super) fn try_confirm(&mut self, out: &mut Effects<P>) {
        let Some(record) = self.durable.record.as_ref().filter(|record| record.fencing) else { return };
        let (copy, incarnation) = (self.settings.id, self.volatile.incarnation);
        let in_sync = record.now.is_in_sync(copy, incarnation);
        let drained = self.volatile.primary.as_ref().is_none_or(Primary::is_drained);
        if in_sync && drained && !self.volatile.confirmed {
            let generation = record.generation;
            self.volatile.confirmed = true;
            out.push(Effect::Ask(Request::Confirm { copy, incarnation, generation }));
        }
    }

    /// The stamp for a message to a member of the adopted record.
    #[must_use]
    pub fn stamp_to(&self, to: CopyId) -> Option<Stamp> {
        let record = self.durable.record.as_ref()?;
        Some(Stamp {
            generation: record.generation,
            layout: record.layout,
            from: self.volatile.incarnation,
            to: record.now.incarnation(to)?,
        })
    }

    /// Whether a message comes from the adopted record's primary, in the lives that the record names. Tells the sender,
    /// or asks the manager, if one of the two is behind.
    pub(super) fn accepts(&self, from: CopyId, stamp: Stamp, out: &mut Effects<P>) -> bool {
        let adopted = self.adopted_generation();
        if stamp.generation > adopted {
            out.push(Effect::Fetch);
            return false;
        }
        let Some(record) = &self.durable.record else { return false };
        if self.settings.bugs.accept_old_generation {
            return stamp.to == self.volatile.incarnation;
        }
        if stamp.generation < adopted {
            out.push(Effect::Send(from, Message::Refused { generation: adopted }));
            return false;
        }
        record.now.primary == from
            && stamp.layout == record.layout
            && record.now.incarnation(from) == Some(stamp.from)
            && record.now.incarnation(self.settings.id) == Some(stamp.to)
            && stamp.to == self.volatile.incarnation
    }

    /// The same for what a member answers to this primary. Older answers do not count.
    pub(super) fn is_from_member(&self, from: CopyId, stamp: Stamp) -> bool {
        self.ruling().is_some_and(|record| {
            (stamp.generation == record.generation || self.settings.bugs.accept_old_generation)
                && stamp.layout == record.layout
                && record.now.incarnation(from) == Some(stamp.from)
                && stamp.to == self.volatile.incarnation
        })
    }
}
