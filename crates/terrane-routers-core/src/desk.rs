//! A front end's open requests. What waits at routers' cores is soft state: the request itself lives here, goes to
//! whoever holds the router's shard, again when that changes, and gets exactly one answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::bugs::Bugs;
use crate::question::{Answer, AskError, Request, Throttle};
use crate::shards::Shard;
use crate::{ClientId, Epoch, RequestId, RouterId, Time, WorkerId};

/// Settings of a front end.
#[derive(Clone, Copy, Debug)]
pub struct DeskConfig {
    /// Requests that are open, altogether.
    pub open_max: usize,
    /// Requests of one client that are open.
    pub client_open_max: usize,
    /// Bytes of answers that one client has not taken.
    pub client_bytes_max: usize,
    /// A request that is not answered is sent again after this time: messages are lost.
    pub resend: Duration,
    /// Broken rules; none outside simulations.
    pub bugs: Bugs,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            open_max: 200_000,
            client_open_max: 20_000,
            client_bytes_max: 64 << 20,
            resend: Duration::from_secs(2),
            bugs: Bugs::NONE,
        }
    }
}

/// A request and the router that it is for.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The router.
    pub router: RouterId,
    /// The request; its deadline counts from when it is handed in here.
    pub request: Request,
}

/// What a desk asks of its driver.
#[derive(Debug)]
pub enum DeskOutput {
    /// Tell the worker's core of the router [`crate::Input::Ask`]; may get lost.
    Forward {
        /// Who.
        worker: WorkerId,
        /// Which epoch of the shard it is for; a worker that does not hold it says so: [`Desk::not_held`].
        epoch: Epoch,
        /// What.
        ticket: Box<Ticket>,
    },
    /// Tell the worker's core of the router [`crate::Input::Cancel`]; may get lost.
    Cancel {
        /// Who.
        worker: WorkerId,
        /// At which router.
        router: RouterId,
        /// What.
        request: RequestId,
    },
    /// Answer the client.
    Reply(Box<Answer>),
}

#[derive(Debug)]
struct Open {
    ticket: Ticket,
    since: Time,
    deadline: Time,
    resend_at: Time,
}

/// See the module.
#[derive(Debug)]
pub struct Desk {
    config: DeskConfig,
    now: Time,
    routes: BTreeMap<Shard, (WorkerId, Epoch)>,
    open: BTreeMap<RequestId, Open>,
    by_shard: BTreeMap<Shard, BTreeSet<RequestId>>,
    timers: BTreeSet<(Time, RequestId)>,
    clients: BTreeMap<ClientId, Held>,
    out: VecDeque<DeskOutput>,
}

#[derive(Debug, Default)]
struct Held {
    open: usize,
    bytes: usize,
}

/// What the cores are given to answer in beyond the client's deadline, so that their word is heard.
const GRACE: Duration = Duration::from_millis(250);

/// Who is said to hold a shard and does not is asked again after this time.
const NOT_HELD: Duration = Duration::from_millis(20);

