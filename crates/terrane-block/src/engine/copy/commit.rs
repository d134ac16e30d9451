//! Durable changes of what a copy keeps besides its blocks.

use super::Copy;
use crate::engine::bitmap::Bitmap;
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::layout::Geometry;
use crate::engine::record::{MAX_BITMAPS, MAX_RECORD, Op, Record};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A change on its way to the journal.
#[derive(Default)]
struct Prepared {
    ops: Vec<Op>,
    /// Tables of the extents that enter.
    entering: Vec<Group>,
    /// All extents that must be in the log afterwards, those that others enter included.
    wanted: Vec<u64>,
    retiring: Vec<(u64, Arc<Mutex<Group>>)>,
    cold: i64,
}

impl Copy {
    /// Makes a change durable. Changes of all copies of the pool that wait at the same time share one sync.
    ///
    /// # Errors
    /// [`EngineError::LogFull`], [`EngineError::Unflushed`], [`EngineError::Beyond`], [`EngineError::TooLarge`],
    /// [`EngineError::NoSpace`] (nothing changed), [`EngineError::Journal`], [`EngineError::Failed`].
    pub fn commit(self: &Arc<Self>, ops: Vec<Op>) -> Result<(), EngineError> {
        let slot = Arc::new(Mutex::new(None));
        let told = slot.clone();
        self.submit(ops, move |result| *told.lock() = Some(result))?;
        self.pool.journal.drive();
        slot.lock().take().expect("drive reports all that was queued before it")
    }

    /// Queues a change behind those queued before and returns; somebody must call [`super::super::Pool::drive`].
    /// `done` is told in the order of the changes, on the thread that drives; it must not commit or drive itself.
    /// Enters the extents' tables into memory, for which it may read the drive.
    ///
    /// # Errors
    /// As [`Copy::commit`], without calling `done`.
    pub fn submit(
        self: &Arc<Self>,
        ops: Vec<Op>,
        done: impl FnOnce(Result<(), EngineError>) + Send + 'static,
    ) -> Result<(), EngineError> {
        self.alive()?;
        ops.iter().try_for_each(|op| self.check(op))?;
        // Held until the change is queued: what is planned changes in the journal's order.
        let mut planned = self.planned.lock();
        let mut prepared = Prepared::default();
        if let Err(error) = self.prepare(ops, &planned, &mut prepared) {
            prepared.retiring.iter().for_each(|(_, group)| group.lock().retiring = false);
            return Err(error);
        }
        planned.extend(prepared.entering.iter().map(|group| group.number));
        for (number, _) in &prepared.retiring {
            planned.remove(number);
        }
        let changed = self.changed_in(&prepared.retiring);
        let copy = self.clone();
        let record =
            Record::Change { key: self.key, cold: prepared.cold, ops: prepared.ops.clone(), changed };
        let finish = move |result: Result<(), EngineError>| {
            done(match result {
                Ok(()) => copy.committed(prepared),
                Err(error) => {
                    copy.not_committed(&prepared);
                    Err(error)
                }
            });
        };
        self.pool.journal.submit(record, Box::new(finish));
        Ok(())
    }

    /// Gathers what a change needs, and stops writes to what leaves the log.
    fn prepare(
        &self,
        ops: Vec<Op>,
        planned: &BTreeSet<u64>,
        prepared: &mut Prepared,
    ) -> Result<(), EngineError> {
        for op in ops {
            let op = match op {
                Op::Enter(extents) => Op::Enter(self.prepare_enter(&extents, planned, prepared)?),
                Op::Retire(extents) => Op::Retire(self.prepare_retire(&extents, planned, prepared)?),
                op => op,
            };
            prepared.ops.push(op);
        }
        let after = planned.len() + prepared.entering.len() - prepared.retiring.len();
        let limit = self.pool.log_extents;
        if after > limit && !prepared.entering.is_empty() {
            return Err(EngineError::LogFull { limit });
        }
        Ok(())
    }

