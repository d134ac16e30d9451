//! The state of a run, and what each event does to it.

use super::event::Ended;
use super::{Attempt, Event, LOST_MAX, Status};
use crate::template::Plan;

/// Which way a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Steps are carried out.
    Forward,
    /// Steps are undone.
    Backward,
    /// All steps are done.
    Completed,
    /// All steps are undone.
    RolledBack,
}

/// Where one direction of one step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LegAt {
    /// Not running; may start.
    Idle,
    /// An attempt runs.
    Running,
    /// An attempt failed; the next may start then.
    Waiting {
        /// On the driver's clock.
        until_ms: u64,
    },
    /// It has succeeded.
    Done,
    /// It will not be tried again.
    Failed {
        /// The action said for sure that it did not and will not happen; otherwise that is unknown.
        settled: bool,
    },
}

/// One direction of one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leg {
    /// Where it is.
    pub at: LegAt,
    /// Attempts that were started.
    pub attempts: u32,
    /// Attempts that failed and count against [`Retry::failures_max`](crate::Retry).
    pub failures: u32,
    /// Attempts that were lost in crashes.
    pub lost: u32,
    /// What the last failure said.
    pub error: String,
}

impl Default for Leg {
    fn default() -> Self {
        Self { at: LegAt::Idle, attempts: 0, failures: 0, lost: 0, error: String::new() }
    }
}

impl Leg {
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        match self.at {
            LegAt::Idle => true,
            LegAt::Waiting { until_ms } => until_ms <= now_ms,
            LegAt::Running | LegAt::Done | LegAt::Failed { .. } => false,
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepState {
    /// Carrying it out.
    pub forward: Leg,
    /// Taking it back.
    pub undo: Leg,
    /// What its action returned.
    pub output: String,
}

/// The state of a run: the fold of its events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    phase: Phase,
    paused: bool,
    stuck: Option<(usize, bool)>,
    cause: Option<String>,
    steps: Vec<StepState>,
}

impl State {
    /// A run of which nothing has happened yet.
    pub fn new(plan: &Plan) -> Self {
        let steps = vec![StepState::default(); plan.steps().len()];
        Self { phase: Phase::Forward, paused: false, stuck: None, cause: None, steps }
    }

    /// Which way it goes.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether somebody has paused it.
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// The step (and whether it is its undo) that needs somebody to look at it.
    pub fn stuck(&self) -> Option<(usize, bool)> {
        self.stuck
    }

    /// Why it goes back.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// One step.
    ///
    /// # Panics
    /// If the plan has no step of this number.
    pub fn step(&self, step: usize) -> &StepState {
        &self.steps[step]
    }

    /// One direction of one step.
    ///
    /// # Panics
    /// If the plan has no step of this number.
    pub fn leg(&self, step: usize, undo: bool) -> &Leg {
        if undo { &self.steps[step].undo } else { &self.steps[step].forward }
    }

    /// The attempts that run.
    pub fn running(&self) -> Vec<Attempt> {
        let legs = self.legs().filter(|(_, _, leg)| leg.at == LegAt::Running);
        legs.map(|(step, undo, leg)| Attempt { step, undo, number: leg.attempts }).collect()
    }

    /// Where it is, in one word.
    pub fn status(&self) -> Status {
        match self.phase {
            Phase::Completed => Status::Completed,
            Phase::RolledBack => Status::RolledBack,
            _ if self.stuck.is_some() => Status::Stuck,
            _ if self.paused && self.running().is_empty() => Status::Paused,
            _ if self.paused => Status::Pausing,
            Phase::Forward => Status::Running,
            Phase::Backward => Status::Undoing,
        }
    }

    /// Whether nothing will happen until somebody asks for it.
    pub fn rests(&self) -> bool {
        self.running().is_empty() && !matches!(self.status(), Status::Running | Status::Undoing)
    }

    pub(super) fn wake_at_ms(&self) -> Option<u64> {
        if self.paused || self.stuck.is_some() {
            return None;
        }
        let waits = self.legs().filter_map(|(_, undo, leg)| match leg.at {
            LegAt::Waiting { until_ms } if undo == (self.phase == Phase::Backward) => Some(until_ms),
            _ => None,
        });
        waits.min()
    }

