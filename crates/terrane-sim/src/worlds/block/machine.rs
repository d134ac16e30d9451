//! A copy's machine: process, disk and clock.

use super::cluster::{CLIENTS, Cluster, GRANT, LEASE, MANAGER, Packet, Timer, Turn};
use super::disk::{Disk, Values};
use crate::rng::SimRng;
use crate::runner::Context;
use crate::scheduler::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::copy::{self, Durable, Effect, Event, Grantor, Settings, State, Update};
use terrane_block_core::manager::Request;
use terrane_block_core::message::{Body, Message};
use terrane_block_core::{Content, CopyId, Extent, Incarnation};

/// One in so many starts is of the version before.
const OLD: u32 = 6;

/// See the module.
pub(super) struct Machine {
    pub(super) up: bool,
    /// Counts starts, so that nothing of an earlier life reaches a later one.
    pub(super) life: u64,
    pub(super) state: State<Values>,
    pub(super) disk: Disk,
    marks: Vec<Vec<usize>>,
    /// Writes that the kernel was not handed yet.
    in_flight: BTreeMap<u64, (Extent, Content<Values>)>,
    /// When the update written last is durable: they become so in order.
    persisted_at: Time,
    pub(super) grants: BTreeMap<CopyId, u64>,
    /// How fast its clock runs, in thousandths.
    rate: u64,
    /// Earlier lives of which nothing is lost.
    pub(super) kept: BTreeSet<Incarnation>,
    /// The machine lost what this life had in its cache.
    cache_lost: bool,
    /// The last life in which the machine lost what was not flushed: by it and all earlier ones.
    pub(super) lost: Option<Incarnation>,
    pub(super) down_since: Time,
    /// Its journal takes as long as a busy drive may take.
    slow_journal: bool,
    /// Hashing takes as long as a busy drive may take.
    slow_digests: bool,
    /// Runs the version before, which tells no hashes. (So does a drive that is not believed after a failed flush.)
    old_version: bool,
}

impl Machine {
    pub(super) fn new(id: u64, blocks: u64, grain: u64, bugs: Bugs, rng: &mut SimRng) -> Self {
        let settings = Settings {
            id: CopyId(id),
            blocks,
            log_grain: grain,
            log_hot: if rng.one_in(3) { 1 } else { 0 },
            recopy_blocks: rng.range(1..5),
            recopies_max: 2,
            waiting_max: 16,
            bugs,
        };
        Self {
            up: true,
            life: 0,
            state: State::start(settings, Durable::default(), Incarnation(id + 1)),
            disk: Disk::new(blocks),
            marks: Vec::new(),
            in_flight: BTreeMap::new(),
            persisted_at: Time::default(),
            grants: BTreeMap::new(),
            rate: rng.range(990..1011),
            kept: BTreeSet::new(),
            cache_lost: false,
            lost: None,
            down_since: Time::default(),
            slow_journal: rng.one_in(4),
            slow_digests: rng.one_in(3),
            old_version: rng.one_in(OLD),
        }
    }

    /// One block after the other.
    pub(super) fn compares_slowly(&mut self) {
        self.slow_digests = true;
        self.old_version = false;
        (self.state.settings.recopies_max, self.state.settings.recopy_blocks) = (1, 1);
    }

    fn writing(&mut self, id: u64, late: Option<(Extent, Content<Values>)>) {
        if let Some(late) = late {
            self.in_flight.insert(id, late);
        }
    }

    fn written(&mut self, id: u64) {
        if let Some((extent, content)) = self.in_flight.remove(&id) {
            self.disk.write(extent, &content);
        }
    }

    /// How long it takes until this clock has counted so much.
    fn real(&self, counted: Duration) -> Duration {
        let nanos = u64::try_from(counted.as_nanos()).unwrap_or(u64::MAX / 1000);
        Duration::from_nanos(nanos.saturating_mul(1000) / self.rate)
    }
}

