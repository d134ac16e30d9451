//! The process that has the store, its disk, and what the oracle remembers.

use std::collections::BTreeMap;

use bytes::Bytes;
use imbl::OrdMap;
use terrane_log::{LogConfig, Preallocate};
use terrane_store::StoreError;
use terrane_store::committer::{Bugs, Limits, Version};
use terrane_store::local::{LogRecord, Pipeline, PipelineConfig};
use terrane_types::RandomId;

use super::clients::{Asked, COUNT, Client, Running};
use super::model::Model;
use super::view::{SimView, State};
use crate::disk::{DiskFaults, Loss, SimDisk};
use crate::runner::{Context, Plan, Violation};

const SEGMENT: u32 = 8 << 10;
const RESERVE: u64 = 2 * SEGMENT as u64;
/// Room for everything.
const AMPLE: u64 = 64 * SEGMENT as u64;

pub(super) struct Machine {
    plan: Plan,
    disk: SimDisk,
    view: SimView,
    /// `None` while it cannot be opened.
    pipeline: Option<Pipeline<SimView>>,
    clients: Vec<Client>,
    /// Commits that wait for the committer.
    queue: Vec<Asked>,
    /// Commits whose callers do not know their outcome.
    in_doubt: Vec<Asked>,
    model: Model,
    /// The newest commit that was acknowledged.
    acknowledged: Version,
    /// What new transactions see.
    published: (Version, OrdMap<Bytes, Bytes>),
    /// What a sync of the view that is under way will make durable.
    syncing: Option<State>,
    serial: u64,
    incarnation: Option<RandomId>,
    faults: DiskFaults,
    full: bool,
    view_fails: bool,
}

impl Machine {
    pub(super) fn new(plan: &Plan, context: &mut Context) -> Result<Self, Violation> {
        let disk = SimDisk::new(&mut context.rng, AMPLE, context.coverage.clone());
        let view = SimView::new(&mut context.rng, context.coverage.clone());
        let mut machine = Self {
            plan: plan.clone(),
            disk,
            view,
            pipeline: None,
            clients: (0..COUNT).map(|_| Client::Idle).collect(),
            queue: Vec::new(),
            in_doubt: Vec::new(),
            model: Model::default(),
            acknowledged: 0,
            published: Default::default(),
            syncing: None,
            serial: 0,
            incarnation: None,
            faults: DiskFaults::default(),
            full: false,
            view_fails: false,
        };
        machine.open(context)?;
        Ok(machine)
    }

    fn config(&self, context: &mut Context) -> PipelineConfig {
        let has = |bug| self.plan.switches.has(bug);
        let log = LogConfig {
            segment_bytes: SEGMENT,
            max_record_bytes: 4 << 10,
            max_batch_bytes: 32 << 10,
            spares: 2,
            reserve_bytes: RESERVE,
            preallocate: Preallocate::Inline,
            epoch_nonce: Some(u32::try_from(context.rng.below(u32::MAX as usize)).unwrap_or(0)),
            ..LogConfig::default()
        };
        let bugs = Bugs {
            skip_in_flight: has("skip-in-flight-validation"),
            skip_ranges: has("skip-range-validation"),
            ack_before_fsync: has("acknowledge-before-fsync"),
            recycle_before_sync: has("recycle-before-view-sync"),
        };
        let limits = Limits { history_keys: 30, ids: 40 };
        PipelineConfig { log, limits, bugs, new_incarnation: RandomId(context.rng.u64()) }
    }

    /// Opens the store and compares what is there with what must be there. If the disk does not let it, it
    /// stays closed until the next crash.
    fn open(&mut self, context: &mut Context) -> Result<(), Violation> {
        let config = self.config(context);
        let pipeline = match Pipeline::open(self.disk.as_disk(), self.view.clone(), config) {
            Ok(pipeline) => pipeline,
            Err(error) if self.excused(&error) => {
                context.coverage.hit("store.crash_in_open");
                context.trace.note(format_args!("  not opened: {error}"));
                return Ok(());
            }
            Err(error) => return Err(Violation(format!("the store cannot be opened: {error}"))),
        };
        let applied = pipeline.applied();
        context.trace.note(format_args!("  opened at version {}", applied.version));
        if *self.incarnation.get_or_insert(applied.incarnation) != applied.incarnation
            && self.model.last() > 0
        {
            return Err(Violation::new("the store has another incarnation after a restart"));
        }
        self.incarnation = Some(applied.incarnation);
        self.settle(context, &pipeline, Version::MAX, BTreeMap::new())?;
        // What is not in the log now never will be, unless it is asked for again.
        let before = self.in_doubt.len();
        self.in_doubt.retain(can_be_asked_again);
        context.coverage.add("store.unknown_lost", (before - self.in_doubt.len()) as u64);
        self.publish(&pipeline)?;
        self.pipeline = Some(pipeline);
        Ok(())
    }

