//! One copy of a stripe.

mod commit;
mod cut_read;
mod cuts;
mod fill;
mod flush;
mod read;
mod status;
mod verify;
mod write;

pub use read::{Contents, Kind, Run};

use super::entry::State;
use super::error::EngineError;
use super::group::Group;
use super::layout::{BLOCK, ENTRY, Geometry, HEADER_BYTES, Header};
use super::media::DataFile;
use super::pool::{Shared, remove_cuts};
use super::record::{CopyKey, CopyState};
use cuts::Cuts;
use flush::Flusher;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Blocks that are handled at once: what their entries take on the stack is small.
const CHUNK: usize = 64;

/// A copy of a stripe, open. Shared by all who use it; goes away with the last of them, without a flush.
pub struct Copy {
    key: CopyKey,
    salt: u64,
    shape: Geometry,
    blocks: AtomicU64,
    file: Arc<dyn DataFile>,
    pool: Arc<Shared>,
    /// The activity log as it is durable, with tables.
    hot: RwLock<BTreeMap<u64, Arc<Mutex<Group>>>>,
    /// The activity log as it will be once all changes under way are durable.
    planned: Mutex<BTreeSet<u64>>,
    /// The flush that will make durable what is written now.
    round: AtomicU64,
    /// The last completed flush.
    flushed: AtomicU64,
    /// Something was written since the last flush started.
    dirty: AtomicBool,
    /// Some group in the log is not settled since the last crash.
    unsettled: AtomicBool,
    /// Some group in the log has room to give back.
    stale: AtomicBool,
    flusher: Mutex<Flusher>,
    flush_done: Condvar,
    failed: OnceLock<EngineError>,
    /// Blocks with data; the pool knows it too.
    data_blocks: Arc<AtomicU64>,
    damaged: AtomicU64,
    cuts: Cuts,
    /// Absent blocks before this one are still to be fetched.
    unfetched_until: AtomicU64,
}

/// What a copy takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blocks with data: what TRIM freed is not counted.
    pub data_bytes: u64,
    /// Bytes that the file takes on the drive, tables included; what was trimmed since the last flush still counts.
    pub file_bytes: u64,
    /// Extents in the activity log.
    pub log_extents: usize,
    /// Reads and checks of blocks that found damage, since the copy was opened.
    pub damaged: u64,
}

impl Copy {
    /// Makes the file of a new copy, durably.
    pub(super) fn create_file(pool: &Shared, key: CopyKey, state: &CopyState) -> Result<(), EngineError> {
        let header = Header { pool: pool.id, key, salt: state.salt, geometry: state.geometry };
        let name = file_name(key);
        let make = || {
            let file = pool.media.open_data(&name, terrane_log::disk::Open::Create)?;
            file.set_len(state.geometry.file_bytes(state.blocks))?;
            file.write_at(&header.encode(), 0)?;
            file.sync_data()?;
            pool.disk.sync_dir()
        };
        make().map_err(|error| Shared::space_or_io("make a copy's file", error))
    }

    /// Opens a copy in the state that the journal has; with it the number of its blocks with data.
    pub(super) fn open(
        pool: Arc<Shared>,
        key: CopyKey,
        state: &CopyState,
        data_blocks: Arc<AtomicU64>,
    ) -> Result<(Arc<Self>, u64), EngineError> {
        let doing = "open a copy's file";
        let open = pool.media.open_data(&file_name(key), terrane_log::disk::Open::Write);
        let file = open.map_err(EngineError::io(doing))?;
        check_file(&*file, &pool, key, state)?;
        if !state.log.is_empty() {
            // If a sync failed in the last life, the cache may have what the drive has not.
            file.forget().map_err(EngineError::io(doing))?;
        }
        remove_cuts(&*pool.disk, key, &state.cuts)?;
        let cuts = Self::open_cuts(&pool, key, state)?;
        let mut copy = Self {
            key,
            salt: state.salt,
            shape: state.geometry,
            blocks: AtomicU64::new(state.blocks),
            file,
            pool,
            hot: RwLock::default(),
            planned: Mutex::new(state.log.clone()),
            round: AtomicU64::new(1),
            flushed: AtomicU64::new(0),
            dirty: AtomicBool::new(!state.log.is_empty()),
            unsettled: AtomicBool::new(!state.log.is_empty()),
            stale: AtomicBool::new(!state.log.is_empty()),
            flusher: Mutex::default(),
            flush_done: Condvar::new(),
            failed: OnceLock::new(),
            data_blocks,
            damaged: AtomicU64::new(0),
            cuts,
            unfetched_until: AtomicU64::new(state.cuts.origin.as_ref().map_or(0, |origin| origin.blocks)),
        };
        let mut data_blocks = state.cold_blocks;
        let mut hot = BTreeMap::new();
        for number in &state.log {
            let group = copy.load(*number, true)?;
            data_blocks += group.data_blocks();
            hot.insert(*number, Arc::new(Mutex::new(group)));
        }
        copy.hot = RwLock::new(hot);
        Ok((Arc::new(copy), data_blocks))
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> CopyKey {
        self.key
    }

    /// How many blocks it has.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Acquire)
    }

