//! What happens next in a run: a state machine without I/O, threads, clocks or randomness.
//!
//! ```text
//! state' , effects = handle(plan, state, now, input)
//! ```
//! A run's state is the fold of its [`Event`]s. [`State::handle`] yields events, which the driver must make
//! durable *before* it carries out the other effects: an attempt that may have had an effect is always in
//! the log. After a crash the driver folds the log again and hands in [`Input::Recovered`].
//!
//! Time is a number of milliseconds on any monotonic clock; pauses begin anew with a new clock.

mod event;
mod state;

pub use event::{ERROR_BYTES_MAX, Event, EventRecord, OUTPUT_BYTES_MAX, fuzz_decode};
pub use state::{Leg, LegAt, Phase, State, StepState};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::Outcome;
use crate::template::{Plan, Undo};

/// How often an attempt may be lost in crashes before its step counts as failed: a step that takes its
/// engine down each time must not do so for ever.
pub const LOST_MAX: u32 = 100;

/// What somebody wants of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// Start nothing new, interrupt what runs.
    Pause,
    /// Go on after [`Command::Pause`].
    Resume,
    /// Undo everything. Ignored behind the pivot.
    Cancel,
    /// Go on after [`Status::Stuck`], with all failures forgiven.
    Retry,
}

/// What a run is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing in particular: time has passed, or the run is new.
    Tick,
    /// The driver begins with this state, read back from the log: attempts that run are lost.
    Recovered,
    /// An attempt has ended.
    Ended(Attempt, Outcome),
    /// Somebody wants something.
    Command(Command),
}

/// One attempt at a step or its undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// The step's number in its plan.
    pub step: usize,
    /// Whether the step is taken back.
    pub undo: bool,
    /// Counts from 1, per step and direction.
    pub number: u32,
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Make these durable, all or none; if that fails, nothing has happened.
    pub events: Vec<Event>,
    /// Then start these.
    pub start: Vec<Attempt>,
    /// And ask these to return soon.
    pub interrupt: Vec<Attempt>,
    /// Hand in a [`Input::Tick`] at this time.
    pub wake_at_ms: Option<u64>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Going forward.
    Running,
    /// Paused, and attempts have yet to end.
    Pausing,
    /// Paused.
    Paused,
    /// Going back, since a step failed or somebody cancelled.
    Undoing,
    /// Neither forward nor back is possible: somebody must look, then [`Command::Retry`].
    Stuck,
    /// Every step is done.
    Completed,
    /// Every step that was started is undone.
    RolledBack,
}

impl Status {
    /// Whether the run is over.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }

    /// The form for people and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Undoing => "undoing",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// Takes an input and says what to do. The state is changed as the returned events say: a driver that
    /// cannot make them durable must drop the changed state, so it works on a clone.
    pub fn handle(&mut self, plan: &Plan, now_ms: u64, input: Input) -> Effects {
        self.handle_all(plan, now_ms, [input])
    }

    /// As [`State::handle`] with several inputs at once: nothing is started before all of them are known.
    pub fn handle_all(
        &mut self,
        plan: &Plan,
        now_ms: u64,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Effects {
        let mut turn = Turn { plan, now_ms, state: self, effects: Effects::default() };
        for input in inputs {
            turn.take(input);
        }
        turn.settle();
        turn.start();
        turn.effects.wake_at_ms = turn.state.wake_at_ms();
        turn.effects
    }
}

struct Turn<'a> {
    plan: &'a Plan,
    now_ms: u64,
    state: &'a mut State,
    effects: Effects,
}