    /// New transactions see what the view has now, if it has all that it should.
    fn publish(&mut self, pipeline: &Pipeline<SimView>) -> Result<(), Violation> {
        let Some(version) = pipeline.visible() else { return Ok(()) };
        let (rows, expected) = (self.view.now().rows, self.model.at(version));
        if version < self.acknowledged || rows != expected {
            let last = self.acknowledged;
            return Err(Violation(format!(
                "version {version} has {rows:?}; with commit {last} acknowledged it must be {expected:?}"
            )));
        }
        self.published = (version, rows);
        Ok(())
    }

    /// While something is wrong with the disk an open may fail, but never by calling the data damaged.
    fn excused(&self, error: &StoreError) -> bool {
        !matches!(error, StoreError::Damaged(_)) && self.faulty()
    }

    /// Adds to the model what was acknowledged and, as the log says, has happened of what is in doubt, up
    /// to a version. Nothing else may be new in the log. Records beyond what a running store shows stand
    /// in files whose sync failed: until the next start nobody can know whether they happened.
    fn settle(
        &mut self,
        context: &mut Context,
        pipeline: &Pipeline<SimView>,
        up_to: Version,
        mut happened: BTreeMap<Version, Asked>,
    ) -> Result<(), Violation> {
        // The oracle reads with other eyes than the store.
        self.disk.set_faults(DiskFaults::default());
        let mut found = Vec::new();
        for segment in pipeline.log_reader().segments() {
            let scanned = pipeline.log_reader().scan_segment::<StoreError>(segment.id, |_, payload| {
                if let LogRecord::Commit { version, id, writes } = LogRecord::decode(payload)?
                    && version <= up_to
                    && !self.model.has(version)
                    && !happened.contains_key(&version)
                {
                    found.push((version, id, writes));
                }
                Ok(())
            });
            scanned.map_err(|error| Violation(format!("the log cannot be read: {error}")))?;
        }
        self.disk.set_faults(self.faults);
        for (version, id, writes) in found {
            let matching = |asked: &&mut Asked| asked.request.id == id && asked.request.writes == writes;
            let Some(asked) = self.in_doubt.iter_mut().chain(&mut self.queue).find(matching) else {
                return Err(Violation(format!(
                    "commit {version} appears, which was refused or never asked for"
                )));
            };
            context.coverage.hit("store.unknown_happened");
            asked.happened = Some(version);
            happened.insert(version, asked.clone());
            // Those with an identifier may still be asked for.
            self.in_doubt.retain(|asked| asked.happened.is_none() || asked.request.id.is_some());
        }
        for (version, asked) in happened {
            self.model.commit(version, &asked.reads, &asked.request.writes)?;
        }
        Ok(())
    }

    /// A client goes on with its transaction.
    pub(super) fn client(&mut self, context: &mut Context, client: usize) -> Result<(), Violation> {
        if self.pipeline.is_none() {
            return Ok(());
        }
        let (rng, serial) = (&mut context.rng, self.serial);
        match std::mem::replace(&mut self.clients[client], Client::Waiting) {
            Client::Waiting => {}
            Client::Idle if self.in_doubt.iter().any(can_be_asked_again) && rng.one_in(4) => {
                let again: Vec<usize> =
                    (0..self.in_doubt.len()).filter(|at| can_be_asked_again(&self.in_doubt[*at])).collect();
                let mut asked = self.in_doubt.remove(*rng.pick(&again));
                asked.request.retry = true;
                asked.client = client;
                context.coverage.hit("store.asked_again");
                self.queue.push(asked);
            }
            Client::Idle => {
                self.serial += 1;
                let (snapshot, rows) = self.published.clone();
                if snapshot < self.model.last() {
                    let last = self.model.last();
                    return Err(Violation(format!(
                        "a snapshot of version {snapshot} begins after commit {last}"
                    )));
                }
                self.clients[client] = Client::Running(Running::begin(rng, snapshot, rows, serial));
            }
            // Some take their time, until nobody remembers what has changed since they began.
            Client::Running(running) if running.slow && !rng.one_in(12) => {
                self.clients[client] = Client::Running(running);
            }
            Client::Running(mut running) => {
                if running.step(rng, &self.model)? {
                    self.clients[client] = Client::Running(running);
                } else {
                    self.queue.push(running.finish(rng, client, serial * COUNT as u64 + client as u64));
                    self.serial += 1;
                }
            }
        }
        Ok(())
    }

