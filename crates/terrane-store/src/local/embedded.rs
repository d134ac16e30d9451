//! The embedded engine: a pipeline on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use terrane_log::LogConfig;
use terrane_log::disk::FsDisk;
use terrane_types::RandomId;
use terrane_view::ViewConfig;
use tokio::sync::{mpsc, oneshot, watch};

use super::pipeline::{Pipeline, PipelineConfig};
use super::rows::{Applied, Rows, ViewRows};
use super::{LocalSnapshot, Published};
use crate::committer::{Bugs, CommitRequest, Limits, Version};
use crate::{Result, StoreError};

/// Bounds of an embedded store.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Size of the log's files, bytes.
    pub segment_bytes: u32,
    /// Log written since the last sync of the view after which it is synced again, bytes: bounds
    /// the replay at the next start and the log's size.
    pub replay_bytes_max: u64,
    /// Free bytes of the disk that only deletes and the view may use.
    pub reserve_bytes: u64,
    /// Cache of the view, bytes.
    pub cache_bytes: u64,
    /// Commits that may wait; further ones wait in their callers.
    pub queue_max: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            replay_bytes_max: 64 << 20,
            reserve_bytes: 128 << 20,
            cache_bytes: 64 << 20,
            queue_max: 1024,
        }
    }
}

/// Bytes of writes that one sync of the log covers.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A commit of the largest size and its frame.
const RECORD_BYTES_MAX: u32 = 9 << 20;
/// Commits that one sync covers.
const BATCH_MAX: usize = 1024;
/// Pause after a checkpoint that failed (the disk is full).
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<Version>>;

enum Job {
    Commit(CommitRequest, Reply),
    /// The view was synced (or not) at this point.
    Checkpointed(Result<Option<Applied>>),
    Close(oneshot::Sender<Result<()>>),
}

/// A store in a directory.
pub(crate) struct Embedded {
    incarnation: RandomId,
    shared: Arc<Shared>,
    /// Gone only while this is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Embedded {
    /// Waits for the batch that is being stored, so that the directory can be opened again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}

struct Shared {
    published: RwLock<Published>,
    changes: watch::Sender<Version>,
}

impl Embedded {
    /// Opens or creates the store in `dir`. Blocks.
    pub(crate) fn open(dir: &Path, config: &EmbeddedConfig) -> Result<Self> {
        let pipeline = open_pipeline(dir, config)?;
        let applied = pipeline.applied();
        let published = Published { version: applied.version, snapshot: pipeline.rows().snapshot() };
        let shared = Arc::new(Shared {
            published: RwLock::new(published),
            changes: watch::Sender::new(applied.version),
        });
        let (jobs, queue) = mpsc::channel(config.queue_max);
        let checkpoints = Checkpoints::start(pipeline.rows().clone(), jobs.downgrade())?;
        let mut worker = Worker {
            pipeline,
            shared: Arc::clone(&shared),
            queue,
            checkpoints,
            synced: applied,
            replay_bytes_max: config.replay_bytes_max,
            gather: Gather::default(),
        };
        let thread = std::thread::Builder::new().name("store".into());
        let thread =
            thread.spawn(move || worker.run()).map_err(StoreError::io("start the store's thread"))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { incarnation: applied.incarnation, shared, jobs: Some(jobs), thread })
    }

    pub(crate) fn incarnation(&self) -> RandomId {
        self.incarnation
    }

    pub(crate) fn published(&self) -> Published {
        self.shared.published.read().clone()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Version> {
        self.shared.changes.subscribe()
    }

    pub(crate) async fn commit(&self, request: CommitRequest) -> Result<Version> {
        let (reply, answer) = oneshot::channel();
        let closed = || StoreError::Unavailable("the store is closed".into());
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(Job::Commit(request, reply)).await.map_err(|_| closed())?;
        let lost = |_| StoreError::UnknownOutcome("the store's thread ended".into());
        answer.await.map_err(lost)?
    }

    /// Commits what waits, syncs the view and ends the thread. Later commits are refused.
    pub(crate) async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let Some(jobs) = &self.jobs else { return Ok(()) };
        if jobs.send(Job::Close(reply)).await.is_err() {
            return Ok(());
        }
        let result = answer.await.unwrap_or(Ok(()));
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            joined
                .map_err(|error| StoreError::Unavailable(error.to_string()))?
                .map_err(|_| StoreError::Unavailable("the store's thread had panicked".into()))?;
        }
        result
    }
}

/// Opens the files of the store in `dir`: the log and the view.
pub(crate) fn open_pipeline(dir: &Path, config: &EmbeddedConfig) -> Result<Pipeline<ViewRows>> {
    let view = ViewConfig {
        cache_bytes: config.cache_bytes,
        // The view may use what the log keeps free, or a full disk could never be emptied.
        free_bytes_min: config.reserve_bytes / 4,
        ..ViewConfig::default()
    };
    let rows = ViewRows::open(&dir.join("view"), view)?;
    let log_dir = dir.join("log");
    let disk = FsDisk::open(&log_dir).map_err(StoreError::io(format!("open {}", log_dir.display())))?;
    let log = LogConfig {
        segment_bytes: config.segment_bytes,
        max_record_bytes: RECORD_BYTES_MAX,
        reserve_bytes: config.reserve_bytes,
        ..LogConfig::default()
    };
    let new_incarnation = RandomId(rand::random());
    let pipeline_config =
        PipelineConfig { log, limits: Limits::default(), bugs: Bugs::default(), new_incarnation };
    Pipeline::open(disk, rows, pipeline_config)
}

