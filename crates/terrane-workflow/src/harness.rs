//! Proves a template: runs it with every failure, crash and repetition at every step, and asks each time
//! whether everything is as it should be.
//!
//! Enumerated, not sampled, in both orders in which parallel steps can take their turns:
//!
//! * at every step, and at every undo in every way of rolling back: a failure before and after the effect, a
//!   refusal, failures until patience ends, the call made twice, a crash before, after and at each
//!   suspension point of the action, and (for actions that check [`Call::epoch`](crate::Call)) a call that is
//!   carried out only after another engine has ended the run;
//! * after every event of the log: a crash, a cancellation, a pause.
//!
//! Every run must end completed or rolled back, whichever the fault calls for, and the [`World`] must be
//! content. A crash forgets all but the log's bytes. A failing scenario is named, and [`Harness::replay`]
//! plays it alone.
//!
//! An action shows its suspension points by awaiting: where a world in memory has none, it can
//! [`tokio::task::yield_now`].

mod play;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use crate::action::Registry;
use crate::machine::Status;
use crate::template::{Plan, Template, TemplateError, Undo};
use play::{Played, Player};

/// Cuts of one action that are tried.
const CUTS_MAX: u32 = 1000;

/// What the actions of a template work on, fresh for each scenario.
#[async_trait]
pub trait World: Send + Sync {
    /// The actions, working on this world.
    fn actions(&self) -> Registry;

    /// Whether everything is as it should be after a run that has ended so ([`Status::Completed`] or
    /// [`Status::RolledBack`]): done wholly or not at all, and nothing leaked.
    ///
    /// # Errors
    /// What is wrong.
    async fn check(&self, end: Status) -> Result<(), String>;
}

/// Something that goes wrong, or that somebody wants, at one place of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The first attempt at a step or its undo.
    Attempt {
        /// The step's number.
        step: usize,
        /// Whether it is taken back.
        undo: bool,
        /// What happens.
        kind: Kind,
    },
    /// As soon as the log has so many events.
    After {
        /// Events in the log.
        events: usize,
        /// What happens.
        what: What,
    },
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It fails without effect; the next succeeds.
    FailBefore,
    /// It has its effect and its answer is lost.
    FailAfter,
    /// It is refused without effect.
    RefuseBefore,
    /// It has its effect and is refused all the same.
    RefuseAfter,
    /// It and all later ones fail without effect until patience ends.
    Exhaust,
    /// It has its effect twice.
    Twice,
    /// The engine ends before it begins.
    CrashBefore,
    /// The engine ends at its n-th suspension point, from 1.
    Cut(u32),
    /// The engine ends before its answer is in the log.
    CrashAfter,
    /// The engine seems dead, another one ends the run, and then the first sends the call.
    Late,
}

/// What happens between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The engine ends.
    Crash,
    /// Somebody cancels the run.
    Cancel,
    /// Somebody pauses the run, and resumes it when it rests.
    Pause,
}

/// One run with its faults.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scenario {
    /// Of parallel attempts the one that was started last goes first.
    pub newest_first: bool,
    /// What happens, each at most once.
    pub faults: Vec<Fault>,
}

/// How a scenario must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Completed,
    RolledBack,
    Either,
}

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Runs.
    pub scenarios: u64,
    /// Of these, completed.
    pub completed: u64,
    /// Of these, rolled back.
    pub rolled_back: u64,
    /// Of these, stuck in between, until somebody retried.
    pub stuck: u64,
    /// Faults that took place, by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

/// A scenario that did not end well.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}\n  in {scenario:?}")]
pub struct HarnessError {
    /// To be replayed.
    pub scenario: Scenario,
    /// What was wrong.
    pub what: String,
}

/// Runs one template with everything that can happen to it.
#[derive(Debug)]
pub struct Harness {
    plan: Plan,
    params: BTreeMap<String, String>,
    late: bool,
}

impl Harness {
    /// For a template and the parameters of its runs.
    ///
    /// # Errors
    /// What is wrong with the template.
    ///
    /// # Panics
    /// If the parameters are not those of the template.
    pub fn new(template: Template, params: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        let plan = Plan::new(template)?;
        let params = plan.params(params).expect("the test gives the template's parameters");
        Ok(Self { plan, params, late: false })
    }

    /// Also tries calls of an engine that others hold for dead: for worlds that check epochs.
    #[must_use]
    pub fn with_late_calls(self) -> Self {
        Self { late: true, ..self }
    }

    /// Tries everything, each time in a fresh world.
    ///
    /// # Errors
    /// The first scenario that did not end well.
    pub async fn run<W: World>(&self, fresh: impl Fn() -> W) -> Result<Report, HarnessError> {
        let mut tries = Tries { harness: self, fresh, report: Report::default() };
        // Where no two steps are ever at work together, there is only one order.
        for newest_first in if self.plan.is_chain() { vec![false] } else { vec![false, true] } {
            tries.forward(newest_first).await?;
        }
        Ok(tries.report)
    }

