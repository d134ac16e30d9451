//! What happens because time has passed.

use super::RouterCore;
use super::runs::Phase;
use super::sessions::Stage;
use crate::events::{Order, Output};
use crate::question::{AskError, Unreachable};
use crate::{RunId, SessionId, Time};

/// Clients that are remembered without need before they are looked through.
const CLIENTS_SWEPT: usize = 256;

impl RouterCore {
    /// Ends what has lasted too long, and finds out what will next.
    pub(super) fn pass_time(&mut self) {
        self.expire();
        self.time_out_commands();
        let sessions: Vec<(SessionId, Stage, Time)> =
            self.sessions.iter().map(|(id, session)| (*id, session.stage, session.since)).collect();
        for (id, stage, since) in sessions {
            self.time_out_session(id, stage, since);
        }
        if self.reap_at.is_some_and(|at| at <= self.now) && self.may_write() {
            self.reap_at = Some(self.now.after(self.config.device_idle));
            self.out.push_back(Output::Reap);
        }
        self.wake_at(self.reap_at.unwrap_or(Time::NEVER));
        self.cache.expire(self.now, self.config.cache_age_max);
        if self.clients.len() > CLIENTS_SWEPT + self.open.len() {
            let now = self.now;
            self.clients.retain(|_, client| client.waiters > 0 || !client.bucket.is_full(now));
        }
    }

    fn time_out_commands(&mut self) {
        let limit = self.config.command_timeout;
        let mut late: Vec<(RunId, SessionId)> = Vec::new();
        let mut next = Time::NEVER;
        for (id, run) in &self.runs {
            if let Phase::Sent { session, at, .. } = &run.phase {
                let ends = at.after(limit);
                if ends <= self.now {
                    late.push((*id, *session));
                } else {
                    next = next.min(ends);
                }
            }
        }
        self.wake_at(next);
        for (run, session) in late {
            self.counters.command_timeouts += 1;
            self.close(session);
            let why = Unreachable::Down;
            self.fail(run, &AskError::RouterUnreachable { why, retry_after: self.config.breaker_pause });
            self.pace.fail();
            self.has_failed(why);
        }
    }

    fn time_out_session(&mut self, id: SessionId, stage: Stage, since: Time) {
        let limit = match stage {
            Stage::Reserving | Stage::Unwanted | Stage::Busy(_) | Stage::Closing => return,
            Stage::Opening => self.config.open_timeout,
            Stage::Idle if self.order == Order::Serve => self.config.session_idle,
            Stage::Idle => std::time::Duration::ZERO,
            Stage::Lost => self.config.device_idle,
        };
        let ends = since.after(limit);
        if ends > self.now {
            return self.wake_at(ends);
        }
        match stage {
            Stage::Lost => self.release(id),
            Stage::Opening => {
                self.set_stage(id, Stage::Unwanted);
                self.out.push_back(Output::Close { session: id });
            }
            _ => self.close(id),
        }
    }
}
