//! The time for which an engine holds the lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use terrane_store::lease::Held;
use terrane_store::{Cursor, Page, StoreError, Tx};
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Engine;
use super::active::Active;
use crate::action::{Action, Call, Outcome, Reins, StepError, arguments, outputs};
use crate::machine::{Attempt, Effects, Input, State};
use crate::rows::{BY_OPEN, RUNS, news};
use crate::{RunId, WorkflowError};

/// News that are read at once.
const NEWS_PAGE: usize = 100;
/// News that are kept: who fell further behind reads everything.
const NEWS_KEPT: u64 = 1000;
/// Pause before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Shift<'a> {
    engine: &'a Engine,
    held: Held,
    began: Instant,
    active: BTreeMap<RunId, Active>,
    tasks: JoinSet<Outcome>,
    attempts: BTreeMap<Id, (RunId, Attempt)>,
    cursor: Cursor,
    /// There may be runs that are open and not in memory.
    backlog: bool,
}

impl<'a> Shift<'a> {
    pub(super) fn new(engine: &'a Engine, held: Held) -> Self {
        let cursor = Cursor { incarnation: engine.store.incarnation(), position: 0 };
        Self {
            engine,
            held,
            began: Instant::now(),
            active: BTreeMap::new(),
            tasks: JoinSet::new(),
            attempts: BTreeMap::new(),
            cursor,
            backlog: true,
        }
    }

    /// Works until something fails that only a new shift can put right.
    pub(super) async fn work(&mut self) -> StoreError {
        loop {
            if let Err(error) = self.round().await {
                return error;
            }
        }
    }

