//! Cuts of a copy: taking, keeping what is overwritten, sealing by a flush, releasing, and what changed between them.

use super::{CHUNK, Copy};
use crate::engine::bitmap::Bitmap;
use crate::engine::cut::{Cut, CutStatus, reason};
use crate::engine::entry::{self, State};
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::layout::BLOCK;
use crate::engine::record::{CopyState, CutId, CutOp, MAX_CHANGES, MAX_CUTS, Record};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The cuts of an open copy.
#[derive(Default)]
pub(super) struct Cuts {
    list: RwLock<Vec<Arc<Cut>>>,
    /// There are some that are not void.
    any: AtomicBool,
    /// Cuts come, become durable, and go one after the other.
    alone: Mutex<()>,
    /// How many were taken in this life: names the newest one.
    round: AtomicU64,
    /// Cuts since which changes are kept, once all that is under way is durable.
    tracked: AtomicUsize,
    /// Chunks that changed since the cut that is not durable yet, of groups that have left the log.
    late: Mutex<Bitmap>,
}

impl Cuts {
    /// Those of earlier lives.
    pub(super) fn found(list: Vec<Arc<Cut>>, state: &CopyState) -> Self {
        let any = list.iter().any(|cut| !cut.is_void());
        Self {
            list: RwLock::new(list),
            any: AtomicBool::new(any),
            tracked: AtomicUsize::new(state.cuts.changes.len()),
            ..Self::default()
        }
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    fn all(&self) -> Vec<Arc<Cut>> {
        self.list.read().clone()
    }

    fn get(&self, cut: CutId) -> Option<Arc<Cut>> {
        self.list.read().iter().find(|known| known.id == cut).cloned()
    }

    /// The one that is not durable.
    pub(super) fn pending(&self) -> Option<Arc<Cut>> {
        let durable = |cut: &Arc<Cut>| cut.durable.load(Ordering::Acquire);
        self.list.read().iter().find(|cut| !durable(cut) && !cut.is_void()).cloned()
    }

    /// Whether a write to the group may begin.
    pub(super) fn cover(&self, group: u64) -> bool {
        !self.any() || self.list.read().iter().all(|cut| cut.covers(group))
    }

    /// Whether one of them has to keep some of the blocks.
    pub(super) fn need(&self, group: u64, range: &Range<usize>) -> bool {
        self.any() && self.list.read().iter().any(|cut| !cut.needs(group, range).is_empty())
    }

    /// Keeps cuts from coming and going.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock()
    }

    fn note_void(&self) {
        let list = self.list.read();
        self.any.store(list.iter().any(|cut| !cut.is_void()), Ordering::Release);
    }
}

impl Copy {
    /// Takes a cut: what the copy is now. Every write that returned before this call is in it, none that begins after
    /// it. The next flush that begins afterwards and succeeds makes it durable; a copy that is opened again before
    /// that has no such cut. Waits for writes under way and for the file system to make a file, not for the drive.
    ///
    /// From now on what is overwritten is kept first, in a file of the cut's own, until [`Copy::release_cut`]. A name
    /// must not be used twice for a copy.
    ///
    /// # Errors
    /// [`EngineError::CutExists`]: this one, or one that is not durable yet. [`EngineError::TooLarge`]: there are too many
    /// cuts, or too many since which changes are kept. [`EngineError::NoSpace`], [`EngineError::Io`],
    /// [`EngineError::Failed`]. Nothing has changed then.
    pub fn take_cut(&self, cut: CutId) -> Result<(), EngineError> {
        self.alive()?;
        let _alone = self.cuts.alone.lock();
        if let Some(other) = self.cuts.get(cut).or_else(|| self.cuts.pending()) {
            return Err(EngineError::CutExists(other.id));
        }
        let too_many = |what, limit: usize| Err(EngineError::TooLarge { what, limit: limit as u64 });
        if self.cuts.list.read().len() >= MAX_CUTS {
            return too_many("cuts of a copy", MAX_CUTS);
        }
        if self.cuts.tracked.load(Ordering::Acquire) >= MAX_CHANGES {
            return too_many("cuts since which a copy keeps changes", MAX_CHANGES);
        }
        let taken = Arc::new(Cut::create(&self.pool, self.key, cut, self.salt, self.shape, self.blocks())?);
        *self.cuts.late.lock() = Bitmap::default();
        self.cuts.round.fetch_add(1, Ordering::AcqRel);
        self.cuts.list.write().push(taken);
        self.cuts.any.store(true, Ordering::Release);
        // Writes that have not seen it are over then.
        self.each_group(|_| Ok(()))
    }

    /// All cuts that were not released.
    #[must_use]
    pub fn cuts(&self) -> Vec<CutStatus> {
        self.cuts.all().iter().map(|cut| cut.status()).collect()
    }

    pub(super) fn cut(&self, cut: CutId) -> Result<Arc<Cut>, EngineError> {
        self.cuts.get(cut).ok_or(EngineError::NoCut(cut))
    }