    /// Plays one scenario in a world and tells how it ended.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn replay<W: World>(&self, scenario: &Scenario, world: &W) -> Result<Status, HarnessError> {
        self.play(scenario, world).await.map(|played| played.end)
    }

    async fn play<W: World>(&self, scenario: &Scenario, world: &W) -> Result<Played, HarnessError> {
        let failed = |what| HarnessError { scenario: scenario.clone(), what };
        let mut player = Player::new(&self.plan, &self.params, world.actions(), scenario);
        let played = player.play().await.map_err(failed)?;
        world.check(played.end).await.map_err(failed)?;
        if player.send_late().await {
            let late = |what| failed(format!("after a late call: {what}"));
            world.check(played.end).await.map_err(late)?;
        }
        Ok(played)
    }

    /// How a fault at a step that goes forward ends.
    fn expect(&self, step: usize, kind: Kind) -> Expect {
        let pivot = self.plan.pivot();
        let before_pivot = pivot.is_none_or(|pivot| self.plan.comes_before(step, pivot));
        match kind {
            Kind::RefuseBefore if before_pivot || pivot == Some(step) => Expect::RolledBack,
            Kind::RefuseAfter | Kind::Exhaust if before_pivot => Expect::RolledBack,
            _ => Expect::Completed,
        }
    }

    fn kinds(&self, step: usize, undo: bool) -> Vec<Kind> {
        use Kind as K;
        let mut kinds = vec![K::FailBefore, K::FailAfter, K::RefuseBefore, K::Exhaust, K::Twice];
        kinds.extend([K::CrashBefore, K::CrashAfter]);
        if undo || self.plan.steps()[step].undo != Undo::ForwardOnly {
            // A forward-only step must not refuse what it has done.
            kinds.push(K::RefuseAfter);
        }
        if self.late {
            kinds.push(K::Late);
        }
        kinds
    }
}

struct Tries<'a, F> {
    harness: &'a Harness,
    fresh: F,
    report: Report,
}

impl<W: World, F: Fn() -> W> Tries<'_, F> {
    /// A run that is to complete, everything that can happen to it, and everything that can happen to each
    /// roll-back that this leads to.
    async fn forward(&mut self, newest_first: bool) -> Result<(), HarnessError> {
        let smooth = Scenario { newest_first, faults: Vec::new() };
        let events = self.attempt(&smooth, Expect::Completed).await?.events;
        for step in 0..self.harness.plan.steps().len() {
            for kind in self.harness.kinds(step, false) {
                let expect = self.harness.expect(step, kind);
                let faulty = smooth.with(Fault::Attempt { step, undo: false, kind });
                let played = self.attempt(&faulty, expect).await?;
                if expect == Expect::RolledBack {
                    self.backward(&faulty, &played).await?;
                }
            }
            self.cuts(&smooth, step, false, Expect::Completed).await?;
        }
        for events in 0..=events {
            for what in [What::Crash, What::Pause, What::Cancel] {
                let faulty = smooth.with(Fault::After { events, what });
                let expect = if what == What::Cancel { Expect::Either } else { Expect::Completed };
                let played = self.attempt(&faulty, expect).await?;
                if played.end == Status::RolledBack {
                    self.backward(&faulty, &played).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything that can happen to a run that is rolled back.
    async fn backward(&mut self, cause: &Scenario, played: &Played) -> Result<(), HarnessError> {
        for step in &played.undone {
            for kind in self.harness.kinds(*step, true) {
                let faulty = cause.with(Fault::Attempt { step: *step, undo: true, kind });
                self.attempt(&faulty, Expect::RolledBack).await?;
            }
            self.cuts(cause, *step, true, Expect::RolledBack).await?;
        }
        for events in 0..=played.events {
            for what in [What::Crash, What::Pause] {
                // Earlier than its cause, a crash or pause may let the run take another course.
                let faulty = cause.with(Fault::After { events, what });
                self.attempt(&faulty, Expect::Either).await?;
            }
        }
        Ok(())
    }

    async fn cuts(
        &mut self,
        scenario: &Scenario,
        step: usize,
        undo: bool,
        expect: Expect,
    ) -> Result<(), HarnessError> {
        for at in 1..=CUTS_MAX {
            let faulty = scenario.with(Fault::Attempt { step, undo, kind: Kind::Cut(at) });
            if !self.attempt(&faulty, expect).await?.faults.contains(&"cut") {
                break;
            }
        }
        Ok(())
    }

    async fn attempt(&mut self, scenario: &Scenario, expect: Expect) -> Result<Played, HarnessError> {
        let played = self.harness.play(scenario, &(self.fresh)()).await?;
        let as_expected = match expect {
            Expect::Completed => played.end == Status::Completed,
            Expect::RolledBack => played.end == Status::RolledBack,
            Expect::Either => true,
        };
        if !as_expected {
            let what = format!("the run ended {} instead of {expect:?}", played.end);
            return Err(HarnessError { scenario: scenario.clone(), what });
        }
        self.report.count(&played);
        Ok(played)
    }
}

impl Scenario {
    fn with(&self, fault: Fault) -> Self {
        let mut more = self.clone();
        more.faults.push(fault);
        more
    }
}

impl Report {
    fn count(&mut self, played: &Played) {
        self.scenarios += 1;
        self.completed += u64::from(played.end == Status::Completed);
        self.rolled_back += u64::from(played.end == Status::RolledBack);
        self.stuck += u64::from(played.stuck);
        for fault in &played.faults {
            *self.faults.entry(fault).or_default() += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenarios, completed, rolled_back, stuck, faults } = self;
        write!(
            f,
            "{scenarios} scenarios: {completed} completed, {rolled_back} rolled back, {stuck} stuck; "
        )?;
        write!(f, "{faults:?}")
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::FailBefore => "fail-before",
            Self::FailAfter => "fail-after",
            Self::RefuseBefore => "refuse-before",
            Self::RefuseAfter => "refuse-after",
            Self::Exhaust => "exhaust",
            Self::Twice => "twice",
            Self::CrashBefore => "crash-before",
            Self::Cut(_) => "cut",
            Self::CrashAfter => "crash-after",
            Self::Late => "late",
        }
    }
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
        }
    }
}
