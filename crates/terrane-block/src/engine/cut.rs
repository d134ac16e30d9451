//! Cuts: what a copy was at one moment, kept while others write on.
//!
//! A cut has a sparse file of its own, shaped as the copy's. Before anything of a group is overwritten the first time
//! after the cut, a [leaf](super::leaf) with the state and checksum of each of its blocks is written there and synced;
//! before a block is overwritten, its content. So a group without a leaf is in the copy as it was, and of one with a
//! leaf every block is known by its checksum, wherever it is found: kept in the cut's file, or still in the copy.
//!
//! What is kept is synced by the copy's next flush, not before it is overwritten: no write waits for that. A power
//! failure in between loses what was just being overwritten, and the checksum tells; the death of the process does not.
//!
//! A cut that cannot keep what it should is void: its file is removed, durably, before the overwriting goes on. A cut
//! of which the journal knows and whose file is not there is void.

use super::copy::file_name;
use super::entry::Content;
use super::error::{EngineError, is_full};
use super::group::Bits;
use super::layout::{BLOCK, Geometry, HEADER_BYTES, Header};
use super::leaf;
use super::media::DataFile;
use super::pool::Shared;
use super::record::{CopyKey, CopyState, CutId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use terrane_log::disk::Open;

/// How names of cuts' files end.
pub(super) const SUFFIX: &str = ".cut";

/// How far a cut is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Taken; the next flush of the copy makes it durable.
    Pending,
    /// It is there after any crash.
    Durable,
    /// It shows nothing any more, and why.
    Void(Arc<str>),
}

/// What is known of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutStatus {
    /// Its name.
    pub cut: CutId,
    /// Blocks that the copy had.
    pub blocks: u64,
    /// How far it is.
    pub phase: Phase,
    /// Bytes that its file takes because they were overwritten in the copy.
    pub kept_bytes: u64,
}

/// A cut of an open copy.
pub(super) struct Cut {
    pub(super) id: CutId,
    pub(super) blocks: u64,
    key: CopyKey,
    shape: Geometry,
    pool: Arc<Shared>,
    /// None: it was lost, or given up, before the copy was opened.
    file: Option<Arc<dyn DataFile>>,
    /// From an earlier life of the copy: whether a group has a leaf only the file tells.
    found: bool,
    /// Groups that have a leaf, each with the blocks that are to be kept once they are overwritten. Of a cut from an
    /// earlier life those that were used in this one.
    groups: Mutex<BTreeMap<u64, Bits>>,
    /// Leaves are written by one at a time.
    entering: Mutex<()>,
    /// Something in the file is not synced.
    dirty: AtomicBool,
    pub(super) durable: AtomicBool,
    void: OnceLock<Arc<str>>,
    /// Blocks of the pool's room that it takes.
    taken: AtomicU64,
}

impl Cut {
    /// Makes the file of a new cut, not yet durable.
    pub(super) fn create(
        pool: &Arc<Shared>,
        key: CopyKey,
        id: CutId,
        salt: u64,
        shape: Geometry,
        blocks: u64,
    ) -> Result<Self, EngineError> {
        let header = Header { pool: pool.id, key, salt, geometry: shape };
        let name = cut_name(key, id);
        let make = || {
            // Of an attempt that failed.
            if let Err(error) = pool.disk.remove(&name)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let file = pool.media.open_data(&name, Open::Create)?;
            file.set_len(shape.file_bytes(blocks))?;
            file.write_at(&header.encode(), 0)?;
            Ok(file)
        };
        let file = make().map_err(|error| Shared::space_or_io("make a cut's file", error))?;
        Ok(Self::new(pool, header, id, blocks, Some(file), false))
    }

    /// Opens the cut of an earlier life.
    pub(super) fn open(
        pool: &Arc<Shared>,
        key: CopyKey,
        id: CutId,
        state: &CopyState,
    ) -> Result<Self, EngineError> {
        let doing = "open a cut's file";
        let opened = pool.media.open_data(&cut_name(key, id), Open::Write);
        let file = match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let file = file.map_err(EngineError::io(doing))?;
        if let Some(file) = &file {
            file.forget().map_err(EngineError::io(doing))?;
        }
        let header = Header { pool: pool.id, key, salt: state.salt, geometry: state.geometry };
        let blocks = state.cuts.cuts.get(&id).copied().unwrap_or_default();
        let cut = Self::new(pool, header, id, blocks, file, true);
        cut.durable.store(true, Ordering::Release);
        if let Err(why) = cut.check(&header) {
            // What is not its file must not be taken for it later.
            cut.give_up(why).map_err(EngineError::io("give up a cut"))?;
        }
        Ok(cut)
    }