    /// Ends all attempts and waits until they have ended.
    pub(super) async fn end(mut self) -> Held {
        self.tasks.shutdown().await;
        self.held
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        if self.backlog {
            self.take_open().await?;
        }
        let config = &self.engine.config;
        let mut renew = tokio::time::interval(config.lease.period);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = tokio::time::interval(config.progress_every);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(self.backlog && self.active.len() < config.runs_max) {
            let wake = self.active.values().filter_map(|run| run.wake_at_ms).min();
            let nap = wake.map_or(Duration::from_secs(3600), |at| self.until(at));
            let feed = news(&config.shard);
            tokio::select! {
                _ = renew.tick() => self.renew().await?,
                _ = report.tick() => self.report().await?,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await?,
                page = feed.next(&self.engine.store, self.cursor, NEWS_PAGE) => self.news(page?).await?,
                () = tokio::time::sleep(nap) => self.wake().await?,
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn until(&self, at_ms: u64) -> Duration {
        Duration::from_millis(at_ms).saturating_sub(self.began.elapsed())
    }

    /// Reads which runs are open, and drives as many as fit.
    async fn take_open(&mut self) -> Result<(), StoreError> {
        let engine = self.engine;
        let (shard, limit) = (&engine.config.shard, engine.config.runs_max + 1);
        let look = |tx: Tx| async move {
            let open = RUNS.find(&tx, BY_OPEN, shard, limit).await?;
            let cursor = news(shard).position(&engine.store, &tx).await?;
            Ok::<_, StoreError>((open, cursor))
        };
        let (open, cursor) = engine.store.read(look).await?;
        self.cursor = cursor;
        let all = open.len() < limit;
        for (id, _) in open {
            self.look_at(&id).await?;
        }
        // Runs that cannot be read are open and never active: they must not make this go round.
        self.backlog = !all && self.active.len() >= self.engine.config.runs_max;
        Ok(())
    }

    async fn news(&mut self, page: Page) -> Result<(), StoreError> {
        match page {
            Page::Resync => self.take_open().await?,
            Page::Events(events, cursor) => {
                self.cursor = cursor;
                for event in events {
                    let name = std::str::from_utf8(&event.payload).ok();
                    if let Some(id) = name.and_then(|name| RunId::parse(name).ok()) {
                        self.look_at(&id).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Brings a run into memory, or looks at what is newly wanted of it.
    async fn look_at(&mut self, id: &RunId) -> Result<(), StoreError> {
        if self.active.contains_key(id) {
            return self.turn(id, Input::Tick).await;
        }
        if self.active.len() >= self.engine.config.runs_max {
            self.backlog = true;
            return Ok(());
        }
        let now_ms = self.now_ms();
        let load = |tx: Tx| async move { Active::load(&tx, id, now_ms).await };
        match self.engine.store.read(load).await {
            Ok(run) => {
                self.active.insert(id.clone(), run);
                self.turn(id, Input::Recovered).await
            }
            Err(WorkflowError::NoSuchRun(_)) => Ok(()),
            Err(WorkflowError::Store(error)) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::error!(run = %id, %error, "a run cannot be read and is left alone");
                Ok(())
            }
        }
    }

    async fn wake(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let due = |run: &Active| run.wake_at_ms.is_some_and(|at| at <= now_ms);
        let due: Vec<RunId> =
            self.active.iter().filter(|(_, run)| due(run)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.turn(&id, Input::Tick).await?;
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<(), StoreError> {
        let moved = self.active.iter_mut().filter_map(|(id, run)| run.has_progress().then(|| id.clone()));
        for id in moved.collect::<Vec<_>>() {
            self.turn(&id, Input::Tick).await?;
        }
        Ok(())
    }

    async fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Result<(), StoreError> {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(StepError::Failed("the action panicked".into()))),
        };
        let Some((id, attempt)) = self.attempts.remove(&task) else { return Ok(()) };
        if let Some(run) = self.active.get_mut(&id) {
            run.reins.remove(&attempt);
        }
        self.turn(&id, Input::Ended(attempt, outcome)).await
    }

    /// One input of one run: written down, then carried out. A store that fails for a moment is asked
    /// again while the lease lasts.
    async fn turn(&mut self, id: &RunId, input: Input) -> Result<(), StoreError> {
        let (state, effects) = loop {
            match self.write(id, input.clone()).await {
                Ok(Some(turned)) => break turned,
                Ok(None) => return Ok(()),
                Err(error) if error.is_transient() && self.engine.lease.is_valid(&self.held) => {
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some((step, undo)) = state.stuck().filter(|_| !effects.events.is_empty()) {
            let error = &state.leg(step, undo).error;
            tracing::error!(run = %id, step, undo, error, "a workflow is stuck: look at it, then retry it");
        }
        let Some(run) = self.active.get_mut(id) else { return Ok(()) };
        run.accept(state, &effects);
        if run.state.rests() {
            self.active.remove(id);
        }
        for attempt in effects.start {
            self.start(id, attempt);
        }
        Ok(())
    }

    /// `None`: there is no such run any more.
    async fn write(&self, id: &RunId, input: Input) -> Result<Option<(State, Effects)>, StoreError> {
        let Some(run) = self.active.get(id) else { return Ok(None) };
        let (engine, epoch, now_ms) = (self.engine, self.held.epoch(), self.now_ms());
        let input = &input;
        let turn = |tx: Tx| async move {
            engine.lease.fence(&tx, epoch).await?;
            run.turn(&tx, epoch.number, id, now_ms, input.clone()).await
        };
        match engine.store.transact(turn).await {
            Ok(turned) => Ok(Some(turned)),
            Err(WorkflowError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(run = %id, %error, "a run cannot go on");
                Ok(None)
            }
        }
    }

    fn start(&mut self, id: &RunId, attempt: Attempt) {
        let Some(run) = self.active.get_mut(id) else { return };
        let step = &run.plan.steps()[attempt.step];
        let (reins, progress, interrupt) = Reins::new();
        let call = Call {
            run: id.clone(),
            step: step.id.clone(),
            attempt: attempt.number,
            epoch: self.held.epoch(),
            args: arguments(&run.plan, attempt.step, &run.params),
            outputs: outputs(&run.plan, attempt.step, &run.state),
            progress,
            interrupt,
        };
        let work = self.engine.work.clone();
        let task = match self.engine.actions.get(&step.action) {
            Some(action) => self.tasks.spawn(attempt_at(action, call, attempt.undo, work)),
            None => {
                let missing = format!("this engine has no action {:?}", step.action);
                self.tasks.spawn(async { Err(StepError::Failed(missing)) })
            }
        };
        self.attempts.insert(task.id(), (id.clone(), attempt));
        run.reins.insert(attempt, (reins, (0, 0)));
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        match self.engine.lease.renew(&mut self.held).await {
            Err(error) if !error.is_transient() || !self.engine.lease.is_valid(&self.held) => {
                return Err(error);
            }
            Err(error) => tracing::warn!(%error, "the workflow engine's lease was not renewed"),
            Ok(()) => {}
        }
        let feed = &news(&self.engine.config.shard);
        match self.engine.store.transact(|tx| async move { feed.trim(&tx, NEWS_KEPT).await }).await {
            Err(error) if !error.is_transient() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Waits for its turn, then works. What is interrupted before its turn has not begun.
async fn attempt_at(action: Arc<dyn Action>, call: Call, undo: bool, work: Arc<Semaphore>) -> Outcome {
    let _turn = tokio::select! {
        turn = work.acquire_owned() => turn,
        () = call.interruption() => return Err(StepError::Interrupted),
    };
    if undo { action.undo(&call).await.map(|()| String::new()) } else { action.run(&call).await }
}
