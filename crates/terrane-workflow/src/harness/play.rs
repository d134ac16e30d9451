//! One run in a scenario: the machine, a log of bytes, and an engine that is one function.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use terrane_store::lease::Epoch;
use terrane_types::RandomId;

use super::{Fault, Kind, Scenario, What};
use crate::RunId;
use crate::action::{Call, Outcome, Registry, Reins, StepError, arguments, outputs};
use crate::machine::{Attempt, Command, Effects, EventRecord, Input, State, Status};
use crate::template::Plan;

/// Turns of one run; more means that it goes round.
const TURNS_MAX: u32 = 100_000;

/// How a run went.
pub(super) struct Played {
    pub(super) end: Status,
    pub(super) events: usize,
    /// Steps whose undo was begun.
    pub(super) undone: BTreeSet<usize>,
    pub(super) stuck: bool,
    /// Faults that took place.
    pub(super) faults: Vec<&'static str>,
}

pub(super) struct Player<'a> {
    plan: &'a Plan,
    params: &'a BTreeMap<String, String>,
    actions: Registry,
    newest_first: bool,
    /// Faults that have yet to take place.
    faults: Vec<Fault>,
    took_place: Vec<&'static str>,
    log: Vec<Vec<u8>>,
    state: State,
    epoch: u64,
    now_ms: u64,
    wake_at_ms: Option<u64>,
    running: VecDeque<Attempt>,
    interrupted: BTreeSet<Attempt>,
    undone: BTreeSet<usize>,
    stuck: bool,
    late: Vec<(Call, Attempt)>,
}

/// What comes of one attempt.
enum After {
    Answer(Outcome),
    Crash,
}

