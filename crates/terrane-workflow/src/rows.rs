//! What the store keeps: templates, runs, and the log of each run.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use terrane_store::tuple::{Pack, TupleError, Unpack};
use terrane_store::{Feed, Index, Record, StoreError, Table, Tx};

use crate::machine::{Command, EventRecord, LegAt, State, Status};
use crate::template::Plan;
use crate::{Template, WorkflowError};

/// The name of a run, chosen by who creates it: creating it twice is creating it once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(Box<str>);

impl RunId {
    /// Checks a name: 1 to 128 of `a-z`, `0-9`, `-`, `.`.
    ///
    /// # Errors
    /// [`WorkflowError::BadRunId`].
    pub fn parse(text: &str) -> Result<Self, WorkflowError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(WorkflowError::BadRunId(text.chars().take(128).collect()))
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RunId {
    type Error = WorkflowError;

    fn try_from(text: String) -> Result<Self, WorkflowError> {
        Self::parse(&text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0.into()
    }
}

impl Pack for RunId {
    fn pack_into(&self, out: &mut Vec<u8>) {
        self.as_str().pack_into(out);
    }
}

impl Unpack for RunId {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        Self::parse(&String::unpack_from(input)?).map_err(|_| TupleError("not the name of a run"))
    }
}

/// What is wanted of a run until further notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// That it goes on.
    Go,
    /// That it rests.
    Pause,
    /// That it is undone.
    Cancel,
}

/// A run as others see it: what was asked for, and where it is. Its truth is its log; this row is written in
/// the transaction of each event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Which engine drives it ([`EngineConfig::shard`](crate::EngineConfig::shard)).
    pub shard: String,
    /// What it is about, such as a volume's identifier; runs are found by it.
    pub subject: String,
    /// The name of its template.
    pub template: String,
    /// The version that is pinned.
    pub version: u32,
    /// Its parameters, defaults included.
    pub params: BTreeMap<String, String>,
    /// When it was created, in milliseconds since 1970: for people.
    pub created_unix_ms: u64,
    /// What is wanted.
    pub wish: Wish,
    /// How often somebody asked to go on from [`Status::Stuck`], and how often that was done.
    pub retries: (u64, u64),
    /// Events in its log.
    pub events: u64,
    /// Where it is.
    pub status: Status,
    /// Whether it can only go forward.
    pub pivot_started: bool,
    /// Why it goes back, or what is stuck.
    pub cause: Option<String>,
    /// Its steps, in the template's order.
    pub steps: Vec<StepView>,
}

/// One step as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name.
    pub id: String,
    /// `waiting`, `running`, `done`, `failed`, `undoing`, `undone`.
    pub state: String,
    /// Attempts at it, forward and back.
    pub attempts: (u32, u32),
    /// `(done, total)` of the running attempt, in the action's unit; zeros if it says nothing.
    pub progress: (u64, u64),
    /// What the last failure said.
    pub error: String,
}

impl Record for RunView {
    const VERSION: u8 = 1;
}

