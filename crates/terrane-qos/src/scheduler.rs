//! Who may use a drive next: mClock (Gulati, Merchant, Varman: "mClock: Handling Throughput Variability for Hypervisor
//! IO Scheduling", OSDI 2010), with what dmClock's users learned.
//!
//! Every client has three tags, the moments from which on its next request is due by its reservation, by its share and
//! by its ceiling. They are kept for the first request of a queue only, so a change of a share holds at once and
//! a dispatch is O(log clients).
//!
//! 1. **Reservation**: while somebody's reservation tag has come, the earliest goes. What a client gets by its weight
//!    does not count against its reservation.
//! 2. **Weight**: else the lowest share tag of those below their ceiling goes.
//! 3. Who was idle begins at the present: what it did not use is lost. Who got more than its share while others were
//!    idle is not asked to give it back for longer than [`DEBT`].
//! 4. A drive that stalls makes nobody a creditor of more than [`ARREARS`].
//!
//! The drive gets no more than its depth at a time: what it has, nobody can schedule any more.

use crate::bugs::Bugs;
use crate::heap::Heap;
use crate::rate::{Cost, Pace, Rate, Share};
use crate::{Nanos, SECOND};
use std::collections::VecDeque;

/// What is missing of a reservation is made up for, if it is not older than this.
const ARREARS: Nanos = SECOND / 10;
/// A ceiling may be passed by what this makes of it.
const SLACK: Nanos = SECOND / 50;
/// How far ahead of others a client's share tag may be: by what the drive does for it in so long.
const DEBT: Nanos = SECOND / 10;
/// A client of weight `UNIT` pays for the drive's time what that is.
const UNIT: u64 = 256;

/// What a drive is believed to do, and how much it is given at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it does per second: tells how much of it requests of different sizes take.
    pub rate: Rate,
    /// Requests that it has at a time, at most. At least 1.
    pub depth: u32,
    /// Bytes of these. One more request may begin below it.
    pub depth_bytes: u64,
    /// Requests that wait per client, at most.
    pub queue: usize,
}

/// Names a client of one [`Scheduler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<T> {
    /// It may use the drive now.
    Go(T),
    /// It waits; [`Scheduler::next`] brings it.
    Queued,
    /// Too many wait already, or there is no such client.
    Refused(T),
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This request may use the drive now.
    Go(ClientId, Cost, T),
    /// Nothing before then, unless something comes or ends.
    At(Nanos),
    /// Nothing, unless something comes or ends.
    Wait,
}

#[derive(Debug)]
struct Waiting<T> {
    cost: Cost,
    came: Nanos,
    item: T,
}

#[derive(Debug)]
struct Client<T> {
    share: Share,
    /// Time per request, at the reservation and at the ceiling.
    reserve: Pace,
    ceiling: Pace,
    reserve_due: Nanos,
    ceiling_due: Nanos,
    /// In time of the drive, over the weight.
    share_due: u64,
    queue: VecDeque<Waiting<T>>,
}

/// Schedules one drive. `T` is whatever the caller wants back.
#[derive(Debug)]
pub struct Scheduler<T> {
    device: Device,
    drive: Pace,
    bugs: Bugs,
    clients: Vec<Option<Client<T>>>,
    /// Those with a reservation and something that waits, by reservation tag.
    reserved: Heap,
    /// Those below their ceiling with something that waits, by share tag.
    ready: Heap,
    /// Those at their ceiling with something that waits, by ceiling tag.
    held: Heap,
    /// The share tag of the last that went by its weight.
    virtual_now: u64,
    waiting: usize,
    under_way: u32,
    under_way_bytes: u64,
}

impl<T> Client<T> {
    fn set(&mut self, share: Share) {
        self.share = Share { weight: share.weight.max(1), ..share };
        self.reserve = Pace::of(share.reserve);
        self.ceiling = Pace::of(share.ceiling.at_least(share.reserve));
    }
}

impl<T> Scheduler<T> {
    /// Of a drive that nobody uses.
    #[must_use]
    pub fn new(device: Device) -> Self {
        Self::with_bugs(device, Bugs::NONE)
    }

