use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::generation::Generation;
use crate::{Batch, Keyspace, Opened, Result, SyncPoint, ViewConfig, ViewError, ViewSnapshot};

/// Sealed memory tables that may wait for the disk before writers write them out themselves.
const SEALED_MAX: usize = 2;
/// Tables in level 0 before writers help to compact: readers look into each of them.
const LEVEL0_RUNS_MAX: usize = 16;

/// A replayable sorted view in a directory. Clones are handles of the same view.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    /// Ends the maintenance thread when the last handle goes.
    _maintenance: Arc<Maintenance>,
}

struct Shared {
    dir: PathBuf,
    config: ViewConfig,
    current: RwLock<Arc<Generation>>,
    keyspaces: BTreeMap<String, Keyspace>,
    /// Serialises batches, sealing and the exchange of generations.
    writer: Mutex<Writer>,
    /// Held by whoever writes tables: flush, compaction, recovery.
    tables: Mutex<()>,
    wake: Condvar,
    work: Mutex<Work>,
    /// An OS lock on `DIR/LOCK`, held while the view is open.
    _lock: File,
}

struct Writer {
    point: SyncPoint,
    /// Why nothing may be written until `recover`.
    failed: Option<String>,
}

#[derive(Default)]
struct Work {
    due: bool,
    stop: bool,
}

impl View {
    /// Opens or creates the view in `dir` with these keyspaces (more may exist from earlier).
    ///
    /// # Errors
    /// [`ViewError::Locked`], [`ViewError::NewerFormat`], or the operating system's. Never because
    /// of a crash.
    pub fn open(dir: &Path, keyspaces: &[&str], config: ViewConfig) -> Result<(Self, Opened)> {
        fs::create_dir_all(dir).map_err(io("create", dir))?;
        let lock = lock_dir(dir)?;
        let (generation, opened, point) = open_tree(dir, &config)?;
        let keyspaces = generation.keyspaces(keyspaces)?;
        let shared = Arc::new(Shared {
            dir: dir.into(),
            config,
            current: RwLock::new(Arc::new(generation)),
            keyspaces,
            writer: Mutex::new(Writer { point, failed: None }),
            tables: Mutex::new(()),
            wake: Condvar::new(),
            work: Mutex::new(Work::default()),
            _lock: lock,
        });
        let maintenance = Maintenance::start(&shared)?;
        Ok((Self { shared, _maintenance: Arc::new(maintenance) }, opened))
    }

    /// The keyspace of this name.
    ///
    /// # Errors
    /// [`ViewError::UnknownKeyspace`] if `open` was never told of it.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        self.shared.keyspaces.get(name).copied().ok_or_else(|| ViewError::UnknownKeyspace(name.into()))
    }

    /// Makes a batch visible, atomically and at once; durable only after the next [`View::sync`].
    ///
    /// Microseconds, unless the memory bound is reached and the caller must wait for the disk.
    ///
    /// # Errors
    /// With an error nothing of the batch is visible.
    pub fn apply(&self, batch: Batch) -> Result<()> {
        let writes = batch.into_checked_writes()?;
        if writes.is_empty() {
            return Ok(());
        }
        self.shared.make_room()?;
        let writer = self.shared.writer.lock();
        writer.check()?;
        let generation = self.shared.generation();
        generation.insert(writes);
        if generation.active_bytes() >= self.shared.config.memtable_bytes {
            generation.seal();
            self.shared.wake_maintenance();
        }
        Ok(())
    }

    /// The view as it is now.
    pub fn snapshot(&self) -> ViewSnapshot {
        ViewSnapshot::new(self.shared.generation())
    }

    /// Makes everything applied before this call durable, milliseconds.
    ///
    /// # Errors
    /// [`ViewError::NoSpace`]: nothing is lost, call again later. Otherwise the view has failed and
    /// [`View::recover`] is needed.
    pub fn sync(&self) -> Result<SyncPoint> {
        self.sync_snapshot().map(|(point, _)| point)
    }

    /// As [`View::sync`], and shows just what it has made durable: whoever throws a log away has to know that, and
    /// not how far the view was a moment earlier, since a recovery in between takes it back.
    ///
    /// # Errors
    /// As [`View::sync`].
    pub fn sync_snapshot(&self) -> Result<(SyncPoint, ViewSnapshot)> {
        let (point, sealed, synced) = {
            let mut writer = self.shared.writer.lock();
            writer.check()?;
            writer.point.0 += 1;
            let generation = self.shared.generation();
            generation.insert_point(writer.point);
            let synced = ViewSnapshot::new(Arc::clone(&generation));
            generation.seal();
            (writer.point, generation, synced)
        };
        self.shared.flush()?;
        // Whoever recovered the view between the two steps threw away what was sealed.
        if !Arc::ptr_eq(&sealed, &self.shared.generation()) {
            return Err(ViewError::Recovered);
        }
        self.shared.wake_maintenance();
        Ok((point, synced))
    }

    /// Reads the files again, forgetting what was applied since they were written; the caller
    /// replays its log as after a crash. Clears a failure.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn recover(&self) -> Result<Opened> {
        self.shared.replace(|_| Ok(()))
    }

    /// Deletes everything, to rebuild the view from a log.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wipe(&self) -> Result<()> {
        self.shared.replace(|tree| {
            fs::rename(tree, tree.with_extension(WIPED)).map_err(io("move away", tree))?;
            remove_wiped(tree)
        })?;
        Ok(())
    }

    /// Syncs and marks the view as complete, so that the next open says [`Opened::Clean`].
    /// Batches applied through other handles after this are not covered by the mark.
    ///
    /// # Errors
    /// As [`View::sync`].
    pub fn close(self) -> Result<()> {
        let point = self.sync()?;
        let path = self.shared.dir.join(CLEAN);
        fs::write(&path, point.0.to_be_bytes()).map_err(io("write", &path))?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(io("sync", &path))
    }

    /// Bytes of memory that hold batches which are not in tables yet.
    pub fn memory_bytes(&self) -> u64 {
        self.shared.generation().memory_bytes()
    }

    /// Bytes of all tables on disk.
    pub fn disk_bytes(&self) -> u64 {
        use lsm_tree::AbstractTree;
        self.shared.generation().tree.disk_space()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Writer {
    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |why| Err(ViewError::Failed(why.clone())))
    }
}

