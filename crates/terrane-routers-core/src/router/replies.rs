//! What routers say, and what is made of it.

use std::sync::Arc;

use bytes::Bytes;

use super::RouterCore;
use super::runs::{Phase, Shared};
use crate::events::{Output, ReplyError, Translation};
use crate::question::{AskError, Reply, Unreachable};
use crate::{RunId, SessionId};

impl RouterCore {
    pub(super) fn replied(&mut self, session: SessionId, id: RunId, result: Result<Bytes, ReplyError>) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Phase::Sent { session: asked, command, at } = &run.phase else { return };
        if *asked != session {
            return;
        }
        match result {
            Ok(bytes) => {
                let took = now.since(*at);
                run.replies.push(Reply { command: Arc::clone(command), bytes });
                run.phase = Phase::Translating { session };
                let replies = run.replies.as_slice().into();
                let key = Box::new(run.key.clone());
                self.out.push_back(Output::Translate { run: id, key, replies });
                self.pace.observe(run.cost, took);
                self.breaker.succeed(&self.config);
            }
            Err(ReplyError::TooLong) => {
                let what = "more output than may be".to_owned();
                self.fail(id, &AskError::TranslationFailed { what });
                self.close(session);
            }
            // The lease was over. If it comes back, somebody else may have been here: begin again.
            Err(ReplyError::NotSent) => {
                self.set_idle(session);
                self.begin_again(id);
            }
        }
    }

    pub(super) fn translated(&mut self, id: RunId, next: Translation) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Phase::Translating { session } = run.phase else { return };
        let steps = u32::try_from(run.replies.len()).unwrap_or(u32::MAX);
        match next {
            Translation::Done { rows, bytes, is_complete } => self.deliver(id, rows, bytes, is_complete),
            Translation::Failed(error) => self.fail(id, &error),
            Translation::Send(_) if run.waiters.is_empty() => {
                self.counters.abandoned += 1;
                self.take_run(id);
            }
            Translation::Send(_) if steps >= self.config.steps_max => {
                let what = "more commands than a plan may have".to_owned();
                self.fail(id, &AskError::TranslationFailed { what });
            }
            Translation::Send(command) => run.phase = Phase::Ready { session, command },
        }
    }

    /// A session ended under an execution. If it had just begun the session may have been over before, and it is
    /// begun again, once.
    pub(super) fn interrupted(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let may_retry = !run.is_retry && run.replies.is_empty() && !run.key.kind.is_action();
        self.pace.fail();
        if may_retry {
            self.begin_again(id);
        } else {
            let why = Unreachable::Down;
            let retry_after = self.config.breaker_pause;
            self.fail(id, &AskError::RouterUnreachable { why, retry_after });
        }
        self.has_failed(Unreachable::Down);
    }

    /// Puts an execution back to the head of its lines.
    fn begin_again(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.waiters.is_empty() {
            self.take_run(id);
            return;
        }
        self.counters.retried += 1;
        run.phase = Phase::Waiting;
        (run.first_sent, run.is_retry) = (None, true);
        run.replies.clear();
        self.waiting += 1;
        for line in run.lines.keys() {
            self.queue.push_front(run.since, *line, id);
        }
        if run.key.kind.is_action() {
            return;
        }
        let Shared { waiting, running } = self.by_key.entry(run.key.clone()).or_default();
        *running = running.filter(|other| *other != id);
        // If another waits already that one is joined by who comes; this one is for those who were here before.
        waiting.get_or_insert(id);
    }
}
