//! Around one shard of the keymap core: the threads that give it disks and a clock.
//!
//! ```text
//!  requests ─▶ owner thread ─▶ log thread      append, one sync for all that wait
//!                 ▲   │ ├────▶ workers          commit batches to the keymap
//!                 │   │ └────▶ keeper thread    keymap syncs, spill runs
//!                 └───┴──────── events          what the others did
//!                     └───────▶ published view  what readers see
//! ```
//! The owner alone touches the shard; it never waits for a disk.

mod keeper;
mod log;
mod owner;
mod trouble;
mod worker;

pub(crate) use keeper::Runs;
pub(crate) use log::{locator, place};
pub(crate) use worker::{commit, extents_of};

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use terrane_keymap::class::ClassName;
use terrane_keymap::keymap::{Mutation, ReplayPoint};
use terrane_keymap::reader::{Merged, RowReader};
use terrane_keymap::shard::Shard;
use terrane_keymap::write::{WriteError, WriteRequest, Written};
use terrane_keymap::{Input, Locator, Lsn, View};
use terrane_log::{Log, LogReader};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::collect::Dirty;
use crate::data::StagedExtents;
use crate::engine::{Engine, Snapshot};
use crate::metrics::Metrics;
use crate::runs::RunFile;
use crate::space::SpaceGuard;

/// Requests that may wait for the owner or for their answers; more wait before they are taken.
const REQUESTS_MAX: usize = 8_192;

/// What readers see, all of one moment.
pub(crate) struct ReadView {
    pub(crate) core: View,
    pub(crate) keymap: Snapshot,
    pub(crate) runs: Vec<Arc<RunFile>>,
}

impl ReadView {
    /// Overlay, runs and keymap as one.
    pub(crate) fn rows(&self) -> Merged<'_> {
        let runs = self.runs.iter().map(|run| &**run as &dyn RowReader);
        let layers = std::iter::once(&self.keymap as &dyn RowReader).chain(runs);
        Merged::new(&self.core.overlay, layers.collect())
    }
}

/// The answer to a write, and its staged bytes if they were refused.
pub(crate) type WriteOutcome = (Result<Box<Written>, WriteError>, Option<StagedExtents>);

/// What others want of the owner.
pub(crate) enum Request {
    Write { request: Box<WriteRequest>, staged: Option<StagedExtents>, reply: oneshot::Sender<WriteOutcome> },
    Sync(oneshot::Sender<()>),
    Drain(Option<ClassName>, oneshot::Sender<()>),
    Commit(Vec<Mutation>, u64),
    Input(Input),
    Ask(Box<dyn FnOnce(&mut Shard) + Send>),
    Close,
}

/// Everything that the owner hears.
pub(crate) enum Event {
    Request(Request),
    Core(Input),
    Logged { batch: Vec<(Lsn, Locator)>, upto: Lsn },
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) engine: Engine,
    pub(crate) runs: Runs,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) space: Arc<SpaceGuard>,
    pub(crate) dirty: Arc<Dirty>,
}

/// A running shard.
pub(crate) struct Driver {
    events: Sender<Event>,
    log: Sender<log::Message>,
    permits: Semaphore,
    pub(crate) reader: LogReader,
    pub(crate) engine: Engine,
    published: Arc<ArcSwap<ReadView>>,
    replay: Arc<Mutex<ReplayPoint>>,
    /// Why the shard takes no more writes, once it does not.
    failure: Arc<OnceLock<Arc<str>>>,
    /// The greatest cursor up to which completions may be handed out.
    completions: watch::Receiver<u64>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn unavailable(why: &str) -> WriteError {
    WriteError::Unavailable(why.into())
}

impl Driver {
    /// Starts the threads. The first view is published before this returns.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Self> {
        let (events, inbox) = unbounded();
        let (log, log_messages) = unbounded();
        let (jobs, job_queue) = unbounded();
        let reader = parts.log.reader();
        let runs = Arc::new(parts.runs);
        let replay = Arc::new(Mutex::new(ReplayPoint::default()));
        let failure = Arc::new(OnceLock::new());
        let context = worker::WorkerContext::new(
            parts.engine.clone(),
            reader.clone(),
            events.clone(),
            parts.metrics.clone(),
            parts.dirty,
        );
        let (news, completions) = watch::channel(0);
        let nothing = ReadView { core: empty_view(), keymap: parts.engine.snapshot(), runs: Vec::new() };
        let published = Arc::new(ArcSwap::from_pointee(nothing));
        let mut owner = owner::Owner::new(owner::Links {
            shard: parts.shard,
            inbox,
            log: log.clone(),
            jobs,
            context: Arc::new(context),
            engine: parts.engine.clone(),
            runs: runs.clone(),
            published: published.clone(),
            replay: replay.clone(),
            failure: failure.clone(),
            news,
            metrics: parts.metrics.clone(),
        });
        owner.settle();
        let log_thread =
            log::LogThread::new(parts.log, log_messages, events.clone(), parts.metrics, parts.space);
        let mut threads = vec![spawn("objects-log", move || log_thread.run())?];
        let (engine, keeper_runs, keeper_events) = (parts.engine.clone(), runs.clone(), events.clone());
        let keeper_log = reader.clone();
        threads.push(spawn("objects-keeper", move || {
            keeper::keep(&engine, &keeper_log, &keeper_runs, &job_queue, &keeper_events);
        })?);
        threads.push(spawn("objects-owner", move || owner.run())?);
        let (engine, permits, threads) = (parts.engine, Semaphore::new(REQUESTS_MAX), Mutex::new(threads));
        Ok(Self { events, log, permits, reader, engine, published, replay, failure, completions, threads })
    }

