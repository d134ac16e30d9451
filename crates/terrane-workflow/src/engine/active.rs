//! One run in the engine's memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use terrane_store::Tx;

use crate::action::Reins;
use crate::client::{events, load, plan};
use crate::machine::{Attempt, Effects, EventRecord, Input, State};
use crate::rows::{EVENTS, RUNS};
use crate::template::Plan;
use crate::{RunId, WorkflowError};

/// Events that are read at once.
const EVENTS_PAGE: usize = 500;

/// A run that is being driven.
pub(super) struct Active {
    pub(super) plan: Arc<Plan>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) state: State,
    /// Events in the log.
    events: u64,
    pub(super) wake_at_ms: Option<u64>,
    /// The attempts that run, and what was last written of their progress.
    pub(super) reins: BTreeMap<Attempt, (Reins, (u64, u64))>,
}

impl Active {
    /// Reads a run back from its log.
    pub(super) async fn load(tx: &Tx, id: &RunId, now_ms: u64) -> Result<Self, WorkflowError> {
        let run = load(tx, id).await?;
        let plan = plan(tx, &run.template, Some(run.version)).await?;
        let mut state = State::new(&plan);
        let mut read = 0;
        while read < run.events {
            let page = events(tx, id, read, EVENTS_PAGE).await?;
            if page.is_empty() {
                let why = format!("the log ends after {read} of {} events", run.events);
                return Err(terrane_store::StoreError::Damaged(format!("run {id}: {why}")).into());
            }
            for record in &page {
                state.apply(&plan, now_ms, &record.event);
            }
            read += page.len() as u64;
        }
        Ok(Self {
            plan: Arc::new(plan),
            params: run.params,
            state,
            events: run.events,
            wake_at_ms: None,
            reins: BTreeMap::new(),
        })
    }

    /// What follows from an input and from what is wanted by now, written down in one transaction.
    /// Nothing in memory has changed yet: see [`Active::accept`].
    pub(super) async fn turn(
        &self,
        tx: &Tx,
        epoch: u64,
        id: &RunId,
        now_ms: u64,
        input: Input,
    ) -> Result<(State, Effects), WorkflowError> {
        let mut run = load(tx, id).await?;
        let mut state = self.state.clone();
        // All at once: a cancelled run does not start its pivot.
        let commands = run.commands(&state).into_iter().map(Input::Command);
        let effects = state.handle_all(&self.plan, now_ms, [input].into_iter().chain(commands));
        let before = run.clone();
        run.retries.1 = run.retries.0;
        let at_unix_ms = unix_ms();
        for event in &effects.events {
            let record = EventRecord { at_unix_ms, epoch, event: event.clone() };
            EVENTS.put(tx, &(id.clone(), run.events), &record).await?;
            run.events += 1;
        }
        run.refresh(&self.plan, &state, |step, undo| self.progress(step, undo));
        if run != before {
            RUNS.put(tx, id, &run).await?;
        }
        Ok((state, effects))
    }

    /// Takes over what is durable now.
    pub(super) fn accept(&mut self, state: State, effects: &Effects) {
        self.state = state;
        self.events += effects.events.len() as u64;
        self.wake_at_ms = effects.wake_at_ms;
        for attempt in &effects.interrupt {
            if let Some((reins, _)) = self.reins.get(attempt) {
                reins.interrupt();
            }
        }
    }

    fn progress(&self, step: usize, undo: bool) -> (u64, u64) {
        let mut running = self.reins.iter().filter(|(at, _)| at.step == step && at.undo == undo);
        running.next().map_or((0, 0), |(_, (reins, _))| reins.progress.get())
    }

    /// Whether an attempt has said something new since the last time.
    pub(super) fn has_progress(&mut self) -> bool {
        let mut news = false;
        for (reins, written) in self.reins.values_mut() {
            let now = reins.progress.get();
            news |= std::mem::replace(written, now) != now;
        }
        news
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