/// The thread that owns the pipeline.
struct Worker {
    pipeline: Pipeline<ViewRows>,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Job>,
    checkpoints: Checkpoints,
    /// The view's last sync.
    synced: Applied,
    replay_bytes_max: u64,
    gather: Gather,
}

impl Worker {
    fn run(&mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let (mut requests, mut replies, mut closing) = (Vec::new(), Vec::new(), None);
            let mut bytes = 0;
            let mut next = Some(first);
            self.gather.begin();
            while let Some(job) = next {
                match job {
                    Job::Commit(request, reply) => {
                        bytes += size(&request);
                        requests.push(request);
                        replies.push(reply);
                    }
                    Job::Checkpointed(result) => self.checkpointed(result),
                    Job::Close(reply) => closing = Some(reply),
                }
                let full = bytes >= BATCH_BYTES_MAX || requests.len() >= BATCH_MAX || closing.is_some();
                next = if full { None } else { self.gather.next(&mut self.queue, requests.len()) };
            }
            self.commit(&requests, replies);
            if let Some(reply) = closing {
                let _ = reply.send(self.close());
                return;
            }
            self.consider_checkpoint();
        }
    }

    fn commit(&mut self, requests: &[CommitRequest], replies: Vec<Reply>) {
        if requests.is_empty() {
            return;
        }
        let started = Instant::now();
        let results = self.pipeline.commit(requests);
        self.gather.committed(requests.len(), started.elapsed());
        if let Some(version) = self.pipeline.visible()
            && version != self.shared.published.read().version
        {
            let snapshot: LocalSnapshot = self.pipeline.rows().snapshot();
            *self.shared.published.write() = Published { version, snapshot };
            self.shared.changes.send_replace(version);
        }
        for (reply, result) in replies.into_iter().zip(results) {
            // A caller that has gone does not want to know.
            let _ = reply.send(result);
        }
    }

    fn consider_checkpoint(&mut self) {
        let due = self.pipeline.log_bytes_since(&self.synced) >= self.replay_bytes_max;
        if due {
            self.checkpoints.request();
        }
    }

    fn checkpointed(&mut self, result: Result<Option<Applied>>) {
        self.checkpoints.finished(result.is_ok());
        let recycled = result.and_then(|synced| {
            self.synced = synced.unwrap_or(self.synced);
            self.pipeline.recycle(&self.synced)
        });
        if let Err(error) = recycled {
            tracing::warn!(%error, "store checkpoint");
        }
    }

    fn close(&mut self) -> Result<()> {
        self.queue.close();
        self.checkpoints.stop();
        self.pipeline.rows().clone().close()
    }
}

fn size(request: &CommitRequest) -> usize {
    request.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len())).sum()
}

/// Waits a moment for the commits of those who were just answered, so that they share the next
/// sync instead of missing it by microseconds: at most as long as a quarter of a sync takes.
#[derive(Default)]
struct Gather {
    /// Commits in the last two batches: whoever was in one of them may be back soon.
    recent: [usize; 2],
    sync: Duration,
    until: Option<Instant>,
}

impl Gather {
    const WAIT_MAX: Duration = Duration::from_micros(250);

    fn begin(&mut self) {
        self.until = Some(Instant::now() + (self.sync / 4).min(Self::WAIT_MAX));
    }

    fn next(&mut self, queue: &mut mpsc::Receiver<Job>, have: usize) -> Option<Job> {
        loop {
            if let Ok(job) = queue.try_recv() {
                return Some(job);
            }
            let expected = have < self.recent.iter().sum();
            if !expected || self.until.is_none_or(|until| Instant::now() >= until) {
                return None;
            }
            std::thread::yield_now();
        }
    }

    fn committed(&mut self, count: usize, took: Duration) {
        self.recent = [self.recent[1], count];
        self.sync = (self.sync * 7 + took) / 8;
    }
}

/// The thread that syncs the view while commits go on.
struct Checkpoints {
    requests: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    running: bool,
    not_before: Option<Instant>,
}

impl Checkpoints {
    fn start(rows: ViewRows, done: mpsc::WeakSender<Job>) -> Result<Self> {
        let (requests, queue) = std::sync::mpsc::sync_channel::<()>(1);
        let work = move || {
            while let Ok(()) = queue.recv() {
                let result = rows.sync();
                let Some(done) = done.upgrade() else { return };
                if done.blocking_send(Job::Checkpointed(result)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-sync".into()).spawn(work);
        let thread = thread.map_err(StoreError::io("start the store's sync thread"))?;
        Ok(Self { requests: Some(requests), thread: Some(thread), running: false, not_before: None })
    }

    fn request(&mut self) {
        let waiting = self.not_before.is_some_and(|time| Instant::now() < time);
        if !self.running && !waiting {
            self.running = self.requests.as_ref().is_some_and(|requests| requests.try_send(()).is_ok());
        }
    }

    fn finished(&mut self, ok: bool) {
        self.running = false;
        self.not_before = (!ok).then(|| Instant::now() + CHECKPOINT_RETRY);
    }

    fn stop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's sync thread had panicked");
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop();
    }
}
