//! The thread that owns the shard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use terrane_keymap::events::Output;
use terrane_keymap::keymap::ReplayPoint;
use terrane_keymap::reader::{Merged, RowReader};
use terrane_keymap::shard::Shard;
use terrane_keymap::write::{WriteError, Written};
use terrane_keymap::{Batch, Input, OpRef, Overlay, Timestamp, View, WorkerId};
use tokio::sync::{oneshot, watch};

use super::keeper::{Job, Runs};
use super::log::{Entry, Message};
use super::worker::WorkerContext;
use super::{Event, ReadView, Request, WriteOutcome, worker_channel};
use crate::convert;
use crate::data::StagedExtents;
use crate::engine::Engine;
use crate::metrics::Metrics;

/// The shard is told the time at least this often.
const TICK: Duration = Duration::from_millis(50);
/// Events handled before what they append goes to the log.
const EVENTS_MAX: usize = 512;

/// What the owner is connected to.
pub(super) struct Links {
    pub(super) shard: Shard,
    pub(super) inbox: Receiver<Event>,
    pub(super) log: Sender<Message>,
    pub(super) jobs: Sender<Job>,
    pub(super) context: Arc<WorkerContext>,
    pub(super) engine: Engine,
    pub(super) runs: Arc<Runs>,
    pub(super) published: Arc<ArcSwap<ReadView>>,
    pub(super) replay: Arc<Mutex<ReplayPoint>>,
    pub(super) failure: Arc<OnceLock<Arc<str>>>,
    pub(super) news: watch::Sender<u64>,
    pub(super) metrics: Arc<Metrics>,
}

/// Who waits for an answer of the shard.
enum Waiter {
    Write(oneshot::Sender<WriteOutcome>, Option<StagedExtents>),
    Done(oneshot::Sender<()>),
}

/// The shard's owner.
pub(super) struct Owner {
    links: Links,
    waiters: HashMap<u64, Waiter>,
    next_op: u64,
    appends: Vec<Entry>,
    /// Inputs that follow from outputs.
    followups: VecDeque<Input>,
    workers: HashMap<WorkerId, Sender<Batch>>,
    worker_threads: Vec<std::thread::JoinHandle<()>>,
    next_worker: u64,
    last_tick: Instant,
    last_time: Timestamp,
    closing: bool,
    /// The shard has given up: it syncs and drains nothing any more.
    stopped: bool,
}

impl Owner {
    pub(super) fn new(links: Links) -> Self {
        Self {
            links,
            waiters: HashMap::new(),
            next_op: 0,
            appends: Vec::new(),
            followups: VecDeque::new(),
            workers: HashMap::new(),
            worker_threads: Vec::new(),
            next_worker: 0,
            last_tick: Instant::now(),
            last_time: Timestamp::default(),
            closing: false,
            stopped: false,
        }
    }

