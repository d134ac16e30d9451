//! Everything in one place, and one queue of what happens next.

use super::app::App;
use super::cascade::Blow;
use super::disk::Values;
use super::machine::Machine;
use super::manager::Manager;
use crate::packets::{Network, Weather};
use crate::rng::SimRng;
use crate::runner::{Context, Plan, Violation};
use crate::scheduler::{Scheduler, Time};
use std::collections::BTreeMap;
use std::time::Duration;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::copy::{Event, Grantor};
use terrane_block_core::manager::{Alive, Request};
use terrane_block_core::message::{Message, ToClient, ToPrimary};
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, CopyId, Generation, Incarnation, LayoutEpoch};

/// Addresses: copies from 0, clients from here, the manager.
pub(super) const CLIENTS: u32 = 10;
pub(super) const MANAGER: u32 = 1000;

/// A holder counts this on its clock, from sending.
pub(super) const LEASE: Duration = Duration::from_millis(20);
/// A grantor counts this on its clock, from answering: longer by more than two clocks can differ.
pub(super) const GRANT: Duration = Duration::from_millis(21);

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    Packet {
        from: u32,
        to: u32,
        packet: Packet,
    },
    Disk {
        copy: usize,
        life: u64,
        event: Event<Values>,
    },
    LeaseEnds {
        copy: usize,
        life: u64,
        grantor: Grantor,
        round: u64,
    },
    GrantEnds {
        copy: usize,
        life: u64,
        holder: CopyId,
        count: u64,
    },
    Settled {
        copy: usize,
        life: u64,
    },
    Timer {
        copy: usize,
        life: u64,
        what: Timer,
    },
    Start {
        copy: usize,
    },
    /// A hand-over has taken long enough.
    Overdue {
        copy: usize,
        life: u64,
    },
    Manager {
        zombie: bool,
    },
    App,
    Client,
    Chaos,
    Blow(Blow),
    Heal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Renew,
    Resend,
    Heartbeat,
    Flush,
    Scrub,
}

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Copy(Message<Values>),
    Up(ToPrimary<Values>),
    Down(ToClient<Values>),
    Ask(Request),
    Fetch,
    Heartbeat(Alive),
    Record(Box<Record>),
    Lease(u64),
    /// The manager wants the role handed over.
    HandOver {
        generation: Generation,
        to: CopyId,
    },
}

/// See the module.
pub(super) struct Cluster {
    pub(super) rng: SimRng,
    pub(super) queue: Scheduler<Turn>,
    pub(super) net: Network,
    pub(super) plan: Plan,
    pub(super) bugs: Bugs,
    pub(super) blocks: u64,
    pub(super) copies: Vec<Machine>,
    pub(super) record: Record,
    pub(super) manager: Manager,
    pub(super) app: App,
    /// Streams between a client and a copy keep their order: when the last packet arrives.
    pub(super) streams: BTreeMap<(u32, u32, u64), Time>,
    /// When the last packet from one to another arrives.
    latest: BTreeMap<(u32, u32), Time>,
    /// One in so many packets between copies comes very late; 0: none.
    stalls: u32,
    pub(super) incarnations: u64,
    pub(super) calm: bool,
    /// A block is rotten, or was until lately.
    pub(super) rot_pending: bool,
    /// Failures come one on top of the other, and copies are compared slowly.
    pub(super) cascades: bool,
    /// Until then applications write nothing.
    pub(super) quiet_until: Time,
    /// Who acted in a generation.
    pub(super) rulers: BTreeMap<u64, (usize, u64)>,
}

pub(super) fn weather(bad: bool) -> Weather {
    Weather {
        delay_min: Duration::from_micros(30),
        delay_max: Duration::from_micros(if bad { 1500 } else { 200 }),
        loses: if bad { 40 } else { 0 },
        duplicates: if bad { 25 } else { 0 },
    }
}

impl Cluster {
    pub(super) fn new(plan: &Plan, context: &mut Context) -> Self {
        let mut rng = context.rng.fork();
        let cascades = rng.one_in(6);
        let count = if cascades || rng.one_in(2) { 3 } else { 2 };
        if count == 3 {
            context.coverage.hit("block.three_copies");
        }
        let bugs = Bugs::NAMES.iter().find(|name| plan.switches.has(name));
        let bugs = bugs.map_or(Bugs::NONE, |name| Bugs::named(name));
        let blocks = rng.range(2..7);
        let ids: BTreeMap<CopyId, Incarnation> =
            (0..count).map(|id| (CopyId(id), Incarnation(id + 1))).collect();
        let record = Record::create(&ids, CopyId(rng.range(0..count)), LayoutEpoch(1));
        let grain = rng.range(1..3);
        let mut copies: Vec<_> =
            (0..count).map(|id| Machine::new(id, blocks, grain, bugs, &mut rng)).collect();
        if cascades {
            copies.iter_mut().for_each(Machine::compares_slowly);
        }
        let mut queue = Scheduler::new(&mut rng);
        for turn in [Turn::App, Turn::Client, Turn::Manager { zombie: false }] {
            queue.after(Duration::from_micros(100), turn);
        }
        queue.after(Duration::from_millis(15), Turn::Chaos);
        let mut cluster = Self {
            net: Network::new(&mut rng, weather(true), context.coverage.clone()),
            app: App::new(&record, blocks, bugs),
            manager: Manager::default(),
            queue,
            plan: plan.clone(),
            bugs,
            blocks,
            copies,
            record,
            streams: BTreeMap::new(),
            latest: BTreeMap::new(),
            stalls: *rng.pick(&[0, 300, 40]),
            incarnations: count,
            calm: false,
            rot_pending: false,
            cascades,
            quiet_until: Time::default(),
            rulers: BTreeMap::new(),
            rng,
        };
        for copy in 0..cluster.copies.len() {
            cluster.set_timers(copy);
            let record = cluster.record.clone();
            cluster.event(context, copy, Event::Record(record));
        }
        cluster
    }

