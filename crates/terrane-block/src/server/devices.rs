//! Who uses a drive next, and who used it: one scheduler and one ledger per device, whatever the number of pools on it.
//!
//! What waits for the drive on another thread goes through here; what the page cache takes at once costs the drive
//! nothing at that moment, and is only noted. While the drive has room and nobody waits, nothing is queued.

use super::clock::Boot;
use super::config::Pace;
use super::drive_use::DriveUser;
use super::drives::HostedPool;
use super::reactor::Reactor;
use crate::engine::{self, BLOCK};
use std::sync::Arc;
use std::time::{Duration, Instant};
use terrane_block_core::copy::{Kind, ReadFor, Source};
use terrane_block_core::{Content, Extent};
use terrane_block_wire::control::Media;
use terrane_qos::{ClientId, Cost, Device, Ledger, Next, Offer, Rate, Scheduler, Second, Share};

/// Requests that a drive has at a time, and their bytes: enough to keep it busy, few enough to choose the next one.
const SSD: (u32, u64) = (64, 16 << 20);
const HDD: (u32, u64) = (8, 8 << 20);
/// Requests that wait per client. The core has fewer under way.
const QUEUE: usize = 1 << 16;
/// Users of a drive that are told apart in each second.
const USERS: usize = 16;
/// What background work gets beside volumes, which have a weight of 100 each: its weight. Of resync, which migrations are
/// too, the floor is configured; ceilings are kept by those who ask for the work ([`super::pacing`], [`super::scrub`]).
const BACKGROUND: [(Class, u32); 3] = [(Class::Resync, 50), (Class::Snapshot, 20), (Class::Scrub, 5)];
/// Bytes per second that reading snapshots gets, however busy volumes are.
const SNAPSHOT_FLOOR: u64 = 8 << 20;

/// What a drive is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What a volume's clients asked for, here or through its primary.
    Volume,
    /// Bringing copies up to date, new ones as well.
    Resync,
    /// Reading snapshots out.
    Snapshot,
    /// Looking for damage.
    Scrub,
}

type Job = Box<dyn FnOnce(&mut Reactor)>;

/// A device with pools of this server.
pub(super) struct HostedDevice {
    /// As the pools report it.
    number: u64,
    scheduler: Scheduler<Job>,
    background: [(Class, ClientId); BACKGROUND.len()],
    ledger: Ledger<(Class, DriveUser)>,
    /// The scheduler has something for then.
    pub(super) wake: Option<Boot>,
}

/// Who uses which device for how much, since when.
#[derive(Clone, Copy)]
struct Ticket {
    device: usize,
    client: ClientId,
    class: Class,
    slot: usize,
    cost: Cost,
    asked: Boot,
}

/// Groups pools by the device that they lie on, which has what the best of them is declared to have.
pub(super) fn group(pools: &mut [HostedPool], pace: &Pace) -> Vec<HostedDevice> {
    let mut numbers: Vec<u64> = pools.iter().map(|pool| pool.report().device).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let device = |(index, number): (usize, u64)| {
        let here = pools.iter_mut().filter(|pool| pool.report().device == number);
        let (mut rate, mut media) = (Rate::NONE, Media::Ssd);
        for pool in here {
            pool.device = index;
            let report = pool.report();
            rate = Rate { ops: rate.ops.max(report.iops.into()), bytes: rate.bytes.max(report.throughput) };
            media = report.media;
        }
        HostedDevice::new(number, media, rate, pace)
    };
    numbers.into_iter().enumerate().map(device).collect()
}

impl HostedDevice {
    fn new(number: u64, media: Media, rate: Rate, pace: &Pace) -> Self {
        let (depth, depth_bytes) = match media {
            Media::Ssd => SSD,
            Media::Hdd => HDD,
        };
        let mut scheduler = Scheduler::new(Device { rate, depth, depth_bytes, queue: QUEUE });
        let background = BACKGROUND.map(|(class, weight)| {
            let floor = match class {
                Class::Resync => pace.resync_floor,
                Class::Snapshot => SNAPSHOT_FLOOR,
                Class::Volume | Class::Scrub => 0,
            };
            let reserve = Rate { ops: 0, bytes: floor };
            (class, scheduler.add(Share { reserve, weight, ceiling: Rate::NONE }))
        });
        Self { number, scheduler, background, ledger: Ledger::new(USERS), wake: None }
    }

