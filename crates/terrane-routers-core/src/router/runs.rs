//! Executions of plans, and who waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use terrane_router_model::Filter;

use crate::bugs::Bugs;
use crate::question::{Class, CommandKey, Cost, Grant, Reply, Request};
use crate::queue::LineKey;
use crate::{ClientId, RequestId, RunId, SessionId, Time};

/// An execution. It dies with the last who waits for it, except for a command that is on its way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) key: CommandKey,
    pub(super) cost: Cost,
    pub(super) waiters: BTreeMap<RequestId, Waiter>,
    /// Lines of the waiters, with how many of them are in each; the run stands in these lines while it waits.
    pub(super) lines: BTreeMap<LineKey, usize>,
    /// Whose turn it was: further commands are on that client's account.
    pub(super) payer: Option<ClientId>,
    pub(super) phase: Phase,
    pub(super) replies: Vec<Reply>,
    pub(super) since: Time,
    /// No later than the router was asked first.
    pub(super) first_sent: Option<Time>,
    /// Its session ended under it once.
    pub(super) is_retry: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// In lines.
    Waiting,
    /// The next command waits for tokens.
    Ready { session: SessionId, command: Arc<str> },
    /// A command is on its way.
    Sent { session: SessionId, command: Arc<str>, at: Time },
    /// Replies are being read.
    Translating { session: SessionId },
}

/// A request that is open.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) id: RequestId,
    pub(super) client: ClientId,
    pub(super) class: Class,
    pub(super) grant: Grant,
    pub(super) filter: Filter,
    pub(super) deadline: Time,
    /// What was observed before is too old.
    pub(super) not_before: Time,
    /// What was observed before is not the client's to see, at whatever age.
    pub(super) owned_since: Time,
    pub(super) allow_stale: Option<Duration>,
    /// The run was begun for somebody else.
    pub(super) has_joined: bool,
}

/// Executions of one key.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The one that has not begun.
    pub(super) waiting: Option<RunId>,
    /// The one that has begun last.
    pub(super) running: Option<RunId>,
}

impl Run {
    pub(super) fn new(request: &Request, now: Time) -> Self {
        Self {
            key: request.key.clone(),
            cost: request.cost,
            waiters: BTreeMap::new(),
            lines: BTreeMap::new(),
            payer: None,
            phase: Phase::Waiting,
            replies: Vec::new(),
            since: now,
            first_sent: None,
            is_retry: false,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    pub(super) fn add(&mut self, waiter: Waiter) {
        *self.lines.entry(waiter.line()).or_default() += 1;
        self.waiters.insert(waiter.id, waiter);
    }

    /// Takes a waiter out; also says whether its line is without one now.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<(Waiter, bool)> {
        let waiter = self.waiters.remove(&id)?;
        let count = self.lines.get_mut(&waiter.line())?;
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.lines.remove(&waiter.line());
        }
        Some((waiter, is_last))
    }
}

impl Waiter {
    pub(super) fn new(request: &Request, now: Time, bugs: Bugs) -> Self {
        let owned_since = match request.grant {
            Grant::All => Time::default(),
            Grant::Own(_) if bugs.show_before_owned => Time::default(),
            Grant::Own(_) => now.before(request.owned_for),
        };
        Self {
            id: request.id,
            client: request.client,
            class: request.class,
            grant: request.grant.clone(),
            filter: request.filter.clone(),
            deadline: now.after(request.deadline),
            not_before: owned_since.max(now.before(request.max_age)),
            owned_since,
            allow_stale: request.allow_stale,
            has_joined: false,
        }
    }

    pub(super) fn line(&self) -> LineKey {
        LineKey { class: self.class, client: self.client }
    }
}
