//! A stripe with everything around it, as one value: copies with their disks, clients, messages on their way, the
//! manager's record, and what the application may read.

use crate::configs::{Budget, Config};
use crate::disk::{Disk, Mark, content, value};
use crate::visited::fingerprint;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use terrane_block_core::client::{Client, ClientEffect, ClientEvent};
use terrane_block_core::copy::{self, Durable, Effect, Event, Grantor, Settings, State};
use terrane_block_core::manager::{self, Alive, Request};
use terrane_block_core::message::{Message, Op, Outcome, ToClient, ToPrimary};
use terrane_block_core::promise::Register;
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, Content, CopyId, Extent, Incarnation, LayoutEpoch};

/// A copy's machine.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Machine {
    pub(crate) up: bool,
    pub(crate) state: State<u8>,
    pub(crate) disk: Disk,
    pub(crate) writes: VecDeque<(u64, Extent, Content<u8>)>,
    pub(crate) reads: VecDeque<LocalRead>,
    pub(crate) flushes: VecDeque<(u64, Mark)>,
    pub(crate) persists: u32,
    /// Earlier lives of which nothing is lost.
    pub(crate) kept: BTreeSet<Incarnation>,
    /// Its machine lost what this life had in its cache.
    pub(crate) cache_lost: bool,
    /// The last life in which its machine lost what was not flushed: by it and all earlier ones.
    pub(crate) lost: Option<Incarnation>,
}

/// What is read, and whether only its hashes are wanted.
#[derive(Clone, Debug, Hash)]
pub(crate) struct LocalRead {
    pub(crate) id: u64,
    pub(crate) extent: Extent,
    pub(crate) digests: bool,
}

impl LocalRead {
    pub(crate) fn done(&self, disk: &Disk) -> Event<u8> {
        if self.digests {
            Event::Digested(self.id, disk.digests(self.extent))
        } else {
            Event::Read(self.id, Some(content(disk.read(self.extent.start))))
        }
    }
}

/// Shared by the worlds in which nothing happened to the copy; hashed once.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// 0: changed since it was hashed.
    print: u128,
    machine: Arc<Machine>,
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print as u64);
        state.write_u64((self.print >> 64) as u64);
    }
}

impl std::ops::Deref for Shared {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Packet {
    Copy(Message<u8>),
    Up(ToPrimary<u8>),
    Down(ToClient<u8>),
    Ask(Request),
}

/// Who sends to whom over which connection: in order within it, in any order between two of them.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Channel {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) connection: u64,
}

/// Clients' addresses start here.
pub(crate) const CLIENTS: u64 = 10;
pub(crate) const MANAGER: u64 = 99;

#[derive(Clone, Debug, Hash)]
pub(crate) struct World {
    pub(crate) record: Arc<Record>,
    pub(crate) copies: Vec<Shared>,
    pub(crate) clients: Vec<Arc<Client<u8>>>,
    pub(crate) channels: BTreeMap<Channel, VecDeque<Packet>>,
    pub(crate) registers: Vec<Register<u8>>,
    /// What the application waits for, by client: tag (block, or 100 for a flush) and the value written.
    pub(crate) waiting: Vec<BTreeMap<u64, u8>>,
    pub(crate) next_value: u8,
    pub(crate) next_incarnation: u64,
    pub(crate) budget: Budget,
    /// A loss was declared: which answers are right is the operator's business.
    pub(crate) declared: bool,
    pub(crate) violation: Option<String>,
}