impl Turn<'_> {
    fn emit(&mut self, event: Event) {
        self.state.apply(self.plan, self.now_ms, &event);
        self.effects.events.push(event);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Recovered => {
                for Attempt { step, undo, .. } in self.state.running() {
                    self.emit(Event::Lost { step, undo });
                }
            }
            Input::Ended(attempt, outcome) => {
                // An answer to an earlier attempt is no answer.
                if self.state.running().contains(&attempt) {
                    let Attempt { step, undo, .. } = attempt;
                    self.emit(Event::ended(step, undo, outcome));
                }
            }
            Input::Command(command) => self.command(command),
        }
    }

    fn command(&mut self, command: Command) {
        let over = self.state.status().is_final();
        let stuck = self.state.stuck().is_some();
        match command {
            Command::Pause if !over && !stuck && !self.state.paused() => {
                self.emit(Event::Paused);
                self.effects.interrupt.extend(self.state.running());
            }
            Command::Resume if self.state.paused() => self.emit(Event::Resumed),
            Command::Cancel if self.state.can_cancel(self.plan) => {
                self.roll_back("cancelled".into());
            }
            Command::Retry if stuck => self.emit(Event::Retried),
            Command::Pause | Command::Resume | Command::Cancel | Command::Retry => {}
        }
    }

    fn roll_back(&mut self, cause: String) {
        self.emit(Event::RollingBack { cause });
        self.effects.interrupt.extend(self.state.running());
    }

    /// Draws the consequences of failures and of having come to an end.
    fn settle(&mut self) {
        if self.state.stuck().is_none() {
            match self.state.failed() {
                Some((step, false, error)) => {
                    let refused = self.state.step(step).forward.at == LegAt::Failed { settled: true };
                    let before_pivot = !self.state.pivot_started(self.plan);
                    if before_pivot || (self.plan.pivot() == Some(step) && refused) {
                        self.roll_back(format!("step {}: {error}", self.plan.steps()[step].id));
                    } else {
                        self.emit(Event::Stuck { step, undo: false });
                    }
                }
                Some((step, true, _)) => self.emit(Event::Stuck { step, undo: true }),
                None => {}
            }
        }
        let ended = match self.state.phase() {
            _ if self.state.stuck().is_some() || !self.state.running().is_empty() => None,
            Phase::Forward => self.state.all_done().then_some(Event::Completed),
            Phase::Backward => self.state.all_undone(self.plan).then_some(Event::RolledBack),
            Phase::Completed | Phase::RolledBack => None,
        };
        if let Some(event) = ended {
            self.emit(event);
        }
    }

    fn start(&mut self) {
        if self.state.paused() || self.state.stuck().is_some() {
            return;
        }
        for step in 0..self.plan.steps().len() {
            let undo = match self.state.phase() {
                Phase::Forward if self.may_go(step) => false,
                Phase::Backward if self.may_undo(step) => true,
                _ => continue,
            };
            self.emit(Event::Started { step, undo });
            let number = self.state.leg(step, undo).attempts;
            self.effects.start.push(Attempt { step, undo, number });
        }
    }

    fn may_go(&self, step: usize) -> bool {
        let done = |earlier: &usize| self.state.step(*earlier).forward.at == LegAt::Done;
        self.state.leg(step, false).is_due(self.now_ms) && self.plan.before(step).iter().all(done)
    }

    /// A step is undone when nothing goes forward any more and all that was built on it is undone.
    fn may_undo(&self, step: usize) -> bool {
        let standing =
            |later: usize| self.plan.comes_before(step, later) && self.state.stands(self.plan, later);
        self.state.stands(self.plan, step)
            && self.state.leg(step, true).is_due(self.now_ms)
            && !self.state.running().iter().any(|attempt| !attempt.undo)
            && !(0..self.plan.steps().len()).any(standing)
    }
}

impl State {
    /// Whether the pivot may have had an effect.
    pub fn pivot_started(&self, plan: &Plan) -> bool {
        plan.pivot().is_some_and(|pivot| {
            let leg = &self.step(pivot).forward;
            leg.attempts > 0 && leg.at != LegAt::Failed { settled: true }
        })
    }

    /// Whether the run can still be undone as a whole.
    pub fn can_cancel(&self, plan: &Plan) -> bool {
        self.phase() == Phase::Forward && self.stuck().is_none() && !self.pivot_started(plan)
    }

    /// Whether a step's effects may be there and have to be undone in a roll-back.
    fn stands(&self, plan: &Plan, step: usize) -> bool {
        let state = self.step(step);
        plan.steps()[step].undo == Undo::Action && state.forward.attempts > 0 && state.undo.at != LegAt::Done
    }

    fn all_undone(&self, plan: &Plan) -> bool {
        !(0..plan.steps().len()).any(|step| self.stands(plan, step))
    }
}

#[cfg(test)]
mod search;
#[cfg(test)]
mod tests;
