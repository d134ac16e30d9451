//! The drives of a store: which there are, which of them can be used, where new bytes go.
//!
//! A *drive* is a directory, on a disk of its own if it is to be worth anything:
//!
//! ```text
//! drive, drive.copy   who it is (identity.rs)
//! log/                a copy of the log, on the first three drives
//! data/               shards of data segments
//! keymap/ runs/       on one of them, the home; can be made anew from the log
//! ```
//! A drive whose write or sync fails leaves the set until the next start: what it holds is read as a last resort
//! only, and nothing is acknowledged that relies on it. A store without `drives` has one, its own directory,
//! which carries no identity and never leaves.

mod identity;
mod log;
mod open;

pub(crate) use identity::Identity;
pub(crate) use log::LogMirror;
pub use open::DriveError;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::service::{DriveState, DriveStatus};
use crate::space::{FsSpace, SpaceProbe};

/// Most drives of a store.
pub const DRIVES_MAX: usize = 32;
/// Drives that hold a copy of the log.
const LOG_DRIVES: usize = 3;

/// How a drive stands, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Live,
    Missing(String),
    Failed(String),
}

/// One drive.
pub(crate) struct Drive {
    /// Its place in the configuration.
    pub(crate) number: usize,
    root: PathBuf,
    id: AtomicU64,
    state: Mutex<State>,
    /// Whether it may leave the set.
    several: bool,
    free: AtomicU64,
    /// Reads that met damage or failed, writes and syncs that failed.
    errors: AtomicU64,
    /// Blocks that were written anew because they were damaged or missing.
    repaired: AtomicU64,
}

impl Drive {
    fn new(number: usize, root: PathBuf, several: bool) -> Self {
        Self {
            number,
            root,
            id: AtomicU64::new(0),
            state: Mutex::new(State::Live),
            several,
            free: AtomicU64::new(u64::MAX),
            errors: AtomicU64::new(0),
            repaired: AtomicU64::new(0),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of data segments.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn is_live(&self) -> bool {
        *self.state.lock() == State::Live
    }

    /// Why it is not in use, if it is not.
    pub(crate) fn cause(&self) -> Option<String> {
        match &*self.state.lock() {
            State::Live => None,
            State::Missing(cause) | State::Failed(cause) => Some(cause.clone()),
        }
    }

    /// A write or sync failed: what the drive holds of it is unknown. It leaves the set, if it is one of several.
    pub(crate) fn fail(&self, error: &io::Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if self.several && *state == State::Live {
            tracing::error!(%error, drive = %self.root.display(), "a drive failed and is left out from now on");
            *state = State::Failed(error.to_string());
        }
    }

    /// A read failed or met damage.
    pub(crate) fn note_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Blocks were written anew.
    pub(crate) fn note_repaired(&self, blocks: u64) {
        self.repaired.fetch_add(blocks, Ordering::Relaxed);
    }

    fn status(&self) -> DriveStatus {
        let (state, cause) = match self.state.lock().clone() {
            State::Live => (DriveState::Live, None),
            State::Missing(cause) => (DriveState::Missing, Some(cause)),
            State::Failed(cause) => (DriveState::Failed, Some(cause)),
        };
        let id = self.id.load(Ordering::Relaxed);
        DriveStatus {
            number: self.number,
            path: self.root.display().to_string(),
            id: (id != 0).then(|| format!("{id:016x}")),
            state,
            cause,
            log: None,
            free_bytes: self.free.load(Ordering::Relaxed),
            data_bytes: 0,
            errors: self.errors.load(Ordering::Relaxed),
            repaired_blocks: self.repaired.load(Ordering::Relaxed),
        }
    }
}

/// All drives of a store.
pub(crate) struct DriveSet {
    drives: Vec<Arc<Drive>>,
    /// Where keymap and runs are, once that is settled.
    home: OnceLock<PathBuf>,
    /// What all drives say of the store; `None` without identities.
    record: Option<Mutex<Identity>>,
    rotation: AtomicUsize,
}

impl DriveSet {
    /// A store in one directory.
    pub(crate) fn plain(dir: &Path) -> Self {
        let drive = Arc::new(Drive::new(0, dir.to_owned(), false));
        let home = OnceLock::from(dir.to_owned());
        Self { drives: vec![drive], home, record: None, rotation: AtomicUsize::new(0) }
    }

    /// Drives, configured ones, whatever their state.
    pub(crate) fn len(&self) -> usize {
        self.drives.len()
    }

    /// Whether this is one directory without identity.
    pub(crate) fn is_plain(&self) -> bool {
        self.record.is_none()
    }

    /// All drives in the order of the configuration.
    pub(crate) fn all(&self) -> &[Arc<Drive>] {
        &self.drives
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Drive>> {
        self.drives.iter().filter(|drive| drive.is_live())
    }

    /// Where keymap and runs are.
    pub(crate) fn home(&self) -> &Path {
        self.home.get().expect("a set is settled before it is asked for its home")
    }

    /// Drives that hold, or are to hold, a copy of the log.
    pub(crate) fn of_log(&self) -> &[Arc<Drive>] {
        &self.drives[..self.drives.len().min(LOG_DRIVES)]
    }

    /// Live drives for new shards, up to so many, none of them in `taken`: those with much more room than others
    /// first, else in turns.
    pub(crate) fn place(&self, count: usize, taken: &[usize]) -> Vec<Arc<Drive>> {
        let mut chosen: Vec<Arc<Drive>> =
            self.live().filter(|drive| !taken.contains(&drive.number)).cloned().collect();
        if !chosen.is_empty() {
            let turn = self.rotation.fetch_add(1, Ordering::Relaxed) % chosen.len();
            chosen.rotate_left(turn);
        }
        // Within a factor of two, room is equal.
        chosen.sort_by_key(|drive| std::cmp::Reverse(drive.free.load(Ordering::Relaxed).checked_ilog2()));
        chosen.truncate(count);
        chosen
    }

    /// How all drives stand; bytes of data are counted by who knows the segments.
    pub(crate) fn status(&self) -> Vec<DriveStatus> {
        self.drives.iter().map(|drive| drive.status()).collect()
    }
}

/// The fullest drive counts: it may hold the log, and every segment needs several.
pub(crate) struct DrivesSpace(pub(crate) Arc<DriveSet>);

impl SpaceProbe for DrivesSpace {
    fn free(&self) -> io::Result<u64> {
        let mut least = None;
        for drive in self.0.live() {
            let free = FsSpace(drive.root.clone()).free()?;
            drive.free.store(free, Ordering::Relaxed);
            least = Some(least.map_or(free, |least: u64| least.min(free)));
        }
        least.ok_or_else(|| io::Error::other("no drive is left"))
    }
}

#[cfg(test)]
mod tests;
