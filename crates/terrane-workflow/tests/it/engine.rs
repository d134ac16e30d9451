//! The engine over a store in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use terrane_store::Store;
use terrane_store::lease::LeaseConfig;
use terrane_workflow::harness::World;
use terrane_workflow::machine::{Event, Status};
use terrane_workflow::{
    Action, Call, Engine, EngineConfig, NewRun, Outcome, Registry, Retry, RunId, RunView, Step, StepError,
    Template, Undo, Wish, WorkflowError, Workflows,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::migration::{self, Bug, Volume};

fn config() -> EngineConfig {
    let ms = Duration::from_millis;
    let lease = LeaseConfig { ttl: ms(300), margin_percent: 150, period: ms(50) };
    EngineConfig { lease, progress_every: ms(10), ..EngineConfig::default() }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn new(store: &Store, actions: Registry, config: EngineConfig) -> Self {
        let engine = Engine::new(store.clone(), actions, config);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            engine.run_until(async { _ = stopped.await }).await;
        });
        Self { stop, task }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    /// As `kill -9` does.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn new_run(id: &str, template: &str, params: BTreeMap<String, String>) -> NewRun {
    NewRun {
        id: RunId::parse(id).unwrap(),
        shard: "default".into(),
        subject: "vol-1".into(),
        template: template.into(),
        version: None,
        params,
    }
}

fn chain(steps: &[(&str, Undo)]) -> Template {
    let step = |(at, (id, undo)): (usize, &(&str, Undo))| Step {
        id: (*id).into(),
        action: (*id).into(),
        after: at.checked_sub(1).map(|before| steps[before].0.to_owned()).into_iter().collect(),
        undo: *undo,
        retry: Retry { failures_max: 1, first_ms: 1, longest_ms: 1 },
        with: BTreeMap::new(),
    };
    let steps = steps.iter().enumerate().map(step).collect();
    Template { name: "chain".into(), version: 1, params: Vec::new(), steps }
}

/// Waits to be let go or interrupted, and counts who has been where.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<AtomicU32>,
    undone: Arc<AtomicU32>,
    open: Arc<Notify>,
    calls: Arc<Mutex<Vec<(u32, u64)>>>,
}