impl RunView {
    /// A run as it is, as part of a transaction.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(tx: &Tx, run: &RunId) -> Result<Option<Self>, StoreError> {
        RUNS.get(tx, run).await
    }

    /// The share of steps that are done (or, going back, undone), in percent.
    pub fn percent(&self) -> u64 {
        let back = matches!(self.status, Status::Undoing | Status::RolledBack);
        let (at_end, on_way) =
            if back { (["undone", "waiting"], "undoing") } else { (["done"; 2], "running") };
        let share = |step: &StepView| match step.progress {
            _ if at_end.contains(&step.state.as_str()) => 100,
            (done, total) if step.state == on_way && total > 0 => done.saturating_mul(100) / total,
            _ => 0,
        };
        let sum: u64 = self.steps.iter().map(|step| share(step).min(100)).sum();
        sum / (self.steps.len() as u64).max(1)
    }

    /// Commands that lead from the state to what is wanted.
    pub(crate) fn commands(&self, state: &State) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.retries.0 > self.retries.1 {
            commands.push(Command::Retry);
        }
        match self.wish {
            Wish::Go if state.paused() => commands.push(Command::Resume),
            Wish::Pause if !state.paused() => commands.push(Command::Pause),
            Wish::Cancel => commands.push(Command::Cancel),
            Wish::Go | Wish::Pause => {}
        }
        commands
    }

    /// Brings the view up to the state. `progress` tells that of the running attempt of a step.
    pub(crate) fn refresh(
        &mut self,
        plan: &Plan,
        state: &State,
        progress: impl Fn(usize, bool) -> (u64, u64),
    ) {
        self.status = state.status();
        self.pivot_started = state.pivot_started(plan);
        self.cause = state.cause().map(str::to_owned);
        if let Some((step, undo)) = state.stuck()
            && let Some(spec) = plan.steps().get(step)
        {
            let doing = if undo { "undo of " } else { "" };
            self.cause = Some(format!("{doing}step {}: {}", spec.id, state.leg(step, undo).error));
        }
        let views = plan.steps().iter().enumerate().map(|(number, spec)| {
            let step = state.step(number);
            let undo = step.undo.attempts > 0;
            StepView {
                id: spec.id.clone(),
                state: step_word(state, number).into(),
                attempts: (step.forward.attempts, step.undo.attempts),
                progress: progress(number, undo),
                error: if undo { step.undo.error.clone() } else { step.forward.error.clone() },
            }
        });
        self.steps = views.collect();
    }

    /// Whether an engine has something to do about it.
    fn is_open(&self) -> bool {
        let asked = match self.wish {
            Wish::Go => self.status == Status::Paused,
            Wish::Pause => false,
            Wish::Cancel => self.status == Status::Paused,
        };
        asked
            || matches!(self.status, Status::Running | Status::Undoing | Status::Pausing)
            || (self.status == Status::Stuck && self.retries.0 > self.retries.1)
    }
}

fn step_word(state: &State, step: usize) -> &'static str {
    let step = state.step(step);
    match (step.undo.at, step.forward.at) {
        (LegAt::Done, _) => "undone",
        (LegAt::Failed { .. }, _) | (LegAt::Idle, LegAt::Failed { .. }) => "failed",
        (LegAt::Running | LegAt::Waiting { .. }, _) => "undoing",
        (LegAt::Idle, _) if step.undo.attempts > 0 => "undoing",
        (LegAt::Idle, LegAt::Done) => "done",
        (LegAt::Idle, LegAt::Running | LegAt::Waiting { .. }) => "running",
        (LegAt::Idle, LegAt::Idle) if step.forward.attempts > 0 => "running",
        (LegAt::Idle, LegAt::Idle) => "waiting",
    }
}

/// A published template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateRow(pub(crate) Template);

impl Record for TemplateRow {
    const VERSION: u8 = 1;
}

static OPEN: Index<RunView> =
    Index { name: "open", keys: |run| if run.is_open() { vec![run.shard.pack()] } else { Vec::new() } };
static STATUS: Index<RunView> = Index { name: "status", keys: |run| vec![run.status.as_str().pack()] };
static SUBJECT: Index<RunView> = Index { name: "subject", keys: |run| vec![run.subject.pack()] };

/// Runs that an engine has to drive, by shard.
pub(crate) static BY_OPEN: &Index<RunView> = &OPEN;
/// Runs by [`Status::as_str`].
pub(crate) static BY_STATUS: &Index<RunView> = &STATUS;
/// Runs by subject.
pub(crate) static BY_SUBJECT: &Index<RunView> = &SUBJECT;

/// Templates by name and version.
pub(crate) static TEMPLATES: Table<(String, u64), TemplateRow> = Table::new("workflow-templates", &[]);
/// Runs.
pub(crate) static RUNS: Table<RunId, RunView> = Table::new("workflow-runs", &[&OPEN, &STATUS, &SUBJECT]);
/// The log of each run; numbers from 0.
pub(crate) static EVENTS: Table<(RunId, u64), EventRecord> = Table::new("workflow-events", &[]);

/// Names of runs of a shard that were created or of which something new is wanted.
pub(crate) fn news(shard: &str) -> Feed {
    Feed::new(format!("workflow/{shard}"))
}

#[cfg(test)]
mod tests;
