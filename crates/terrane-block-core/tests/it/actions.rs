//! What may happen next, and making it happen.

use crate::configs::Config;
use crate::world::{CLIENTS, Channel, FLUSH_TAG, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use terrane_block_core::client::{Client, ClientEvent};
use terrane_block_core::copy::{Event, Grantor, State};
use terrane_block_core::message::Op;
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, CopyId, Extent, Incarnation, manager};

/// A named event of a schedule. Numbers are copies, unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Write {
        client: usize,
        block: u64,
    },
    Read {
        client: usize,
        block: u64,
    },
    Flush {
        client: usize,
    },
    Deliver(Channel),
    Drop(Channel),
    Duplicate(Channel),
    Persisted(usize),
    Written(usize),
    /// The last of several writes under way: disks keep no order.
    WrittenLast(usize),
    ReadDone(usize),
    Flushed(usize),
    FlushFails(usize, usize),
    Learn(usize),
    ClientLearns(usize),
    Reconnect(usize),
    Resend(usize),
    FlushWanted(usize),
    Repair,
    Suspect(usize),
    Crash(usize),
    PowerFails(usize, usize),
    Restart(usize),
    LeaseLapses(usize, Grantor),
    Lease(usize, Grantor),
    GrantLapses(usize, CopyId),
    Settled(usize),
    DeclareLost(usize),
    Forget(usize),
    Admit(usize),
    /// The primary is told to hand over to this copy.
    HandOver(usize),
    /// A hand-over takes too long.
    Abandon(usize),
    Retire(usize),
    ForceDetach,
    FenceDone,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl World {
    /// All that may happen now, in a fixed order.
    pub(crate) fn actions(&self, config: &Config) -> Vec<Action> {
        let mut out = Vec::new();
        self.client_actions(config, &mut out);
        self.network_actions(&mut out);
        for copy in 0..self.copies.len() {
            self.machine_actions(copy, &mut out);
            self.lease_actions(copy, &mut out);
        }
        self.manager_actions(config, &mut out);
        out
    }

    fn client_actions(&self, config: &Config, out: &mut Vec<Action>) {
        for (client, state) in self.clients.iter().enumerate() {
            let waiting = &self.waiting[client];
            if state.detached {
                continue;
            }
            for block in 0..config.blocks {
                let second = block + config.blocks;
                let free = !waiting.contains_key(&block)
                    || config.bugs.client_overlaps && !waiting.contains_key(&second);
                if self.budget.writes > 0 && free {
                    out.push(Action::Write { client, block });
                }
                if self.budget.reads > 0 && state.open && !waiting.contains_key(&(block + 2 * config.blocks))
                {
                    out.push(Action::Read { client, block });
                }
            }
            if self.budget.flushes > 0 && !waiting.contains_key(&FLUSH_TAG) {
                out.push(Action::Flush { client });
            }
            if self.client_may_learn(client) {
                out.push(Action::ClientLearns(client));
            }
            if self.budget.reconnects > 0 {
                out.push(Action::Reconnect(client));
            }
        }
    }

    fn client_may_learn(&self, client: usize) -> bool {
        let state = &self.clients[client];
        let news = state.view.is_none_or(|(known, _)| known < self.record.generation);
        let primary = &self.copies[self.record.now.primary.0 as usize];
        let rules = || {
            primary.up
                && primary.state.volatile.active
                && primary.state.rules()
                && primary.state.adopted_generation() == self.record.generation
        };
        !state.detached && (news || state.refused && rules())
    }

    /// The first of the actions that this configuration takes at once.
    pub(crate) fn quiet_action(&self, config: &Config) -> Option<Action> {
        let eager = &config.eager;
        let learns = |client: &usize| eager.clients && self.client_may_learn(*client);
        let client = (0..self.clients.len()).find(learns).map(Action::ClientLearns);
        let machine = || (0..self.copies.len()).find_map(|copy| self.quiet_machine_action(config, copy));
        let repairs = || manager::repair(&self.record, &self.alive(None), config.bugs).is_some();
        let fenced = || manager::finish_fence(&self.record, config.bugs).is_some();
        client
            .or_else(machine)
            .or_else(|| (eager.repairs && repairs()).then_some(Action::Repair))
            .or_else(|| (eager.fences && fenced()).then_some(Action::FenceDone))
    }

    fn quiet_machine_action(&self, config: &Config, copy: usize) -> Option<Action> {
        let eager = &config.eager;
        if !self.copies[copy].up {
            return eager.restarts.then_some(Action::Restart(copy));
        }
        if eager.records && self.may_learn(copy) {
            return Some(Action::Learn(copy));
        }
        let lapsed = || self.lapsed_grants(copy).next().map(|holder| Action::GrantLapses(copy, holder));
        let settled = || self.may_settle(copy).then_some(Action::Settled(copy));
        if eager.grants { lapsed().or_else(settled) } else { None }
    }

    fn network_actions(&self, out: &mut Vec<Action>) {
        for channel in self.channels.keys() {
            out.push(Action::Deliver(*channel));
            if self.budget.drops > 0 {
                out.push(Action::Drop(*channel));
            }
            if self.budget.duplicates > 0 {
                out.push(Action::Duplicate(*channel));
            }
        }
    }

    fn machine_actions(&self, copy: usize, out: &mut Vec<Action>) {
        let machine = &self.copies[copy];
        if !machine.up {
            out.push(Action::Restart(copy));
            return;
        }
        let volatile = &machine.state.volatile;
        if self.may_learn(copy) {
            out.push(Action::Learn(copy));
        }
        for (has, action) in [
            (machine.persists > 0, Action::Persisted(copy)),
            (!machine.writes.is_empty(), Action::Written(copy)),
            (machine.writes.len() > 1, Action::WrittenLast(copy)),
            (!machine.reads.is_empty(), Action::ReadDone(copy)),
            (!machine.flushes.is_empty(), Action::Flushed(copy)),
            (self.budget.crashes > 0, Action::Crash(copy)),
        ] {
            if has {
                out.push(action);
            }
        }
        for outcome in 0..machine.disk.outcomes() {
            if self.budget.powers > 0 {
                out.push(Action::PowerFails(copy, outcome));
            }
            if self.budget.failed_flushes > 0 && !machine.flushes.is_empty() {
                out.push(Action::FlushFails(copy, outcome));
            }
        }
        let idle = volatile.primary.as_ref().is_some_and(|p| p.flush.is_none() && !p.flush_wanted);
        if self.budget.flushes > 0 && idle {
            out.push(Action::FlushWanted(copy));
        }
        if volatile.relinquished.is_some() || machine.state.hand_over_stage().is_some() {
            out.push(Action::Abandon(copy));
        }
        if self.has_lost_packets(copy) {
            out.push(Action::Resend(copy));
        }
    }

    /// There is news for the copy.
    fn may_learn(&self, copy: usize) -> bool {
        let machine = &self.copies[copy];
        let volatile = &machine.state.volatile;
        let adopted = machine.state.adopted_generation();
        let known = volatile.known.as_ref().map_or(adopted, |known| known.generation);
        let activated = known == adopted && self.record.active && !volatile.active;
        let fenced = machine.state.durable.record.as_ref().is_some_and(|r| r.fencing != self.record.fencing);
        self.record.generation > known || self.record.generation == adopted && (activated || fenced)
    }

    /// Who does not hold a lease of this copy any more.
    fn lapsed_grants(&self, copy: usize) -> impl Iterator<Item = CopyId> {
        let me = Grantor::Copy(CopyId(copy as u64));
        let granted = self.copies[copy].state.volatile.granted.iter().copied();
        granted.filter(move |holder| self.holds(holder.0 as usize, me).is_none())
    }

    fn may_settle(&self, copy: usize) -> bool {
        let me = Grantor::Copy(CopyId(copy as u64));
        let held = || (0..self.copies.len()).any(|holder| self.holds(holder, me).is_some());
        !self.copies[copy].state.volatile.settled && !held()
    }

    /// Something is unanswered and nothing is on its way any more.
    fn has_lost_packets(&self, copy: usize) -> bool {
        let machine = &self.copies[copy];
        let Some(primary) = machine.state.volatile.primary.as_ref().filter(|_| machine.state.volatile.active)
        else {
            return false;
        };
        let connection = machine.state.adopted_generation().0;
        primary.links.iter().any(|(to, link)| {
            let mirror = &self.copies[to.0 as usize];
            let idle = mirror.writes.is_empty() && mirror.flushes.is_empty() && mirror.reads.is_empty();
            let there = Channel { from: copy as u64, to: to.0, connection };
            let back = Channel { from: to.0, to: copy as u64, connection };
            let quiet = !self.channels.contains_key(&there) && !self.channels.contains_key(&back);
            let reaches = mirror.up && mirror.state.adopted_generation().0 == connection;
            !link.unanswered.is_empty() && quiet && idle && reaches && mirror.persists == 0
        })
    }

    fn lease_actions(&self, copy: usize, out: &mut Vec<Action>) {
        let machine = &self.copies[copy];
        if !machine.up {
            return;
        }
        for grantor in self.wanted_leases(copy) {
            out.push(Action::Lease(copy, grantor));
        }
        if self.budget.lapses > 0 {
            let others = (0..self.copies.len() as u64).map(|c| Grantor::Copy(CopyId(c)));
            for grantor in others.chain([Grantor::Manager]) {
                if self.holds(copy, grantor).is_some() {
                    out.push(Action::LeaseLapses(copy, grantor));
                }
            }
        }
        out.extend(self.lapsed_grants(copy).map(|holder| Action::GrantLapses(copy, holder)));
        if self.may_settle(copy) {
            out.push(Action::Settled(copy));
        }
    }

    fn manager_actions(&self, config: &Config, out: &mut Vec<Action>) {
        if manager::repair(&self.record, &self.alive(None), config.bugs).is_some() {
            out.push(Action::Repair);
        }
        if self.budget.suspicions > 0 {
            for copy in (0..self.copies.len()).filter(|copy| self.copies[*copy].up) {
                if manager::repair(&self.record, &self.alive(Some(copy)), config.bugs).is_some() {
                    out.push(Action::Suspect(copy));
                }
            }
        }
        let lent = (0..self.copies.len()).any(|holder| self.holds(holder, Grantor::Manager).is_some());
        for copy in (0..self.copies.len()).filter(|c| self.budget.declares > 0 && self.copies[*c].up && !lent)
        {
            out.push(Action::DeclareLost(copy));
        }
        for copy in 0..self.copies.len() {
            if self.budget.forgets > 0 && self.forgotten(copy).is_some() {
                out.push(Action::Forget(copy));
            }
            if self.admitted(config, copy).is_some() {
                out.push(Action::Admit(copy));
            }
            if self.budget.retires > 0 && self.retired(config, copy).is_some() {
                out.push(Action::Retire(copy));
            }
            if self.budget.hand_overs > 0
                && manager::hand_over(&self.record, CopyId(copy as u64)).is_some()
                && self.copies[self.record.now.primary.0 as usize].up
            {
                out.push(Action::HandOver(copy));
            }
        }
        if self.budget.detaches > 0 {
            out.push(Action::ForceDetach);
        }
        if manager::finish_fence(&self.record, config.bugs).is_some() {
            out.push(Action::FenceDone);
        }
    }

    /// The record without a copy that is away.
    fn forgotten(&self, copy: usize) -> Option<Record> {
        manager::forget(&self.record, &BTreeSet::from([CopyId(copy as u64)]))
    }

    /// The record without a copy that is not wanted any more.
    fn retired(&self, config: &Config, copy: usize) -> Option<Record> {
        manager::retire(&self.record, &BTreeSet::from([CopyId(copy as u64)]), config.bugs)
    }

    /// A copy that was forgotten is there, with all that it had: the record in which it joins.
    fn admitted(&self, config: &Config, copy: usize) -> Option<Record> {
        let id = CopyId(copy as u64);
        if !self.copies[copy].up || self.record.knows(id) {
            return None;
        }
        let admitted = manager::admit(&self.record, [id], config.bugs);
        manager::repair(&admitted, &self.alive(None), config.bugs)
    }

    /// Makes it happen, and what follows at once.
    pub(crate) fn act(&mut self, config: &Config, action: Action) {
        self.act_only(config, action);
        self.settle(config);
        self.note_losses();
        self.judge(config);
    }

    /// Makes it happen.
    pub(crate) fn act_only(&mut self, config: &Config, action: Action) {
        match action {
            Action::Write { .. } | Action::Read { .. } | Action::Flush { .. } => {
                self.act_client(config, action)
            }
            Action::Deliver(channel) => {
                if let Some(packet) = self.pop(channel) {
                    self.deliver(config, channel, packet);
                }
            }
            Action::Drop(channel) => {
                self.budget.drops -= 1;
                self.pop(channel);
            }
            Action::Duplicate(channel) => {
                self.budget.duplicates -= 1;
                let head = self.channels.get(&channel).and_then(|queue| queue.front()).cloned();
                if let Some(packet) = head {
                    // The duplicate comes much later, over a connection of its own.
                    let late = Channel { connection: channel.connection + 100, ..channel };
                    self.push(late, packet);
                }
            }
            Action::ClientLearns(client) => {
                let record = Box::new(Record::clone(&self.record));
                self.client_event(config, client, ClientEvent::Record(record));
            }
            Action::Reconnect(client) => {
                self.budget.reconnects -= 1;
                self.client_event(config, client, ClientEvent::Reconnect);
            }
            Action::Learn(copy) => {
                let record = Record::clone(&self.record);
                self.copy_event(config, copy, Event::Record(record));
            }
            Action::FlushWanted(copy) => {
                self.budget.flushes -= 1;
                self.copy_event(config, copy, Event::FlushWanted);
            }
            Action::Resend(copy) => self.copy_event(config, copy, Event::Resend),
            Action::HandOver(copy) => {
                self.budget.hand_overs -= 1;
                let (to, primary) = (CopyId(copy as u64), self.record.now.primary.0 as usize);
                let generation = self.record.generation;
                self.copy_event(config, primary, Event::HandOver { generation, to });
            }
            Action::Abandon(copy) => self.copy_event(config, copy, Event::Abandon),
            Action::Repair
            | Action::Suspect(_)
            | Action::DeclareLost(_)
            | Action::Forget(_)
            | Action::Admit(_)
            | Action::Retire(_)
            | Action::ForceDetach
            | Action::FenceDone => {
                self.act_manager(config, action);
            }
            Action::LeaseLapses(copy, grantor) => {
                self.budget.lapses -= 1;
                if let Some(round) = self.holds(copy, grantor) {
                    self.copy_event(config, copy, Event::LeaseLapsed(grantor, round));
                }
            }
            Action::Lease(copy, grantor) => {
                self.lease(config, copy, grantor);
            }
            Action::GrantLapses(copy, holder) => self.copy_event(config, copy, Event::GrantLapsed(holder)),
            Action::Settled(copy) => self.copy_event(config, copy, Event::Settled),
            _ => self.act_machine(config, action),
        }
    }

    fn act_client(&mut self, config: &Config, action: Action) {
        match action {
            Action::Write { client, block } => {
                self.budget.writes -= 1;
                let content = self.fresh();
                let taken = self.waiting[client].contains_key(&block);
                let tag = if taken { block + config.blocks } else { block };
                self.submit(config, client, tag, Op::Write(Extent::block(block), content));
            }
            Action::Read { client, block } => {
                self.budget.reads -= 1;
                let tag = block + 2 * config.blocks;
                self.submit(config, client, tag, Op::Read(Extent::block(block)));
            }
            Action::Flush { client } => {
                self.budget.flushes -= 1;
                self.submit(config, client, FLUSH_TAG, Op::Flush);
            }
            _ => {}
        }
    }

    fn act_manager(&mut self, config: &Config, action: Action) {
        let next = match action {
            Action::Repair => manager::repair(&self.record, &self.alive(None), config.bugs),
            Action::Suspect(copy) => {
                self.budget.suspicions -= 1;
                manager::repair(&self.record, &self.alive(Some(copy)), config.bugs)
            }
            Action::DeclareLost(copy) => {
                self.budget.declares -= 1;
                self.declared = true;
                let id = CopyId(copy as u64);
                let alive = self.alive(None).remove(&id);
                alive.and_then(|alive| manager::declare_lost(&self.record, id, &alive, true))
            }
            Action::Forget(copy) => {
                self.budget.forgets -= 1;
                self.forgotten(copy)
            }
            Action::Admit(copy) => self.admitted(config, copy),
            Action::Retire(copy) => {
                self.budget.retires -= 1;
                self.retired(config, copy)
            }
            Action::ForceDetach => {
                self.budget.detaches -= 1;
                Some(manager::force_detach(&self.record, config.bugs))
            }
            Action::FenceDone => manager::finish_fence(&self.record, config.bugs),
            _ => None,
        };
        let Some(next) = next else { return };
        self.record = Arc::new(next);
        if action == Action::FenceDone {
            // The application goes on elsewhere; what the old one waited for has happened or never will.
            self.registers.iter_mut().for_each(terrane_block_core::promise::Register::fenced);
            self.waiting.iter_mut().for_each(BTreeMap::clear);
            let id = ClientId(CLIENTS + self.clients.len() as u64);
            self.clients.push(Arc::new(Client::new(id, self.record.epoch, 4, config.bugs)));
            self.waiting.push(BTreeMap::new());
        }
    }

    fn act_machine(&mut self, config: &Config, action: Action) {
        match action {
            Action::Persisted(copy) => {
                self.edit(copy, |machine| machine.persists -= 1);
                self.copy_event(config, copy, Event::Persisted);
            }
            Action::Written(copy) | Action::WrittenLast(copy) => {
                let written = self.edit(copy, |machine| {
                    let last = matches!(action, Action::WrittenLast(_));
                    let write = if last { machine.writes.pop_back() } else { machine.writes.pop_front() };
                    let (id, extent, content) = write?;
                    machine.disk.write(extent, &content);
                    Some(id)
                });
                if let Some(id) = written {
                    self.copy_event(config, copy, Event::Written(id));
                }
            }
            Action::ReadDone(copy) => {
                let read = self.edit(copy, |machine| {
                    let read = machine.reads.pop_front()?;
                    Some(read.done(&machine.disk))
                });
                if let Some(event) = read {
                    self.copy_event(config, copy, event);
                }
            }
            Action::Flushed(copy) => {
                let flushed = self.edit(copy, |machine| {
                    let (id, mark) = machine.flushes.pop_front()?;
                    machine.disk.flushed(&mark);
                    machine.flushes.iter_mut().for_each(|(_, other)| other.after(&mark));
                    Some(id)
                });
                if let Some(id) = flushed {
                    self.copy_event(config, copy, Event::Flushed(id));
                }
            }
            Action::FlushFails(copy, outcome) => {
                self.budget.failed_flushes -= 1;
                self.power_fails(copy, outcome);
                self.restart(copy);
            }
            Action::Crash(copy) => {
                self.budget.crashes -= 1;
                self.edit(copy, |machine| machine.up = false);
                self.forget_packets(copy);
            }
            Action::PowerFails(copy, outcome) => {
                self.budget.powers -= 1;
                self.power_fails(copy, outcome);
                self.forget_packets(copy);
            }
            Action::Restart(copy) => self.restart(copy),
            _ => {}
        }
    }

    fn power_fails(&mut self, copy: usize, outcome: usize) {
        // Whose loss it is is decided by who was in sync then.
        self.edit(copy, |machine| {
            machine.up = false;
            machine.disk.power_fails(outcome);
            machine.lost = Some(machine.state.volatile.incarnation);
            machine.kept.clear();
            machine.cache_lost = true;
        });
        self.note_losses();
    }

    /// What is on its way to a dead process never gets there.
    fn forget_packets(&mut self, copy: usize) {
        self.channels.retain(|channel, _| channel.to != copy as u64);
    }

    fn restart(&mut self, copy: usize) {
        self.next_incarnation += 1;
        let incarnation = Incarnation(self.next_incarnation);
        self.forget_packets(copy);
        self.edit(copy, |machine| {
            machine.up = true;
            let ended = machine.state.volatile.incarnation;
            if !std::mem::take(&mut machine.cache_lost) {
                machine.kept.insert(ended);
            }
            machine.persists = 0;
            machine.writes.clear();
            machine.reads.clear();
            machine.flushes.clear();
            let durable = std::mem::take(&mut machine.state.durable);
            machine.state = State::start(machine.state.settings, durable, incarnation);
        });
    }
}