    fn new(
        pool: &Arc<Shared>,
        header: Header,
        id: CutId,
        blocks: u64,
        file: Option<Arc<dyn DataFile>>,
        found: bool,
    ) -> Self {
        Self {
            id,
            blocks,
            key: header.key,
            shape: header.geometry,
            pool: pool.clone(),
            file,
            found,
            groups: Mutex::default(),
            entering: Mutex::default(),
            dirty: AtomicBool::new(true),
            durable: AtomicBool::new(false),
            void: OnceLock::new(),
            taken: AtomicU64::new(0),
        }
    }

    /// Whether the file is what it should be; takes the room that it has.
    fn check(&self, expected: &Header) -> Result<(), Arc<str>> {
        let file = self.file.as_ref().ok_or("its file is gone")?;
        let mut bytes = [0; HEADER_BYTES];
        let readable = file.read_at(&mut bytes, 0);
        readable.map_err(|error| Arc::from(format!("its file cannot be read: {error}")))?;
        let header = Header::decode(&bytes).map_err(|error| Arc::from(error.to_string()))?;
        let size = file.size().unwrap_or_default();
        if header != *expected || size < self.shape.file_bytes(self.blocks) {
            return Err("its file is another one's".into());
        }
        let kept = file.allocated().unwrap_or_default() / BLOCK as u64;
        self.taken.store(kept, Ordering::Release);
        self.pool.take_for_cut_anyway(kept);
        Ok(())
    }

    /// What is known of it.
    pub(super) fn status(&self) -> CutStatus {
        let phase = match self.void.get() {
            Some(why) => Phase::Void(why.clone()),
            None if self.durable.load(Ordering::Acquire) => Phase::Durable,
            None => Phase::Pending,
        };
        let kept_bytes = self.taken.load(Ordering::Relaxed) * BLOCK as u64;
        CutStatus { cut: self.id, blocks: self.blocks, phase, kept_bytes }
    }

    /// Nothing if it shows what it should.
    pub(super) fn whole(&self) -> Result<(), EngineError> {
        let void = |why: &Arc<str>| EngineError::CutVoid { cut: self.id, why: why.clone() };
        self.void.get().map_or(Ok(()), |why| Err(void(why)))
    }

    pub(super) fn is_void(&self) -> bool {
        self.void.get().is_some()
    }

    /// It shows nothing any more: whatever happens now, and after any crash.
    ///
    /// # Errors
    /// That could not be made durable.
    pub(super) fn give_up(&self, why: impl Into<Arc<str>>) -> io::Result<()> {
        let why = why.into();
        if self.void.set(why.clone()).is_err() {
            return Ok(());
        }
        tracing::warn!(copy = %self.key, cut = %self.id, %why, "a cut is void");
        self.remove()?;
        self.pool.disk.sync_dir()
    }