    pub(super) fn all_done(&self) -> bool {
        self.steps.iter().all(|step| step.forward.at == LegAt::Done)
    }

    /// A leg of this phase that has failed for good, with what it said.
    pub(super) fn failed(&self) -> Option<(usize, bool, String)> {
        let undo = match self.phase {
            Phase::Forward => false,
            Phase::Backward => true,
            Phase::Completed | Phase::RolledBack => return None,
        };
        let mut legs = self.legs().filter(|(_, direction, _)| *direction == undo);
        let found = legs.find(|(_, _, leg)| matches!(leg.at, LegAt::Failed { .. }));
        found.map(|(step, undo, leg)| (step, undo, leg.error.clone()))
    }

    fn legs(&self) -> impl Iterator<Item = (usize, bool, &Leg)> {
        let both = |(number, step)| {
            let step: &StepState = step;
            [(number, false, &step.forward), (number, true, &step.undo)]
        };
        self.steps.iter().enumerate().flat_map(both)
    }

    fn leg_mut(&mut self, step: usize, undo: bool) -> Option<&mut Leg> {
        let step = self.steps.get_mut(step)?;
        Some(if undo { &mut step.undo } else { &mut step.forward })
    }

    /// Takes an event in. An event that names a step that the plan does not have changes nothing.
    pub fn apply(&mut self, plan: &Plan, now_ms: u64, event: &Event) {
        match event {
            Event::Started { step, undo } => {
                if let Some(leg) = self.leg_mut(*step, *undo) {
                    leg.at = LegAt::Running;
                    leg.attempts = leg.attempts.saturating_add(1);
                }
            }
            Event::Ended { step, undo, how } => self.apply_end(plan, now_ms, *step, *undo, how),
            Event::Lost { step, undo } => {
                if let Some(leg) = self.leg_mut(*step, *undo) {
                    leg.lost = leg.lost.saturating_add(1);
                    leg.at = LegAt::Idle;
                    if leg.lost > LOST_MAX {
                        leg.at = LegAt::Failed { settled: false };
                        leg.error = format!("lost in {LOST_MAX} crashes");
                    }
                }
            }
            Event::Paused => self.paused = true,
            Event::Resumed => self.paused = false,
            Event::RollingBack { cause } => {
                self.phase = Phase::Backward;
                self.paused = false;
                self.cause = Some(cause.clone());
            }
            Event::Stuck { step, undo } => self.stuck = Some((*step, *undo)),
            Event::Retried => self.forgive(),
            Event::Completed => self.phase = Phase::Completed,
            Event::RolledBack => self.phase = Phase::RolledBack,
        }
    }

    fn apply_end(&mut self, plan: &Plan, now_ms: u64, step: usize, undo: bool, how: &Ended) {
        let Some(retry) = plan.steps().get(step).map(|step| step.retry) else { return };
        if let (Ended::Done(output), false, Some(state)) = (how, undo, self.steps.get_mut(step)) {
            state.output.clone_from(output);
        }
        let Some(leg) = self.leg_mut(step, undo) else { return };
        match how {
            Ended::Done(_) => leg.at = LegAt::Done,
            Ended::Interrupted => leg.at = LegAt::Idle,
            Ended::Refused(error) => {
                leg.at = LegAt::Failed { settled: true };
                leg.error.clone_from(error);
            }
            Ended::Failed(error) => {
                leg.failures = leg.failures.saturating_add(1);
                leg.error.clone_from(error);
                leg.at = if leg.failures > retry.failures_max {
                    LegAt::Failed { settled: false }
                } else {
                    LegAt::Waiting { until_ms: now_ms.saturating_add(retry.pause_ms(leg.failures)) }
                };
            }
        }
    }

    /// Failures of the way that the run goes. What failed forward stays failed in a run that goes back: that
    /// the pivot did not happen is why it may.
    fn forgive(&mut self) {
        self.stuck = None;
        let back = self.phase == Phase::Backward;
        for step in &mut self.steps {
            let leg = if back { &mut step.undo } else { &mut step.forward };
            leg.failures = 0;
            leg.lost = 0;
            if matches!(leg.at, LegAt::Failed { .. } | LegAt::Waiting { .. }) {
                leg.at = LegAt::Idle;
            }
        }
    }
}
