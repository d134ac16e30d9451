//! Opening and closing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use terrane_keymap::config::ShardConfig;
use terrane_keymap::keymap::KeymapMeta;
use terrane_keymap::reader::{Merged, ReadError, RowReader};
use terrane_keymap::shard::{Recovery, RecoveryError, Shard};
use terrane_keymap::{Locator, Overlay};
use terrane_log::disk::{Disk, FsDisk};
use terrane_log::mirror::MirrorError;
use terrane_log::{Log, LogConfig, LogError, Position};
use terrane_view::{View, ViewConfig, ViewError};
use tokio::sync::watch;

use super::{ObjectStore, Store};
use crate::collect::{self, Dirty};
use crate::config::ObjectsConfig;
use crate::convert;
use crate::data::{DataConfig, DataStore};
use crate::driver::{self, Driver, Parts, Runs};
use crate::drives::{DriveError, DriveSet, DrivesSpace, LogMirror};
use crate::engine::{Engine, log_end};
use crate::metrics::Metrics;
use crate::runs::RunError;
use crate::scrub::Scrubber;
use crate::space::SpaceGuard;

/// Largest record: a multipart object of 10,000 parts with attributes.
const RECORD_BYTES_MAX: u32 = 16 << 20;

/// How long background tasks may take to end when the store is closed.
const TASKS_PATIENCE: Duration = Duration::from_secs(3);

/// Why an object store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A directory or file.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configured drives.
    #[error(transparent)]
    Drives(#[from] DriveError),
    /// The drives of the log.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The keymap's engine.
    #[error(transparent)]
    Keymap(#[from] ViewError),
    /// A batch of a rebuild could not be committed, or a spill run could not be read.
    #[error("rebuilding the keymap: {0}")]
    Rebuild(String),
    /// The end of the log is gone: damaged, so that it looked like a write that a crash cut short.
    #[error(
        "the log ends at {found}, but the keymap has seen it reach {expected}: acknowledged writes are lost; \
         restore the log, or remove the keymap's directory to go on without them"
    )]
    LogCutShort {
        /// Where it ends.
        found: Position,
        /// Where it ended at the keymap's last sync.
        expected: Position,
    },
    /// What the log says does not fit.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// Why a start from the recorded state failed, and what to do.
enum StartError {
    /// The keymap's files are damaged or incomplete: the log alone is enough to make them anew.
    Rebuild(String),
    Fatal(OpenError),
}

impl<E: Into<OpenError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Fatal(error.into())
    }
}

impl ObjectStore {
    /// Opens the store in `config.dir`, making it if absent: recovers the log, replays what the keymap lacks (all of it
    /// if the keymap is lost), and serves. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where acknowledged writes cannot be found again; see [`OpenError`].
    pub async fn open(config: ObjectsConfig, metrics: Metrics) -> Result<Self, OpenError> {
        let metrics = Arc::new(metrics);
        let dir = config.dir.clone();
        let opened = tokio::task::spawn_blocking(move || open(config, metrics)).await;
        let store = opened.map_err(|e| OpenError::Io { path: dir, source: std::io::Error::other(e) })??;
        let store = Arc::new(store);
        store.catch_up();
        let tasks = [
            tokio::spawn(collect::run(store.clone())),
            tokio::spawn(crate::scrub::run(store.clone())),
            tokio::spawn(super::watch::run(store.clone())),
            tokio::spawn(crate::notify::run(store.clone())),
        ];
        *store.tasks.lock() = tasks.into();
        Ok(Self { store })
    }

    /// Stops taking writes, makes the keymap durable and ends all threads. Calls that are under way are answered first.
    pub async fn close(&self) {
        self.store.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.store.tasks.lock());
        let deadline = tokio::time::Instant::now() + TASKS_PATIENCE;
        for mut task in tasks {
            // A compaction may take longer; it can be cut short anywhere.
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a task of the object store had panicked"),
                Err(_) => task.abort(),
            }
        }
        if let Err(error) = self.store.driver.sync().await {
            tracing::warn!(%error, "the keymap's last sync; the next start replays the log");
        }
        let store = self.store.clone();
        let closed = tokio::task::spawn_blocking(move || store.driver.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the object store");
        }
    }
}

/// What a store lies on.
struct Disks {
    drives: Arc<DriveSet>,
    mirror: Option<LogMirror>,
    log: Arc<dyn Disk>,
}

impl Disks {
    fn open(config: &ObjectsConfig) -> Result<Self, OpenError> {
        let drives = match config.drives.as_slice() {
            [] => {
                DriveSet::check_plain(&config.dir)?;
                DriveSet::plain(&config.dir)
            }
            drives => DriveSet::open(drives, &config.dir)?,
        };
        let (mirror, log) = match &config.log_disk {
            Some(disk) => (None, disk.clone()),
            None if drives.is_plain() => {
                let dir = config.dir.join("log");
                let disk = FsDisk::open(&dir).map_err(|source| OpenError::Io { path: dir, source })?;
                (None, disk as Arc<dyn Disk>)
            }
            None => {
                let mirror = LogMirror::open(&drives, config.accept_missing_drives)?;
                (Some(mirror.clone()), mirror.disk())
            }
        };
        drives.settle(&config.dir)?;
        Ok(Self { drives: Arc::new(drives), mirror, log })
    }
}

