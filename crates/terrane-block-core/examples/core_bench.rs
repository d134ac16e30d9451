//! Writes and reads per second through the cores alone: a client, a primary and its mirrors, in memory, on one thread.
//!
//! `core_bench [MIRRORS] [IN_FLIGHT] [SECONDS]`. Disks, network and journal answer at once and cost nothing; what is
//! measured is what the protocol itself takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use terrane_block_core::bugs::Bugs;
use terrane_block_core::client::{Client, ClientEffect, ClientEvent};
use terrane_block_core::copy::{self, Durable, Effect, Event, Settings, State};
use terrane_block_core::message::Op;
use terrane_block_core::record::Record;
use terrane_block_core::{ClientId, Content, CopyId, Extent, Incarnation, LayoutEpoch};

/// Content that costs nothing to clone.
type Payload = u64;

/// 1 TiB in blocks of 4 KiB.
const BLOCKS: u64 = 1 << 28;
/// Blocks of the working set (1 GiB).
const WORKING: u64 = 1 << 18;
const CLIENT: ClientId = ClientId(1000);

enum Turn {
    Copy(usize, Event<Payload>),
    Client(ClientEvent<Payload>),
}

struct Bench {
    copies: Vec<State<Payload>>,
    client: Client<Payload>,
    turns: VecDeque<Turn>,
    completed: u64,
    steps: u64,
    random: u64,
}

impl Bench {
    fn new(mirrors: u64, in_flight: usize) -> Self {
        let ids = (0..=mirrors).map(|id| (CopyId(id), Incarnation(id + 1))).collect();
        let mut record = Record::create(&ids, CopyId(0), LayoutEpoch(1));
        record.active = true;
        let copies = (0..=mirrors).map(copy_state).collect();
        let client = Client::new(CLIENT, record.epoch, in_flight, Bugs::NONE);
        let mut bench = Self {
            copies,
            client,
            turns: VecDeque::new(),
            completed: 0,
            steps: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        for _ in 0..2 {
            for at in 0..bench.copies.len() {
                bench.turns.push_back(Turn::Copy(at, Event::Record(record.clone())));
            }
            bench.run();
        }
        bench.turns.push_back(Turn::Client(ClientEvent::Record(Box::new(record))));
        bench.run();
        bench
    }

    /// Until nothing is left to do.
    fn run(&mut self) {
        while let Some(turn) = self.turns.pop_front() {
            self.steps += 1;
            match turn {
                Turn::Copy(at, event) => {
                    for effect in copy::step(&mut self.copies[at], event) {
                        self.perform(at, effect);
                    }
                }
                Turn::Client(event) => {
                    for effect in self.client.step(event) {
                        match effect {
                            ClientEffect::Send(to, message) => {
                                let event = Event::Client(CLIENT, message);
                                self.turns.push_back(Turn::Copy(index(to), event));
                            }
                            ClientEffect::Complete { .. } => self.completed += 1,
                            ClientEffect::Fetch | ClientEffect::Detached => {}
                        }
                    }
                }
            }
        }
    }

    fn perform(&mut self, at: usize, effect: Effect<Payload>) {
        let turn = match effect {
            Effect::Persist(_) => Turn::Copy(at, Event::Persisted),
            Effect::Write(id, ..) => Turn::Copy(at, Event::Written(id)),
            Effect::Read(id, _) => Turn::Copy(at, Event::Read(id, Some(Content::Zero))),
            Effect::Digest(id, _) => Turn::Copy(at, Event::Digested(id, Vec::new())),
            Effect::Flush(id) => Turn::Copy(at, Event::Flushed(id)),
            Effect::Send(to, message) => Turn::Copy(index(to), Event::Copy(CopyId(at as u64), message)),
            Effect::Tell(_, message) => Turn::Client(ClientEvent::Message(CopyId(at as u64), message)),
            Effect::Ask(_) | Effect::Fetch | Effect::HandOver { .. } => return,
        };
        self.turns.push_back(turn);
    }

    fn block(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % WORKING
    }

    /// Keeps so many requests in flight until the time is over.
    fn measure(&mut self, name: &str, in_flight: usize, seconds: u64, op: impl Fn(u64) -> Op<Payload>) {
        let (before, steps) = (self.completed, self.steps);
        let (started, cpu) = (Instant::now(), processor_time());
        let mut tag = 0;
        while started.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..in_flight {
                let op = op(self.block());
                self.turns.push_back(Turn::Client(ClientEvent::Submit { tag, op }));
                tag += 1;
            }
            self.run();
        }
        let elapsed = (processor_time() - cpu).as_secs_f64();
        let (done, steps) = ((self.completed - before) as f64, (self.steps - steps) as f64);
        println!(
            "{name}: {:.0}/s, {:.2} us each of processor time; {:.1} steps each, {:.0} ns per step",
            done / elapsed,
            elapsed / done * 1e6,
            steps / done,
            elapsed / steps * 1e9
        );
    }
}

/// What this thread has had of a processor, so that others on the machine do not count. (Linux only.)
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn index(copy: CopyId) -> usize {
    copy.0 as usize
}

fn copy_state(id: u64) -> State<Payload> {
    let settings = Settings {
        id: CopyId(id),
        blocks: BLOCKS,
        log_grain: 1024,
        log_hot: 1 << 20,
        recopy_blocks: 256,
        recopies_max: 4,
        waiting_max: 1024,
        bugs: Bugs::NONE,
    };
    let mut state = State::start(settings, Durable::default(), Incarnation(id + 1));
    state.volatile.settled = true;
    state
}

fn main() {
    let argument = |at: usize, default: u64| {
        std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (mirrors, in_flight, seconds) = (argument(1, 1), argument(2, 32) as usize, argument(3, 3));
    let mut bench = Bench::new(mirrors, in_flight);
    println!("{mirrors} mirrors, {in_flight} in flight");
    bench
        .measure("first writes", in_flight, 1, |block| Op::Write(Extent::block(block), Content::Data(block)));
    bench
        .measure("writes", in_flight, seconds, |block| Op::Write(Extent::block(block), Content::Data(block)));
    bench.measure("reads", in_flight, seconds, |block| Op::Read(Extent::block(block)));
    bench.measure("flushes", 1, 1, |_| Op::Flush);
}