impl Shared {
    fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read())
    }

    /// Backpressure: at the bounds the writer does the maintenance's work itself.
    fn make_room(&self) -> Result<()> {
        use lsm_tree::AbstractTree;
        let generation = self.generation();
        if generation.tree.sealed_memtable_count() > SEALED_MAX {
            self.flush()?;
        }
        if generation.tree.l0_run_count() > LEVEL0_RUNS_MAX {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes all sealed memory tables out.
    fn flush(&self) -> Result<()> {
        let _tables = self.tables.lock();
        self.writer.lock().check()?;
        let generation = self.generation();
        // What a table of the sealed memory needs at most, and a manifest beside it.
        self.check_space(generation.memory_bytes() + (1 << 20))?;
        generation.flush().map_err(|error| self.failure(error))
    }

    /// One round of compaction; `true` if another may be useful.
    fn compact(&self) -> Result<bool> {
        let _tables = self.tables.lock();
        self.writer.lock().check()?;
        self.check_space(0)?;
        self.generation().compact().map_err(|error| self.failure(error))
    }

    /// A full disk leaves the tree as it was, and the next flush writes new files; after any other
    /// error (a failed fsync above all) the files may not be what the tree in memory believes.
    fn failure(&self, error: lsm_tree::Error) -> ViewError {
        if let lsm_tree::Error::Io(io) = &error
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return ViewError::NoSpace { needed: self.config.free_bytes_min, free: 0 };
        }
        self.writer.lock().failed.get_or_insert_with(|| error.to_string());
        ViewError::Failed(error.to_string())
    }

    fn check_space(&self, bytes: u64) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.dir)
            .map_err(|errno| io("query the free space of", &self.dir)(errno.into()))?;
        #[allow(clippy::useless_conversion, reason = "the field's width differs between platforms")]
        let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
        let needed = self.config.free_bytes_min.saturating_add(bytes);
        if free < needed { Err(ViewError::NoSpace { needed, free }) } else { Ok(()) }
    }

    fn wake_maintenance(&self) {
        self.work.lock().due = true;
        self.wake.notify_one();
    }

    /// Exchanges the generation for a new opening of the files, after `prepare` has worked on them.
    fn replace(&self, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Opened> {
        let _tables = self.tables.lock();
        let mut writer = self.writer.lock();
        // Until the end of this function the old generation must not be written to again.
        writer.failed = Some("recovery did not complete".into());
        prepare(&self.dir.join(TREE))?;
        let (generation, opened, point) = open_tree(&self.dir, &self.config)?;
        generation.name_keyspaces(&self.keyspaces);
        *self.current.write() = Arc::new(generation);
        *writer = Writer { point, failed: None };
        Ok(opened)
    }
}