    /// The committer takes some of what waits.
    pub(super) fn commit(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(mut pipeline) = self.pipeline.take() else { return Ok(()) };
        context.rng.shuffle(&mut self.queue);
        let take = context.rng.below(self.queue.len() + 1);
        let batch: Vec<Asked> = self.queue.drain(..take).collect();
        if batch.len() > 1 {
            context.coverage.hit("store.batch_of_several");
        }
        let requests: Vec<_> = batch.iter().map(|asked| asked.request.clone()).collect();
        let before = pipeline.applied().version;
        let results = pipeline.commit(&requests);
        let mut happened = BTreeMap::new();
        let mut failed = false;
        for (asked, result) in batch.into_iter().zip(results) {
            context.trace.note(format_args!("  {} {:?}: {result:?}", asked.client, asked.request.id));
            self.clients[asked.client] = Client::Idle;
            failed |= matches!(result, Err(StoreError::Unavailable(_)));
            match result {
                Ok(version) => self.committed(context, &mut happened, version, asked)?,
                Err(error) => self.refused(context, asked, &error, before)?,
            }
        }
        let acknowledged = happened.keys().next_back().copied();
        if let Some(version) = pipeline.visible().filter(|version| *version != self.published.0) {
            self.settle(context, &pipeline, version, happened)?;
        }
        self.acknowledged = self.acknowledged.max(acknowledged.unwrap_or(0));
        self.publish(&pipeline)?;
        if self.published.0 < self.acknowledged {
            return Err(Violation(format!("commit {} is acknowledged, but not visible", self.acknowledged)));
        }
        self.pipeline = Some(pipeline);
        if failed && !self.full {
            context.coverage.hit("store.log_failed");
            // Somebody notices and starts the process again.
            return if context.rng.one_in(2) { self.crash(context) } else { Ok(()) };
        }
        Ok(())
    }

    fn committed(
        &self,
        context: &Context,
        happened: &mut BTreeMap<Version, Asked>,
        version: Version,
        asked: Asked,
    ) -> Result<(), Violation> {
        context.coverage.hit("store.committed");
        if self.model.has(version) || happened.contains_key(&version) {
            context.coverage.hit("store.duplicate");
            let same = asked.request.retry && asked.happened.is_none_or(|earlier| earlier == version);
            return if same { Ok(()) } else { Err(Violation(format!("two commits are called {version}"))) };
        }
        if let Some(earlier) = asked.happened {
            return Err(Violation(format!("commit {earlier} happened again as {version}")));
        }
        if self.full && asked.request.writes.iter().all(|(_, value)| value.is_none()) {
            context.coverage.hit("store.delete_used_reserve");
        }
        happened.insert(version, asked);
        Ok(())
    }

    fn refused(
        &mut self,
        context: &Context,
        asked: Asked,
        error: &StoreError,
        before: Version,
    ) -> Result<(), Violation> {
        match error {
            StoreError::Conflict => {
                context.coverage.hit("store.conflict");
                if asked.request.snapshot >= before {
                    context.coverage.hit("store.conflict_within_batch");
                } else if asked.request.reads.is_empty() {
                    context.coverage.hit("store.too_old");
                }
                match asked.happened {
                    Some(version) => {
                        Err(Violation(format!("commit {version} happened, but is called a conflict")))
                    }
                    None => Ok(()),
                }
            }
            StoreError::UnknownOutcome(_) => {
                context.coverage.hit("store.unknown");
                self.in_doubt.push(asked);
                Ok(())
            }
            StoreError::NoSpace(_) | StoreError::Unavailable(_) => {
                if matches!(error, StoreError::NoSpace(_)) {
                    context.coverage.hit("store.no_space");
                }
                // A refused attempt says nothing about an earlier one of unknown outcome.
                if asked.request.retry {
                    self.in_doubt.push(asked);
                }
                Ok(())
            }
            error => Err(Violation(format!("a commit fails with {error}"))),
        }
    }

