//! A simulated drive: as many requests at a time as its depth, each for a time that varies; and clients that keep so many
//! requests in flight, perhaps only now and then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use terrane_qos::bugs::Bugs;
use terrane_qos::{ClientId, Cost, Device, Nanos, Next, Offer, Rate, SECOND, Scheduler, Share};

pub(crate) const MS: Nanos = 1_000_000;

/// What the simulated drive does per second.
pub(crate) const DRIVE: Rate = Rate { ops: 10_000, bytes: 200 << 20 };
pub(crate) const DEPTH: u32 = 8;

/// Somebody who wants to use the drive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) share: Share,
    pub(crate) cost: Cost,
    /// Requests in flight.
    pub(crate) depth: u32,
    /// Active for the first, idle for the second, and so on; no second part: always.
    pub(crate) active: (Nanos, Nanos),
}

/// What became of one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// When its requests went to the drive, in order.
    pub(crate) went: Vec<Nanos>,
}

impl Outcome {
    /// Requests that went between two moments.
    pub(crate) fn between(&self, from: Nanos, to: Nanos) -> u64 {
        let count = self.went.partition_point(|at| *at < to) - self.went.partition_point(|at| *at < from);
        count as u64
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The drive has done a request of a client.
    Done(usize),
    /// A client wants something.
    Wants(usize),
    /// The scheduler asked to be asked.
    Ask,
}

/// The whole.
pub(crate) struct World {
    scheduler: Scheduler<usize>,
    loads: Vec<Load>,
    ids: Vec<ClientId>,
    outcomes: Vec<Outcome>,
    events: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    count: u64,
    chance: Chance,
    /// Requests that the drive has.
    has: u32,
    pub(crate) most: u32,
}

/// Runs loads beside each other for a time.
pub(crate) fn run(seed: u64, bugs: Bugs, loads: &[Load], time: Nanos) -> Vec<Outcome> {
    let mut world = World::new(seed, bugs, loads);
    world.run(time);
    world.outcomes
}

impl World {
    pub(crate) fn new(seed: u64, bugs: Bugs, loads: &[Load]) -> Self {
        let device = Device { rate: DRIVE, depth: DEPTH, depth_bytes: 64 << 20, queue: 1 << 10 };
        let mut scheduler = Scheduler::with_bugs(device, bugs);
        let ids = loads.iter().map(|load| scheduler.add(load.share)).collect();
        let mut world = Self {
            scheduler,
            loads: loads.to_vec(),
            ids,
            outcomes: vec![Outcome::default(); loads.len()],
            events: BinaryHeap::new(),
            count: 0,
            chance: Chance(seed),
            has: 0,
            most: 0,
        };
        for (index, load) in loads.iter().enumerate() {
            for _ in 0..load.depth {
                let at = world.chance.next() % MS;
                world.push(at, What::Wants(index));
            }
        }
        world
    }

    fn push(&mut self, at: Nanos, what: What) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, what)));
    }

    pub(crate) fn run(&mut self, until: Nanos) {
        while let Some(Reverse((now, _, what))) = self.events.pop() {
            if now >= until {
                break;
            }
            match what {
                What::Wants(index) => self.wants(index, now),
                What::Done(index) => {
                    self.has -= 1;
                    self.scheduler.done(self.loads[index].cost);
                    self.wants(index, now);
                }
                What::Ask => {}
            }
            self.ask(now);
        }
    }

    fn wants(&mut self, index: usize, now: Nanos) {
        let Load { active: (on, off), cost, .. } = self.loads[index];
        if off > 0 && now % (on + off) >= on {
            let next = now - now % (on + off) + on + off;
            return self.push(next, What::Wants(index));
        }
        match self.scheduler.offer(now, self.ids[index], cost, index) {
            Offer::Go(index) => self.go(index, now),
            Offer::Queued => {}
            Offer::Refused(_) => panic!("fewer are in flight than may wait"),
        }
    }

    fn ask(&mut self, now: Nanos) {
        loop {
            match self.scheduler.next(now) {
                Next::Go(id, cost, index) => {
                    assert_eq!((id, cost), (self.ids[index], self.loads[index].cost));
                    self.go(index, now);
                }
                Next::At(at) => {
                    assert!(at > now, "what may go now goes now");
                    return self.push(at, What::Ask);
                }
                Next::Wait => return,
            }
        }
    }

    fn go(&mut self, index: usize, now: Nanos) {
        self.has += 1;
        self.most = self.most.max(self.has);
        self.outcomes[index].went.push(now);
        let Cost { ops, bytes } = self.loads[index].cost;
        let time = (SECOND * u64::from(ops) / DRIVE.ops).max(SECOND * u64::from(bytes) / DRIVE.bytes);
        // One of so many that are done at the same time, up to a half faster or slower; a drive with more at a time than
        // it can do at once takes longer for each.
        let parts = u64::from(self.has.max(DEPTH));
        let time = time * parts * (50 + self.chance.next() % 101) / 100;
        self.push(now + time, What::Done(index));
    }
}