impl Cluster {
    pub(super) fn set_timers(&mut self, copy: usize) {
        let life = self.copies[copy].life;
        let settled = self.copies[copy].real(GRANT);
        self.queue.after(settled, Turn::Settled { copy, life });
        for what in [Timer::Renew, Timer::Resend, Timer::Heartbeat, Timer::Flush, Timer::Scrub] {
            self.queue.within(period(what), Turn::Timer { copy, life, what });
        }
    }

    pub(super) fn timer(&mut self, context: &mut Context, copy: usize, life: u64, what: Timer) {
        if !self.lives(copy, life) {
            return;
        }
        self.queue.after(period(what), Turn::Timer { copy, life, what });
        match what {
            Timer::Renew => self.event(context, copy, Event::Renew),
            Timer::Resend => self.event(context, copy, Event::Resend),
            Timer::Flush => self.event(context, copy, Event::FlushWanted),
            Timer::Heartbeat => {
                let machine = &self.copies[copy];
                let incarnation = machine.state.volatile.incarnation;
                let alive = terrane_block_core::manager::Alive { incarnation, kept: machine.kept.clone() };
                self.send(address(copy), MANAGER, Packet::Heartbeat(alive));
            }
            Timer::Scrub => self.scrub(context, copy),
        }
    }

    fn scrub(&mut self, context: &mut Context, copy: usize) {
        let rotten: Vec<u64> = self.copies[copy].disk.rotten.iter().copied().collect();
        for block in rotten {
            self.event(context, copy, Event::Scrubbed(Extent::block(block)));
        }
    }

    /// Hands a copy an event and does what it wants.
    pub(super) fn event(&mut self, context: &mut Context, copy: usize, event: Event<Values>) {
        let Some(machine) = self.copies.get_mut(copy).filter(|machine| machine.up) else { return };
        let effects = copy::step(&mut machine.state, event);
        for effect in effects {
            self.perform(context, copy, effect);
        }
    }

    fn perform(&mut self, context: &mut Context, copy: usize, effect: Effect<Values>) {
        let life = self.copies[copy].life;
        let now = self.queue.now();
        match effect {
            Effect::Persist(update) => {
                if matches!(update, Update::Retire { .. }) {
                    context.coverage.hit("block.log_retired");
                }
                let slow = self.copies[copy].slow_journal && !self.calm;
                if slow {
                    context.coverage.hit("block.slow_journal");
                }
                let delay = Duration::from_micros(self.rng.range(20..if slow { 6_000 } else { 300 }));
                let machine = &mut self.copies[copy];
                machine.persisted_at =
                    now.after(delay).max(machine.persisted_at.after(Duration::from_nanos(1)));
                let at = machine.persisted_at;
                self.queue.at(at, Turn::Disk { copy, life, event: Event::Persisted });
            }
            Effect::Write(id, extent, content) => {
                // Handed to the kernel at some time before it says so; a crash in between leaves either.
                let early = self.rng.one_in(2);
                if early {
                    self.copies[copy].disk.write(extent, &content);
                }
                self.copies[copy].writing(id, (!early).then_some((extent, content)));
                self.disk_later(copy, life, Event::Written(id));
            }
            Effect::Read(id, extent) => {
                let found = self.copies[copy].disk.read(extent);
                self.disk_later(copy, life, Event::Read(id, found));
            }
            Effect::Digest(id, extent) => {
                self.digest(context, copy, id, extent);
            }
            Effect::Flush(id) => {
                let mark = self.copies[copy].disk.mark();
                self.copies[copy].marks.push(mark);
                let delay = Duration::from_micros(1000);
                let at = now.after(delay).max(self.copies[copy].persisted_at.after(Duration::from_nanos(1)));
                self.copies[copy].persisted_at = at;
                self.queue.at(at, Turn::Disk { copy, life, event: Event::Flushed(id) });
            }
            Effect::Send(to, message) => {
                self.note_message(context, copy, to, &message);
                self.send_message(copy, to, message);
            }
            Effect::Tell(client, message) => {
                if matches!(message, terrane_block_core::message::ToClient::Refused { .. }) {
                    context.coverage.hit("block.session_refused");
                }
                let to = u32::try_from(client.0).unwrap_or(CLIENTS);
                self.send(address(copy), to, Packet::Down(message));
            }
            Effect::Ask(request) => {
                if let Request::Lease { round, .. } = request {
                    self.lease_ends(copy, Grantor::Manager, round);
                }
                self.send(address(copy), MANAGER, Packet::Ask(request));
            }
            Effect::Fetch => self.send(address(copy), MANAGER, Packet::Fetch),
            Effect::HandOver { given: true, .. } => context.coverage.hit("block.relinquished"),
            Effect::HandOver { given: false, .. } => context.coverage.hit("block.hand_over_abandoned"),
        }
    }

