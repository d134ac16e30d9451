//! One router: inputs in, outputs out, no I/O.

mod admit;
mod answer;
mod dispatch;
mod replies;
mod runs;
mod sessions;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use runs::{Run, Shared};
use sessions::Session;
use terrane_router_model::Kind;

use crate::bucket::{Bucket, Rate};
use crate::budget::{Budget, Scope};
use crate::cache::Cache;
use crate::config::RouterConfig;
use crate::events::{Input, Order, Output};
use crate::pace::{Breaker, Pace};
use crate::question::CommandKey;
use crate::queue::Queue;
use crate::{ClientId, CredentialId, Epoch, GroupId, RealmId, RequestId, RouterId, RunId, SessionId, Time};

/// Which router, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The router.
    pub router: RouterId,
    /// Of the shard's lease.
    pub epoch: Epoch,
    /// What is logged in with.
    pub credential: CredentialId,
    /// What checks it.
    pub realm: RealmId,
    /// Routers with a ceiling in common.
    pub group: Option<GroupId>,
}

/// What has happened since the core was made. For metrics; the simulator looks at some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counts what its name says")]
pub struct Counters {
    pub asked: u64,
    pub answered: u64,
    pub refused: u64,
    pub cached: u64,
    pub stale: u64,
    pub joined_waiting: u64,
    pub joined_sent: u64,
    pub commands: u64,
    pub logins: u64,
    pub retried: u64,
    pub deadlines_passed: u64,
    pub dropped_for_priority: u64,
    pub hopeless: u64,
    pub abandoned: u64,
    pub command_timeouts: u64,
    pub tripped: u64,
    pub no_slot: u64,
    pub suspended: u64,
    pub lease_over: u64,
}

/// What an operator sees of a router's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Open requests.
    pub open: usize,
    /// Executions that wait.
    pub waiting: usize,
    /// Executions that have begun.
    pub running: usize,
    /// Clients that wait.
    pub lines: usize,
    /// Sessions, with those that may still be at the router.
    pub sessions: usize,
    /// Tokens per time at present.
    pub rate: Rate,
    /// Bytes of observations kept.
    pub cache_bytes: usize,
    /// The last order.
    pub order: Order,
}

#[derive(Debug)]
struct Client {
    bucket: Bucket,
    waiters: usize,
}

/// The owner of one router's queue, sessions and observations, for one epoch of its shard.
#[derive(Debug)]
pub struct RouterCore {
    config: RouterConfig,
    identity: Identity,
    now: Time,
    lease_until: Time,
    order: Order,
    commands: Bucket,
    logins: Bucket,
    kinds: BTreeMap<Kind, Bucket>,
    clients: BTreeMap<ClientId, Client>,
    queue: Queue,
    runs: BTreeMap<RunId, Run>,
    /// Executions that have not begun.
    waiting: usize,
    by_key: BTreeMap<CommandKey, Shared>,
    open: BTreeMap<RequestId, RunId>,
    deadlines: BTreeSet<(Time, RequestId)>,
    sessions: BTreeMap<SessionId, Session>,
    cache: Cache,
    breaker: Breaker,
    pace: Pace,
    /// No session is asked for before.
    reserve_after: Time,
    /// The credential is not tried before: it was refused.
    suspended_until: Time,
    reap_at: Option<Time>,
    runs_made: u64,
    sessions_made: u64,
    wake: Time,
    counters: Counters,
    out: VecDeque<Output>,
    is_unsettled: bool,
}

impl RouterCore {
    /// A core for a holder that has just got the lease. Its buckets are empty and all sessions that others have
    /// reserved count: nothing is known of what a predecessor did last.
    #[must_use]
    pub fn new(config: RouterConfig, identity: Identity, now: Time, lease_until: Time) -> Self {
        let bucket = |rate, burst| match config.bugs.full_after_takeover {
            true => Bucket::full(rate, burst, now),
            false => Bucket::empty(rate, burst, now),
        };
        let kinds = config.kind_rates.iter().map(|(kind, (rate, burst))| (*kind, bucket(*rate, *burst)));
        Self {
            identity,
            now,
            lease_until,
            order: Order::Serve,
            commands: bucket(config.rate_max, config.burst),
            logins: bucket(config.login_rate, config.login_burst),
            kinds: kinds.collect(),
            clients: BTreeMap::new(),
            queue: Queue::default(),
            runs: BTreeMap::new(),
            waiting: 0,
            by_key: BTreeMap::new(),
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sessions: BTreeMap::new(),
            cache: Cache::default(),
            breaker: Breaker::new(&config),
            pace: Pace::new(&config),
            reserve_after: now,
            suspended_until: Time::default(),
            reap_at: Some(now.after(config.device_idle)),
            runs_made: 0,
            sessions_made: 0,
            wake: now,
            counters: Counters::default(),
            out: VecDeque::new(),
            is_unsettled: true,
            config,
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        self.is_unsettled = true;
        match input {
            Input::Ask(request) => self.ask(*request),
            Input::Cancel(id) => self.cancel(id),
            Input::Reserved { session, result } => self.reserved(session, result),
            Input::Opened { session, result } => self.opened(session, result),
            Input::Closed { session, is_certain } => self.closed(session, is_certain),
            Input::Replied { session, run, result } => self.replied(session, run, result),
            Input::Translated { run, next } => self.translated(run, next),
            Input::Reaped => self.reap_at = None,
            Input::Lease { until } => self.lease_until = self.lease_until.max(until),
            Input::Order(order) => self.ordered(order),
            Input::Tick => {}
        }
    }

    /// The next thing to do. Call until `None` after every (group of) [`RouterCore::handle`].
    pub fn poll_output(&mut self, budget: &mut Budget) -> Option<Output> {
        if self.out.is_empty() && std::mem::take(&mut self.is_unsettled) {
            self.wake = Time::NEVER;
            self.pass_time();
            self.dispatch(budget);
        }
        self.out.pop_front()
    }

    /// When to tell [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Time {
        self.wake
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            open: self.open.len(),
            waiting: self.waiting,
            running: self.runs.len() - self.waiting,
            lines: self.queue.len(),
            sessions: self.sessions.len(),
            rate: self.commands.rate(),
            cache_bytes: self.cache.bytes(),
            order: self.order,
        }
    }

    fn wake_at(&mut self, at: Time) {
        self.wake = self.wake.min(at);
    }

    /// Whether this worker may write to the router now.
    fn may_write(&self) -> bool {
        self.now < self.lease_until || self.config.bugs.write_after_lease
    }

    /// What outputs that write carry.
    fn not_after(&self) -> Time {
        if self.config.bugs.write_after_lease { Time::NEVER } else { self.lease_until }
    }

    fn command_scopes(&self) -> Vec<Scope> {
        let group = self.identity.group.map(Scope::Group);
        [Scope::Network].into_iter().chain(group).collect()
    }

    fn ordered(&mut self, order: Order) {
        self.order = order;
        match order {
            Order::Serve => {}
            Order::Maintenance => self.fail_waiting(&crate::AskError::Maintenance),
            Order::Kill => {
                let all: Vec<RunId> = self.runs.keys().copied().collect();
                all.into_iter().for_each(|run| self.fail(run, &crate::AskError::Maintenance));
                self.close_all();
            }
        }
    }
}

#[cfg(test)]
mod tests;
