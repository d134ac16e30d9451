//! One term of office: from reading everything to losing the office or being stopped.

use std::sync::Arc;
use std::time::Duration;

use terrane_block_wire::transport::Connection;
use terrane_store::{Cursor, Page, Store, StoreError};
use terrane_types::InstanceId;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Driver;
use super::engine::{self, InOffice};
use super::sessions::Sessions;
use crate::db::{self, Changes, Notice};
use crate::jobs::{Job, JobError, Rules};
use crate::leader::{Action, Event, JobFailure, JobId, Leader, Terms};
use crate::metrics::Counts;
use crate::office::{Office, Term, now, renewal};
use crate::rows::{INSTANCES, changes};

/// How often the manager looks at the time.
const TICK: Duration = Duration::from_millis(20);
/// Events that wait, from all connections together; then these are not read any more.
const EVENTS_MAX: usize = 8192;
/// Transactions at the same time.
const JOBS_MAX: usize = 64;
/// Notices kept for managers that are behind.
const NOTICES_KEPT: u64 = 10_000;
/// For so long a client token stands for its call.
const TOKENS_KEPT: Duration = Duration::from_secs(48 * 3600);
/// Between two trimmings.
const TRIM: Duration = Duration::from_secs(60);

/// What runs during a term.
struct Running {
    leader: Leader,
    sessions: Sessions,
    jobs: JoinSet<(JobId, Result<Changes, JobError>)>,
    slots: Arc<Semaphore>,
    office: Office,
    store: Store,
    rules: Rules,
    metrics: crate::metrics::ManagerMetrics,
    exported: Counts,
    lost: bool,
}

impl Driver {
    /// Serves until the office is lost, or the manager is stopped. `waiting`: connections that came before.
    pub(super) async fn serve(
        &mut self,
        office: Office,
        term: Option<Term>,
        waiting: Vec<Connection>,
        incoming: &mut mpsc::Receiver<Connection>,
    ) {
        let over = self.stop.child_token();
        let (until, until_seen) = watch::channel(term.as_ref().map_or(u64::MAX, |term| term.until));
        // From the beginning: reading everything may take longer than the office lasts.
        let period = renewal(self.config.timing.office);
        let renewing = term.map(|term| tokio::spawn(renew(term, period, until, over.clone())));
        match read_everything(&self.config.store).await {
            Ok(read) => self.govern(office, read, until_seen, waiting, incoming, &over).await,
            Err(error) => {
                tracing::error!(%error, "the manager cannot read its state");
                self.health.failed(format!("cannot read its state: {error}"));
                self.pause(Duration::from_secs(1)).await;
            }
        }
        over.cancel();
        if let Some(task) = renewing
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the renewals of the office broke off");
        }
    }

    /// Decides from what was read, and everything that follows it.
    async fn govern(
        &mut self,
        office: Office,
        (state, machines, cursor): (Changes, Vec<InstanceId>, Cursor),
        until: watch::Receiver<u64>,
        waiting: Vec<Connection>,
        incoming: &mut mpsc::Receiver<Connection>,
        over: &CancellationToken,
    ) {
        let store = self.config.store.clone();
        tracing::info!(epoch = office.epoch(), volumes = state.volumes.len(), "in office");
        let (notices, noticed) = mpsc::channel(1024);
        let following = tokio::spawn(follow(store.clone(), cursor, notices, over.clone()));
        let rules = Rules { overcommit: self.config.overcommit };
        let ground = InOffice { store: store.clone(), rules, queries: self.asking.clone() };
        let working = tokio::spawn(engine::work(ground, over.clone()));
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let terms = Terms {
            timing: self.config.timing,
            host_account: self.config.host_account.clone(),
            epoch: office.epoch(),
            running: machines,
        };
        let mut running = Running {
            leader: Leader::new(terms, state, now()),
            sessions: Sessions::new(events),
            jobs: JoinSet::new(),
            slots: Arc::new(Semaphore::new(JOBS_MAX)),
            office,
            store,
            rules,
            metrics: self.metrics.clone(),
            exported: Counts::default(),
            lost: false,
        };
        self.metrics.in_office(true);
        for connection in waiting {
            running.open(connection);
        }
        let mut inputs = Inputs { happened, noticed, until };
        self.follow_events(&mut running, &mut inputs, over, incoming).await;
        self.metrics.in_office(false);
        over.cancel();
        if let Err(error) = following.await {
            tracing::error!(%error, "following what calls change broke off");
        }
        if let Err(error) = working.await {
            tracing::error!(%error, "the workflow engine broke off");
        }
        tracing::info!(epoch = running.office.epoch(), "out of office");
    }

    /// One event after the other.
    async fn follow_events(
        &mut self,
        running: &mut Running,
        inputs: &mut Inputs,
        over: &CancellationToken,
        incoming: &mut mpsc::Receiver<Connection>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !running.lost {
            running.leader.office_until = *inputs.until.borrow_and_update();
            if now() >= running.leader.office_until {
                break;
            }
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                _ = tick.tick() => {
                    // Whatever was said before now was said before now.
                    while let Ok(event) = inputs.happened.try_recv() {
                        running.handle(event);
                    }
                    running.handle(Event::Tick);
                    running.report(&self.health);
                }
                Some(event) = inputs.happened.recv() => running.handle(event),
                Some(done) = running.jobs.join_next() => running.done(done),
                Some(connection) = incoming.recv() => running.open(connection),
                notice = inputs.noticed.recv() => match notice {
                    Some(Notice::Volume(key)) => running.handle(Event::Changed(key)),
                    Some(Notice::Server(server)) => running.handle(Event::ServerChanged(server)),
                    None => break,
                },
                Some(query) = self.queries.recv() => running.query(query),
            }
        }
    }
}