    /// Who asks for work of this class that is for a volume.
    fn client(&self, class: Class, volume: ClientId) -> ClientId {
        let background = self.background.iter().find(|(known, _)| *known == class);
        background.map_or(volume, |(_, client)| *client)
    }
}

/// What a read or write of an extent costs.
pub(super) fn cost_of(extent: Extent) -> Cost {
    let bytes = extent.len.saturating_mul(BLOCK as u64);
    Cost { ops: 1, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
}

/// What a write costs: zeros are only noted.
pub(super) fn cost_of_write<P>(extent: Extent, content: &Content<P>) -> Cost {
    match content {
        Content::Zero => Cost { ops: 1, bytes: 0 },
        Content::Data(_) => cost_of(extent),
    }
}

impl Reactor {
    /// A copy is here: its volume may use the drive.
    pub(super) fn join_device(&mut self, pool: usize, share: Share) -> ClientId {
        self.devices[self.pools[pool].device].scheduler.add(share)
    }

    /// It is not here any more. What waited is of no use to anybody.
    pub(super) fn leave_device(&mut self, pool: usize, client: ClientId) {
        drop(self.devices[self.pools[pool].device].scheduler.remove(client));
    }

    /// Its volume is promised something else.
    pub(super) fn promise(&mut self, pool: usize, client: ClientId, share: Share) {
        let device = self.pools[pool].device;
        if self.devices[device].scheduler.set(client, share) {
            self.dispatch(device);
        }
    }

    /// What a write that the core wants is for.
    pub(super) fn class_of_write(&mut self, slot: usize, id: u64) -> Class {
        let Some(running) = self.copy(slot).and_then(|hosted| hosted.running.as_ref()) else {
            return Class::Volume;
        };
        let state = &running.state.volatile;
        match state.applies.iter().find(|apply| apply.id == id).map(|apply| apply.source) {
            Some(Source::Link { recopied: true, .. }) => Class::Resync,
            Some(Source::Own { op }) => self.class_of_op(slot, op),
            _ => Class::Volume,
        }
    }

    /// What a read that the core wants is for.
    pub(super) fn class_of_read(&mut self, slot: usize, id: u64) -> Class {
        let running = self.copy(slot).and_then(|hosted| hosted.running.as_ref());
        match running.and_then(|running| running.state.volatile.reads.get(&id)) {
            Some(ReadFor::Op(op)) => {
                let op = *op;
                self.class_of_op(slot, op)
            }
            _ => Class::Volume,
        }
    }

    fn class_of_op(&mut self, slot: usize, op: u64) -> Class {
        let running = self.copy(slot).and_then(|hosted| hosted.running.as_ref());
        let primary = running.and_then(|running| running.state.volatile.primary.as_ref());
        match primary.and_then(|primary| primary.ops.get(&op)).map(|op| op.kind) {
            Some(Kind::Copy(_) | Kind::Compare(_)) => Class::Resync,
            _ => Class::Volume,
        }
    }

    /// Does something with a copy on another thread when the drive's scheduler lets it; what comes of it counts only while
    /// the copy is in the same life.
    pub(super) fn work_as<T: Send + 'static>(
        &mut self,
        (slot, life): (usize, u64),
        (class, cost): (Class, Cost),
        work: impl FnOnce(&engine::Copy) -> T + Send + 'static,
        done: impl FnOnce(&mut Self, T) + 'static,
    ) {
        let asked = self.now;
        let Some(hosted) = self.alive(slot, life) else { return };
        let (pool, volume) = (hosted.pool, hosted.client);
        let device = self.pools[pool].device;
        let hosted = &mut self.devices[device];
        let client = hosted.client(class, volume);
        let ticket = Ticket { device, client, class, slot, cost, asked };
        if hosted.scheduler.at_once(asked.nanos(), client, cost) {
            return self.start_work(ticket, life, work, done);
        }
        let job: Job = Box::new(move |reactor| reactor.start_work(ticket, life, work, done));
        match hosted.scheduler.offer(asked.nanos(), client, cost, job) {
            // More than the core ever has under way: the drive gets it beyond its depth.
            Offer::Go(job) | Offer::Refused(job) => job(self),
            Offer::Queued => self.dispatch(device),
        }
    }

    fn start_work<T: Send + 'static>(
        &mut self,
        ticket: Ticket,
        life: u64,
        work: impl FnOnce(&engine::Copy) -> T + Send + 'static,
        done: impl FnOnce(&mut Self, T) + 'static,
    ) {
        let now = self.now;
        let hosted = self.alive(ticket.slot, life);
        let Some((pool, running)) = hosted.and_then(|hosted| Some((hosted.pool, hosted.running.as_ref()?)))
        else {
            self.devices[ticket.device].scheduler.done(ticket.cost);
            return;
        };
        let copy: Arc<engine::Copy> = running.engine.clone();
        let waited = now.since(ticket.asked);
        let timed = move || {
            let started = Instant::now();
            let result = work(&copy);
            (result, started.elapsed())
        };
        self.spawn_on(pool, timed, move |reactor, (result, busy)| {
            reactor.devices[ticket.device].scheduler.done(ticket.cost);
            reactor.note_use(&ticket, waited, busy);
            if reactor.alive(ticket.slot, life).is_some() {
                done(reactor, result);
            }
            reactor.dispatch(ticket.device);
        });
    }

    /// Gives a drive what it may have.
    pub(super) fn dispatch(&mut self, device: usize) {
        let now = self.now;
        loop {
            let hosted = &mut self.devices[device];
            hosted.wake = None;
            match hosted.scheduler.next(now.nanos()) {
                Next::Go(_, _, job) => job(self),
                Next::At(at) => {
                    hosted.wake = Some(Boot::from_nanos(at));
                    return;
                }
                Next::Wait => return,
            }
        }
    }

    /// Schedulers whose time has come.
    pub(super) fn wake_devices(&mut self) {
        for device in 0..self.devices.len() {
            if self.devices[device].wake.is_some_and(|at| at <= self.now) {
                self.dispatch(device);
            }
        }
    }

    /// The page cache took or gave something for a volume.
    pub(super) fn note_cached(&mut self, slot: usize, cost: Cost, busy: Duration) {
        let asked = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let (client, pool) = (hosted.client, hosted.pool);
        let device = self.pools[pool].device;
        self.note_use(
            &Ticket { device, client, class: Class::Volume, slot, cost, asked },
            Duration::ZERO,
            busy,
        );
    }

    fn note_use(&mut self, ticket: &Ticket, waited: Duration, busy: Duration) {
        let hosted = self.copies.get(ticket.slot).and_then(Option::as_ref);
        let who = || {
            let user = match (ticket.class, hosted) {
                (Class::Resync, _) => DriveUser::Resync,
                (Class::Snapshot, _) => DriveUser::Snapshots,
                (Class::Scrub, _) => DriveUser::Scrub,
                (Class::Volume, Some(hosted)) => DriveUser::Volume(hosted.meta.identity.volume.clone()),
                (Class::Volume, None) => DriveUser::Others,
            };
            (ticket.class, user)
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let times = (nanos(waited), nanos(busy));
        let (now, device) = (self.now.nanos(), &mut self.devices[ticket.device]);
        if let Some(second) = device.ledger.add(now, ticket.client, who, ticket.cost, times) {
            self.second_ended(ticket.device, second);
        }
    }

    /// Ends the seconds of all devices that are over.
    pub(super) fn end_seconds(&mut self) {
        for device in 0..self.devices.len() {
            if let Some(second) = self.devices[device].ledger.turn(self.now.nanos()) {
                self.second_ended(device, second);
            }
        }
    }

    fn second_ended(&mut self, device: usize, second: Second<(Class, DriveUser)>) {
        for ((class, _), used) in &second.users {
            self.metrics.drive_used(*class, used);
        }
        self.metrics.drive_used(Class::Volume, &second.others);
        let users = second.users.into_iter().map(|((_, user), used)| (user, used)).collect();
        self.drive_use.ended(self.devices[device].number, users, second.others);
    }
}