    fn digest(&mut self, context: &mut Context, copy: usize, id: u64, extent: Extent) {
        let machine = &self.copies[copy];
        let (life, slow) = (machine.life, machine.slow_digests && !self.calm);
        let digests = if machine.old_version { Vec::new() } else { machine.disk.digests(extent) };
        if machine.old_version {
            context.coverage.hit("block.digests_withheld");
        }
        if slow {
            context.coverage.hit("block.slow_hashing");
        }
        let longest = Duration::from_micros(if slow { 30_000 } else { 300 });
        self.queue.within(longest, Turn::Disk { copy, life, event: Event::Digested(id, digests) });
    }

    /// Counts what is said between copies.
    fn note_message(&self, context: &Context, copy: usize, to: CopyId, message: &Message<Values>) {
        let record = self.copies[copy].state.durable.record.as_ref();
        let joining = record.is_some_and(|record| record.now.joining.contains_key(&to));
        let version = |copy: usize| self.copies.get(copy).map(|machine| machine.old_version);
        let other = usize::try_from(to.0).unwrap_or(usize::MAX);
        if matches!(message, Message::Link { body: Body::Digest { .. }, .. })
            && version(copy) != version(other)
        {
            context.coverage.hit("block.mixed_versions");
        }
        let name = match message {
            Message::Link { body: Body::Digest { extent }, .. } if extent.len > 1 => "block.compared_several",
            Message::Link { body: Body::Digest { .. }, .. } if joining => "block.joiner_compared",
            Message::Link { body: Body::Digest { .. }, .. } => "block.suspect_compared",
            Message::Link { body: Body::Fetch { .. }, .. } => "block.fetched_elsewhere",
            Message::Link { body: Body::Write { recopied: true, content: Content::Zero, .. }, .. } => {
                "block.recopied_nothing"
            }
            Message::Link { body: Body::Write { recopied: true, .. }, .. } => "block.recopied_data",
            Message::Link { body: Body::Retire { .. }, .. } => "block.retire_sent",
            Message::FlushWanted { .. } => "block.mirror_wants_flush",
            Message::Damaged { .. } => "block.mirror_damaged",
            Message::Release { .. } => "block.release_sent",
            Message::Refused { .. } => "block.refused_sent",
            _ => return,
        };
        context.coverage.hit(name);
    }

    fn send_message(&mut self, copy: usize, to: CopyId, message: Message<Values>) {
        match &message {
            Message::LeaseRequest { round, .. } => self.lease_ends(copy, Grantor::Copy(to), *round),
            Message::LeaseGrant { .. } => {
                let machine = &mut self.copies[copy];
                let count = machine.grants.entry(to).or_default();
                *count += 1;
                let (count, life, after) = (*count, machine.life, machine.real(GRANT));
                self.queue.after(after, Turn::GrantEnds { copy, life, holder: to, count });
            }
            _ => {}
        }
        let to = u32::try_from(to.0).unwrap_or(u32::MAX);
        self.send(address(copy), to, Packet::Copy(message));
    }

