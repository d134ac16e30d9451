//! The keeper's thread: keymap syncs, spill runs, trimming of the outbox. Each job is answered by one event.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::RwLock;
use terrane_keymap::keymap::Mutation;
use terrane_keymap::run::RunEntry;
use terrane_keymap::{Input, RowId, RunId};
use terrane_log::LogReader;

use super::Event;
use super::trouble::Trouble;
use super::worker::keymap_failed;
use crate::engine::{Engine, log_end};
use crate::runs::{RunError, RunFile, RunWriter};

/// Open spill runs and where they lie.
pub(crate) struct Runs {
    dir: PathBuf,
    open: RwLock<BTreeMap<RunId, Arc<RunFile>>>,
}

impl Runs {
    /// Opens the runs that the keymap knows of and deletes all others.
    pub(crate) fn open(dir: PathBuf, known: impl Iterator<Item = RunId>) -> Result<Self, RunError> {
        let io = |source| RunError::Io { path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(io)?;
        let mut open = BTreeMap::new();
        for run in known {
            open.insert(run, Arc::new(RunFile::open(&path(&dir, run), run.0)?));
        }
        for entry in std::fs::read_dir(&dir).map_err(io)? {
            let file = entry.map_err(io)?.path();
            let ours = file.extension().is_some_and(|e| e == "run" || e == "new");
            if ours && !open.keys().any(|run| path(&dir, *run) == file) {
                std::fs::remove_file(&file).map_err(io)?;
            }
        }
        Ok(Self { dir, open: RwLock::new(open) })
    }

    /// All open runs.
    pub(crate) fn all(&self) -> Vec<Arc<RunFile>> {
        self.open.read().values().cloned().collect()
    }

    /// These runs; one that is gone is left out (its rows are in the keymap).
    pub(crate) fn some(&self, runs: &[RunId]) -> Vec<Arc<RunFile>> {
        let open = self.open.read();
        runs.iter().filter_map(|run| open.get(run).cloned()).collect()
    }

    fn write(&self, run: RunId, entries: &[RunEntry]) -> Result<(), RunError> {
        let path = path(&self.dir, run);
        let io = |source| RunError::Io { path: path.clone(), source };
        let mut writer = RunWriter::create(&path, run.0).map_err(io)?;
        for entry in entries {
            writer.push(entry.row.as_bytes(), &entry.encode_value()).map_err(io)?;
        }
        writer.finish().map_err(io)?;
        let file = RunFile::open(&path, run.0)?;
        self.open.write().insert(run, Arc::new(file));
        Ok(())
    }

    fn drop_run(&self, run: RunId) {
        self.open.write().remove(&run);
        // Readers keep the file open; a name that stays is removed at the next start.
        if let Err(error) = std::fs::remove_file(path(&self.dir, run)) {
            tracing::warn!(%error, run = run.0, "spill run not removed");
        }
    }

    fn load(&self, run: RunId, after: Option<&RowId>, max: usize) -> Result<(Vec<RunEntry>, bool), String> {
        let file = self.open.read().get(&run).cloned().ok_or("the run is gone")?;
        // The first row after `after`: no row lies between it and itself with a zero byte behind.
        let from = after.map(|row| [row.as_bytes(), &[0]].concat()).unwrap_or_default();
        let mut entries = Vec::new();
        for entry in file.scan(&from, &[]) {
            if entries.len() == max {
                return Ok((entries, false));
            }
            let (key, value) = entry.map_err(|e| e.to_string())?;
            let row = RowId::from_bytes(&key);
            entries.push(RunEntry::decode(row, &value).map_err(|e| e.to_string())?);
        }
        Ok((entries, true))
    }
}

fn path(dir: &std::path::Path, run: RunId) -> PathBuf {
    dir.join(format!("{:016x}.run", run.0))
}

/// What the keeper is asked to do.
pub(super) enum Job {
    Sync { token: u64, mutations: Vec<Mutation> },
    Spill { run: RunId, entries: Vec<RunEntry>, mutations: Vec<Mutation> },
    Load { run: RunId, after: Option<RowId>, max: usize },
    Drop(RunId),
    Commit { mutations: Vec<Mutation>, trimmed: u64 },
}

/// Does jobs until the channel is closed.
pub(super) fn keep(
    engine: &Engine,
    log: &LogReader,
    runs: &Runs,
    jobs: &Receiver<Job>,
    events: &Sender<Event>,
) {
    let (syncs, spills) = (Trouble::new("syncing the keymap"), Trouble::new("spilling"));
    for job in jobs {
        let answer = match job {
            Job::Sync { token, mut mutations } => {
                mutations.push(log_end::mutation(log.durable()));
                Some(sync(engine, token, mutations, &syncs))
            }
            Job::Spill { run, entries, mutations } => {
                Some(spill(engine, runs, (run, entries), mutations, &spills))
            }
            Job::Load { run, after, max } => Some(match runs.load(run, after.as_ref(), max) {
                Ok((entries, end)) => Input::RunChunk { run, entries, end },
                Err(error) => {
                    tracing::error!(%error, run = run.0, "spill run not read");
                    Input::RunLoadFailed { run }
                }
            }),
            Job::Drop(run) => {
                runs.drop_run(run);
                None
            }
            Job::Commit { mutations, trimmed } => commit(engine, mutations, trimmed),
        };
        if answer.is_some_and(|input| events.send(Event::Core(input)).is_err()) {
            return;
        }
    }
}

fn sync(engine: &Engine, token: u64, mutations: Vec<Mutation>, trouble: &Trouble) -> Input {
    match engine.commit(mutations).and_then(|()| engine.view().sync()) {
        Ok(_) => {
            trouble.works();
            Input::KeymapSynced { token }
        }
        Err(error) if !error.is_transient() => keymap_failed(&error),
        Err(error) => {
            trouble.failed(&error);
            Input::KeymapSyncFailed { token }
        }
    }
}

fn spill(
    engine: &Engine,
    runs: &Runs,
    (run, entries): (RunId, Vec<RunEntry>),
    mutations: Vec<Mutation>,
    trouble: &Trouble,
) -> Input {
    if let Err(error) = runs.write(run, &entries) {
        trouble.failed(&error);
        return Input::SpillFailed { run };
    }
    match engine.commit(mutations) {
        Ok(()) => {
            trouble.works();
            Input::SpillDone { run }
        }
        Err(error) => {
            trouble.failed(&error);
            runs.drop_run(run);
            Input::SpillFailed { run }
        }
    }
}

fn commit(engine: &Engine, mutations: Vec<Mutation>, trimmed: u64) -> Option<Input> {
    match engine.commit(mutations) {
        Ok(()) => Some(Input::OutboxTrimmed { count: trimmed }),
        Err(error) => {
            tracing::warn!(%error, "outbox not trimmed");
            None
        }
    }
}
