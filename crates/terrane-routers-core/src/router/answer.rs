//! Answers: exactly one for each request, filtered for who asked.

use std::sync::Arc;

use terrane_router_model::{Filter, Rows};

use super::RouterCore;
use super::runs::{Phase, Run, Waiter};
use crate::events::Output;
use crate::question::{Answer, Answered, AskError, Class, CommandKey, Grant, Observation, Source};
use crate::queue::LineKey;
use crate::view::view;
use crate::{RequestId, RunId, Time};

/// Views of one result that are kept while it is handed out; askers of equal grant and filter share one.
const VIEWS_MAX: usize = 16;

impl RouterCore {
    /// Answers a request that is not open, or not any more.
    pub(super) fn answer(&mut self, waiter: &Waiter, result: Result<Answered, AskError>) {
        self.counters.answered += 1;
        self.counters.refused += u64::from(result.is_err());
        let answer = Answer { id: waiter.id, epoch: self.identity.epoch, result };
        self.out.push_back(Output::Answer(Box::new(answer)));
    }

    /// Answers with an error, or rather with what was observed before, where the client prefers that.
    pub(super) fn refuse(&mut self, waiter: &Waiter, key: &CommandKey, error: AskError) {
        let stale = waiter.allow_stale.filter(|_| error.is_passing() && !key.kind.is_action());
        let not_before = stale.map(|age| waiter.owned_since.max(self.now.before(age)));
        let held = not_before.and_then(|not_before| self.cache.get(key, not_before)).map(Arc::clone);
        match held {
            Some(observation) => {
                self.counters.stale += 1;
                self.show(waiter, &observation, Source::Stale);
            }
            None => self.answer(waiter, Err(error)),
        }
    }

    /// Answers with what a client may see of an observation.
    pub(super) fn show(&mut self, waiter: &Waiter, observation: &Observation, source: Source) {
        let rows = Arc::new(view(observation, &waiter.grant, &waiter.filter, self.config.bugs));
        self.show_rows(waiter, observation, rows, source);
    }

    fn show_rows(&mut self, waiter: &Waiter, observation: &Observation, rows: Arc<Rows>, source: Source) {
        // That somebody else has asked is not for a customer to know.
        let source = match (waiter.class, source) {
            (Class::External, Source::Live | Source::Coalesced) => Source::Live,
            (Class::External, _) => Source::Stored,
            (_, source) => source,
        };
        let age = self.now.since(observation.observed_at);
        let is_complete = observation.is_complete;
        self.answer(waiter, Ok(Answered { rows, age, source, is_complete }));
    }

    /// A plan is done: everybody who waits gets his view of it.
    pub(super) fn deliver(&mut self, id: RunId, rows: Rows, bytes: usize, is_complete: bool) {
        let Some(run) = self.take_run(id) else { return };
        let observed_at = run.first_sent.unwrap_or_default();
        let observation = Observation { key: run.key, rows, observed_at, bytes, is_complete };
        let mut views: Vec<(Grant, Filter, Arc<Rows>)> = Vec::new();
        for waiter in run.waiters.values() {
            self.forget(waiter);
            let is_same =
                |(grant, filter, _): &&(Grant, Filter, _)| *grant == waiter.grant && *filter == waiter.filter;
            let first = views.first().filter(|_| self.config.bugs.share_first_view);
            let rows = match first.or(views.iter().find(is_same)) {
                Some((.., rows)) => Arc::clone(rows),
                None => {
                    let rows = Arc::new(view(&observation, &waiter.grant, &waiter.filter, self.config.bugs));
                    if views.len() < VIEWS_MAX {
                        views.push((waiter.grant.clone(), waiter.filter.clone(), Arc::clone(&rows)));
                    }
                    rows
                }
            };
            let source = if waiter.has_joined { Source::Coalesced } else { Source::Live };
            self.show_rows(waiter, &observation, rows, source);
        }
        if !observation.key.kind.is_action() {
            let (count, bytes) = (self.config.cache_count, self.config.cache_bytes);
            self.cache.put(Arc::new(observation), count, bytes);
        }
    }

