//! Volumes that change in use: modifications, and the workflow that carries each of them out.
//!
//! A call records a modification and creates a run of the template `volume-modify`. The steps change rows and wait;
//! everything that has to do with who is in sync is done by the manager in office ([`crate::leader`]), which sees in the
//! stripes' rows which copies arrive and which leave. Up to `switch` everything can be taken back; behind it what was
//! asked for holds, and what is not needed any more is freed.

mod action;
pub(crate) mod drain;
mod shown;
mod steps;

use std::collections::BTreeMap;

use terrane_types::VolumeId;
use terrane_workflow::{NewRun, Retry, RunId, Step, Template, Undo, WorkflowError};

pub(crate) use action::{Ground, actions};
pub(crate) use shown::Shown;
#[cfg(test)]
pub(crate) use steps::{After, Target, Trouble};
pub(crate) use steps::{Stage, aim, with_change};

/// Runs that the manager in office drives.
pub(crate) const SHARD: &str = "volumes";
/// The template of all modifications.
pub(crate) const TEMPLATE: &str = "volume-modify";
/// Failures of a step that are forgiven: with the pauses between them, about ten minutes of a store that does not answer.
const RETRY: Retry = Retry { failures_max: 20, first_ms: 100, longest_ms: 30_000 };

/// What is done, in this order.
pub(crate) fn template() -> Template {
    let mut before: Option<Stage> = None;
    let steps = Stage::ALL.into_iter().map(|stage| Step {
        id: stage.name().to_owned(),
        action: stage.name().to_owned(),
        after: before.replace(stage).map(|stage| stage.name().to_owned()).into_iter().collect(),
        undo: stage.undo(),
        retry: RETRY,
        with: BTreeMap::new(),
    });
    let param = |name: &str| terrane_workflow::Param { name: name.to_owned(), default: None };
    Template {
        name: TEMPLATE.to_owned(),
        version: 1,
        params: ["volume", "number"].map(param).into(),
        steps: steps.collect(),
    }
}

/// All templates of volumes.
pub(crate) fn templates() -> [Template; 2] {
    [template(), drain::template()]
}

/// The run of a modification.
pub(crate) fn run_of(volume: &VolumeId, number: u64) -> Result<RunId, WorkflowError> {
    RunId::parse(&format!("modify.{volume}.{number}"))
}

/// As it is created.
pub(crate) fn new_run(volume: &VolumeId, number: u64) -> Result<NewRun, WorkflowError> {
    let params = [("volume", volume.to_string()), ("number", number.to_string())];
    Ok(NewRun {
        id: run_of(volume, number)?,
        shard: SHARD.to_owned(),
        subject: volume.to_string(),
        template: TEMPLATE.to_owned(),
        version: None,
        params: params.map(|(name, value)| (name.to_owned(), value)).into(),
    })
}

impl Stage {
    /// What takes it back.
    fn undo(self) -> Undo {
        match self {
            Self::Turn | Self::Reserve | Self::Resize => Undo::Action,
            Self::Join => Undo::Nothing,
            Self::Switch | Self::HandOver | Self::Retire | Self::Free => Undo::ForwardOnly,
        }
    }
}

#[cfg(test)]
mod tests;