pub(crate) const FLUSH_TAG: u64 = 100;

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        let ids: Vec<u64> = (0..config.copies).collect();
        let incarnations = ids.iter().map(|id| (CopyId(*id), Incarnation(*id + 1))).collect();
        let mut record = Record::create(&incarnations, CopyId(0), LayoutEpoch(1));
        record.active = true;
        let copies = ids.iter().map(|id| Self::machine(config, *id)).collect();
        let client = Client::new(ClientId(CLIENTS), record.epoch, 4, config.bugs);
        let mut world = Self {
            record: Arc::new(record),
            copies,
            clients: vec![Arc::new(client)],
            channels: BTreeMap::new(),
            registers: (0..config.blocks).map(|_| Register::new(0)).collect(),
            waiting: vec![BTreeMap::new()],
            next_value: 1,
            next_incarnation: config.copies + 1,
            budget: config.budget,
            declared: false,
            violation: None,
        };
        world.warm_up(config);
        world
    }

    fn machine(config: &Config, id: u64) -> Shared {
        let settings = Settings {
            id: CopyId(id),
            blocks: config.blocks,
            // Copies made by different programs may have log extents of different sizes.
            log_grain: if id == 1 && config.copies == 2 { config.blocks } else { 1 },
            log_hot: 0,
            recopy_blocks: 1,
            recopies_max: 1,
            waiting_max: 8,
            bugs: config.bugs,
        };
        let mut state = State::start(settings, Durable::default(), Incarnation(id + 1));
        state.volatile.settled = true;
        let machine = Machine {
            up: true,
            state,
            disk: Disk::new(config.blocks),
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            flushes: VecDeque::new(),
            persists: 0,
            kept: BTreeSet::new(),
            cache_lost: false,
            lost: None,
        };
        Shared { print: 0, machine: Arc::new(machine) }
    }

    /// Everybody knows generation 1 and the session is open, without any interleaving.
    fn warm_up(&mut self, config: &Config) {
        let eager = Config { eager: crate::configs::Eager::ALL, ..config.clone() };
        for copy in (0..self.copies.len()).rev() {
            let record = Record::clone(&self.record);
            self.copy_event(&eager, copy, Event::Record(record.clone()));
            self.copy_event(&eager, copy, Event::Record(record));
        }
        self.settle(&eager);
        self.client_event(&eager, 0, ClientEvent::Record(Box::new(Record::clone(&self.record))));
        self.settle(&eager);
        assert!(self.copies[0].state.may_act(), "warm-up ends with an acting primary");
        assert!(self.clients[0].open, "warm-up ends with an open session");
    }

    pub(crate) fn edit<T>(&mut self, copy: usize, change: impl FnOnce(&mut Machine) -> T) -> T {
        let shared = &mut self.copies[copy];
        let result = change(Arc::make_mut(&mut shared.machine));
        shared.print = 0;
        result
    }

    /// Hashes what changed. Call it before hashing the world.
    pub(crate) fn seal(&mut self) {
        for shared in self.copies.iter_mut().filter(|shared| shared.print == 0) {
            shared.print = fingerprint(&*shared.machine);
        }
    }

    /// Hands a copy an event; what can be done at once, in this configuration, is done at once.
    pub(crate) fn copy_event(&mut self, config: &Config, copy: usize, event: Event<u8>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if !self.copies[copy].up {
                return;
            }
            let effects = self.edit(copy, |machine| {
                let effects = copy::step(&mut machine.state, event);
                let mut others = Vec::new();
                for effect in effects {
                    machine.perform(config, effect, &mut events, &mut others);
                }
                others
            });
            for effect in effects {
                self.outside(config, copy, effect);
            }
        }
    }

    /// Effects that reach others.
    fn outside(&mut self, config: &Config, copy: usize, effect: Effect<u8>) {
        let from = copy as u64;
        match effect {
            Effect::Send(to, message) => {
                let connection = match &message {
                    Message::Link { stamp, .. }
                    | Message::Ack { stamp, .. }
                    | Message::LeaseGrant { stamp, .. }
                    | Message::FlushWanted { stamp }
                    | Message::Release { stamp }
                    | Message::Damaged { stamp, .. } => stamp.generation.0,
                    // Leases come and go in actions of their own.
                    Message::LeaseRequest { .. } | Message::Refused { .. } => return,
                };
                self.push(Channel { from, to: to.0, connection }, Packet::Copy(message));
            }
            Effect::Tell(client, message) => {
                let connection = match &message {
                    ToClient::Welcome { session }
                    | ToClient::Reply { session, .. }
                    | ToClient::Refused { session, .. } => session.0,
                };
                self.push(Channel { from, to: client.0, connection }, Packet::Down(message));
            }
            Effect::Ask(Request::Lease { .. }) => {}
            Effect::Ask(request) if config.eager.asks => self.ask(config, &request),
            Effect::Ask(request) => {
                let connection = self.copies[copy].state.volatile.incarnation.0;
                self.push(Channel { from, to: MANAGER, connection }, Packet::Ask(request));
            }
            Effect::Fetch
            | Effect::HandOver { .. }
            | Effect::Persist(_)
            | Effect::Write(..)
            | Effect::Read(..)
            | Effect::Digest(..)
            | Effect::Flush(_) => {}
        }
    }

    pub(crate) fn ask(&mut self, config: &Config, request: &Request) {
        if let Some(next) = manager::transact(&self.record, request, config.bugs) {
            if let Request::CommitJoin { copy, .. } = request {
                self.judge_commit(*copy);
            }
            self.record = Arc::new(next);
        }
    }

    pub(crate) fn push(&mut self, channel: Channel, packet: Packet) {
        self.channels.entry(channel).or_default().push_back(packet);
    }

    pub(crate) fn client_event(&mut self, config: &Config, client: usize, event: ClientEvent<u8>) {
        let effects = Arc::make_mut(&mut self.clients[client]).step(event);
        let from = CLIENTS + client as u64;
        for effect in effects {
            match effect {
                ClientEffect::Send(to, message) => {
                    let connection = match &message {
                        ToPrimary::Hello { session, .. } | ToPrimary::Request { session, .. } => session.0,
                    };
                    self.push(Channel { from, to: to.0, connection }, Packet::Up(message));
                }
                ClientEffect::Complete { tag, outcome } => self.complete(config, client, tag, &outcome),
                ClientEffect::Detached => self.waiting[client].clear(),
                ClientEffect::Fetch => {}
            }
        }
    }

    /// The application gets an answer, which is judged.
    fn complete(&mut self, config: &Config, client: usize, tag: u64, outcome: &Outcome<u8>) {
        let Some(written) = self.waiting[client].remove(&tag) else { return };
        if client + 1 < self.clients.len() {
            // Answered before the fence; it only came late.
            return;
        }
        let block = (tag % config.blocks) as usize;
        match outcome {
            Outcome::Done if tag == FLUSH_TAG => {
                self.registers.iter_mut().for_each(Register::flushed);
                self.judge_flush();
            }
            Outcome::Done => self.registers[block].acknowledged(&written),
            Outcome::Content(_) if self.declared => {}
            Outcome::Content(found) => {
                if let Err(broken) = self.registers[block].read(&value(found), written) {
                    self.violation = Some(format!("block {block}: {broken}"));
                }
            }
            Outcome::Damaged => self.violation = Some("undamaged disks are reported damaged".into()),
            Outcome::OutOfRange => self.violation = Some("nothing was asked for beyond the end".into()),
            Outcome::NoSpace => self.violation = Some("these disks have room".into()),
        }
    }

    pub(crate) fn submit(&mut self, config: &Config, client: usize, tag: u64, op: Op<u8>) {
        let mut written = 0;
        match &op {
            // What a fenced client writes must never be read.
            Op::Write(_, _) | Op::Flush if client + 1 < self.clients.len() => {}
            Op::Write(extent, content) => {
                written = value(content);
                self.registers[extent.start as usize].write(written);
            }
            Op::Flush => self.registers.iter_mut().for_each(Register::flush),
            Op::Read(extent) => written = self.registers[extent.start as usize].losses(),
        }
        self.waiting[client].insert(tag, written);
        self.client_event(config, client, ClientEvent::Submit { tag, op });
    }

    /// The next value that nobody wrote yet.
    pub(crate) fn fresh(&mut self) -> Content<u8> {
        self.next_value += 1;
        content(self.next_value - 1)
    }

    pub(crate) fn deliver(&mut self, config: &Config, channel: Channel, packet: Packet) {
        match packet {
            Packet::Copy(message) => {
                let event = Event::Copy(CopyId(channel.from), message);
                self.copy_event(config, channel.to as usize, event);
            }
            Packet::Ask(request) => self.ask(config, &request),
            Packet::Up(message) => {
                let event = Event::Client(ClientId(channel.from), message);
                self.copy_event(config, channel.to as usize, event);
            }
            Packet::Down(message) => {
                let event = ClientEvent::Message(CopyId(channel.from), message);
                self.client_event(config, (channel.to - CLIENTS) as usize, event);
            }
        }
    }

    pub(crate) fn pop(&mut self, channel: Channel) -> Option<Packet> {
        let queue = self.channels.get_mut(&channel)?;
        let packet = queue.pop_front();
        if queue.is_empty() {
            self.channels.remove(&channel);
        }
        packet
    }

    /// What happens at once in this configuration: leases never lapsed before, and eager packets.
    pub(crate) fn settle(&mut self, config: &Config) {
        loop {
            let leased = self.lease_first_times(config);
            let eager = self
                .channels
                .iter()
                .find(|(_, queue)| queue.front().is_some_and(|packet| config.eager.packet(packet)));
            match eager.map(|(channel, _)| *channel) {
                Some(channel) => {
                    if let Some(packet) = self.pop(channel) {
                        self.deliver(config, channel, packet);
                    }
                }
                None if !leased && !self.step_quietly(config) => return,
                None => {}
            }
        }
    }

    /// One of the actions that this configuration takes at once.
    fn step_quietly(&mut self, config: &Config) -> bool {
        let action = self.quiet_action(config);
        if let Some(action) = action {
            self.act_only(config, action);
        }
        action.is_some()
    }

    fn lease_first_times(&mut self, config: &Config) -> bool {
        let mut any = false;
        for holder in 0..self.copies.len() {
            for grantor in self.wanted_leases(holder) {
                let lapsed = |m: &Machine| {
                    m.state.volatile.primary.as_ref().is_some_and(|p| p.leases.lapsed(grantor) > 0)
                };
                any |= !lapsed(&self.copies[holder]) && self.lease(config, holder, grantor);
            }
        }
        any
    }

    /// Leases that a primary needs and has not.
    pub(crate) fn wanted_leases(&self, holder: usize) -> Vec<Grantor> {
        let machine = &self.copies[holder];
        if !machine.up || !machine.state.volatile.active {
            return Vec::new();
        }
        machine.state.wanted_leases()
    }

    /// Asks for one lease and gets it, unless the grantor will not. Whether it was got.
    pub(crate) fn lease(&mut self, config: &Config, holder: usize, grantor: Grantor) -> bool {
        let leases = |world: &Self| {
            let volatile = &world.copies[holder].state.volatile;
            let lapsed = volatile.primary.as_ref().map_or(0, |p| p.leases.lapsed(grantor));
            (volatile.lease_round, lapsed)
        };
        let (round, lapsed) = leases(self);
        if round <= lapsed {
            self.copy_event(config, holder, Event::Renew);
        }
        let (round, _) = leases(self);
        match grantor {
            Grantor::Manager => {
                let rules = self.record.generation == self.copies[holder].state.adopted_generation();
                if rules {
                    self.copy_event(config, holder, Event::ManagerLease(round));
                }
            }
            Grantor::Copy(mirror) => {
                let Some(stamp) = self.copies[holder].state.stamp_to(mirror) else { return false };
                let mirror_index = mirror.0 as usize;
                let from = CopyId(holder as u64);
                let request = Message::LeaseRequest { stamp, round };
                self.copy_event(config, mirror_index, Event::Copy(from, request));
                let channel = Channel { from: mirror.0, to: from.0, connection: stamp.generation.0 };
                let is_grant = |p: &Packet| matches!(p, Packet::Copy(Message::LeaseGrant { .. }));
                let Some(queue) = self.channels.get_mut(&channel) else { return false };
                let Some(at) = queue.iter().position(is_grant) else { return false };
                let grant = queue.remove(at);
                if queue.is_empty() {
                    self.channels.remove(&channel);
                }
                if let Some(grant) = grant {
                    self.deliver(config, channel, grant);
                }
            }
        }
        !self.wanted_leases(holder).contains(&grantor)
    }

    /// Whether this copy's primary believes to hold the grantor's lease.
    pub(crate) fn holds(&self, holder: usize, grantor: Grantor) -> Option<u64> {
        let machine = &self.copies[holder];
        let primary = machine.state.volatile.primary.as_ref().filter(|_| machine.up)?;
        primary.leases.held(grantor)
    }

    pub(crate) fn alive(&self, suspect: Option<usize>) -> BTreeMap<CopyId, Alive> {
        let living = self.copies.iter().enumerate().filter(|(index, m)| m.up && Some(*index) != suspect);
        living
            .map(|(index, machine)| {
                let incarnation = machine.state.volatile.incarnation;
                (CopyId(index as u64), Alive { incarnation, kept: machine.kept.clone() })
            })
            .collect()
    }

    /// Those in sync in the last active generation, and in which life.
    pub(crate) fn in_sync(&self) -> BTreeMap<usize, Incarnation> {
        let members = self.record.active_membership().1.in_sync.iter();
        members.map(|(copy, member)| (copy.0 as usize, member.incarnation)).collect()
    }
}