    /// Without some rules; for tests.
    #[must_use]
    pub fn with_bugs(device: Device, bugs: Bugs) -> Self {
        Self {
            device,
            drive: Pace::of(device.rate),
            bugs,
            clients: Vec::new(),
            reserved: Heap::default(),
            ready: Heap::default(),
            held: Heap::default(),
            virtual_now: 0,
            waiting: 0,
            under_way: 0,
            under_way_bytes: 0,
        }
    }

    /// Takes a client in.
    pub fn add(&mut self, share: Share) -> ClientId {
        let slot = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        if slot == self.clients.len() {
            self.clients.push(None);
        }
        let mut client = Client {
            share,
            reserve: Pace::default(),
            ceiling: Pace::default(),
            reserve_due: 0,
            ceiling_due: 0,
            share_due: self.virtual_now,
            queue: VecDeque::new(),
        };
        client.set(share);
        self.clients[slot] = Some(client);
        ClientId(u32::try_from(slot).unwrap_or(u32::MAX))
    }

    /// Promises a client something else, from its next request on. Returns whether that is a change.
    pub fn set(&mut self, id: ClientId, share: Share) -> bool {
        let Some(Some(client)) = self.clients.get_mut(id.0 as usize) else { return false };
        if client.share == (Share { weight: share.weight.max(1), ..share }) {
            return false;
        }
        client.set(share);
        // What an earlier, perhaps much smaller, promise made of the future does not count.
        client.reserve_due = 0;
        client.ceiling_due = 0;
        if let Some(first) = client.queue.front() {
            let came = first.came;
            self.enqueue(id.0, came);
        }
        true
    }