    /// An execution has failed for everybody who waits.
    pub(super) fn fail(&mut self, id: RunId, error: &AskError) {
        let Some(run) = self.take_run(id) else { return };
        for waiter in run.waiters.values() {
            self.forget(waiter);
            self.refuse(waiter, &run.key, error.clone());
        }
    }

    /// Everything that has not begun has failed.
    pub(super) fn fail_waiting(&mut self, error: &AskError) {
        let waiting = self.runs.iter().filter(|(_, run)| run.is_waiting());
        let waiting: Vec<RunId> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|run| self.fail(run, error));
    }

    /// An execution has failed for those of one line.
    pub(super) fn fail_line(&mut self, id: RunId, line: LineKey, error: &AskError) {
        let Some(run) = self.runs.get(&id) else { return };
        let key = run.key.clone();
        let of_line = run.waiters.values().filter(|waiter| waiter.line() == line);
        for request in of_line.map(|waiter| waiter.id).collect::<Vec<_>>() {
            if let Some(waiter) = self.take_waiter(request) {
                self.forget(&waiter);
                self.refuse(&waiter, &key, error.clone());
            }
        }
    }

    /// Takes a waiter out of its execution; one that has not begun ends with its last waiter.
    pub(super) fn take_waiter(&mut self, request: RequestId) -> Option<Waiter> {
        let id = *self.open.get(&request)?;
        let run = self.runs.get_mut(&id)?;
        let (waiter, is_last_of_line) = run.remove(request)?;
        if run.is_waiting() && is_last_of_line {
            self.queue.remove(self.now, waiter.line(), id, std::time::Duration::ZERO);
        }
        if run.is_waiting() && run.waiters.is_empty() {
            self.counters.abandoned += 1;
            self.take_run(id);
        }
        Some(waiter)
    }

    /// A request is not open any more.
    pub(super) fn forget(&mut self, waiter: &Waiter) {
        self.open.remove(&waiter.id);
        self.deadlines.remove(&(waiter.deadline, waiter.id));
        if let Some(client) = self.clients.get_mut(&waiter.client) {
            client.waiters = client.waiters.saturating_sub(1);
        }
    }

    /// Takes an execution out of everything but its session, which is free unless a command is on its way there.
    pub(super) fn take_run(&mut self, id: RunId) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        if run.is_waiting() {
            self.waiting -= 1;
            for line in run.lines.keys() {
                self.queue.remove(self.now, *line, id, std::time::Duration::ZERO);
            }
        }
        if let Some(shared) = self.by_key.get_mut(&run.key) {
            shared.waiting = shared.waiting.filter(|other| *other != id);
            shared.running = shared.running.filter(|other| *other != id);
            if shared.waiting.is_none() && shared.running.is_none() {
                self.by_key.remove(&run.key);
            }
        }
        if let Phase::Ready { session, .. } | Phase::Translating { session } = run.phase {
            self.set_idle(session);
        }
        Some(run)
    }

    /// The deadline of these requests has passed.
    pub(super) fn expire(&mut self) {
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= self.now
        {
            self.deadlines.pop_first();
            self.counters.deadlines_passed += 1;
            let Some(run) = self.open.get(&id).and_then(|run| self.runs.get(run)) else { continue };
            let key = run.key.clone();
            let waiter = match self.config.bugs.answer_twice {
                true => run.waiters.get(&id).cloned(),
                false => self.take_waiter(id),
            };
            if let Some(waiter) = waiter {
                self.forget(&waiter);
                self.refuse(&waiter, &key, AskError::DeadlineExceeded);
            }
        }
        let next = self.deadlines.first().map_or(Time::NEVER, |(at, _)| *at);
        self.wake_at(next);
    }
}
