//! What everybody but the engine does with workflows: publish, create, watch, pause, cancel.

use std::collections::BTreeMap;
use std::sync::Arc;

use terrane_store::{Store, Tx};

use crate::machine::{EventRecord, State, Status};
use crate::rows::{BY_STATUS, BY_SUBJECT, EVENTS, RUNS, TEMPLATES, TemplateRow, news};
use crate::template::{NAME_BYTES_MAX, Plan, Template};
use crate::{RunId, RunView, Wish, WorkflowError};

/// Versions of one template that are looked at to find the newest.
const VERSIONS_MAX: usize = 1000;
/// A run with so many events takes no more wishes.
const EVENTS_MAX: u64 = 10_000;
/// Events that one transaction deletes.
const EVENTS_PER_DELETE: usize = 500;

/// A run to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its name.
    pub id: RunId,
    /// Which engine drives it.
    pub shard: String,
    /// What it is about; at most 128 bytes.
    pub subject: String,
    /// The name of its template.
    pub template: String,
    /// The version, or the newest.
    pub version: Option<u32>,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
}

/// Access to the workflows of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workflows {
    store: Store,
}

type Result<T> = std::result::Result<T, WorkflowError>;

impl Workflows {
    /// Those of this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Publishes a version of a template. Publishing the same again changes nothing.
    ///
    /// # Errors
    /// [`WorkflowError::Template`], [`WorkflowError::TemplateChanged`], the store's.
    pub async fn publish(&self, template: &Template) -> Result<()> {
        let (name, version) = (template.name.clone(), template.version);
        Plan::new(template.clone())
            .map_err(|source| WorkflowError::Template { name: name.clone(), source })?;
        let key = &(name, u64::from(version));
        let publish = |tx: Tx| async move {
            match TEMPLATES.get(&tx, key).await? {
                Some(TemplateRow(old)) if old == *template => Ok(()),
                Some(_) => Err(WorkflowError::TemplateChanged { name: key.0.clone(), version }),
                None => Ok(TEMPLATES.put(&tx, key, &TemplateRow(template.clone())).await?),
            }
        };
        self.store.transact(publish).await
    }

    /// A version of a template, or the newest.
    ///
    /// # Errors
    /// [`WorkflowError::NoSuchTemplate`], the store's.
    pub async fn template(&self, name: &str, version: Option<u32>) -> Result<Arc<Plan>> {
        self.store.read(|tx| async move { plan(&tx, name, version).await.map(Arc::new) }).await
    }

    /// Creates a run at time `now_unix_ms` (milliseconds since 1970, for people); false if it was there
    /// before, being the same.
    ///
    /// # Errors
    /// [`WorkflowError::NoSuchTemplate`], [`WorkflowError::Parameter`], [`WorkflowError::RunExists`], the
    /// store's.
    pub async fn create(&self, new: &NewRun, now_unix_ms: u64) -> Result<bool> {
        self.store.transact(|tx| async move { self.create_in(&tx, new, now_unix_ms).await }).await
    }

    /// As [`Workflows::create`], as part of a transaction: the run is created together with the change that
    /// calls for it, or not at all.
    ///
    /// # Errors
    /// As [`Workflows::create`].
    pub async fn create_in(&self, tx: &Tx, new: &NewRun, now_unix_ms: u64) -> Result<bool> {
        for (name, text) in [("shard", &new.shard), ("subject", &new.subject)] {
            if text.len() > NAME_BYTES_MAX {
                return Err(WorkflowError::Parameter { name: name.into(), why: "it is too long" });
            }
        }
        let old = RUNS.get(tx, &new.id).await?;
        let version = new.version.or(old.as_ref().map(|old| old.version));
        let plan = plan(tx, &new.template, version).await?;
        let params =
            plan.params(&new.params).map_err(|(name, why)| WorkflowError::Parameter { name, why })?;
        let state = State::new(&plan);
        let mut run = RunView {
            shard: new.shard.clone(),
            subject: new.subject.clone(),
            template: new.template.clone(),
            version: plan.template().version,
            params,
            created_unix_ms: now_unix_ms,
            wish: Wish::Go,
            retries: (0, 0),
            events: 0,
            status: Status::Running,
            pivot_started: false,
            cause: None,
            steps: Vec::new(),
        };
        if let Some(old) = old {
            let of =
                |run: &RunView| (run.template.clone(), run.version, run.params.clone(), run.subject.clone());
            return if of(&old) == of(&run) {
                Ok(false)
            } else {
                Err(WorkflowError::RunExists(new.id.clone()))
            };
        }
        run.refresh(&plan, &state, |_, _| (0, 0));
        RUNS.put(tx, &new.id, &run).await?;
        news(&run.shard).publish(tx, new.id.as_str().as_bytes().to_vec()).await?;
        Ok(true)
    }