impl Desk {
    /// Without requests.
    #[must_use]
    pub fn new(config: DeskConfig) -> Self {
        Self {
            config,
            now: Time::default(),
            routes: BTreeMap::new(),
            open: BTreeMap::new(),
            by_shard: BTreeMap::new(),
            timers: BTreeSet::new(),
            clients: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// Takes a request. An ID that is open already is refused by being ignored: the first one is answered.
    pub fn submit(&mut self, now: Time, ticket: Ticket) {
        self.now = self.now.max(now);
        let id = ticket.request.id;
        if self.open.contains_key(&id) {
            return;
        }
        let retry_after = Duration::from_secs(1);
        let held = self.clients.entry(ticket.request.client).or_default();
        let error = if held.bytes > self.config.client_bytes_max {
            Some(AskError::Throttled { scope: Throttle::Results, retry_after })
        } else if held.open >= self.config.client_open_max {
            Some(AskError::Throttled { scope: Throttle::Client, retry_after })
        } else if self.open.len() >= self.config.open_max {
            Some(AskError::RouterBusy { retry_after })
        } else {
            None
        };
        if let Some(error) = error {
            self.drop_client(ticket.request.client);
            return self.reply(Answer { id, epoch: Epoch(0), result: Err(error) });
        }
        held.open += 1;
        let (shard, deadline) = (Shard::of(ticket.router), self.now.after(ticket.request.deadline + GRACE));
        self.by_shard.entry(shard).or_default().insert(id);
        self.timers.insert((deadline, id));
        let open = Open { ticket, since: self.now, deadline, resend_at: Time::NEVER };
        self.open.insert(id, open);
        self.forward(id);
    }

    /// The client waits no longer.
    pub fn cancel(&mut self, now: Time, id: RequestId) {
        self.now = self.now.max(now);
        let Some(open) = self.close(id) else { return };
        let router = open.ticket.router;
        if let Some((worker, _)) = self.routes.get(&Shard::of(router)) {
            self.out.push_back(DeskOutput::Cancel { worker: *worker, router, request: id });
        }
    }

    /// A shard has this holder now; what is open goes to it.
    pub fn route(&mut self, now: Time, shard: Shard, worker: WorkerId, epoch: Epoch) {
        self.now = self.now.max(now);
        if self.routes.get(&shard).is_some_and(|(_, known)| *known >= epoch) {
            return;
        }
        self.routes.insert(shard, (worker, epoch));
        if self.config.bugs.no_resend {
            return;
        }
        let open: Vec<RequestId> = self.by_shard.get(&shard).into_iter().flatten().copied().collect();
        open.into_iter().for_each(|id| self.forward(id));
    }

    /// A core's answer. Those of an epoch that is known to be over are refused: false.
    pub fn answered(&mut self, now: Time, answer: Answer) -> bool {
        self.now = self.now.max(now);
        let Some(open) = self.open.get(&answer.id) else { return true };
        let route = self.routes.get(&Shard::of(open.ticket.router));
        let is_over = route.is_some_and(|(_, epoch)| answer.epoch < *epoch);
        if is_over && !self.config.bugs.accept_old_epoch {
            return false;
        }
        self.close(answer.id);
        self.reply(answer);
        true
    }

    /// What a client may see has changed: its open requests were let in under what held before.
    pub fn revoke(&mut self, now: Time, client: ClientId) {
        self.now = self.now.max(now);
        let of_client = self.open.iter().filter(|(_, open)| open.ticket.request.client == client);
        for id in of_client.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.cancel(now, id);
            self.reply(Answer { id, epoch: Epoch(0), result: Err(AskError::AccessDenied) });
        }
    }

    /// The worker does not hold the shard under that epoch: it has not heard of its luck yet, or of its end.
    pub fn not_held(&mut self, now: Time, id: RequestId) {
        self.now = self.now.max(now);
        let Some(open) = self.open.get_mut(&id) else { return };
        self.timers.remove(&(open.resend_at, id));
        open.resend_at = self.now.after(NOT_HELD);
        self.timers.insert((open.resend_at, id));
    }

    /// So many bytes of answers wait for a client to take them (or no longer, if negative).
    pub fn holds(&mut self, client: ClientId, bytes: isize) {
        let held = self.clients.entry(client).or_default();
        held.bytes = held.bytes.saturating_add_signed(bytes);
        self.drop_client(client);
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        while let Some((at, id)) = self.timers.first().copied()
            && at <= self.now
        {
            self.timers.pop_first();
            let Some(open) = self.open.get(&id) else { continue };
            if open.deadline <= self.now {
                self.close(id);
                self.reply(Answer { id, epoch: Epoch(0), result: Err(AskError::DeadlineExceeded) });
            } else if open.resend_at <= self.now && !self.config.bugs.no_resend {
                self.forward(id);
            }
        }
    }

    /// When to tell [`Desk::tick`] at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        self.timers.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<DeskOutput> {
        self.out.pop_front()
    }

    /// Requests that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Hands a request to the holder of its shard. What has passed since it came counts: its deadline is nearer, and
    /// its answer may be from before now by as much more.
    fn forward(&mut self, id: RequestId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        self.timers.remove(&(open.resend_at, id));
        open.resend_at = self.now.after(self.config.resend);
        self.timers.insert((open.resend_at, id));
        let Some((worker, epoch)) = self.routes.get(&Shard::of(open.ticket.router)).copied() else { return };
        let mut ticket = Box::new(open.ticket.clone());
        let passed = self.now.since(open.since);
        let request = &mut ticket.request;
        request.deadline = request.deadline.saturating_sub(passed);
        request.max_age = request.max_age.saturating_add(passed);
        request.owned_for = request.owned_for.saturating_add(passed);
        self.out.push_back(DeskOutput::Forward { worker, epoch, ticket });
    }

    fn close(&mut self, id: RequestId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.timers.remove(&(open.deadline, id));
        self.timers.remove(&(open.resend_at, id));
        let shard = Shard::of(open.ticket.router);
        if let Some(of_shard) = self.by_shard.get_mut(&shard) {
            of_shard.remove(&id);
            if of_shard.is_empty() {
                self.by_shard.remove(&shard);
            }
        }
        let client = open.ticket.request.client;
        if let Some(held) = self.clients.get_mut(&client) {
            held.open = held.open.saturating_sub(1);
        }
        self.drop_client(client);
        Some(open)
    }

    fn drop_client(&mut self, client: ClientId) {
        if self.clients.get(&client).is_some_and(|held| held.open == 0 && held.bytes == 0) {
            self.clients.remove(&client);
        }
    }

    fn reply(&mut self, answer: Answer) {
        self.out.push_back(DeskOutput::Reply(Box::new(answer)));
    }
}

#[cfg(test)]
mod tests;