    /// What readers see now.
    pub(crate) fn view(&self) -> Arc<ReadView> {
        self.published.load_full()
    }

    /// A receiver of the greatest completion cursor.
    pub(crate) fn completions(&self) -> watch::Receiver<u64> {
        self.completions.clone()
    }

    /// Why no more writes are taken, once they are not.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.get().cloned()
    }

    /// Where replay would begin now.
    pub(crate) fn replay(&self) -> ReplayPoint {
        *self.replay.lock()
    }

    /// Has the sequencer take a write. Once sent, it happens even if the caller goes away.
    pub(crate) async fn write(
        &self,
        request: WriteRequest,
        staged: Option<StagedExtents>,
    ) -> Result<Box<Written>, WriteError> {
        let _permit = self.permits.acquire().await.map_err(|_| unavailable("the store is closed"))?;
        let (reply, answer) = oneshot::channel();
        self.send(Request::Write { request: Box::new(request), staged, reply });
        match answer.await {
            Ok((result, _refused)) => result,
            Err(_) => Err(unavailable("the store has stopped")),
        }
    }

    /// Waits until all that is applied by now is durable in the keymap.
    pub(crate) async fn sync(&self) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Sync(reply));
        answer.await.map_err(|_| unavailable("the store has stopped"))
    }

    /// Applies all that is pending by now.
    pub(crate) async fn drain(&self, class: Option<ClassName>) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Drain(class, reply));
        answer.await.map_err(|_| unavailable("the store has stopped"))
    }

    /// Asks the shard something.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Shard) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask(Box::new(move |shard| {
            // Whoever asked may have gone away.
            let _ = reply.send(question(shard));
        })));
        answer.await.map_err(|_| unavailable("the store has stopped"))
    }

    /// Tells the shard something that has no answer.
    pub(crate) fn tell(&self, input: Input) {
        self.send(Request::Input(input));
    }

    /// Commits bookkeeping of consumers of the outbox, which shrinks by `trimmed` completions.
    pub(crate) fn commit(&self, mutations: Vec<Mutation>, trimmed: u64) {
        self.send(Request::Commit(mutations, trimmed));
    }

    /// Runs something on the log, between two batches.
    pub(crate) async fn with_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |log: &mut Log| {
            // Whoever asked may have gone away.
            let _ = reply.send(work(log));
        });
        // A closed channel drops the message and with it the reply.
        let _ = self.log.send(log::Message::Work(work));
        answer.await.map_err(|_| unavailable("the log has stopped"))
    }

    fn send(&self, request: Request) {
        // A message to a stopped owner is dropped, and so is its reply, which tells the sender.
        let _ = self.events.send(Event::Request(request));
    }

    /// Ends the threads, after what was asked before. Blocks.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.send(Request::Close);
        for thread in self.threads.lock().drain(..).rev() {
            if thread.join().is_err() {
                tracing::error!("a thread of the object store had panicked");
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

/// A channel for one worker.
fn worker_channel<T>() -> (Sender<T>, Receiver<T>) {
    bounded(4)
}

/// What is replaced by the first view before anybody reads.
fn empty_view() -> View {
    View {
        seq: 0,
        lsn: Lsn::ZERO,
        overlay: Default::default(),
        buckets: Default::default(),
        runs: Arc::new([]),
        completions_upto: 0,
    }
}