/// What comes in during a term.
struct Inputs {
    happened: mpsc::Receiver<Event>,
    noticed: mpsc::Receiver<Notice>,
    until: watch::Receiver<u64>,
}

impl Running {
    fn handle(&mut self, event: Event) {
        if let Event::Closed(session) = &event {
            self.sessions.forget(*session);
        }
        let actions = self.leader.handle(event, now());
        self.perform(actions);
    }

    fn open(&mut self, connection: Connection) {
        if let Some(event) = self.sessions.open(connection) {
            self.handle(event);
        }
    }

    fn query(&mut self, query: super::Query) {
        query(Some(&mut self.leader), now());
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(session, message) => self.sessions.send(session, &message),
                Action::Close(session) => self.sessions.close(session),
                Action::Run(id, job) => self.start(id, job),
            }
        }
    }

    fn start(&mut self, id: JobId, job: Job) {
        let (store, office, rules) = (self.store.clone(), self.office.clone(), self.rules);
        let (slots, metrics) = (self.slots.clone(), self.metrics.clone());
        self.jobs.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let began = std::time::Instant::now();
            let (office, job) = (&office, &job);
            let result = store
                .transact(|tx| async move {
                    office.fence(&tx).await?;
                    job.run(&tx, rules, jiff::Timestamp::now()).await
                })
                .await;
            metrics.transaction(began.elapsed().as_secs_f64());
            (id, result)
        });
    }

    fn done(&mut self, done: Result<(JobId, Result<Changes, JobError>), tokio::task::JoinError>) {
        let (id, result) = match done {
            Ok(done) => done,
            Err(error) => {
                // Its stripe would wait for ever: begin anew.
                tracing::error!(%error, "a transaction broke off");
                self.lost = true;
                return;
            }
        };
        let result = result.map_err(|error| match error {
            JobError::NoRoom(reason) => JobFailure::NoRoom(reason),
            JobError::Store(error) => {
                tracing::warn!(%error, "a transaction of the manager failed");
                self.lost |= matches!(error, StoreError::Fenced { .. });
                JobFailure::Other(error.to_string())
            }
        });
        self.handle(Event::Done(id, result));
    }

    fn report(&mut self, health: &terrane_telemetry::health::HealthHandle) {
        let counts = &mut self.leader.counts;
        if counts.stranded > 0 {
            health.failed(format!("{} stripes have no living copy in sync", counts.stranded));
        } else if counts.degraded > 0 {
            health.degraded(format!("{} stripes have fewer copies in sync than wanted", counts.degraded));
        } else {
            health.ok();
        }
        self.metrics.export(counts, &mut self.exported);
    }
}

/// All rows, the machines that run, and the place in the feed right behind what these rows show.
async fn read_everything(store: &Store) -> Result<(Changes, Vec<InstanceId>, Cursor), StoreError> {
    store
        .read(|tx| async move {
            let cursor = changes().position(store, &tx).await?;
            let instances = db::all(&INSTANCES, &tx).await?;
            let running = instances.into_iter().map(|(_, row)| row).filter(|row| row.running);
            let running = running.map(|row| row.id).collect();
            Ok((db::everything(&tx).await?, running, cursor))
        })
        .await
}

/// Keeps the office for as long as the store agrees.
async fn renew(mut term: Term, period: Duration, until: watch::Sender<u64>, over: CancellationToken) {
    loop {
        tokio::select! {
            () = over.cancelled() => return term.release().await,
            () = tokio::time::sleep(period) => {}
        }
        match term.renew().await {
            Ok(()) => {
                until.send_replace(term.until);
            }
            Err(StoreError::Fenced { .. }) => {
                until.send_replace(0);
                return;
            }
            Err(error) => tracing::warn!(%error, "the office was not renewed"),
        }
    }
}

/// Follows what calls change. Ends when it cannot know any more what changed.
async fn follow(store: Store, mut cursor: Cursor, notices: mpsc::Sender<Notice>, over: CancellationToken) {
    let feed = changes();
    let mut trimmed = std::time::Instant::now();
    loop {
        let page = tokio::select! {
            () = over.cancelled() => return,
            page = feed.next(&store, cursor, 256) => page,
        };
        match page {
            Ok(Page::Events(events, next)) => {
                cursor = next;
                for notice in events.iter().filter_map(|event| Notice::decode(&event.payload)) {
                    if notices.send(notice).await.is_err() {
                        return;
                    }
                }
            }
            Ok(Page::Resync) => return,
            Err(error) => {
                tracing::warn!(%error, "the feed of changes cannot be read");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        if trimmed.elapsed() >= TRIM {
            trimmed = std::time::Instant::now();
            if let Err(error) = trim(&store).await {
                tracing::debug!(%error, "what is old was not trimmed");
            }
        }
    }
}

/// Deletes notices that everybody has read, and client tokens of long ago. (The wall clock decides nothing else.)
async fn trim(store: &Store) -> Result<(), StoreError> {
    store.transact(|tx| async move { changes().trim(&tx, NOTICES_KEPT).await }).await?;
    let old = jiff::Timestamp::now() - TOKENS_KEPT;
    let mut after: Option<db::VolumeKey> = None;
    loop {
        let from = &after;
        after = store.transact(|tx| async move { db::trim_tokens(&tx, from.as_ref(), old).await }).await?;
        if after.is_none() {
            return Ok(());
        }
    }
}
