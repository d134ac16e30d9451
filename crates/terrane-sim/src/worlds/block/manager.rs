//! The manager: one record, changed by transactions; what it believes about who lives is its own and may be wrong.

use super::cluster::{Cluster, MANAGER, Packet, Turn};
use crate::runner::Context;
use crate::scheduler::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_core::manager::{self, Alive, Request};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Generation};

/// Unheard of for so long is dead.
/// (Sooner than a lease lapses: only the lease itself makes the next primary wait.)
const DETECT: Duration = Duration::from_millis(12);

/// Two processes, of which one is in office. The other may still believe to be.
#[derive(Default)]
pub(super) struct Manager {
    heard: [BTreeMap<CopyId, (Time, Alive)>; 2],
    office: usize,
    since: Time,
}

impl Cluster {
    pub(super) fn heartbeat(&mut self, from: u32, alive: Alive) {
        let now = self.queue.now();
        let office = self.manager.office;
        self.manager.heard[office].insert(CopyId(from.into()), (now, alive));
        let record = Packet::Record(Box::new(self.record.clone()));
        self.send(MANAGER, from, record);
    }

    pub(super) fn fail_over(&mut self, context: &mut Context) {
        context.coverage.hit("block.manager_failover");
        self.manager.office = 1 - self.manager.office;
        let office = self.manager.office;
        self.manager.heard[office].clear();
        self.manager.since = self.queue.now();
        self.queue.within(Duration::from_millis(40), Turn::Manager { zombie: true });
    }

    /// A look at who lives. The one out of office acts on what it knew.
    pub(super) fn manage(&mut self, context: &mut Context, zombie: bool) {
        let now = self.queue.now();
        let index = if zombie { 1 - self.manager.office } else { self.manager.office };
        if zombie {
            context.coverage.hit("block.manager_zombie");
        } else {
            self.queue.after(Duration::from_millis(4), Turn::Manager { zombie });
        }
        let fresh = |time: &Time| zombie || time.after(DETECT) > now;
        let heard = self.manager.heard[index].iter().filter(|(_, (time, _))| fresh(time));
        let alive: BTreeMap<CopyId, Alive> = heard.map(|(copy, (_, alive))| (*copy, alive.clone())).collect();
        let settled = zombie || self.manager.since.after(DETECT) <= now;
        if settled && let Some(next) = self.repaired(&alive) {
            self.commit(context, next);
        }
        if let Some(next) = manager::finish_fence(&self.record, self.bugs) {
            context.coverage.hit("block.detach_complete");
            self.commit(context, next);
            self.new_client();
        }
    }

    /// The next record, perhaps with copies that were forgotten and are there.
    fn repaired(&mut self, alive: &BTreeMap<CopyId, Alive>) -> Option<Record> {
        let admits = self.calm || self.rng.one_in(8);
        let there = alive.keys().copied().filter(|_| admits);
        manager::repair(&manager::admit(&self.record, there, self.bugs), alive, self.bugs)
    }

    /// Nobody waits any more for a copy that is away. It is not deleted yet, and will come back with all that it had.
    pub(super) fn forget(&mut self, context: &mut Context) {
        let absent: Vec<CopyId> = self.record.now.absent.keys().copied().collect();
        if absent.is_empty() {
            return;
        }
        let copies = BTreeSet::from([*self.rng.pick(&absent)]);
        if let Some(next) = manager::forget(&self.record, &copies) {
            context.coverage.hit("block.forgotten");
            self.commit(context, next);
        }
    }

    /// The primary is told to hand its role over to some copy in sync.
    pub(super) fn order_hand_over(&mut self) {
        let copies: Vec<CopyId> = self.record.now.in_sync.keys().copied().collect();
        let to = *self.rng.pick(&copies);
        if let Some(generation) = manager::hand_over(&self.record, to) {
            let primary = u32::try_from(self.record.now.primary.0).unwrap_or(u32::MAX);
            self.send(MANAGER, primary, Packet::HandOver { generation, to });
        }
    }

    /// The order arrives; its time begins.
    pub(super) fn ordered(&mut self, context: &mut Context, copy: usize, generation: Generation, to: CopyId) {
        context.coverage.hit("block.hand_over_ordered");
        let (life, patience) = (self.copies[copy].life, Duration::from_millis(self.rng.range(1..30)));
        self.queue.after(patience, Turn::Overdue { copy, life });
        self.event(context, copy, Event::HandOver { generation, to });
    }

    /// A copy is not wanted any more. It is not deleted yet, and will be wanted again, with all that it has by then.
    pub(super) fn retire(&mut self, context: &mut Context) {
        let copy = CopyId(self.rng.range(0..self.copies.len() as u64));
        if let Some(next) = manager::retire(&self.record, &BTreeSet::from([copy]), self.bugs) {
            let now = &self.record.now;
            let joining = now.joining.contains_key(&copy);
            let name = if joining { "block.retired_joining" } else { "block.retired" };
            context.coverage.hit(name);
            self.commit(context, next);
        }
    }

    pub(super) fn asked(&mut self, context: &mut Context, from: u32, request: &Request) {
        if let Request::Lease { copy, generation, round } = request {
            if *generation == self.record.generation && self.record.now.primary == *copy {
                self.send(MANAGER, from, Packet::Lease(*round));
            }
            return;
        }
        let Some(next) = manager::transact(&self.record, request, self.bugs) else { return };
        match request {
            Request::CommitJoin { .. } => context.coverage.hit("block.join_committed"),
            Request::Activate { .. } => context.coverage.hit("block.activated"),
            Request::Relinquish { .. } => context.coverage.hit("block.handed_over"),
            Request::Confirm { .. } | Request::Lease { .. } => {}
        }
        self.commit(context, next);
    }

    pub(super) fn force_detach(&mut self, context: &mut Context) {
        if !self.record.fencing {
            context.coverage.hit("block.detach_forced");
            let next = manager::force_detach(&self.record, self.bugs);
            self.commit(context, next);
        }
    }

    /// The record changes, and copies are told, if the packets reach them.
    fn commit(&mut self, context: &mut Context, next: Record) {
        note(context, &self.record, &next);
        context.trace.note(format_args!("  record {:?} {:?}", next.generation, next.now));
        self.record = next;
        self.withdraw_rot();
        self.note_losses(context);
        for copy in 0..self.copies.len() {
            let record = Packet::Record(Box::new(self.record.clone()));
            self.send(MANAGER, super::machine::address(copy), record);
        }
    }
}

/// Counts the kinds of change.
fn note(context: &mut Context, old: &Record, new: &Record) {
    if old.generation == new.generation {
        return;
    }
    let (before, after) = (&old.now, &new.now);
    let same = |copy: &CopyId| before.incarnation(*copy) == after.incarnation(*copy);
    let returns = |copy: &&CopyId| !before.in_sync.contains_key(copy);
    for (happened, name) in [
        (after.joining.keys().any(|copy| !old.knows(*copy)), "block.admitted"),
        (before.primary != after.primary, "block.promoted"),
        (before.in_sync.keys().any(|copy| !after.in_sync.contains_key(copy)), "block.removed"),
        (
            after.joining.keys().any(|copy| before.joining.get(copy) != after.joining.get(copy)),
            "block.join_began",
        ),
        (
            after
                .in_sync
                .keys()
                .filter(returns)
                .any(|copy| !before.joining.contains_key(copy) || !old.active),
            "block.went_back",
        ),
        (
            after.in_sync.keys().any(|copy| before.in_sync.contains_key(copy) && !same(copy)),
            "block.all_restarted",
        ),
    ] {
        if happened {
            context.coverage.hit(name);
        }
    }
}