    /// A run as it is.
    ///
    /// # Errors
    /// [`WorkflowError::NoSuchRun`], the store's.
    pub async fn get(&self, run: &RunId) -> Result<RunView> {
        self.store.read(|tx| async move { load(&tx, run).await }).await
    }

    /// Runs in the order of their names, behind `after`; at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, after: Option<&RunId>, limit: usize) -> Result<Vec<(RunId, RunView)>> {
        self.store.read(|tx| async move { Ok(RUNS.scan(&tx, after, limit).await?) }).await
    }

    /// Runs in this state; at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn with_status(&self, status: Status, limit: usize) -> Result<Vec<(RunId, RunView)>> {
        let find = |tx: Tx| async move { Ok(RUNS.find(&tx, BY_STATUS, &status.as_str(), limit).await?) };
        self.store.read(find).await
    }

    /// Runs about this subject; at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn about(&self, subject: &str, limit: usize) -> Result<Vec<(RunId, RunView)>> {
        let find = |tx: Tx| async move { Ok(RUNS.find(&tx, BY_SUBJECT, &subject, limit).await?) };
        self.store.read(find).await
    }

    /// The log of a run from event `first` on (from 0); at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn events(&self, run: &RunId, first: u64, limit: usize) -> Result<Vec<EventRecord>> {
        self.store.read(|tx| async move { events(&tx, run, first, limit).await }).await
    }

    /// Says what is wanted of a run. Asking for what is the case changes nothing.
    ///
    /// # Errors
    /// [`WorkflowError::PointOfNoReturn`], [`WorkflowError::WrongState`], [`WorkflowError::NoSuchRun`],
    /// [`WorkflowError::TooManyEvents`], the store's.
    pub async fn wish(&self, run: &RunId, wish: Wish) -> Result<()> {
        self.store.transact(|tx| async move { self.wish_in(&tx, run, wish).await }).await
    }

    /// As [`Workflows::wish`], as part of a transaction.
    ///
    /// # Errors
    /// As [`Workflows::wish`].
    pub async fn wish_in(&self, tx: &Tx, id: &RunId, wish: Wish) -> Result<()> {
        let mut run = load(tx, id).await?;
        if run.wish == wish {
            return Ok(());
        }
        let wrong = |what| WorkflowError::WrongState { run: id.clone(), what, status: run.status };
        match wish {
            // The engine reads the wish in the transaction that starts the pivot: one of both comes first.
            Wish::Cancel if run.pivot_started && !run.status.is_final() => {
                return Err(WorkflowError::PointOfNoReturn(id.clone()));
            }
            Wish::Cancel if run.status.is_final() || run.status == Status::Stuck => {
                return Err(wrong("to cancel"));
            }
            Wish::Pause if run.status.is_final() || run.status == Status::Stuck => {
                return Err(wrong("to pause"));
            }
            Wish::Go | Wish::Pause if run.wish == Wish::Cancel => {
                return Err(wrong("to take back a cancellation"));
            }
            Wish::Go | Wish::Pause | Wish::Cancel => {}
        }
        if run.events >= EVENTS_MAX && wish == Wish::Pause {
            return Err(WorkflowError::TooManyEvents(id.clone()));
        }
        run.wish = wish;
        RUNS.put(tx, id, &run).await?;
        news(&run.shard).publish(tx, id.as_str().as_bytes().to_vec()).await?;
        Ok(())
    }

    /// Lets a stuck run go on, with all its failures forgiven.
    ///
    /// # Errors
    /// [`WorkflowError::WrongState`] if it is not stuck, [`WorkflowError::NoSuchRun`], the store's.
    pub async fn retry(&self, id: &RunId) -> Result<()> {
        let retry = |tx: Tx| async move {
            let mut run = load(&tx, id).await?;
            if run.status != Status::Stuck {
                let status = run.status;
                return Err(WorkflowError::WrongState { run: id.clone(), what: "to retry", status });
            }
            run.retries.0 = run.retries.1.saturating_add(1);
            RUNS.put(&tx, id, &run).await?;
            news(&run.shard).publish(&tx, id.as_str().as_bytes().to_vec()).await?;
            Ok(())
        };
        self.store.transact(retry).await
    }

    /// Waits until a run is over or stuck.
    ///
    /// # Errors
    /// [`WorkflowError::NoSuchRun`], the store's.
    pub async fn wait(&self, run: &RunId) -> Result<RunView> {
        let mut seen = 0;
        loop {
            seen = self.store.changed(seen).await;
            let view = self.get(run).await?;
            let asked = view.retries.0 > view.retries.1;
            if view.status.is_final() || (view.status == Status::Stuck && !asked) {
                return Ok(view);
            }
        }
    }

    /// Deletes a run that is over, with its log.
    ///
    /// # Errors
    /// [`WorkflowError::WrongState`] if it is not over, [`WorkflowError::NoSuchRun`], the store's.
    pub async fn forget(&self, id: &RunId) -> Result<()> {
        loop {
            let forget = |tx: Tx| async move {
                let run = load(&tx, id).await?;
                if !run.status.is_final() {
                    let status = run.status;
                    return Err(WorkflowError::WrongState { run: id.clone(), what: "to forget", status });
                }
                let rows = EVENTS.scan_prefix(&tx, id, None, EVENTS_PER_DELETE).await?;
                for (key, _) in &rows {
                    EVENTS.delete(&tx, key).await?;
                }
                let last = rows.len() < EVENTS_PER_DELETE;
                if last {
                    RUNS.delete(&tx, id).await?;
                }
                Ok(last)
            };
            if self.store.transact(forget).await? {
                return Ok(());
            }
        }
    }
}

pub(crate) async fn plan(tx: &Tx, name: &str, version: Option<u32>) -> Result<Plan> {
    let missing = || WorkflowError::NoSuchTemplate { name: name.into(), version: version.unwrap_or(0) };
    let found = match version {
        Some(version) => TEMPLATES.get(tx, &(name.to_owned(), u64::from(version))).await?,
        None => TEMPLATES.scan_prefix(tx, &name, None, VERSIONS_MAX).await?.pop().map(|(_, row)| row),
    };
    let TemplateRow(template) = found.ok_or_else(missing)?;
    Plan::new(template).map_err(|source| WorkflowError::Template { name: name.into(), source })
}

pub(crate) async fn load(tx: &Tx, id: &RunId) -> Result<RunView> {
    RUNS.get(tx, id).await?.ok_or_else(|| WorkflowError::NoSuchRun(id.clone()))
}

pub(crate) async fn events(tx: &Tx, id: &RunId, first: u64, limit: usize) -> Result<Vec<EventRecord>> {
    let after = first.checked_sub(1).map(|last| (id.clone(), last));
    let rows = EVENTS.scan_prefix(tx, id, after.as_ref(), limit).await?;
    Ok(rows.into_iter().map(|(_, record)| record).collect())
}
