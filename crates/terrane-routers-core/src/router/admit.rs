//! From a request to an answer, or to an execution that it waits for.

use std::sync::Arc;
use std::time::Duration;

use super::runs::{Run, Waiter};
use super::{Client, RouterCore};
use crate::bucket::Bucket;
use crate::events::Order;
use crate::question::{AskError, Observation, Request, Source, Throttle, Unreachable};
use crate::view::allows;
use crate::{RequestId, RunId, Time};

/// What a request gets.
enum Place {
    /// What was observed before is young enough.
    Cached(Arc<Observation>),
    /// An execution that somebody else asked for.
    Join(RunId),
    /// One of its own.
    New,
}

impl RouterCore {
    pub(super) fn ask(&mut self, request: Request) {
        if self.open.contains_key(&request.id) {
            return;
        }
        self.counters.asked += 1;
        let mut waiter = Waiter::new(&request, self.now, self.config.bugs);
        if !allows(&request.grant, request.key.kind) {
            return self.answer(&waiter, Err(AskError::AccessDenied));
        }
        match self.place(&request, &waiter) {
            Err(error) => self.refuse(&waiter, &request.key, error),
            Ok(Place::Cached(observation)) => {
                self.counters.cached += 1;
                self.show(&waiter, &observation, Source::Cache);
            }
            Ok(Place::Join(run)) => {
                waiter.has_joined = true;
                self.enter(run, waiter);
            }
            Ok(Place::New) => {
                let run = RunId(self.runs_made);
                self.runs_made += 1;
                self.runs.insert(run, Run::new(&request, self.now));
                self.waiting += 1;
                if !request.is_action() {
                    self.by_key.entry(request.key).or_default().waiting = Some(run);
                }
                self.enter(run, waiter);
            }
        }
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        if let Some(waiter) = self.take_waiter(id) {
            self.forget(&waiter);
        }
    }

    fn place(&mut self, request: &Request, waiter: &Waiter) -> Result<Place, AskError> {
        if !request.is_action()
            && let Some(observation) = self.cache.get(&request.key, waiter.not_before)
        {
            return Ok(Place::Cached(Arc::clone(observation)));
        }
        if self.order != Order::Serve && !self.config.bugs.ignore_maintenance {
            return Err(AskError::Maintenance);
        }
        let retry_after = Duration::from_secs(1);
        let held = self.clients.get(&waiter.client).map_or(0, |client| client.waiters);
        if held >= self.config.client_waiters_max {
            return Err(AskError::Throttled { scope: Throttle::Client, retry_after });
        }
        if self.open.len() >= self.config.waiters_max {
            return Err(AskError::RouterBusy { retry_after });
        }
        if let Some((run, has_begun)) = self.joinable(request, waiter) {
            if has_begun {
                self.counters.joined_sent += 1;
                return Ok(Place::Join(run));
            }
            self.has_room_in_line(waiter)?;
            self.counters.joined_waiting += 1;
            return Ok(Place::Join(run));
        }
        self.is_reachable()?;
        self.has_room_in_line(waiter)?;
        self.will_be_served_in_time(request, waiter)?;
        self.make_room(waiter)?;
        Ok(Place::New)
    }

    /// An execution that answers the request as well, and whether it has begun: then it must not have begun too early.
    fn joinable(&self, request: &Request, waiter: &Waiter) -> Option<(RunId, bool)> {
        let shared = self.by_key.get(&request.key).filter(|_| !request.is_action())?;
        let is_young = |run: &RunId| {
            let sent = self.runs.get(run).map(|run| run.first_sent);
            sent.is_some_and(|sent| sent.is_none_or(|at| at >= waiter.not_before))
        };
        let running = shared.running.filter(|run| is_young(run) || self.config.bugs.join_too_old);
        running.map(|run| (run, true)).or(shared.waiting.map(|run| (run, false)))
    }

    fn is_reachable(&self) -> Result<(), AskError> {
        let no =
            |why, until: Time| Err(AskError::RouterUnreachable { why, retry_after: until.since(self.now) });
        if self.suspended_until > self.now && !self.has_session() {
            return no(Unreachable::CredentialSuspended, self.suspended_until);
        }
        match self.breaker.open_until(self.now) {
            Some(until) => no(Unreachable::Tripped, until),
            None => Ok(()),
        }
    }

    fn has_room_in_line(&self, waiter: &Waiter) -> Result<(), AskError> {
        let retry_after = Duration::from_secs(1);
        match self.queue.line_len(waiter.line()) {
            0 if self.queue.len() >= self.config.lines_max => Err(AskError::RouterBusy { retry_after }),
            len if len >= self.config.line_runs_max => {
                Err(AskError::Throttled { scope: Throttle::Client, retry_after })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what would only wait for its deadline: at the least rate, every other line has its turn as often as
    /// the client's own, and all cost what this costs.
    fn will_be_served_in_time(&self, request: &Request, waiter: &Waiter) -> Result<(), AskError> {
        let turns = self.queue.line_len(waiter.line()).saturating_add(1);
        let ahead = self.waiting.min(turns.saturating_mul(self.queue.len()));
        let tokens =
            u64::from(request.cost.tokens()).saturating_mul(u64::try_from(ahead).unwrap_or(u64::MAX));
        let wait = self.config.rate_min.time_for(tokens);
        if wait > request.deadline {
            return Err(AskError::RouterBusy { retry_after: wait });
        }
        Ok(())
    }

    /// At the bound of waiting executions, the last of a lower class makes room.
    fn make_room(&mut self, waiter: &Waiter) -> Result<(), AskError> {
        if self.waiting < self.config.runs_max {
            return Ok(());
        }
        let retry_after = Duration::from_secs(1);
        if let Some((line, run)) = self.queue.least_below(waiter.class) {
            self.counters.dropped_for_priority += 1;
            let error = AskError::Throttled { scope: Throttle::Priority, retry_after };
            self.fail_line(run, line, &error);
        }
        if self.waiting < self.config.runs_max { Ok(()) } else { Err(AskError::RouterBusy { retry_after }) }
    }

    fn enter(&mut self, id: RunId, waiter: Waiter) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.is_waiting() {
            self.queue.push(self.now, waiter.line(), id);
        }
        self.open.insert(waiter.id, id);
        self.deadlines.insert((waiter.deadline, waiter.id));
        let bucket = || Bucket::full(self.config.client_rate, self.config.client_burst, self.now);
        let client = self.clients.entry(waiter.client);
        let client = client.or_insert_with(|| Client { bucket: bucket(), waiters: 0 });
        client.waiters += 1;
        run.add(waiter);
    }
}