    /// Blocks of one extent of the activity log.
    #[must_use]
    pub fn extent_blocks(&self) -> u64 {
        u64::from(self.shape.group_blocks)
    }

    /// What is durable of it besides its blocks.
    ///
    /// # Errors
    /// [`EngineError::NoCopy`] after it was deleted.
    pub fn state(&self) -> Result<CopyState, EngineError> {
        let state = self.pool.journal.with_table(|table| table.get(&self.key).cloned());
        state.ok_or(EngineError::NoCopy(self.key))
    }

    /// Whether writes to all blocks of this range would find their extents in the activity log.
    #[must_use]
    pub fn is_logged(&self, first: u64, blocks: u64) -> bool {
        let hot = self.hot.read();
        self.shape.pieces(first, blocks, usize::MAX).all(|piece| hot.contains_key(&piece.group))
    }

    /// What it takes.
    ///
    /// # Errors
    /// What the host says about the file.
    pub fn usage(&self) -> Result<Usage, EngineError> {
        Ok(Usage {
            data_bytes: self.data_blocks.load(Ordering::Relaxed) * BLOCK as u64,
            file_bytes: self.file.allocated().map_err(EngineError::io("ask for a file's room"))?,
            log_extents: self.hot.read().len(),
            damaged: self.damaged.load(Ordering::Relaxed),
        })
    }

    /// Why the copy failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<EngineError> {
        self.failed.get().cloned()
    }

    fn alive(&self) -> Result<(), EngineError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The copy fails, for good. The first reason stays.
    fn fail(&self, doing: &'static str, source: io::Error) -> EngineError {
        let error = EngineError::Failed { doing, source: Arc::new(source) };
        self.failed.get_or_init(|| error).clone()
    }

    /// Ends this life: refuses everything from now on, and waits until no write is under way.
    pub fn end(&self, reason: EngineError) {
        self.failed.get_or_init(|| reason);
        for group in self.hot.read().values() {
            drop(group.lock());
        }
    }

    fn check_range(&self, first: u64, blocks: u64) -> Result<(), EngineError> {
        let end = self.blocks();
        match first.checked_add(blocks) {
            Some(last) if last <= end => Ok(()),
            _ => Err(EngineError::Beyond { first, blocks, end }),
        }
    }

    fn group(&self, number: u64) -> Option<Arc<Mutex<Group>>> {
        self.hot.read().get(&number).cloned()
    }

    /// Reads a group's table from the file.
    fn load(&self, number: u64, crashed: bool) -> Result<Group, EngineError> {
        let mut table = vec![0; self.shape.blocks() * ENTRY];
        let read = self.file.read_at(&mut table, self.shape.entry_at(number, 0));
        read.map_err(EngineError::io("read a table"))?;
        let mut group = Group::load(number, &table, self.salt, self.shape, crashed);
        if self.pool.bugs.crash_forgets_changes {
            group.changed = 0;
        }
        Ok(group)
    }

    fn first_block(&self, group: u64) -> u64 {
        group * u64::from(self.shape.group_blocks)
    }

    /// Keeps count of blocks that get or lose data.
    fn count(&self, from: State, to: State) {
        match (from == State::Data, to == State::Data) {
            (false, true) => {
                self.data_blocks.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.data_blocks.fetch_sub(1, Ordering::Relaxed);
                self.pool.give(1);
            }
            _ => {}
        }
    }
}

/// The name of a copy's file.
pub(super) fn file_name(key: CopyKey) -> String {
    format!("{key}{SUFFIX}")
}

/// How names of copies' files end.
pub(super) const SUFFIX: &str = ".copy";

fn check_file(
    file: &dyn DataFile,
    pool: &Shared,
    key: CopyKey,
    state: &CopyState,
) -> Result<(), EngineError> {
    let doing = "read a copy's header";
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0).map_err(EngineError::io(doing))?;
    let header = Header::decode(&bytes)?;
    let expected = Header { pool: pool.id, key, salt: state.salt, geometry: state.geometry };
    if header != expected {
        let found = format!("a file of copy {} of pool {}", header.key, header.pool);
        return Err(EngineError::Foreign { what: "a copy's file", found });
    }
    let size = file.size().map_err(EngineError::io(doing))?;
    if size < state.geometry.file_bytes(state.blocks) {
        return Err(EngineError::Corrupt { what: "a copy's file", found: format!("only {size} bytes") });
    }
    Ok(())
}
