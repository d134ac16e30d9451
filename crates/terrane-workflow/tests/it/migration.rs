//! The first example: a volume moves to another server. Allocate there, copy and prepare in parallel, switch
//! over (the pivot), free what was left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use terrane_workflow::harness::World;
use terrane_workflow::machine::Status;
use terrane_workflow::{Action, Call, Outcome, Registry, StepError, Template};

pub(crate) fn template() -> Template {
    let text = r#"{ "name": "migrate", "version": 1,
        "params": [{ "name": "from" }, { "name": "to" }],
        "steps": [
            { "id": "check", "action": "check", "undo": "nothing" },
            { "id": "allocate", "action": "allocate", "after": ["check"], "undo": "action" },
            { "id": "copy", "action": "copy", "after": ["allocate"], "undo": "nothing" },
            { "id": "announce", "action": "announce", "after": ["check"], "undo": "action" },
            { "id": "switch", "action": "switch", "after": ["copy", "announce"], "undo": "forward-only" },
            { "id": "free", "action": "free", "after": ["switch"], "undo": "forward-only" },
            { "id": "silence", "action": "silence", "after": ["switch"], "undo": "forward-only" }
        ] }"#;
    serde_json::from_str(text).expect("the template is JSON")
}

pub(crate) fn params() -> BTreeMap<String, String> {
    [("from", "a"), ("to", "b")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// A mistake in one of the actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Allocating twice takes space twice.
    AllocateTwice,
    /// Undo relies on the output of a step that has ended.
    UndoNeedsOutput,
    /// Undo of what is not there fails.
    UndoOnce,
    /// What was announced is forgotten about.
    NoUndo,
    /// Two effects with a suspension in between, of which only the second is looked at.
    Torn,
    /// Calls of a dead engine are carried out.
    NoFence,
}

#[derive(Debug, Default)]
struct Cluster {
    /// Where the volume is served.
    serves: String,
    /// Who holds space, and for which key.
    space: BTreeMap<String, BTreeSet<String>>,
    /// Space that belongs to somebody and is in no table.
    leaked: u32,
    /// Whose data are complete.
    complete: BTreeSet<String>,
    announced: bool,
    /// The newest epoch seen, by key.
    epochs: BTreeMap<String, u64>,
}

#[derive(Clone)]
pub(crate) struct Volume {
    cluster: Arc<Mutex<Cluster>>,
    bug: Bug,
}

impl Volume {
    pub(crate) fn new(bug: Bug) -> Self {
        let cluster = Cluster {
            serves: "a".into(),
            space: BTreeMap::from([("a".into(), BTreeSet::from(["original".into()]))]),
            complete: BTreeSet::from(["a".into()]),
            ..Cluster::default()
        };
        Self { cluster: Arc::new(Mutex::new(cluster)), bug }
    }

    /// Whoever gets a call looks at its epoch.
    fn at(&self, call: &Call) -> Result<std::sync::MutexGuard<'_, Cluster>, StepError> {
        let mut cluster = self.cluster.lock().expect("no test panics in between");
        let newest = cluster.epochs.entry(call.key()).or_default();
        if call.epoch.number < *newest && self.bug != Bug::NoFence {
            return Err(StepError::Failed("an epoch that is over".into()));
        }
        *newest = call.epoch.number.max(*newest);
        Ok(cluster)
    }

    async fn allocate(&self, call: &Call) -> Outcome {
        let to = call.arg("to")?.to_owned();
        if self.bug == Bug::Torn {
            let first = !self.at(call)?.space.contains_key(&to);
            self.at(call)?.leaked += u32::from(first);
            tokio::task::yield_now().await;
            self.at(call)?.leaked -= u32::from(first);
            self.at(call)?.space.entry(to.clone()).or_default().insert(call.key());
            return Ok(to);
        }
        let mut cluster = self.at(call)?;
        let key = match self.bug {
            Bug::AllocateTwice => format!("{}#{}", call.key(), cluster.space.values().flatten().count()),
            _ => call.key(),
        };
        cluster.space.entry(to.clone()).or_default().insert(key);
        Ok(to)
    }

    async fn copy(&self, call: &Call) -> Outcome {
        for part in 0..3 {
            call.progress().set(part, 3);
            // The data travel.
            tokio::task::yield_now().await;
        }
        let to = call.output("allocate").unwrap_or_default().to_owned();
        let mut cluster = self.at(call)?;
        cluster.complete.insert(to);
        Ok(String::new())
    }
}

#[async_trait]
impl World for Volume {
    fn actions(&self) -> Registry {
        let names = ["check", "allocate", "copy", "announce", "switch", "free", "silence"];
        names.iter().fold(Registry::new(), |all, name| all.with(*name, Part { volume: self.clone(), name }))
    }

    async fn check(&self, end: Status) -> Result<(), String> {
        let cluster = self.cluster.lock().expect("no test panics in between");
        let home = if end == Status::Completed { "b" } else { "a" };
        let holders: Vec<_> = cluster.space.iter().filter(|(_, keys)| !keys.is_empty()).collect();
        let held_once = holders.len() == 1 && holders[0].0 == home && holders[0].1.len() == 1;
        let good = cluster.serves == home
            && held_once
            && cluster.leaked == 0
            && cluster.complete.contains(home)
            && !cluster.announced;
        if good { Ok(()) } else { Err(format!("{end}, but {cluster:?}")) }
    }
}

struct Part {
    volume: Volume,
    name: &'static str,
}

#[async_trait]
impl Action for Part {
    async fn run(&self, call: &Call) -> Outcome {
        let volume = &self.volume;
        match self.name {
            "check" => drop(volume.at(call)?),
            "allocate" => return volume.allocate(call).await,
            "copy" => return volume.copy(call).await,
            "announce" => volume.at(call)?.announced = true,
            "switch" => {
                let mut cluster = volume.at(call)?;
                let to = call.arg("to")?;
                if !cluster.complete.contains(to) {
                    return Err(StepError::Refused("the copy is not complete".into()));
                }
                cluster.serves = to.into();
            }
            "free" => {
                let mut cluster = volume.at(call)?;
                cluster.space.remove(call.arg("from")?);
            }
            _ => volume.at(call)?.announced = false,
        }
        Ok(String::new())
    }

    async fn undo(&self, call: &Call) -> Result<(), StepError> {
        let volume = &self.volume;
        let mut cluster = volume.at(call)?;
        match (self.name, volume.bug) {
            ("allocate", Bug::UndoNeedsOutput) => {
                if let Some(to) = call.output("allocate") {
                    cluster.space.remove(to);
                }
            }
            ("allocate", Bug::UndoOnce) => {
                let freed = cluster.space.remove(call.arg("to")?);
                freed.ok_or(StepError::Refused("nothing is allocated there".into()))?;
            }
            ("allocate", _) => {
                let to = call.arg("to")?;
                cluster.space.remove(to);
                cluster.complete.remove(to);
            }
            ("announce", Bug::NoUndo) => {}
            _ => cluster.announced = false,
        }
        Ok(())
    }
}