    /// The holder counts from sending.
    fn lease_ends(&mut self, copy: usize, grantor: Grantor, round: u64) {
        let machine = &self.copies[copy];
        let (life, after) = (machine.life, machine.real(LEASE));
        self.queue.after(after, Turn::LeaseEnds { copy, life, grantor, round });
    }

    fn disk_later(&mut self, copy: usize, life: u64, event: Event<Values>) {
        self.queue.within(Duration::from_micros(300), Turn::Disk { copy, life, event });
    }

    pub(super) fn disk_done(&mut self, context: &mut Context, copy: usize, life: u64, event: Event<Values>) {
        if !self.lives(copy, life) {
            return;
        }
        match &event {
            Event::Written(id) => self.copies[copy].written(*id),
            Event::Flushed(_) => {
                let fails = !self.calm && self.plan.allows("flush") && self.rng.one_in(150);
                if fails && self.may_fail() {
                    context.coverage.hit("block.flush_failed");
                    self.power_fails(context, copy);
                    self.start(context, copy);
                    return;
                }
                let machine = &mut self.copies[copy];
                let mut marks = std::mem::take(&mut machine.marks);
                machine.disk.flushed(&mut marks);
                machine.marks = marks;
            }
            _ => {}
        }
        self.event(context, copy, event);
    }

    /// The process dies; the kernel keeps what it was handed.
    pub(super) fn crash(&mut self, context: &mut Context, copy: usize) {
        let now = self.queue.now();
        let machine = &mut self.copies[copy];
        machine.up = false;
        machine.down_since = now;
        machine.marks.clear();
        // Of a write that was on its way to the kernel some blocks may have got there.
        for (extent, content) in std::mem::take(&mut machine.in_flight).into_values() {
            let len = self.rng.range(0..extent.len + 1);
            if len > 0 && len < extent.len {
                context.coverage.hit("block.torn");
            }
            machine.disk.write(Extent { len, ..extent }, &content);
        }
        machine.grants.clear();
        machine.persisted_at = Time::default();
    }

    /// The machine loses its cache as well.
    pub(super) fn power_fails(&mut self, context: &mut Context, copy: usize) {
        self.crash(context, copy);
        let lost = self.copies[copy].disk.power_fails(&mut self.rng);
        let machine = &mut self.copies[copy];
        machine.kept.clear();
        machine.cache_lost = true;
        machine.lost = Some(machine.state.volatile.incarnation);
        if lost {
            context.coverage.hit("block.power_lost_data");
        }
        self.note_losses(context);
    }

    /// A new life, with what is durable.
    pub(super) fn start(&mut self, context: &mut Context, copy: usize) {
        if self.copies[copy].up {
            return;
        }
        self.incarnations += 1;
        let incarnation = Incarnation(self.incarnations);
        let now = self.queue.now();
        // Servers are updated, and put back, when they start.
        let old_version = self.rng.one_in(if self.cascades { 0 } else { OLD });
        let machine = &mut self.copies[copy];
        if now < machine.down_since.after(period(Timer::Heartbeat)) {
            context.coverage.hit("block.restarted_within_heartbeat");
        }
        if std::mem::replace(&mut machine.old_version, old_version) != old_version {
            context.coverage.hit(if old_version { "block.put_back" } else { "block.updated" });
        }
        machine.up = true;
        machine.life += 1;
        if !std::mem::take(&mut machine.cache_lost) {
            machine.kept.insert(machine.state.volatile.incarnation);
        }
        let durable = std::mem::take(&mut machine.state.durable);
        machine.state = State::start(machine.state.settings, durable, incarnation);
        self.set_timers(copy);
    }
}

pub(super) fn address(copy: usize) -> u32 {
    u32::try_from(copy).unwrap_or(u32::MAX)
}

fn period(what: Timer) -> Duration {
    Duration::from_millis(match what {
        Timer::Renew => 6,
        Timer::Resend => 8,
        Timer::Heartbeat => 4,
        Timer::Flush => 60,
        Timer::Scrub => 12,
    })
}