    /// Removes the file and gives its room back.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.pool.give_for_cut(self.taken.swap(0, Ordering::AcqRel));
        match self.pool.disk.remove(&cut_name(self.key, self.id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether writes need not care for what it has of this group before they begin.
    pub(super) fn covers(&self, group: u64) -> bool {
        self.is_void() || group >= self.shape.groups(self.blocks) || self.groups.lock().contains_key(&group)
    }

    /// Makes sure that the group has a leaf, durably. `contents`: what its blocks are, as nobody has overwritten them
    /// since the cut.
    ///
    /// # Errors
    /// Those of `contents`, or the cut could not be given up.
    pub(super) fn enter(
        &self,
        group: u64,
        contents: impl FnOnce() -> Result<Box<[Content]>, EngineError>,
    ) -> Result<(), EngineError> {
        let _alone = self.entering.lock();
        if self.covers(group) {
            return Ok(());
        }
        let todo = match self.leaf(group) {
            Ok(Some(contents)) => self.to_keep(group, &contents),
            Ok(None) => {
                let contents = contents()?;
                if let Err(error) = self.put_leaf(group, &contents) {
                    let why = format!("what a group was could not be kept: {error}");
                    return self.give_up(why).map_err(EngineError::io("give up a cut"));
                }
                self.to_keep(group, &contents)
            }
            // Nobody knows what its blocks were: there is nothing to keep.
            Err(_) => Bits::new(self.shape.blocks(), false),
        };
        self.groups.lock().insert(group, todo);
        Ok(())
    }

    /// Blocks that are lost when they are overwritten.
    fn to_keep(&self, group: u64, contents: &[Content]) -> Bits {
        let mut todo = Bits::new(self.shape.blocks(), false);
        let first = group * self.shape.blocks() as u64;
        for (index, content) in contents.iter().enumerate() {
            if content.has_data() && first + (index as u64) < self.blocks {
                todo.set(index);
            }
        }
        todo
    }

    fn put_leaf(&self, group: u64, contents: &[Content]) -> io::Result<()> {
        self.pool.spare_room_for_cut()?;
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_at(&leaf::encode(self.id, group, contents), self.shape.entry_at(group, 0))?;
        if self.pool.bugs.cut_leaf_unsynced { Ok(()) } else { file.sync_data() }
    }

    /// What the group's blocks were. `None`: what they are now.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn leaf(&self, group: u64) -> Result<Option<Box<[Content]>>, EngineError> {
        let Some(file) = &self.file else { return Err(EngineError::NoCut(self.id)) };
        if !self.found && !self.groups.lock().contains_key(&group) {
            return Ok(None);
        }
        let mut bytes = vec![0; leaf::bytes(self.shape)];
        let read = file.read_at(&mut bytes, self.shape.entry_at(group, 0));
        read.map_err(EngineError::io("read what a group was"))?;
        leaf::decode(&bytes, self.id, group, self.shape)
    }

    /// Runs of the blocks that are lost when they are overwritten.
    pub(super) fn needs(&self, group: u64, range: &Range<usize>) -> Vec<Range<usize>> {
        if self.is_void() {
            return Vec::new();
        }
        let groups = self.groups.lock();
        groups.get(&group).map_or_else(Vec::new, |todo| todo.runs(|index| range.contains(&index)))
    }

    /// Whether the block, of a group with a leaf, was kept or cannot be kept any more.
    pub(super) fn is_done(&self, group: u64, index: usize) -> bool {
        self.groups.lock().get(&group).is_some_and(|todo| !todo.has(index))
    }

    /// These blocks need not be kept any more.
    pub(super) fn done(&self, group: u64, range: Range<usize>) {
        if let Some(todo) = self.groups.lock().get_mut(&group) {
            range.for_each(|index| todo.clear(index));
        }
    }

    /// Whether what it kept has to be looked at before it is kept again.
    pub(super) fn may_have(&self) -> bool {
        self.found
    }

    /// Keeps blocks' contents.
    ///
    /// # Errors
    /// There is no room, or the drive fails: the cut cannot go on.
    pub(super) fn keep(&self, group: u64, index: usize, bytes: &[u8]) -> io::Result<()> {
        let blocks = (bytes.len() / BLOCK) as u64;
        self.pool.take_for_cut(blocks)?;
        self.taken.fetch_add(blocks, Ordering::AcqRel);
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_at(bytes, self.shape.data_at(group, index))?;
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// What it kept of a block, whatever that is.
    pub(super) fn kept(&self, group: u64, index: usize, bytes: &mut [u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.read_at(bytes, self.shape.data_at(group, index))
    }

    /// Makes durable what it kept; the file's name too, if it is new.
    pub(super) fn sync(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.is_void() || !self.dirty.swap(false, Ordering::AcqRel) || self.pool.bugs.cut_kept_unsynced {
            return Ok(());
        }
        file.sync_data()?;
        if self.durable.load(Ordering::Acquire) { Ok(()) } else { self.pool.disk.sync_dir() }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.pool.give_for_cut(self.taken.load(Ordering::Acquire));
    }
}

/// The name of a cut's file.
pub(super) fn cut_name(key: CopyKey, cut: CutId) -> String {
    let copy = file_name(key);
    let stem = copy.strip_suffix(super::copy::SUFFIX).unwrap_or(&copy);
    format!("{stem}-{cut}{SUFFIX}")
}

/// Why a cut cannot keep something.
pub(super) fn reason(error: &io::Error) -> String {
    if is_full(error) {
        "no room for what was overwritten".to_owned()
    } else {
        format!("what was overwritten could not be kept: {error}")
    }
}
