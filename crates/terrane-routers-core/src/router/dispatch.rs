//! What is sent next: commands of plans that have begun, then the heads of lines.

use std::sync::Arc;

use super::RouterCore;
use super::runs::{Phase, Run};
use super::sessions::Stage;
use crate::budget::Budget;
use crate::events::{Order, Output};
use crate::question::{AskError, Cost};
use crate::queue::{LineKey, Next, Ready};
use crate::{RunId, SessionId};

/// Of the executions that would come too late by all that is known, every so many-th is tried all the same: what is
/// known may be wrong.
const PROBE_EVERY: u64 = 16;

impl RouterCore {
    /// Begins what may begin now, and finds out when to look again.
    pub(super) fn dispatch(&mut self, budget: &mut Budget) {
        if !self.may_write() {
            self.counters.lease_over += 1;
            return;
        }
        self.commands.set_rate(self.now, self.pace.rate());
        let ready = self.runs.iter().filter(|(_, run)| matches!(run.phase, Phase::Ready { .. }));
        for run in ready.map(|(id, _)| *id).collect::<Vec<_>>() {
            let is_free = self.config.bugs.free_steps;
            if !is_free && !self.take_tokens(run, budget) {
                return;
            }
            self.send(run);
        }
        while self.waiting > 0 && self.may_begin() {
            let Some(session) = self.idle_session() else { return self.want_session(budget) };
            let (line, run) = match self.next_head() {
                Next::Run(line, run) => (line, run),
                Next::Later(at) => return self.wake_at(at),
                Next::Nothing => return,
            };
            if self.is_hopeless(run) {
                self.counters.hopeless += 1;
                self.fail(run, &AskError::DeadlineExceeded);
                continue;
            }
            if !self.take_tokens(run, budget) {
                return;
            }
            self.begin(line, run, session);
        }
    }

    fn may_begin(&mut self) -> bool {
        if self.order != Order::Serve && !self.config.bugs.ignore_maintenance {
            return false;
        }
        if let Some(until) = self.breaker.open_until(self.now) {
            self.wake_at(until);
            return false;
        }
        // A router that has failed gets one probe at a time.
        !self.breaker.is_probing() || self.runs.len() == self.waiting
    }

    fn next_head(&mut self) -> Next {
        let now = self.now;
        let Self { queue, runs, clients, kinds, config, .. } = self;
        let has_table = runs.values().any(|run| run.cost == Cost::Table && !run.is_waiting());
        let ready = |line: LineKey, run: RunId| {
            let Some(run) = runs.get(&run) else { return Ready::Blocked(crate::Time::NEVER) };
            if has_table && run.cost == Cost::Table {
                return Ready::Blocked(crate::Time::NEVER);
            }
            let tokens = run.cost.tokens();
            let of_kind = kinds.get_mut(&run.key.kind).map_or(now, |bucket| bucket.ready_at(now, tokens));
            let of_client = clients.get_mut(&line.client).map_or(now, |c| c.bucket.ready_at(now, tokens));
            match (of_client > now, of_kind > now) {
                (true, _) => Ready::Tokens(of_client.max(of_kind)),
                (false, true) => Ready::Blocked(of_kind),
                (false, false) => Ready::Now,
            }
        };
        if config.bugs.first_come {
            let first = runs.iter().find(|(_, run)| run.is_waiting());
            let line = |run: &Run| run.lines.keys().next().copied();
            return first.and_then(|(id, run)| Some(Next::Run(line(run)?, *id))).unwrap_or(Next::Nothing);
        }
        queue.next(now, ready, |class| config.handicap(class))
    }

    /// Whether even at its best the router would answer too late for all who wait.
    fn is_hopeless(&self, id: RunId) -> bool {
        let Some(run) = self.runs.get(&id) else { return false };
        let soonest = self.now.after(self.pace.at_ease(run.cost));
        let is_late = run.waiters.values().all(|waiter| waiter.deadline < soonest);
        is_late && !self.counters.hopeless.is_multiple_of(PROBE_EVERY)
    }

    /// Takes a command's tokens, all or none; if there are none, wakes when there are.
    fn take_tokens(&mut self, id: RunId, budget: &mut Budget) -> bool {
        let Some(run) = self.runs.get(&id) else { return false };
        let (now, tokens, scopes) = (self.now, run.cost.tokens(), self.command_scopes());
        let mut ready = self.commands.ready_at(now, tokens);
        if ready <= now {
            ready = budget.ready_at(now, self.identity.router, &scopes, tokens);
        }
        if ready > now {
            self.wake_at(ready);
            return false;
        }
        self.commands.take(now, tokens);
        budget.take(now, &scopes, tokens);
        true
    }

    /// Moves a head from its lines to a session. Its client's and its kind's tokens were seen to be there.
    fn begin(&mut self, payer: LineKey, id: RunId, session: SessionId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let tokens = run.cost.tokens();
        // What it costs more than the cheapest, its client's next waits as many turns longer.
        let turns = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        let owes = self.config.rate_max.time_for(turns.saturating_mul(u64::from(tokens - 1)));
        let lines: Vec<LineKey> = run.lines.keys().copied().collect();
        for line in lines {
            let owes = if line == payer { owes } else { std::time::Duration::ZERO };
            self.queue.remove(self.now, line, id, owes);
        }
        let command = Arc::clone(&run.key.command);
        run.phase = Phase::Ready { session, command };
        self.waiting -= 1;
        if let Some(shared) = self.by_key.get_mut(&run.key)
            && shared.waiting == Some(id)
        {
            (shared.waiting, shared.running) = (None, Some(id));
        }
        run.payer = Some(payer.client);
        self.send(id);
    }

    /// Sends the command of an execution whose tokens are taken.
    fn send(&mut self, id: RunId) {
        let not_after = self.not_after();
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Phase::Ready { session, command } = &run.phase else { return };
        let (session, command, tokens) = (*session, Arc::clone(command), run.cost.tokens());
        // Further commands of a plan do not wait for these: the client's next does, until they are paid for.
        if let Some(client) = run.payer.and_then(|payer| self.clients.get_mut(&payer)) {
            client.bucket.take(self.now, tokens);
        }
        if let Some(bucket) = self.kinds.get_mut(&run.key.kind) {
            bucket.take(self.now, tokens);
        }
        run.first_sent.get_or_insert(self.now);
        run.phase = Phase::Sent { session, command: Arc::clone(&command), at: self.now };
        self.set_stage(session, Stage::Busy(id));
        self.counters.commands += 1;
        self.wake_at(self.now.after(self.config.command_timeout));
        self.out.push_back(Output::Send { session, run: id, command, not_after });
    }
}
