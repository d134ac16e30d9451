//! The steps as actions of workflows: each looks, does what can be done, and waits until there is nothing left to do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use terrane_store::Store;
use terrane_types::VolumeId;
use terrane_workflow::{Action, Call, Outcome, Registry, StepError};

use super::drain;
use super::steps::{After, Stage, Target, Trouble};
use crate::jobs::Rules;
use crate::leader::Sight;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What modifications work on.
#[async_trait]
pub(crate) trait Ground: Send + Sync + 'static {
    /// Where everything is kept.
    fn store(&self) -> Store;
    /// What placement keeps to.
    fn rules(&self) -> Rules;
    /// What the manager in office sees of a volume; nothing, if it cannot be asked.
    async fn sight(&self, volume: &VolumeId) -> Sight;
    /// Lets time pass.
    async fn pause(&self) {
        tokio::time::sleep(LOOK).await;
    }
}

/// All steps' actions.
pub(crate) fn actions(ground: Arc<dyn Ground>) -> Registry {
    let registry = Registry::new().with(drain::EMPTY, drain::Empty(ground.clone()));
    Stage::ALL
        .into_iter()
        .fold(registry, |registry, stage| registry.with(stage.name(), Part { stage, ground: ground.clone() }))
}

struct Part {
    stage: Stage,
    ground: Arc<dyn Ground>,
}

fn target(call: &Call) -> Result<Target, StepError> {
    let wrong = || StepError::Refused("its parameters are no volume and number".to_owned());
    let volume = VolumeId::parse(call.arg("volume")?).map_err(|_| wrong())?;
    let number = call.arg("number")?.parse().map_err(|_| wrong())?;
    Ok(Target { volume, number, engine: call.epoch.number })
}

impl Part {
    async fn go(&self, call: &Call, back: bool) -> Outcome {
        let target = target(call)?;
        loop {
            let sight = self.ground.sight(&target.volume).await;
            let (store, rules) = (self.ground.store(), self.ground.rules());
            let looked = if back {
                self.stage.take_back(&store, &target).await
            } else {
                self.stage.carry_out(&store, &target, rules, &sight).await
            };
            match looked {
                Ok(After::Done) => return Ok(String::new()),
                Ok(After::Wait { done, total }) => call.progress().set(done, total),
                Err(Trouble::Refused(reason)) => return Err(StepError::Refused(reason)),
                Err(Trouble::Failed(reason)) => return Err(StepError::Failed(reason)),
            }
            if call.interrupted() {
                return Err(StepError::Interrupted);
            }
            tokio::select! {
                () = self.ground.pause() => {}
                () = call.interruption() => return Err(StepError::Interrupted),
            }
        }
    }
}

#[async_trait]
impl Action for Part {
    async fn run(&self, call: &Call) -> Outcome {
        self.go(call, false).await
    }

    async fn undo(&self, call: &Call) -> Result<(), StepError> {
        self.go(call, true).await.map(drop)
    }
}