    pub(super) fn run(mut self) {
        while !self.closing {
            let mut group = Vec::new();
            match self.links.inbox.recv_timeout(TICK.saturating_sub(self.last_tick.elapsed())) {
                Ok(event) => group.push(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            group.extend(self.links.inbox.try_iter().take(EVENTS_MAX));
            self.group(group);
        }
        self.stop();
    }

    /// Handles events together: what they lead to is done once for all of them.
    fn group(&mut self, group: Vec<Event>) {
        let mut inputs = Vec::with_capacity(group.len() + 1);
        for event in group {
            if matches!(event, Event::Core(Input::AppendFailed)) {
                self.append_failed(std::mem::take(&mut inputs));
            } else {
                self.event(event, &mut inputs);
            }
        }
        if self.last_tick.elapsed() >= TICK {
            self.last_tick = Instant::now();
            inputs.push(Input::Tick);
        }
        self.handle(inputs);
        self.settle();
    }

    /// The log drops what it is sent until it is told to resume: all that the shard gives up with the failure.
    fn append_failed(&mut self, before: Vec<Input>) {
        self.handle(before);
        self.settle();
        self.handle(vec![Input::AppendFailed]);
        self.send_log(Message::Resume);
        self.settle();
    }

    /// Does what the shard asks for, until it asks for nothing more.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(output) = self.links.shard.poll_output() {
                self.output(output);
            }
            if self.followups.is_empty() {
                break;
            }
            let inputs = self.followups.drain(..).collect();
            self.handle(inputs);
        }
        self.flush_appends();
    }

    /// Lets the others finish what they have, and ends them.
    fn stop(mut self) {
        self.workers.clear();
        for thread in self.worker_threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a keymap worker had panicked");
            }
        }
        // The log thread's queue ends here; if it has ended already, so be it.
        let _ = self.links.log.send(Message::Close);
    }

    fn event(&mut self, event: Event, inputs: &mut Vec<Input>) {
        match event {
            Event::Core(input) => inputs.push(input),
            Event::Logged { batch, upto } => {
                inputs.extend(batch.into_iter().map(|(lsn, locator)| Input::Appended { lsn, locator }));
                inputs.push(Input::Durable { upto });
            }
            Event::Request(request) => self.request(request, inputs),
        }
    }

    fn request(&mut self, request: Request, inputs: &mut Vec<Input>) {
        match request {
            Request::Write { request, mut staged, reply } => {
                // A record may name the staged bytes: whatever happens from here on, they are not cut off.
                if let Some(staged) = &mut staged {
                    staged.submit();
                }
                let op_ref = self.wait(Waiter::Write(reply, staged));
                inputs.push(Input::Write { op_ref, request });
            }
            // Dropped replies tell that the store has stopped.
            Request::Sync(_) | Request::Drain(..) if self.stopped => {}
            Request::Sync(reply) => {
                let op_ref = self.wait(Waiter::Done(reply));
                inputs.push(Input::RequestSync { op_ref });
            }
            Request::Drain(class, reply) => {
                let op_ref = self.wait(Waiter::Done(reply));
                inputs.push(Input::Drain { class, op_ref });
            }
            Request::Commit(mutations, trimmed) => self.job(Job::Commit { mutations, trimmed }),
            Request::Input(input) => inputs.push(input),
            Request::Ask(question) => {
                // In turn: what was told before shows in the answer.
                self.handle(std::mem::take(inputs));
                question(&mut self.links.shard);
            }
            Request::Close => self.closing = true,
        }
    }

    fn wait(&mut self, waiter: Waiter) -> OpRef {
        self.next_op += 1;
        self.waiters.insert(self.next_op, waiter);
        OpRef(self.next_op)
    }

    /// The clock, which never goes back.
    fn now(&mut self) -> Timestamp {
        self.last_time = self.last_time.max(convert::now());
        self.last_time
    }

    /// Every batch that the inputs call applied was committed before they were heard of, so the keymap as of
    /// now shows it.
    fn handle(&mut self, inputs: Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        let now = self.now();
        let (keymap, runs, nothing) = (self.links.engine.snapshot(), self.links.runs.all(), Overlay::new());
        let layers = runs.iter().map(|run| &**run as &dyn RowReader);
        let rows = Merged::new(&nothing, layers.chain([&keymap as &dyn RowReader]).collect());
        for input in inputs {
            self.links.shard.handle(now, input, &rows);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Append { lsn, header, payload, reserved } => {
                self.appends.push(Entry { lsn, header, payload, reserved });
            }
            Output::Reply { op_ref, result } => self.reply(op_ref, result),
            Output::Publish(view) => self.publish(view),
            Output::Apply(batch) => self.apply(batch),
            Output::SyncKeymap { token, mutations, replay: _ } => self.job(Job::Sync { token, mutations }),
            Output::ReleaseLog { replay } => *self.links.replay.lock() = replay,
            Output::Spill { run, entries, mutations } => self.job(Job::Spill { run, entries, mutations }),
            Output::LoadRun { run, after, max } => self.job(Job::Load { run, after, max }),
            Output::DropRun { run } => self.job(Job::Drop(run)),
            Output::Workers { target } => self.start_workers(target),
            Output::Retire { worker } => {
                self.workers.remove(&worker);
                self.links.metrics.workers.set(self.workers.len() as i64);
            }
            Output::Drained { op_ref } | Output::Synced { op_ref } => {
                if let Some(Waiter::Done(reply)) = self.waiters.remove(&op_ref.0) {
                    // Whoever asked may have gone away.
                    let _ = reply.send(());
                }
            }
            Output::Stopped { why } => {
                tracing::error!(%why, "the object store takes no more writes; restart it");
                // The first reason is the cause.
                let _ = self.links.failure.set(why);
                self.stopped = true;
                self.waiters.retain(|_, waiter| matches!(waiter, Waiter::Write(..)));
            }
        }
    }

    fn reply(&mut self, op_ref: OpRef, result: Result<Box<Written>, WriteError>) {
        let Some(Waiter::Write(reply, mut staged)) = self.waiters.remove(&op_ref.0) else { return };
        let refused = !matches!(result, Ok(_) | Err(WriteError::Unavailable(_)));
        if let Some(staged) = staged.as_mut().filter(|_| refused) {
            staged.retract();
        }
        // Whoever asked may have gone away.
        let _ = reply.send((result, staged));
    }

    fn publish(&mut self, core: View) {
        let completions = core.completions_upto;
        let runs = self.links.runs.some(&core.runs);
        let keymap = self.links.engine.snapshot();
        self.links.published.store(Arc::new(ReadView { core, keymap, runs }));
        self.links.news.send_if_modified(|upto| {
            let grown = *upto < completions;
            *upto = completions;
            grown
        });
    }

    fn apply(&mut self, batch: Batch) {
        let worker = batch.worker;
        let sent = self.workers.get(&worker).map(|queue| queue.try_send(batch));
        if !matches!(sent, Some(Ok(()))) {
            self.workers.remove(&worker);
            self.followups.push_back(Input::WorkerLost { worker });
        }
    }

    fn start_workers(&mut self, target: usize) {
        while self.workers.len() < target {
            self.next_worker += 1;
            let worker = WorkerId(self.next_worker);
            let (queue, batches) = worker_channel();
            let context = self.links.context.clone();
            match super::spawn("objects-keymap", move || context.run(&batches)) {
                Ok(thread) => self.worker_threads.push(thread),
                Err(error) => {
                    tracing::error!(%error, "no thread for another keymap worker");
                    return;
                }
            }
            self.workers.insert(worker, queue);
            self.followups.push_back(Input::WorkerReady { worker });
        }
        self.worker_threads.retain(|thread| !thread.is_finished());
        self.links.metrics.workers.set(self.workers.len() as i64);
    }

    fn flush_appends(&mut self) {
        if !self.appends.is_empty() {
            let appends = std::mem::take(&mut self.appends);
            self.send_log(Message::Append(appends));
        }
    }

    fn send_log(&mut self, message: Message) {
        if self.links.log.send(message).is_err() {
            self.followups.push_back(Input::LogFailed { why: "the log's thread has ended".into() });
        }
    }

    fn job(&mut self, job: Job) {
        if self.links.jobs.send(job).is_err() {
            tracing::error!("the keeper's thread has ended");
        }
    }
}