    /// The view is synced in two steps, between which commits go on.
    pub(super) fn sync_view(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(pipeline) = &mut self.pipeline else { return Ok(()) };
        let segments = pipeline.log_reader().segments().len();
        let done = match self.syncing.take() {
            Some(begun) => match self.view.end_sync(&begun) {
                Ok(synced) => synced.map_or(Ok(0), |synced| pipeline.recycle(&synced)),
                Err(error) => Err(error),
            },
            None if context.rng.one_in(2) => pipeline.checkpoint(),
            None => {
                self.syncing = Some(self.view.begin_sync());
                return Ok(());
            }
        };
        if let Err(error) = done {
            context.trace.note(format_args!("  checkpoint: {error}"));
            return Ok(());
        }
        context.coverage.hit("store.checkpoint");
        let now = pipeline.log_reader().segments().len();
        context.coverage.add("store.segment_recycled", segments.saturating_sub(now) as u64);
        Ok(())
    }

    /// The process ends, with the machine or without it, and starts again.
    pub(super) fn crash(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.pipeline = None;
        self.syncing = None;
        // Whoever waits does not know; what was not even taken did not happen.
        for client in &mut self.clients {
            *client = Client::Idle;
        }
        let waiting = std::mem::take(&mut self.queue);
        self.in_doubt.extend(waiting.into_iter().filter(|asked| asked.request.retry));
        let losses = [Loss::Nothing, Loss::Everything, Loss::AnySector, Loss::Tail];
        let loss = if self.plan.allows("power") { *context.rng.pick(&losses) } else { Loss::Nothing };
        if loss == Loss::Nothing {
            context.coverage.hit("store.restart_without_loss");
        }
        context.trace.note(format_args!("  crash {loss:?}"));
        self.disk.crash(loss);
        self.view.crash();
        self.open(context)
    }

    /// Something goes wrong, or right again.
    pub(super) fn chaos(&mut self, context: &mut Context) {
        let n = 4 + u32::try_from(context.rng.below(40)).unwrap_or(0);
        let odds = |kind| if self.plan.allows(kind) { n } else { 0 };
        match context.rng.weighted(&[4, 3, 2, 2, 2]) {
            0 => self.calm(),
            1 => {
                let faults = [
                    DiskFaults { sync_fails: odds("sync"), ..DiskFaults::default() },
                    DiskFaults { sync_dir_fails: odds("sync"), ..DiskFaults::default() },
                    DiskFaults { write_fails: odds("write"), ..DiskFaults::default() },
                    DiskFaults { read_fails: odds("read"), ..DiskFaults::default() },
                ];
                self.faults = *context.rng.pick(&faults);
                self.disk.set_faults(self.faults);
            }
            2 if self.plan.allows("full") => {
                self.full = true;
                self.disk.set_capacity(self.disk.used() + context.rng.range(0..40 << 10));
                if context.rng.one_in(3) {
                    self.faults = DiskFaults { overwrite_full: 3, ..DiskFaults::default() };
                    self.disk.set_faults(self.faults);
                }
            }
            3 if self.plan.allows("power") => self.disk.power_off_after(context.rng.range(1..30)),
            4 => {
                self.view_fails = self.plan.allows("view");
                self.view.set_fails(odds("view"));
            }
            _ => {}
        }
    }

    /// All is well again.
    pub(super) fn calm(&mut self) {
        self.faults = DiskFaults::default();
        self.full = false;
        self.disk.set_faults(self.faults);
        self.disk.set_capacity(AMPLE);
        self.view_fails = false;
        self.view.set_fails(0);
    }

    fn faulty(&self) -> bool {
        self.faults != DiskFaults::default() || self.full || self.view_fails || self.disk.is_off()
    }
}

/// Without an identifier a second attempt would be another commit.
fn can_be_asked_again(asked: &Asked) -> bool {
    asked.request.id.is_some()
}