    /// Ends a cut, durably, and gives its room back. What changed since it is kept until [`Copy::forget_changes`].
    ///
    /// # Errors
    /// [`EngineError::NoCut`], [`EngineError::Journal`] (it is still there), [`EngineError::Io`]: its file could not be
    /// removed, which the next open of the pool does.
    pub fn release_cut(&self, cut: CutId) -> Result<(), EngineError> {
        self.alive()?;
        let _alone = self.cuts.alone.lock();
        let released = self.cut(cut)?;
        if released.durable.load(Ordering::Acquire) {
            self.journal_cut(CutOp::Release { cut })?;
        }
        self.cuts.list.write().retain(|known| known.id != cut);
        self.cuts.note_void();
        released.remove().map_err(EngineError::io("remove a cut's file"))
    }

    /// Numbers of the chunks (of [`Copy::chunk_blocks`] blocks) that may have changed since a cut, and before another
    /// one, or until now. `None`: nobody knows, all have to be compared. After a crash all chunks of an extent in the
    /// activity log count as changed. Filling absent blocks changes nothing.
    ///
    /// # Errors
    /// [`EngineError::NoCopy`], [`EngineError::Failed`].
    pub fn changed(&self, since: CutId, until: Option<CutId>) -> Result<Option<Bitmap>, EngineError> {
        self.alive()?;
        // What leaves the log is in the journal before it is gone from here.
        let mut changed = Bitmap::default();
        if until.is_none() {
            self.each_group(|group| {
                group.numbered(group.changed, self.shape).for_each(|chunk| changed.insert(chunk..chunk + 1));
                Ok(())
            })?;
        }
        let state = self.state()?;
        let index = |cut: CutId| state.cuts.changes.iter().position(|(known, _)| *known == cut);
        let end = until.map_or(Some(state.cuts.changes.len()), index);
        let (Some(start), Some(end)) = (index(since), end) else { return Ok(None) };
        let Some(segments) = state.cuts.changes.get(start..end) else { return Ok(None) };
        segments.iter().flat_map(|(_, bitmap)| bitmap.runs()).for_each(|run| changed.insert(run));
        Ok(Some(changed))
    }

