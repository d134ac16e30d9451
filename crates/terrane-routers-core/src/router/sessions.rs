//! Sessions: reserved in the store, opened, used, closed, and given back when they have certainly ended.

use std::time::Duration;

use super::RouterCore;
use crate::budget::{Budget, Scope};
use crate::events::{OpenError, Order, Output, ReserveError};
use crate::logins::Login;
use crate::question::{AskError, Unreachable};
use crate::{RunId, SessionId, Time};

/// A slot was not to be had, or a login failed: not again before.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) stage: Stage,
    pub(super) since: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The store is asked.
    Reserving,
    /// Logging in.
    Opening,
    /// Logging in, and not wanted any more.
    Unwanted,
    /// Free.
    Idle,
    /// A plan has it.
    Busy(RunId),
    /// Being closed.
    Closing,
    /// Gone for us, perhaps not for the router.
    Lost,
}

impl RouterCore {
    pub(super) fn set_stage(&mut self, id: SessionId, stage: Stage) {
        if let Some(session) = self.sessions.get_mut(&id) {
            *session = Session { stage, since: self.now };
        }
    }

    /// A plan has no use for its session any more.
    pub(super) fn set_idle(&mut self, id: SessionId) {
        let is_busy = self.sessions.get(&id).is_some_and(|s| matches!(s.stage, Stage::Busy(_)));
        if is_busy {
            self.set_stage(id, Stage::Idle);
        }
    }

    /// The one used last, so that those that are not needed are closed in the end.
    pub(super) fn idle_session(&self) -> Option<SessionId> {
        let idle = self.sessions.iter().filter(|(_, session)| session.stage == Stage::Idle);
        idle.max_by_key(|(_, session)| session.since).map(|(id, _)| *id)
    }

    /// Whether one is open.
    pub(super) fn has_session(&self) -> bool {
        self.sessions.values().any(|session| matches!(session.stage, Stage::Idle | Stage::Busy(_)))
    }

    /// Asks for another session, one at a time, where there may be one and logins are not too frequent.
    pub(super) fn want_session(&mut self, budget: &mut Budget) {
        let is_opening = |s: &Session| matches!(s.stage, Stage::Reserving | Stage::Opening | Stage::Unwanted);
        let is_full = self.sessions.len() >= self.config.sessions_own();
        if is_full || self.sessions.values().any(is_opening) || self.suspended_until > self.now {
            let until = self.suspended_until.max(self.now);
            if until > self.now {
                self.wake_at(until);
            }
            return;
        }
        let (now, scopes) = (self.now, [Scope::Logins, Scope::RealmLogins(self.identity.realm)]);
        let mut ready = self.logins.ready_at(now, 1).max(self.reserve_after);
        if ready <= now {
            ready = budget.ready_at(now, self.identity.router, &scopes, 1);
        }
        if ready > now {
            return self.wake_at(ready);
        }
        self.logins.take(now, 1);
        budget.take(now, &scopes, 1);
        let session = SessionId(self.sessions_made);
        self.sessions_made += 1;
        self.sessions.insert(session, Session { stage: Stage::Reserving, since: now });
        self.out.push_back(Output::Reserve { session });
    }

    pub(super) fn reserved(&mut self, id: SessionId, result: Result<(), ReserveError>) {
        if !self.sessions.get(&id).is_some_and(|session| session.stage == Stage::Reserving) {
            return;
        }
        if let Err(error) = result {
            self.sessions.remove(&id);
            return self.not_reserved(error);
        }
        if self.order != Order::Serve || !self.may_write() {
            self.out.push_back(Output::LoggedIn { session: id, login: Login::Untried });
            return self.release(id);
        }
        self.counters.logins += 1;
        self.set_stage(id, Stage::Opening);
        self.out.push_back(Output::Open { session: id, not_after: self.not_after() });
    }

    fn not_reserved(&mut self, error: ReserveError) {
        self.reserve_after = self.now.after(RETRY);
        match error {
            ReserveError::Later => {}
            ReserveError::NoSlot => {
                self.counters.no_slot += 1;
                if !self.has_session() {
                    self.fail_waiting(&AskError::RouterBusy { retry_after: RETRY });
                }
            }
            ReserveError::Suspended => self.suspend(),
        }
    }

    fn suspend(&mut self) {
        self.counters.suspended += 1;
        if !self.config.bugs.retry_refused {
            self.suspended_until = self.now.after(self.config.suspended_pause);
        }
        if !self.has_session() {
            let why = Unreachable::CredentialSuspended;
            self.fail_waiting(&AskError::RouterUnreachable { why, retry_after: self.config.suspended_pause });
        }
    }

    pub(super) fn opened(&mut self, id: SessionId, result: Result<(), OpenError>) {
        let Some(stage) = self.sessions.get(&id).map(|session| session.stage) else { return };
        if !matches!(stage, Stage::Opening | Stage::Unwanted) {
            return;
        }
        let login = match result {
            Ok(()) => Login::Taken,
            Err(OpenError::NotTried) => Login::Untried,
            Err(OpenError::Failed { login, .. }) => login,
        };
        self.out.push_back(Output::LoggedIn { session: id, login });
        match result {
            Ok(()) if stage == Stage::Unwanted || !self.may_write() => self.close(id),
            Ok(()) => self.set_stage(id, Stage::Idle),
            Err(OpenError::NotTried) => self.release(id),
            Err(OpenError::Failed { why, login, is_certain }) => {
                self.ended(id, is_certain);
                self.reserve_after = self.now.after(RETRY);
                match login {
                    Login::Refused => self.suspend(),
                    Login::Untried | Login::Taken | Login::Unknown => self.has_failed(why),
                }
            }
        }
    }

    /// A login or a command has failed through the router's fault.
    pub(super) fn has_failed(&mut self, why: Unreachable) {
        self.breaker.fail(self.now, &self.config);
        if let Some(until) = self.breaker.open_until(self.now) {
            self.counters.tripped += 1;
            self.fail_waiting(&AskError::RouterUnreachable { why, retry_after: until.since(self.now) });
        }
    }

    pub(super) fn closed(&mut self, id: SessionId, is_certain: bool) {
        let Some(stage) = self.sessions.get(&id).map(|session| session.stage) else { return };
        self.ended(id, is_certain);
        if let Stage::Busy(run) = stage {
            self.interrupted(run);
        }
    }

    /// A session has ended for us.
    fn ended(&mut self, id: SessionId, is_certain: bool) {
        if is_certain || self.config.bugs.release_uncertain {
            self.release(id);
        } else {
            self.set_stage(id, Stage::Lost);
        }
    }

    pub(super) fn release(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.out.push_back(Output::Release { session: id });
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.set_stage(id, Stage::Closing);
        self.out.push_back(Output::Close { session: id });
    }

    /// Closes all sessions, also those that are being opened.
    pub(super) fn close_all(&mut self) {
        let all: Vec<_> = self.sessions.iter().map(|(id, session)| (*id, session.stage)).collect();
        for (id, stage) in all {
            match stage {
                Stage::Idle | Stage::Busy(_) => self.close(id),
                Stage::Opening => {
                    self.set_stage(id, Stage::Unwanted);
                    self.out.push_back(Output::Close { session: id });
                }
                Stage::Reserving | Stage::Unwanted | Stage::Closing | Stage::Lost => {}
            }
        }
    }
}