impl Gate {
    async fn entered(&self, times: u32) {
        while self.entered.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Action for Gate {
    async fn run(&self, call: &Call) -> Outcome {
        self.calls.lock().unwrap().push((call.attempt, call.epoch.number));
        call.progress().set(1, 2);
        self.entered.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            () = self.open.notified() => Ok("through".into()),
            () = call.interruption() => Err(StepError::Interrupted),
        }
    }

    async fn undo(&self, _call: &Call) -> Result<(), StepError> {
        self.undone.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Panics, fails or succeeds, one after the other.
struct Moody(AtomicU32);

#[async_trait]
impl Action for Moody {
    async fn run(&self, _call: &Call) -> Outcome {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("as planned"),
            1 => Err(StepError::Failed("not yet".into())),
            _ => Ok("at last".into()),
        }
    }

    async fn undo(&self, _call: &Call) -> Result<(), StepError> {
        Ok(())
    }
}

async fn until(workflows: &Workflows, id: &RunId, wanted: impl Fn(&RunView) -> bool) -> RunView {
    loop {
        let view = workflows.get(id).await.unwrap();
        if wanted(&view) {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_template_runs_to_its_end_and_is_listed() {
    let store = Store::memory();
    let workflows = Workflows::new(store.clone());
    workflows.publish(&migration::template()).await.unwrap();
    workflows.publish(&migration::template()).await.unwrap();
    let world = Volume::new(Bug::None);
    let engine = Running::new(&store, world.actions(), config());
    let new = new_run("m-1", "migrate", migration::params());
    assert!(workflows.create(&new, 5).await.unwrap());
    assert!(!workflows.create(&new, 6).await.unwrap(), "the same again is nothing new");
    let other = NewRun {
        params: BTreeMap::from([("from".into(), "x".into()), ("to".into(), "y".into())]),
        ..new.clone()
    };
    assert!(matches!(workflows.create(&other, 6).await, Err(WorkflowError::RunExists(_))));

    let end = workflows.wait(&new.id).await.unwrap();
    assert_eq!((end.status, end.percent()), (Status::Completed, 100));
    world.check(Status::Completed).await.unwrap();
    assert_eq!(workflows.about("vol-1", 10).await.unwrap().len(), 1);
    assert_eq!(workflows.with_status(Status::Completed, 10).await.unwrap().len(), 1);
    assert_eq!(workflows.with_status(Status::Running, 10).await.unwrap().len(), 0);
    let log = workflows.events(&new.id, 0, 100).await.unwrap();
    assert_eq!(log.len() as u64, end.events);
    assert_eq!(log.last().unwrap().event, Event::Completed);
    workflows.forget(&new.id).await.unwrap();
    assert!(matches!(workflows.get(&new.id).await, Err(WorkflowError::NoSuchRun(_))));
    assert!(workflows.events(&new.id, 0, 100).await.unwrap().is_empty());
    engine.stop().await;
}

#[tokio::test]
async fn what_cannot_be_created_is_refused() {
    let store = Store::memory();
    let workflows = Workflows::new(store);
    let new = new_run("m-1", "migrate", BTreeMap::new());
    assert!(matches!(workflows.create(&new, 0).await, Err(WorkflowError::NoSuchTemplate { .. })));
    workflows.publish(&migration::template()).await.unwrap();
    assert!(matches!(workflows.create(&new, 0).await, Err(WorkflowError::Parameter { .. })));
    let mut changed = migration::template();
    changed.steps.pop();
    assert!(matches!(workflows.publish(&changed).await, Err(WorkflowError::TemplateChanged { .. })));
    changed.version = 2;
    workflows.publish(&changed).await.unwrap();
    assert_eq!(workflows.template("migrate", None).await.unwrap().template().version, 2);
    assert_eq!(workflows.template("migrate", Some(1)).await.unwrap().steps().len(), 7);
    assert!(workflows.list(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_engine_is_succeeded_and_the_attempt_begins_again_under_a_new_epoch() {
    let store = Store::memory();
    let workflows = Workflows::new(store.clone());
    workflows.publish(&chain(&[("gate", Undo::Action)])).await.unwrap();
    let gate = Gate::default();
    let actions = Registry::new().with("gate", gate.clone());
    let first = Running::new(&store, actions.clone(), config());
    let new = new_run("r", "chain", BTreeMap::new());
    workflows.create(&new, 0).await.unwrap();
    gate.entered(1).await;
    let shown = until(&workflows, &new.id, |view| view.steps[0].progress == (1, 2)).await;
    assert_eq!((shown.steps[0].state.as_str(), shown.percent()), ("running", 50));

    let second = Running::new(&store, actions, config());
    first.kill().await;
    gate.entered(2).await;
    gate.open.notify_one();
    let end = workflows.wait(&new.id).await.unwrap();
    assert_eq!((end.status, end.steps[0].attempts), (Status::Completed, (2, 0)));
    assert_eq!(*gate.calls.lock().unwrap(), [(1, 1), (2, 2)]);
    let log = workflows.events(&new.id, 0, 10).await.unwrap();
    assert!(log.iter().any(|record| matches!(record.event, Event::Lost { .. })));
    assert_eq!(log.last().unwrap().epoch, 2);
    second.stop().await;
}

#[tokio::test]
async fn runs_pause_resume_and_are_cancelled() {
    let store = Store::memory();
    let workflows = Workflows::new(store.clone());
    workflows.publish(&chain(&[("gate", Undo::Action), ("pivot", Undo::ForwardOnly)])).await.unwrap();
    let (gate, pivot) = (Gate::default(), Gate::default());
    let actions = Registry::new().with("gate", gate.clone()).with("pivot", pivot.clone());
    let engine = Running::new(&store, actions, config());
    let new = new_run("r", "chain", BTreeMap::new());
    workflows.create(&new, 0).await.unwrap();
    gate.entered(1).await;
    workflows.wish(&new.id, Wish::Pause).await.unwrap();
    until(&workflows, &new.id, |view| view.status == Status::Paused).await;
    workflows.wish(&new.id, Wish::Go).await.unwrap();
    gate.entered(2).await;
    workflows.wish(&new.id, Wish::Cancel).await.unwrap();
    let end = workflows.wait(&new.id).await.unwrap();
    assert_eq!((end.status, end.cause.as_deref()), (Status::RolledBack, Some("cancelled")));
    assert_eq!(gate.undone.load(Ordering::SeqCst), 1);
    assert_eq!(*gate.calls.lock().unwrap(), [(1, 1), (2, 1)], "one attempt before the pause, one behind it");
    let late = workflows.wish(&new.id, Wish::Pause).await;
    assert!(matches!(late, Err(WorkflowError::WrongState { .. })), "{late:?}");

    let new = NewRun { id: RunId::parse("r2").unwrap(), ..new };
    workflows.create(&new, 0).await.unwrap();
    gate.entered(3).await;
    gate.open.notify_one();
    pivot.entered(1).await;
    let refused = workflows.wish(&new.id, Wish::Cancel).await;
    assert!(matches!(refused, Err(WorkflowError::PointOfNoReturn(_))), "{refused:?}");
    pivot.open.notify_one();
    assert_eq!(workflows.wait(&new.id).await.unwrap().status, Status::Completed);
    engine.stop().await;
}

#[tokio::test]
async fn panics_are_failures_and_what_is_stuck_goes_on_when_told() {
    let store = Store::memory();
    let workflows = Workflows::new(store.clone());
    workflows.publish(&chain(&[("moody", Undo::ForwardOnly)])).await.unwrap();
    let engine = Running::new(&store, Registry::new().with("moody", Moody(AtomicU32::new(0))), config());
    let new = new_run("r", "chain", BTreeMap::new());
    workflows.create(&new, 0).await.unwrap();
    let stuck = workflows.wait(&new.id).await.unwrap();
    assert_eq!((stuck.status, stuck.cause.as_deref()), (Status::Stuck, Some("step moody: not yet")));
    workflows.retry(&new.id).await.unwrap();
    assert_eq!(workflows.wait(&new.id).await.unwrap().status, Status::Completed);
    assert!(workflows.retry(&new.id).await.is_err());
    engine.stop().await;
}

#[tokio::test]
async fn more_runs_than_fit_in_memory_all_complete() {
    let store = Store::memory();
    let workflows = Workflows::new(store.clone());
    workflows.publish(&migration::template()).await.unwrap();
    let runs: Vec<NewRun> =
        (0..40).map(|n| new_run(&format!("m-{n}"), "migrate", migration::params())).collect();
    for new in &runs[..20] {
        workflows.create(new, 0).await.unwrap();
    }
    let small = EngineConfig { runs_max: 3, attempts_max: 2, ..config() };
    let engine = Running::new(&store, Volume::new(Bug::None).actions(), small);
    for new in &runs[20..] {
        workflows.create(new, 0).await.unwrap();
    }
    for new in &runs {
        assert_eq!(workflows.wait(&new.id).await.unwrap().status, Status::Completed);
    }
    engine.stop().await;
}