fn open(config: ObjectsConfig, metrics: Arc<Metrics>) -> Result<Store, OpenError> {
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| OpenError::Io { path, source }
    };
    std::fs::create_dir_all(&config.dir).map_err(io(&config.dir))?;
    let Disks { drives, mirror, log } = Disks::open(&config)?;
    let probe = config.space.clone().unwrap_or_else(|| Arc::new(DrivesSpace(drives.clone())));
    let space = Arc::new(SpaceGuard::new(probe, config.reserve_bytes));
    let names: Vec<&str> = terrane_keymap::keymap::Keyspace::ALL.iter().map(|k| k.name()).collect();
    let view_config = ViewConfig {
        cache_bytes: config.keymap_cache_bytes,
        memtable_bytes: config.keymap_memory_bytes,
        ..ViewConfig::default()
    };
    // The view's lock also keeps a second process from everything that follows.
    let (view, opened) = View::open(&drives.home().join("keymap"), &names, view_config)?;
    tracing::info!(keymap = ?opened, "opening the object store");
    let engine = Engine::new(view)?;
    let data_config =
        DataConfig { segment_bytes: config.data_segment_bytes, leases_max: config.uploads_max.max(1) };
    let data = DataStore::open(drives, data_config, space.clone()).map_err(io(&config.dir))?;
    let start = |engine: &Engine| start(&config, engine, &data, log.clone());
    let (shard, log, runs) = match start(&engine) {
        Ok(started) => started,
        Err(StartError::Fatal(error)) => return Err(error),
        Err(StartError::Rebuild(why)) => {
            tracing::error!(why, "the keymap is rebuilt from the log");
            engine.view().wipe()?;
            start(&engine).map_err(|error| match error {
                StartError::Fatal(error) => error,
                StartError::Rebuild(why) => OpenError::Rebuild(why),
            })?
        }
    };
    let dirty = Arc::new(Dirty::default());
    let parts = Parts {
        shard,
        log,
        engine,
        runs,
        metrics: metrics.clone(),
        space: space.clone(),
        dirty: dirty.clone(),
    };
    let driver = Driver::start(parts).map_err(io(&config.dir))?;
    let (closing, _) = watch::channel(false);
    let (buckets, tasks) = (super::buckets::BucketCache::default(), Mutex::default());
    let (collecting, scrubber) = (tokio::sync::Mutex::new(()), Scrubber::default());
    Ok(Store {
        driver,
        data,
        mirror,
        space,
        metrics,
        dirty,
        config,
        buckets,
        closing,
        collecting,
        scrubber,
        tasks,
    })
}

fn shard_config(config: &ObjectsConfig, start: u32) -> ShardConfig {
    ShardConfig {
        start,
        pending_bytes_soft: config.pending_bytes_max / 4 * 3,
        pending_bytes_hard: config.pending_bytes_max,
        pending_count_hard: config.pending_entries_max,
        replay_bytes_max: config.replay_bytes_max,
        workers_min: config.workers.0,
        workers_max: config.workers.1,
        thresholds: config.thresholds.clone(),
        outbox_max: config.completions_kept.saturating_mul(4).max(10_000),
        ..ShardConfig::default()
    }
}

fn start(
    config: &ObjectsConfig,
    engine: &Engine,
    data: &DataStore,
    disk: Arc<dyn Disk>,
) -> Result<(Shard, Log, Runs), StartError> {
    let damaged = |error: ReadError| StartError::Rebuild(error.to_string());
    let meta = KeymapMeta::load(&engine.snapshot()).map_err(damaged)?;
    let runs = Runs::open(data.drives().home().join("runs"), meta.runs.iter().map(|info| info.run));
    let runs = runs.map_err(|error| match error {
        RunError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            StartError::Fatal(OpenError::Rebuild(error.to_string()))
        }
        error => StartError::Rebuild(error.to_string()),
    })?;
    let expected = log_end::load(&engine.snapshot()).map_err(damaged)?;
    let mut recovery = Recovery::new(shard_config(config, data.epoch()), meta, convert::now());
    let from = recovery.replay_from().map(|locator| driver::place(locator).start());
    let log_config = LogConfig {
        segment_bytes: config.log_segment_bytes,
        max_record_bytes: RECORD_BYTES_MAX.min(config.log_segment_bytes / 2),
        reserve_bytes: config.reserve_bytes / 2,
        replay_from: from,
        ..LogConfig::default()
    };
    let (log, report) = Log::open(disk, log_config)?;
    if report.erased_bytes > 0 {
        tracing::info!(bytes = report.erased_bytes, "erased the log's torn tail");
    }
    if report.tail < expected {
        return Err(OpenError::LogCutShort { found: report.tail, expected }.into());
    }
    let reader = log.reader();
    let replayed = log.replay(from, |place, payload| {
        recovery.record(driver::locator(place), payload)?;
        while let Some(batch) = recovery.next_batch() {
            let committed = driver::commit(engine, &reader, &batch);
            committed.map_err(|error| OpenError::Rebuild(error.to_string()))?;
            recovery.batch_applied(&batch);
        }
        Ok::<(), OpenError>(())
    })?;
    tracing::info!(records = replayed.records, bytes = replayed.bytes, "replayed the log");
    let (keymap, files, nothing) = (engine.snapshot(), runs.all(), Overlay::new());
    let layers = files.iter().map(|run| &**run as &dyn RowReader);
    let rows = Merged::new(&nothing, layers.chain([&keymap as &dyn RowReader]).collect());
    let mut read =
        |at: Locator| reader.read(driver::place(at)).map_err(|e| ReadError::Storage(e.to_string().into()));
    let shard = recovery.finish(&rows, &mut read).map_err(|error| match error {
        RecoveryError::Read(error) => damaged(error),
        other => StartError::Fatal(other.into()),
    })?;
    Ok((shard, log, runs))
}