impl<'a> Player<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        params: &'a BTreeMap<String, String>,
        actions: Registry,
        scenario: &Scenario,
    ) -> Self {
        Self {
            plan,
            params,
            actions,
            newest_first: scenario.newest_first,
            faults: scenario.faults.clone(),
            took_place: Vec::new(),
            log: Vec::new(),
            state: State::new(plan),
            epoch: 1,
            now_ms: 0,
            wake_at_ms: None,
            running: VecDeque::new(),
            interrupted: BTreeSet::new(),
            undone: BTreeSet::new(),
            stuck: false,
            late: Vec::new(),
        }
    }

    pub(super) async fn play(&mut self) -> Result<Played, String> {
        self.turn(Input::Recovered)?;
        for _ in 0..TURNS_MAX {
            let next = if self.newest_first { self.running.pop_back() } else { self.running.pop_front() };
            match (next, self.state.status()) {
                (Some(attempt), _) => match self.attempt(attempt).await? {
                    After::Answer(outcome) => self.turn(Input::Ended(attempt, outcome))?,
                    After::Crash => self.crash()?,
                },
                (None, Status::Completed | Status::RolledBack) => return Ok(self.played()),
                (None, Status::Paused) => self.turn(Input::Command(Command::Resume))?,
                (None, Status::Stuck) => {
                    self.stuck = true;
                    self.faults.retain(|fault| matches!(fault, Fault::After { .. }));
                    self.turn(Input::Command(Command::Retry))?;
                }
                (None, _) => {
                    let wake = self.wake_at_ms.ok_or("the run waits for nothing")?;
                    self.now_ms = self.now_ms.max(wake);
                    self.turn(Input::Tick)?;
                }
            }
        }
        Err(format!("no end after {TURNS_MAX} turns, {}", self.state.status()))
    }

    fn played(&self) -> Played {
        Played {
            end: self.state.status(),
            events: self.log.len(),
            undone: self.undone.clone(),
            stuck: self.stuck,
            faults: self.took_place.clone(),
        }
    }

    /// One input, and what is to happen when the log has become as long as it has.
    fn turn(&mut self, input: Input) -> Result<(), String> {
        let before = self.log.len();
        let effects = self.state.handle(self.plan, self.now_ms, input);
        self.append(&effects);
        let reached = before..=self.log.len();
        let is_now = |fault: &Fault| matches!(fault, Fault::After { events, .. } if reached.contains(events));
        let Some(at) = self.faults.iter().position(is_now) else {
            self.carry_out(effects);
            return Ok(());
        };
        let Fault::After { what, .. } = self.faults.swap_remove(at) else { return Ok(()) };
        self.took_place.push(what.name());
        match what {
            What::Crash => self.crash(),
            What::Pause | What::Cancel => {
                self.carry_out(effects);
                let command = if what == What::Pause { Command::Pause } else { Command::Cancel };
                self.turn(Input::Command(command))
            }
        }
    }

    fn append(&mut self, effects: &Effects) {
        for event in &effects.events {
            let record = EventRecord { at_unix_ms: self.now_ms, epoch: self.epoch, event: event.clone() };
            self.log.push(postcard::to_allocvec(&record).expect("an event encodes"));
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        self.undone.extend(effects.start.iter().filter(|attempt| attempt.undo).map(|attempt| attempt.step));
        self.running.extend(effects.start);
        self.interrupted.extend(effects.interrupt);
        self.wake_at_ms = effects.wake_at_ms;
    }

    /// Everything but the log's bytes is forgotten, and another engine begins.
    fn crash(&mut self) -> Result<(), String> {
        self.running.clear();
        self.interrupted.clear();
        self.epoch += 1;
        let mut state = State::new(self.plan);
        for bytes in &self.log {
            let record: EventRecord = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
            state.apply(self.plan, self.now_ms, &record.event);
        }
        if state.status() != self.state.status() {
            return Err(format!("the log says {}, memory said {}", state.status(), self.state.status()));
        }
        self.state = state;
        self.turn(Input::Recovered)
    }

    fn call(&self, attempt: Attempt) -> Call {
        let (reins, progress, interrupt) = Reins::new();
        if self.interrupted.contains(&attempt) {
            reins.interrupt();
        }
        Call {
            run: RunId::parse("run-0").expect("a legal name"),
            step: self.plan.steps()[attempt.step].id.clone(),
            attempt: attempt.number,
            epoch: Epoch { incarnation: RandomId(1), number: self.epoch },
            args: arguments(self.plan, attempt.step, self.params),
            outputs: outputs(self.plan, attempt.step, &self.state),
            progress,
            interrupt,
        }
    }

    /// Takes the fault that is meant for this attempt, if there is one.
    fn fault(&mut self, attempt: Attempt) -> Option<Kind> {
        let is_this = |fault: &Fault| matches!(fault, Fault::Attempt { step, undo, .. } if (*step, *undo) == (attempt.step, attempt.undo));
        let at = self.faults.iter().position(is_this)?;
        let Fault::Attempt { kind, .. } = self.faults[at] else { return None };
        if kind != Kind::Exhaust {
            self.faults.swap_remove(at);
        }
        if !matches!(kind, Kind::Cut(_)) {
            self.took_place.push(kind.name());
        }
        Some(kind)
    }

    async fn attempt(&mut self, attempt: Attempt) -> Result<After, String> {
        let call = self.call(attempt);
        let kind = self.fault(attempt);
        let injected = || "injected".to_owned();
        match kind {
            Some(Kind::FailBefore | Kind::Exhaust) => {
                return Ok(After::Answer(Err(StepError::Failed(injected()))));
            }
            Some(Kind::RefuseBefore) => return Ok(After::Answer(Err(StepError::Refused(injected())))),
            Some(Kind::CrashBefore) => return Ok(After::Crash),
            Some(Kind::Late) => {
                self.late.push((call, attempt));
                return Ok(After::Crash);
            }
            Some(Kind::Cut(at)) => {
                let Some(outcome) = cut(self.work(&call, attempt), at).await else {
                    self.took_place.push("cut");
                    return Ok(After::Crash);
                };
                return Ok(After::Answer(outcome));
            }
            Some(Kind::Twice) => _ = self.work(&call, attempt).await,
            _ => {}
        }
        let outcome = self.work(&call, attempt).await;
        Ok(match kind {
            Some(Kind::FailAfter) => After::Answer(Err(StepError::Failed(injected()))),
            Some(Kind::RefuseAfter) => After::Answer(Err(StepError::Refused(injected()))),
            Some(Kind::CrashAfter) => After::Crash,
            _ => After::Answer(outcome),
        })
    }

    async fn work(&self, call: &Call, attempt: Attempt) -> Outcome {
        let name = &self.plan.steps()[attempt.step].action;
        let missing = || StepError::Refused(format!("the world has no action {name:?}"));
        let action = self.actions.get(name).ok_or_else(missing)?;
        if attempt.undo { action.undo(call).await.map(|()| String::new()) } else { action.run(call).await }
    }

    /// Carries out what a dead engine still had to send; tells whether there was anything.
    pub(super) async fn send_late(&mut self) -> bool {
        let late = std::mem::take(&mut self.late);
        for (call, attempt) in &late {
            // Nobody waits for the answer.
            let _ = self.work(call, *attempt).await;
        }
        !late.is_empty()
    }
}

/// Drives a future up to its n-th suspension (from 1) and drops it there.
async fn cut<T>(work: impl Future<Output = T>, at: u32) -> Option<T> {
    let mut work = pin!(work);
    let mut suspensions = 0;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => {
            suspensions += 1;
            if suspensions == at { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}