    /// The next thing that happens.
    pub(super) fn next(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(turn) = self.queue.pop() else { return Err(Violation::new("nothing happens any more")) };
        context.events += 1;
        context.trace.note(format_args!("{} {turn:?}", self.queue.now().0 / 1000));
        match turn {
            Turn::Packet { from, to, packet } => self.arrives(context, from, to, packet)?,
            Turn::Disk { copy, life, event } => self.disk_done(context, copy, life, event),
            Turn::LeaseEnds { copy, life, grantor, round } => {
                if self.lives(copy, life) {
                    if self.holds(copy, grantor) == Some(round) {
                        context.coverage.hit("block.lease_lapsed");
                    }
                    self.event(context, copy, Event::LeaseLapsed(grantor, round));
                }
            }
            Turn::GrantEnds { copy, life, holder, count } => {
                if self.lives(copy, life) && self.copies[copy].grants.get(&holder) == Some(&count) {
                    context.coverage.hit("block.grant_lapsed");
                    self.event(context, copy, Event::GrantLapsed(holder));
                }
            }
            Turn::Settled { copy, life } => {
                if self.lives(copy, life) {
                    self.event(context, copy, Event::Settled);
                }
            }
            Turn::Timer { copy, life, what } => self.timer(context, copy, life, what),
            Turn::Start { copy } => self.start(context, copy),
            Turn::Overdue { copy, life } => {
                if self.lives(copy, life) {
                    self.event(context, copy, Event::Abandon);
                }
            }
            Turn::Manager { zombie } => self.manage(context, zombie),
            Turn::App => self.app_turn(context)?,
            Turn::Client => self.client_turn(context)?,
            Turn::Chaos => self.chaos(context),
            Turn::Blow(blow) => self.blow(context, blow),
            Turn::Heal => self.net.heal(),
        }
        self.judge(context)
    }

    pub(super) fn lives(&self, copy: usize, life: u64) -> bool {
        self.copies[copy].up && self.copies[copy].life == life
    }

    fn holds(&self, copy: usize, grantor: Grantor) -> Option<u64> {
        self.copies[copy].state.volatile.primary.as_ref()?.leases.held(grantor)
    }

    /// Sends a packet: it arrives never, once or twice, some time later.
    pub(super) fn send(&mut self, from: u32, to: u32, packet: Packet) {
        let stream = match &packet {
            Packet::Up(ToPrimary::Hello { session, .. } | ToPrimary::Request { session, .. })
            | Packet::Down(
                ToClient::Welcome { session }
                | ToClient::Reply { session, .. }
                | ToClient::Refused { session, .. },
            ) => Some((from, to, session.0)),
            _ => None,
        };
        // An old socket may deliver what was given up long ago.
        let chance = match packet {
            Packet::Up(_) => 40,
            Packet::Copy(_) => self.stalls,
            _ => 0,
        };
        let stalls = !self.calm && self.rng.one_in(chance);
        if stalls {
            self.net.coverage().hit("block.old_socket");
        }
        let stalled = Duration::from_millis(if stalls { self.rng.range(5..40) } else { 0 });
        for delay in self.net.send(from, to) {
            let delay = delay + stalled;
            let mut at = self.queue.now().after(delay);
            if let Some(stream) = stream {
                let last = self.streams.entry(stream).or_default();
                at = at.max(last.after(Duration::from_nanos(1)));
                *last = at;
            }
            let latest = self.latest.entry((from, to)).or_default();
            if at < *latest {
                self.net.coverage().hit("block.overtaken");
            }
            *latest = at.max(*latest);
            self.queue.at(at, Turn::Packet { from, to, packet: packet.clone() });
        }
    }

    fn arrives(
        &mut self,
        context: &mut Context,
        from: u32,
        to: u32,
        packet: Packet,
    ) -> Result<(), Violation> {
        let copy_at = |address: u32| usize::try_from(address).unwrap_or(usize::MAX);
        match packet {
            Packet::Copy(message) => {
                if matches!(message, Message::Refused { .. }) {
                    context.coverage.hit("block.refused_old_generation");
                }
                self.event(context, copy_at(to), Event::Copy(CopyId(from.into()), message));
            }
            Packet::Up(message) => {
                self.event(context, copy_at(to), Event::Client(ClientId(from.into()), message));
            }
            Packet::Down(message) => self.answer(context, from, to, message)?,
            Packet::Ask(request) => self.asked(context, from, &request),
            Packet::Heartbeat(alive) => self.heartbeat(from, alive),
            Packet::Fetch => {
                let record = Packet::Record(Box::new(self.record.clone()));
                self.send(MANAGER, from, record);
            }
            Packet::Record(record) if to >= CLIENTS => self.client_hears(context, to, *record)?,
            Packet::Record(record) => self.event(context, copy_at(to), Event::Record(*record)),
            Packet::Lease(round) => self.event(context, copy_at(to), Event::ManagerLease(round)),
            Packet::HandOver { generation, to: next } => {
                self.ordered(context, copy_at(to), generation, next);
            }
        }
        Ok(())
    }
}