const TREE: &str = "tree";
const CLEAN: &str = "CLEAN";
/// A wiped tree is renamed to this first: half of a tree must never be opened.
const WIPED: &str = "wiped";

fn remove_wiped(tree: &Path) -> Result<()> {
    let wiped = tree.with_extension(WIPED);
    match fs::remove_dir_all(&wiped) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("delete", &wiped)(error)),
        _ => Ok(()),
    }
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ViewError + 'a {
    move |source| ViewError::Io { doing, path: path.into(), source }
}

fn lock_dir(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ViewError::Locked(dir.into())),
        Err(fs::TryLockError::Error(source)) => Err(io("lock", &path)(source)),
    }
}

/// Opens the tree, setting a damaged one aside. A new tree is durable before anything refers to it.
fn open_tree(dir: &Path, config: &ViewConfig) -> Result<(Generation, Opened, SyncPoint)> {
    let tree = dir.join(TREE);
    remove_wiped(&tree)?;
    let clean = take_clean_mark(dir)?;
    discard_unborn(&tree)?;
    let opened = Generation::open(&tree, config).and_then(|generation| {
        let point = generation.point()?;
        Ok((generation, point))
    });
    match opened {
        Ok((generation, Some(point))) => {
            let opened = if clean == Some(point) { Opened::Clean } else { Opened::Restored { point } };
            return Ok((generation, opened, point));
        }
        Ok((generation, None)) => return create(generation),
        Err(ViewError::Tree(why)) => set_aside(&tree, &why)?,
        Err(error) => return Err(error),
    }
    create(Generation::open(&tree, config)?)
}

/// A tree without its manifest is one whose creation was cut short, unless it has tables.
fn discard_unborn(tree: &Path) -> Result<()> {
    if !tree.exists() || tree.join("current").exists() {
        return Ok(());
    }
    let has_tables = fs::read_dir(tree.join("tables")).is_ok_and(|mut tables| tables.next().is_some());
    if has_tables {
        return set_aside(tree, "its manifest is missing");
    }
    fs::remove_dir_all(tree).map_err(io("delete", tree))
}

fn create(generation: Generation) -> Result<(Generation, Opened, SyncPoint)> {
    let point = SyncPoint(0);
    generation.insert_point(point);
    generation.seal();
    generation.flush()?;
    Ok((generation, Opened::Empty, point))
}

fn set_aside(tree: &Path, why: &str) -> Result<()> {
    let mut n = 0;
    let aside = loop {
        let aside = tree.with_extension(format!("damaged-{n}"));
        if !aside.exists() {
            break aside;
        }
        n += 1;
    };
    tracing::error!(tree = %tree.display(), aside = %aside.display(), why, "view is damaged; set aside");
    fs::rename(tree, &aside).map_err(io("set aside", tree))
}

/// The mark holds for one open only: it is gone, durably, before the first write.
fn take_clean_mark(dir: &Path) -> Result<Option<SyncPoint>> {
    let path = dir.join(CLEAN);
    let mark = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", &path)(error)),
    };
    fs::remove_file(&path).map_err(io("delete", &path))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("sync", dir))?;
    Ok(mark.try_into().ok().map(|bytes| SyncPoint(u64::from_be_bytes(bytes))))
}

/// The background thread: writes sealed memory out and compacts.
struct Maintenance {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    fn start(shared: &Arc<Shared>) -> Result<Self> {
        let worker = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("view".into())
            .spawn(move || maintain(&worker))
            .map_err(io("start the maintenance thread of", &shared.dir))?;
        Ok(Self { shared: Arc::clone(shared), thread: Mutex::new(Some(thread)) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.shared.work.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(dir = %self.shared.dir.display(), "view maintenance had panicked");
        }
    }
}

fn maintain(shared: &Shared) {
    loop {
        {
            let mut work = shared.work.lock();
            while !work.due && !work.stop {
                shared.wake.wait(&mut work);
            }
            if work.stop {
                return;
            }
            work.due = false;
        }
        // A failure is remembered in the writer's state and reported to whoever writes next; a full
        // disk is tried again at the next wake-up.
        if let Err(error) = shared.flush() {
            tracing::warn!(dir = %shared.dir.display(), %error, "view flush");
        }
        loop {
            if shared.work.lock().stop {
                return;
            }
            match shared.compact() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(dir = %shared.dir.display(), %error, "view compaction");
                    break;
                }
            }
        }
    }
}