    /// Checks what does not depend on other changes.
    fn check(&self, op: &Op) -> Result<(), EngineError> {
        let too_large = |what, limit: usize| Err(EngineError::TooLarge { what, limit: limit as u64 });
        match op {
            Op::Record(bytes) if bytes.len() > MAX_RECORD => {
                too_large("bytes of a copy's record", MAX_RECORD)
            }
            Op::Mark { runs, .. } if runs.len() > Bitmap::MAX_RUNS => {
                too_large("runs of a change", Bitmap::MAX_RUNS)
            }
            Op::Mark { peer, runs } => {
                runs.iter()
                    .try_for_each(|run| self.check_range(run.start, run.end.saturating_sub(run.start)))?;
                let full = self.state()?.bitmaps;
                if full.len() >= MAX_BITMAPS && !full.contains_key(peer) {
                    return too_large("bitmaps of a copy", MAX_BITMAPS);
                }
                Ok(())
            }
            Op::Grow(blocks) if *blocks > Geometry::MAX_BLOCKS => {
                too_large("blocks of a copy", Geometry::MAX_BLOCKS as usize)
            }
            Op::Grow(blocks) => {
                // Longer than the journal says does no harm; shorter would.
                let len = self
                    .shape
                    .file_bytes(*blocks)
                    .max(self.file.size().map_err(EngineError::io("grow a copy"))?);
                // A file system that takes no file so long changes nothing.
                self.file.set_len(len).map_err(EngineError::io("grow a copy"))?;
                self.file.sync_data().map_err(|error| self.fail("grow a copy", error))
            }
            _ => Ok(()),
        }
    }

    fn prepare_enter(
        &self,
        extents: &[u64],
        planned: &BTreeSet<u64>,
        prepared: &mut Prepared,
    ) -> Result<Vec<u64>, EngineError> {
        let mut entering = Vec::new();
        for number in extents {
            if *number >= self.shape.groups(self.blocks()) {
                let (first, blocks) = (self.first_block(*number), u64::from(self.shape.group_blocks));
                return Err(EngineError::Beyond { first, blocks, end: self.blocks() });
            }
            prepared.wanted.push(*number);
            if planned.contains(number) || entering.contains(number) {
                continue;
            }
            let group = self.load(*number, false)?;
            prepared.cold -= group.data_blocks().cast_signed();
            prepared.entering.push(group);
            entering.push(*number);
        }
        Ok(entering)
    }

    fn prepare_retire(
        &self,
        extents: &[u64],
        planned: &BTreeSet<u64>,
        prepared: &mut Prepared,
    ) -> Result<Vec<u64>, EngineError> {
        let flushed = self.flushed.load(Ordering::Acquire);
        let mut retiring = Vec::new();
        for number in extents.iter().collect::<BTreeSet<_>>() {
            if !planned.contains(number) {
                continue;
            }
            // Planned and not there yet: it is just entering.
            let group = self.group(*number).ok_or(EngineError::Unflushed { extent: *number })?;
            let mut locked = group.lock();
            if !locked.is_quiet(flushed) && !self.pool.bugs.retire_unflushed {
                return Err(EngineError::Unflushed { extent: *number });
            }
            locked.retiring = true;
            prepared.cold += locked.data_blocks().cast_signed();
            drop(locked);
            prepared.retiring.push((*number, group));
            retiring.push(*number);
        }
        Ok(retiring)
    }

    fn committed(&self, prepared: Prepared) -> Result<(), EngineError> {
        for op in &prepared.ops {
            if let Op::Grow(blocks) = op {
                self.blocks.fetch_max(*blocks, Ordering::AcqRel);
            }
        }
        let mut hot = self.hot.write();
        for (number, group) in &prepared.retiring {
            if hot.get(number).is_some_and(|current| Arc::ptr_eq(current, group)) {
                hot.remove(number);
            }
        }
        for group in prepared.entering {
            if !group.stale.is_empty() {
                self.stale.store(true, Ordering::Release);
            }
            hot.insert(group.number, Arc::new(Mutex::new(group)));
        }
        // An extent that another change was entering, which failed.
        let missing = prepared.wanted.iter().find(|number| !hot.contains_key(number));
        missing.map_or(Ok(()), |extent| Err(EngineError::NotLogged { extent: *extent }))
    }

    fn not_committed(&self, prepared: &Prepared) {
        let mut planned = self.planned.lock();
        for group in &prepared.entering {
            planned.remove(&group.number);
        }
        for (number, group) in &prepared.retiring {
            planned.insert(*number);
            group.lock().retiring = false;
        }
    }
}
