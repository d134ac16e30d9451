//! Flushing: one sync of the file covers data and tables; callers at the same time share it.

use super::Copy;
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::layout::BLOCK;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who flushes.
#[derive(Default)]
pub(super) struct Flusher {
    running: bool,
    /// Flushes started and completed.
    started: u64,
    completed: u64,
}

impl Copy {
    /// Makes durable all writes and trims that returned before the call, and a cut that was taken before it.
    ///
    /// # Errors
    /// [`EngineError::Failed`]: what was written since the last flush may be lost. Never retried.
    pub fn flush(&self) -> Result<(), EngineError> {
        self.alive()?;
        let mut flusher = self.flusher.lock();
        // One that is running may have started before the caller's last write.
        let wanted = flusher.started + 1;
        loop {
            if flusher.completed >= wanted {
                return Ok(());
            }
            self.alive()?;
            if flusher.running {
                self.flush_done.wait(&mut flusher);
                continue;
            }
            flusher.running = true;
            flusher.started += 1;
            let round = flusher.started;
            drop(flusher);
            let result = self.flush_once();
            flusher = self.flusher.lock();
            flusher.running = false;
            if result.is_ok() {
                flusher.completed = round;
            }
            self.flush_done.notify_all();
            result?;
        }
    }

    /// Whether a flush now would find nothing to do: all that was ever written is durable.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        // While one runs it may be about to fail.
        let running = self.flusher.lock().running;
        let flags = [&self.dirty, &self.unsettled, &self.stale];
        !running
            && self.cuts.pending().is_none()
            && self.failed.get().is_none()
            && flags.iter().all(|flag| !flag.load(Ordering::Acquire))
    }

    /// Has the drive begin with what was written to these blocks. A hint.
    pub fn write_out(&self, first: u64, blocks: u64) {
        if self.check_range(first, blocks).is_err() {
            return;
        }
        for piece in self.shape.pieces(first, blocks, usize::MAX) {
            let at = self.shape.data_at(piece.group, piece.range.start);
            self.file.write_out(at, (piece.range.len() * BLOCK) as u64);
        }
    }

    fn flush_once(&self) -> Result<(), EngineError> {
        let cut = self.cuts.pending();
        if let Some(cut) = cut.as_ref().filter(|_| self.pool.bugs.cut_sealed_early) {
            self.seal(cut)?;
        }
        self.settle_all()?;
        if self.cuts.any() {
            self.sync_cuts()?;
        }
        // What is written and not yet labelled takes the next round's label: late, never early.
        let round = self.round.fetch_add(1, Ordering::AcqRel);
        self.sync()?;
        if self.stale.swap(false, Ordering::AcqRel) {
            self.each_group(|group| {
                self.punch(group, round)?;
                if !group.stale.is_empty() {
                    self.stale.store(true, Ordering::Release);
                }
                Ok(())
            })?;
            // What lies below a block must be known when it is next written, so it may not be between two contents.
            self.sync()?;
        }
        self.flushed.store(round, Ordering::Release);
        cut.map_or(Ok(()), |cut| self.seal(&cut))
    }

    /// Makes durable what was written, if anything was.
    fn sync(&self) -> Result<(), EngineError> {
        if !self.dirty.swap(false, Ordering::AcqRel) || self.pool.bugs.flush_without_sync {
            return Ok(());
        }
        let mut synced = self.file.sync_data();
        if self.pool.bugs.retry_failed_sync && synced.is_err() {
            synced = self.file.sync_data();
        }
        synced.map_err(|error| self.fail("sync a copy", error))
    }

    /// After a crash, before the first flush completes: every block in the log is found out about, so that a flush
    /// vouches for something known.
    fn settle_all(&self) -> Result<(), EngineError> {
        if !self.unsettled.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let settled = self.each_group(|group| self.settle(group, 0..self.shape.blocks(), true));
        if settled.is_err() {
            self.unsettled.store(true, Ordering::Release);
        }
        settled
    }

    pub(super) fn each_group(
        &self,
        mut work: impl FnMut(&mut Group) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let groups: Vec<_> = self.hot.read().values().map(Arc::clone).collect();
        groups.iter().try_for_each(|group| work(&mut group.lock()))
    }

    /// Gives back the room of blocks that are nothing, if that is durable.
    pub(super) fn punch(&self, group: &mut Group, flushed: u64) -> Result<(), EngineError> {
        let is_free = |index: usize| {
            group.entries[index].new.state.is_nothing()
                && group.labels[index] <= flushed
                && !group.unsettled.has(index)
        };
        for run in group.stale.runs(is_free) {
            let at = self.shape.data_at(group.number, run.start);
            match self.file.punch(at, (run.len() * BLOCK) as u64) {
                Ok(()) => self.dirty.store(true, Ordering::Release),
                // The table says that they are zeros, whatever lies there; only the room is not given back.
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
                Err(error) => return Err(self.fail("give room back", error)),
            }
            run.for_each(|index| group.stale.clear(index));
        }
        Ok(())
    }
}