impl Machine {
    fn local_read(&mut self, at_once: bool, read: LocalRead, events: &mut VecDeque<Event<u8>>) {
        if at_once {
            events.push_back(read.done(&self.disk));
        } else {
            self.reads.push_back(read);
        }
    }

    /// Effects on the machine itself; those on others are left in `others`.
    fn perform(
        &mut self,
        config: &Config,
        effect: Effect<u8>,
        events: &mut VecDeque<Event<u8>>,
        others: &mut Vec<Effect<u8>>,
    ) {
        let eager = &config.eager;
        match effect {
            Effect::Persist(_) if eager.persists => events.push_back(Event::Persisted),
            Effect::Persist(_) => self.persists += 1,
            Effect::Write(id, extent, content) if eager.writes => {
                self.disk.write(extent, &content);
                events.push_back(Event::Written(id));
            }
            Effect::Write(id, extent, content) => self.writes.push_back((id, extent, content)),
            Effect::Read(id, extent) => {
                self.local_read(eager.reads, LocalRead { id, extent, digests: false }, events);
            }
            Effect::Digest(id, extent) => {
                self.local_read(eager.reads, LocalRead { id, extent, digests: true }, events);
            }
            Effect::Flush(id) if eager.flushes => {
                let mark = self.disk.mark();
                self.disk.flushed(&mark);
                events.push_back(Event::Flushed(id));
            }
            Effect::Flush(id) => self.flushes.push_back((id, self.disk.mark())),
            other => others.push(other),
        }
    }
}