    /// Lets a client go. Returns what waited.
    pub fn remove(&mut self, id: ClientId) -> impl Iterator<Item = T> + use<T> {
        let client = self.clients.get_mut(id.0 as usize).and_then(Option::take);
        let queue = client.map_or_else(VecDeque::new, |client| client.queue);
        self.waiting -= queue.len();
        self.leave(id.0);
        queue.into_iter().map(|waiting| waiting.item)
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Requests that the drive has.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    fn has_room(&self) -> bool {
        self.bugs.no_depth
            || self.under_way < self.device.depth.max(1)
                && self.under_way_bytes < self.device.depth_bytes.max(1)
    }

    /// Whether a request may go at once, because the drive has room and nobody waits: then it has gone. All that an
    /// uncontended request costs.
    pub fn at_once(&mut self, now: Nanos, id: ClientId, cost: Cost) -> bool {
        let free = self.waiting == 0 && self.has_room();
        let Some(Some(client)) = self.clients.get(id.0 as usize).filter(|_| free) else { return false };
        if client.ceiling_due > now && !self.bugs.no_ceilings {
            return false;
        }
        let by_reservation = !client.share.reserve.is_none() && client.reserve_due <= now;
        self.awake(id.0, now);
        self.charge(id.0, now, cost, by_reservation);
        true
    }

    /// A client wants something. While the drive has room and nobody waits, it goes at once.
    pub fn offer(&mut self, now: Nanos, id: ClientId, cost: Cost, item: T) -> Offer<T> {
        if self.at_once(now, id, cost) {
            return Offer::Go(item);
        }
        let most = self.device.queue.max(1);
        let Some(Some(client)) = self.clients.get_mut(id.0 as usize) else { return Offer::Refused(item) };
        if client.queue.len() >= most {
            return Offer::Refused(item);
        }
        client.queue.push_back(Waiting { cost, came: now, item });
        self.waiting += 1;
        if client.queue.len() == 1 {
            self.awake(id.0, now);
            self.enqueue(id.0, now);
        }
        Offer::Queued
    }

    /// What may use the drive now, if it has room; to be asked again until it has nothing.
    pub fn next(&mut self, now: Nanos) -> Next<T> {
        if self.waiting == 0 || !self.has_room() {
            return Next::Wait;
        }
        self.let_go(now);
        let reserved = self.reserved.first().filter(|_| !self.bugs.weights_only);
        if let Some((due, client)) = reserved
            && due <= now
        {
            return self.dispatch(client, now, true);
        }
        if let Some((due, client)) = self.ready.first() {
            self.virtual_now = self.virtual_now.max(due);
            return self.dispatch(client, now, false);
        }
        let next = [reserved, self.held.first()].into_iter().flatten().map(|(due, _)| due).min();
        next.map_or(Next::Wait, Next::At)
    }

    /// The drive has done what was asked of it.
    pub fn done(&mut self, cost: Cost) {
        self.under_way = self.under_way.saturating_sub(1);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(cost.bytes.into());
    }

    fn dispatch(&mut self, index: u32, now: Nanos, by_reservation: bool) -> Next<T> {
        let Some(Some(client)) = self.clients.get_mut(index as usize) else { return Next::Wait };
        let Some(Waiting { cost, item, .. }) = client.queue.pop_front() else { return Next::Wait };
        let following = client.queue.front().map(|first| first.came);
        self.waiting -= 1;
        self.charge(index, now, cost, by_reservation);
        match following {
            Some(came) => self.enqueue(index, came),
            None => self.leave(index),
        }
        Next::Go(ClientId(index), cost, item)
    }

    /// A client that had nothing to do has something.
    fn awake(&mut self, index: u32, now: Nanos) {
        // Those at their ceilings are behind: they are no measure.
        let present = self.ready.first().map_or(self.virtual_now, |(due, _)| due.max(self.virtual_now));
        let bugs = self.bugs;
        if let Some(Some(client)) = self.clients.get_mut(index as usize)
            && !bugs.idle_banks
        {
            let debt = DEBT * UNIT / u64::from(client.share.weight);
            client.share_due = client.share_due.clamp(present, present.saturating_add(debt));
            client.reserve_due = client.reserve_due.max(now);
        }
    }

    /// Moves a client's tags on by a request.
    fn charge(&mut self, index: u32, now: Nanos, cost: Cost, by_reservation: bool) {
        self.under_way += 1;
        self.under_way_bytes += u64::from(cost.bytes);
        let (drive, bugs) = (self.drive, self.bugs);
        let Some(Some(client)) = self.clients.get_mut(index as usize) else { return };
        if by_reservation || bugs.spare_is_charged {
            let since = client.reserve_due.max(now.saturating_sub(ARREARS));
            client.reserve_due = since.saturating_add(client.reserve.time(cost));
        }
        let since = client.ceiling_due.max(now.saturating_sub(SLACK));
        client.ceiling_due = since.saturating_add(client.ceiling.time(cost));
        if client.share.ceiling.is_none() {
            client.ceiling_due = 0;
        }
        let time = drive.time(cost).max(1).saturating_mul(UNIT) / u64::from(client.share.weight);
        client.share_due = client.share_due.saturating_add(time.max(1));
    }

    /// The first of a client's queue, which came then, waits.
    fn enqueue(&mut self, index: u32, came: Nanos) {
        let Some(Some(client)) = self.clients.get(index as usize) else { return };
        let (has_reservation, bugs) = (!client.share.reserve.is_none(), self.bugs);
        if has_reservation {
            self.reserved.put(index, client.reserve_due.max(came));
        } else {
            self.reserved.remove(index);
        }
        // Whether the ceiling has come, the next look finds out.
        if client.ceiling_due > 0 && !bugs.no_ceilings {
            self.held.put(index, client.ceiling_due);
            self.ready.remove(index);
        } else if !(bugs.wastes_idle && has_reservation) {
            self.ready.put(index, client.share_due);
            self.held.remove(index);
        }
    }

    /// Those whose ceilings have come compete again, as if they had been idle.
    fn let_go(&mut self, now: Nanos) {
        while let Some((due, index)) = self.held.first()
            && due <= now
        {
            self.held.remove(index);
            let virtual_now = self.virtual_now;
            if let Some(Some(client)) = self.clients.get_mut(index as usize) {
                client.share_due = client.share_due.max(virtual_now);
                self.ready.put(index, client.share_due);
            }
        }
    }

    fn leave(&mut self, index: u32) {
        self.reserved.remove(index);
        self.ready.remove(index);
        self.held.remove(index);
    }
}