    /// Ends what is kept about changes since a cut, durably. If there is a cut before it whose changes are kept, they
    /// go on to the next one.
    ///
    /// # Errors
    /// [`EngineError::Journal`]: they are still kept. [`EngineError::NoCopy`], [`EngineError::Failed`].
    pub fn forget_changes(&self, cut: CutId) -> Result<(), EngineError> {
        self.alive()?;
        let _alone = self.cuts.alone.lock();
        if self.state()?.cuts.changes.iter().all(|(known, _)| *known != cut) {
            return Ok(());
        }
        self.journal_cut(CutOp::Forget { cut })?;
        self.cuts.tracked.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    /// Blocks of a chunk, in which changes are told: 512 KiB with the usual geometry.
    #[must_use]
    pub fn chunk_blocks(&self) -> u64 {
        self.shape.chunk_blocks()
    }

    pub(super) fn journal_cut(&self, op: CutOp) -> Result<(), EngineError> {
        self.pool.journal.commit(Record::Cut { key: self.key, op })
    }

    /// Makes durable what cuts have kept. One that fails is void.
    pub(super) fn sync_cuts(&self) -> Result<(), EngineError> {
        for cut in self.cuts.all() {
            if let Err(error) = cut.sync() {
                self.give_up(&cut, &format!("its file does not sync: {error}"))?;
            }
        }
        Ok(())
    }

    /// After a flush: what the cut shows and has kept is durable, so it may be.
    pub(super) fn seal(&self, cut: &Arc<Cut>) -> Result<(), EngineError> {
        let _alone = self.cuts.alone.lock();
        if cut.is_void() || self.cuts.get(cut.id).is_none() || cut.durable.load(Ordering::Acquire) {
            return Ok(());
        }
        let submitted = {
            // Extents leave the log before this in the journal, or behind it.
            let _planned = self.planned.lock();
            let mut before = Bitmap::default();
            self.each_group(|group| {
                group.numbered(group.changed, self.shape).for_each(|chunk| before.insert(chunk..chunk + 1));
                Ok(())
            })?;
            self.cuts.tracked.fetch_add(1, Ordering::AcqRel);
            let since = self.cuts.late.lock().runs().collect();
            let op = CutOp::Seal { cut: cut.id, blocks: cut.blocks, before: before.runs().collect(), since };
            let slot = Arc::new(Mutex::new(None));
            let told = slot.clone();
            let record = Record::Cut { key: self.key, op };
            self.pool.journal.submit(record, Box::new(move |result| *told.lock() = Some(result)));
            slot
        };
        self.pool.journal.drive();
        let sealed = submitted.lock().take().expect("drive reports all that was queued before it");
        if let Err(error) = sealed {
            self.cuts.tracked.fetch_sub(1, Ordering::AcqRel);
            return self.give_up(cut, &format!("it could not be recorded: {error}"));
        }
        cut.durable.store(true, Ordering::Release);
        let round = self.cuts.round();
        self.each_group(|group| {
            group.changed = group.late_since(round);
            Ok(())
        })
    }

    /// What changed in extents that leave the log, of which nobody knows afterwards. Those that are planned are locked.
    pub(super) fn changed_in(&self, leaving: &[(u64, Arc<Mutex<Group>>)]) -> Vec<Range<u64>> {
        if self.cuts.tracked.load(Ordering::Acquire) == 0 && self.cuts.pending().is_none() {
            return Vec::new();
        }
        let (round, mut changed) = (self.cuts.round(), Bitmap::default());
        let mut late = self.cuts.late.lock();
        for (_, group) in leaving {
            let group = group.lock();
            group.numbered(group.changed, self.shape).for_each(|chunk| changed.insert(chunk..chunk + 1));
            group
                .numbered(group.late_since(round), self.shape)
                .for_each(|chunk| late.insert(chunk..chunk + 1));
        }
        if self.pool.bugs.retire_forgets_changes { Vec::new() } else { changed.runs().collect() }
    }

    /// A cut is void from now on.
    fn give_up(&self, cut: &Cut, why: &str) -> Result<(), EngineError> {
        let given_up = cut.give_up(why);
        self.cuts.note_void();
        // If that is not durable, a write that goes on could show in the cut.
        given_up.map_err(|error| self.fail("give up a cut", error))
    }

    /// Before a write to a group: all cuts know what it was.
    pub(super) fn prepare_cuts(&self, group: &Mutex<Group>, number: u64) -> Result<(), EngineError> {
        for cut in self.cuts.all() {
            let contents = || {
                let mut group = group.lock();
                self.alive()?;
                self.settle(&mut group, 0..self.shape.blocks(), true)?;
                Ok(group.entries.iter().map(|entry| entry.new).collect())
            };
            cut.enter(number, contents).map_err(|error| match error {
                EngineError::Io { doing: "give up a cut", source } => {
                    self.fail("give up a cut", std::io::Error::new(source.kind(), source))
                }
                error => error,
            })?;
        }
        self.cuts.note_void();
        Ok(())
    }

    /// Keeps what blocks are, for those cuts that need it, before it is overwritten.
    pub(super) fn keep(&self, group: &Group, range: &Range<usize>) -> Result<(), EngineError> {
        let cuts = self.cuts.all();
        let skip = if self.pool.bugs.cut_newest_only { cuts.len().saturating_sub(1) } else { 0 };
        for cut in cuts.iter().skip(skip) {
            for run in cut.needs(group.number, range) {
                if let Err(error) = self.keep_run(cut, group, run.clone()) {
                    if self.pool.bugs.cut_ignores_no_room {
                        continue;
                    }
                    self.give_up(cut, &reason(&error))?;
                    break;
                }
                cut.done(group.number, run);
            }
        }
        Ok(())
    }

    /// Blocks that do not fit their checksums are lost for the cut, as they are for the copy.
    fn keep_run(&self, cut: &Cut, group: &Group, run: Range<usize>) -> std::io::Result<()> {
        debug_assert!(run.len() <= CHUNK, "what is written at once");
        let number = group.number;
        let first = self.first_block(number);
        let leaf = if cut.may_have() { cut.leaf(number).ok().flatten() } else { None };
        let mut bytes = vec![0; run.len() * BLOCK];
        let read = self.file.read_at(&mut bytes, self.shape.data_at(number, run.start));
        let mut fits = Vec::with_capacity(run.len());
        for (index, block) in run.clone().zip(bytes.chunks_exact_mut(BLOCK)) {
            let sum = leaf.as_ref().map_or(group.entries[index].new.sum, |leaf| leaf[index].sum);
            let is_it = |bytes: &[u8]| entry::sum(bytes, self.salt, first + index as u64) == sum;
            let has = || {
                let mut kept = vec![0; BLOCK];
                cut.kept(number, index, &mut kept).is_ok() && is_it(&kept)
            };
            fits.push(read.is_ok() && is_it(block) && !(leaf.is_some() && has()));
        }
        if fits.iter().all(|fits| *fits) {
            return cut.keep(number, run.start, &bytes);
        }
        for ((index, block), _) in run.zip(bytes.chunks_exact(BLOCK)).zip(fits).filter(|(_, fits)| *fits) {
            cut.keep(number, index, block)?;
        }
        Ok(())
    }

    /// The state that absent blocks have for readers.
    pub(super) fn is_unfetched(&self, state: State, block: u64) -> bool {
        state == State::Absent && block < self.unfetched_until.load(Ordering::Acquire)
    }

    /// Opens the cuts that earlier lives have left, and removes what they have not.
    pub(super) fn open_cuts(
        pool: &Arc<crate::engine::pool::Shared>,
        key: crate::engine::record::CopyKey,
        state: &CopyState,
    ) -> Result<Cuts, EngineError> {
        let open = |cut: &CutId| Cut::open(pool, key, *cut, state).map(Arc::new);
        let list = state.cuts.cuts.keys().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Cuts::found(list, state))
    }
}
