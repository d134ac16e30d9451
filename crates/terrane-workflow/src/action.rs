//! Actions: the code behind the steps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use terrane_store::lease::Epoch;
use tokio::sync::watch;

use crate::{Plan, RunId};

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It may work if it is tried again. The effect may have happened or not.
    #[error("{0}")]
    Failed(String),
    /// It cannot work: the run goes back. Nothing has happened that this step's undo does not take back; a
    /// forward-only step says with it that its effect neither happened nor will.
    #[error("{0}")]
    Refused(String),
    /// It stopped because [`Call::interrupted`] said so. It is tried again when the run goes on.
    #[error("interrupted")]
    Interrupted,
}

/// What an attempt returns: an output for later steps.
pub type Outcome = Result<String, StepError>;

/// The code behind a step.
///
/// Both methods may be called any number of times, after attempts that ended anywhere, and must then do what
/// one call does. Their effects elsewhere carry [`Call::epoch`], and whoever receives them refuses an epoch
/// older than the newest that it has seen for [`Call::key`]: an engine may be dead for everybody and
/// still send.
#[async_trait]
pub trait Action: Send + Sync {
    /// Carries the step out.
    async fn run(&self, call: &Call) -> Outcome;

    /// Takes the step back, whether it was carried out wholly, in part, or not at all. Called only for
    /// steps with [`Undo::Action`](crate::Undo::Action).
    async fn undo(&self, call: &Call) -> Result<(), StepError>;
}

/// What an attempt works with.
#[derive(Debug)]
pub struct Call {
    /// The run.
    pub run: RunId,
    /// The step's name.
    pub step: String,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The engine's lease, under which effects are made.
    pub epoch: Epoch,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) interrupt: watch::Receiver<bool>,
}

impl Call {
    /// The name under which the step's effect happens at most once.
    pub fn key(&self) -> String {
        format!("{}/{}", self.run, self.step)
    }

    /// An argument: the step's own, or else the run's parameter.
    ///
    /// # Errors
    /// [`StepError::Refused`] if there is none of this name.
    pub fn arg(&self, name: &str) -> Result<&str, StepError> {
        let missing = || StepError::Refused(format!("argument {name:?} is missing"));
        self.args.get(name).map(String::as_str).ok_or_else(missing)
    }

    /// What an earlier step returned; for an undo also what the step itself returned, if it ended.
    pub fn output(&self, step: &str) -> Option<&str> {
        self.outputs.get(step).map(String::as_str)
    }

    /// Where the attempt says how far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the run wants to pause or go back: a long attempt returns [`StepError::Interrupted`] then.
    pub fn interrupted(&self) -> bool {
        *self.interrupt.borrow()
    }

    /// Waits until [`Call::interrupted`].
    pub async fn interruption(&self) {
        let mut interrupt = self.interrupt.clone();
        if interrupt.wait_for(|asked| *asked).await.is_err() {
            // The engine lets go of its end only together with the attempt.
            std::future::pending::<()>().await;
        }
    }
}

/// How far an attempt is: so many of so many, in whatever unit.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Says how far it is.
    pub fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// `(done, total)`; zeros if nothing was said.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// The actions that an engine has, by name.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<dyn Action>>);

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an action.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, action: impl Action + 'static) -> Self {
        self.0.insert(name.into(), Arc::new(action));
        self
    }

    /// The action of a name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Action>> {
        self.0.get(name).cloned()
    }

    /// The actions that a template needs and that are not here.
    pub fn missing(&self, plan: &Plan) -> Vec<String> {
        let absent = plan.steps().iter().filter(|step| !self.0.contains_key(&step.action));
        absent.map(|step| step.action.clone()).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The arguments of a step: its own, then the run's parameters.
pub(crate) fn arguments(
    plan: &Plan,
    step: usize,
    params: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut args = params.clone();
    args.extend(plan.steps()[step].with.clone());
    args
}

/// The outputs that a step may read: of all steps before it, and its own.
pub(crate) fn outputs(plan: &Plan, step: usize, state: &crate::machine::State) -> BTreeMap<String, String> {
    use crate::machine::LegAt;
    let visible = |other: &usize| {
        (*other == step || plan.comes_before(*other, step)) && state.step(*other).forward.at == LegAt::Done
    };
    let numbers = (0..plan.steps().len()).filter(visible);
    numbers.map(|other| (plan.steps()[other].id.clone(), state.step(other).output.clone())).collect()
}

/// The side of a call that the engine keeps.
pub(crate) struct Reins {
    pub(crate) progress: Arc<Progress>,
    interrupt: watch::Sender<bool>,
}

impl Reins {
    pub(crate) fn new() -> (Self, Arc<Progress>, watch::Receiver<bool>) {
        let progress = Arc::new(Progress::default());
        let (sender, receiver) = watch::channel(false);
        (Self { progress: progress.clone(), interrupt: sender }, progress, receiver)
    }

    pub(crate) fn interrupt(&self) {
        self.interrupt.send_replace(true);
    }
}
