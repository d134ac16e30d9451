//! Leases, and the one gate in front of everything that a primary does. (Rule 4.)
//!
//! A lease is a mirror's promise to do nothing as a primary for one period. The holder counts the period from sending
//! the request, the grantor from answering it, both on clocks of bounded drift: so the holder's lapses first. The
//! driver does the counting; the core hears of the ends.

use super::{Effect, Effects, State};
use crate::ids::{CopyId, Payload};
use crate::manager::Request;
use crate::message::{Message, Stamp};
use crate::record::Record;
use std::collections::BTreeMap;

/// Who gives a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grantor {
    /// A member of the acknowledgement set.
    Copy(CopyId),
    /// The manager, for a primary that is alone in sync.
    Manager,
}

/// The leases of a primary in one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leases {
    /// The latest request granted and not lapsed.
    pub(super) held: BTreeMap<Grantor, u64>,
    /// Up to here requests have lapsed; a grant that comes later is worth nothing.
    pub(super) lapsed: BTreeMap<Grantor, u64>,
}

impl Leases {
    /// The latest request that this grantor granted, if its lease is held.
    #[must_use]
    pub fn held(&self, grantor: Grantor) -> Option<u64> {
        self.held.get(&grantor).copied()
    }

    /// The latest request whose lease lapsed; 0 if none did.
    #[must_use]
    pub fn lapsed(&self, grantor: Grantor) -> u64 {
        self.lapsed.get(&grantor).copied().unwrap_or(0)
    }

    /// Whether this grantor's lease is held.
    #[must_use]
    pub fn holds(&self, grantor: Grantor) -> bool {
        self.held.contains_key(&grantor)
    }
}

impl<P: Payload> State<P> {
    /// The adopted record, if it makes this life of this copy the primary.
    pub(super) fn ruling(&self) -> Option<&Record> {
        let record = self.durable.record.as_ref()?;
        let mine = record.now.primary == self.settings.id
            && record.now.is_in_sync(self.settings.id, self.volatile.incarnation);
        mine.then_some(record)
    }

    /// Whether the adopted record makes this life of this copy the primary.
    #[must_use]
    pub fn rules(&self) -> bool {
        self.ruling().is_some()
    }

    /// The gate: this copy rules in an active generation, whoever it gave leases to has none any more, and everybody
    /// who could replace it has promised not to.
    #[must_use]
    pub fn may_act(&self) -> bool {
        let Some(record) = self.ruling() else { return false };
        self.volatile.active && !self.has_stopped() && self.grants_lapsed() && self.leases_held(record)
    }

    /// Whether every lease that this copy ever gave has lapsed.
    pub(super) fn grants_lapsed(&self) -> bool {
        self.settings.bugs.skip_grants || self.volatile.settled && self.volatile.granted.is_empty()
    }

    fn leases_held(&self, record: &Record) -> bool {
        let Some(primary) = &self.volatile.primary else { return false };
        let bugs = &self.settings.bugs;
        let mut wanted = self.grantors(record);
        if bugs.one_lease {
            return wanted.any(|grantor| primary.leases.holds(grantor));
        }
        wanted.all(|grantor| primary.leases.holds(grantor) || bugs.shrink_alone)
    }

    /// Leases that this primary needs and does not hold.
    #[must_use]
    pub fn wanted_leases(&self) -> Vec<Grantor> {
        let (Some(record), Some(primary)) = (self.ruling(), &self.volatile.primary) else {
            return Vec::new();
        };
        if self.has_stopped() {
            return Vec::new();
        }
        self.grantors(record).filter(|grantor| !primary.leases.holds(*grantor)).collect()
    }

    /// Whose leases a primary needs: all of the acknowledgement set, and the manager's if it is alone in sync.
    fn grantors<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = Grantor> + 'a {
        let others = record.now.acknowledgers().filter(|(copy, _)| *copy != self.settings.id);
        let alone = (record.now.in_sync.len() == 1).then_some(Grantor::Manager);
        others.map(|(copy, _)| Grantor::Copy(copy)).chain(alone)
    }

    /// Asks all grantors anew.
    pub(super) fn renew(&mut self, out: &mut Effects<P>) {
        let Some(record) = self.ruling().cloned() else { return };
        if !self.volatile.active || self.has_stopped() {
            return;
        }
        let grantors: Vec<_> = self.grantors(&record).collect();
        self.volatile.lease_round += 1;
        let round = self.volatile.lease_round;
        for grantor in grantors {
            match grantor {
                Grantor::Copy(copy) => {
                    if let Some(stamp) = self.stamp_to(copy) {
                        out.push(Effect::Send(copy, Message::LeaseRequest { stamp, round }));
                    }
                }
                Grantor::Manager => {
                    let (copy, generation) = (self.settings.id, record.generation);
                    out.push(Effect::Ask(Request::Lease { copy, generation, round }));
                }
            }
        }
    }

    /// A mirror promises, unless it knows of a newer generation: there it may have to rule itself.
    /// Nor does a primary need it that has released it.
    pub(super) fn on_lease_request(&mut self, from: CopyId, stamp: Stamp, round: u64, out: &mut Effects<P>) {
        if !self.accepts(from, stamp, out) || self.volatile.known.is_some() || self.volatile.inbound.released
        {
            return;
        }
        self.volatile.granted.insert(from);
        let stamp = Stamp { from: stamp.to, to: stamp.from, ..stamp };
        out.push(Effect::Send(from, Message::LeaseGrant { stamp, round }));
    }

    /// The primary has stopped for good: what was granted to it has lapsed, as if its time were over.
    pub(super) fn on_release(&mut self, from: CopyId, stamp: Stamp, out: &mut Effects<P>) {
        if self.accepts(from, stamp, out) {
            self.volatile.inbound.released = true;
            self.volatile.granted.remove(&from);
        } else if self.settings.bugs.believe_old_release {
            self.volatile.granted.remove(&from);
        }
    }

    pub(super) fn lease_granted(&mut self, grantor: Grantor, round: u64) {
        let Some(primary) = &mut self.volatile.primary else { return };
        let leases = &mut primary.leases;
        if leases.lapsed.get(&grantor).is_none_or(|lapsed| *lapsed < round) {
            let held = leases.held.entry(grantor).or_default();
            *held = round.max(*held);
        }
    }

    pub(super) fn lease_lapsed(&mut self, grantor: Grantor, round: u64) {
        let Some(primary) = &mut self.volatile.primary else { return };
        let leases = &mut primary.leases;
        let lapsed = leases.lapsed.entry(grantor).or_default();
        *lapsed = round.max(*lapsed);
        if leases.held.get(&grantor).is_some_and(|held| held <= lapsed) {
            leases.held.remove(&grantor);
        }
    }
}
