//! Workflows: long changes of several steps that end completed or undone, whatever fails in between.
//!
//! A [`Template`] is data: a DAG of steps, checked once ([`Plan`]), versioned, pinned by every run. A step
//! names an [`Action`], which is code, idempotent under its [`Call::key`] and, unless it is forward-only, can
//! be undone. A run is the fold of its event log: [`machine`] decides without I/O what happens next, the
//! [`Engine`] stores that first and then does it, fenced by a lease, and [`Workflows`] is what everybody else
//! uses to create, watch, pause and cancel runs.
//!
//! [`harness`] runs a template with every failure, crash and repetition at every step and asks the caller's
//! invariant each time; each template of each service is expected to pass it in that service's tests.

mod action;
mod client;
mod engine;
pub mod harness;
pub mod machine;
mod rows;
mod template;

pub use action::{Action, Call, Outcome, Progress, Registry, StepError};
pub use client::{NewRun, Workflows};
pub use engine::{Engine, EngineConfig};
pub use rows::{RunId, RunView, StepView, Wish};
pub use template::{
    FAILURES_MAX, NAME_BYTES_MAX, PIVOT_RULE, Param, Plan, Retry, STEPS_MAX, Step, Template, TemplateError,
    Undo, VALUE_BYTES_MAX,
};

use terrane_store::StoreError;

/// Why something was not done to a workflow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// The template is not one.
    #[error("template {name:?}: {source}")]
    Template {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: TemplateError,
    },
    /// No template of this name and version was published.
    #[error("there is no template {name:?} of version {version}")]
    NoSuchTemplate {
        /// The name asked for.
        name: String,
        /// The version asked for.
        version: u32,
    },
    /// The version was published before with other contents: versions never change, since runs pin them.
    #[error("template {name:?} of version {version} was published before and is another one")]
    TemplateChanged {
        /// The template's name.
        name: String,
        /// The version in question.
        version: u32,
    },
    /// A parameter is missing, unknown or too long.
    #[error("parameter {name:?}: {why}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The text is no name of a run.
    #[error("{0:?} is not the name of a run: 1 to 128 of a-z, 0-9, '-', '.'")]
    BadRunId(String),
    /// No such run.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// A run of this name exists and is another one.
    #[error("run {0} exists and has another template or other parameters")]
    RunExists(RunId),
    /// The run has passed the step behind which it only goes forward.
    #[error("run {0} has passed its point of no return and can only be completed")]
    PointOfNoReturn(RunId),
    /// The run is not in a state in which that can be asked.
    #[error("run {run} is {status}: {what} is not possible")]
    WrongState {
        /// The run.
        run: RunId,
        /// What was asked.
        what: &'static str,
        /// Its state.
        status: machine::Status,
    },
    /// The run's log is nearly full; what is left is kept for its steps.
    #[error("run {0} was paused and resumed too often")]
    TooManyEvents(RunId),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
}
