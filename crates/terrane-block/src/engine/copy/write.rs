//! Writing and trimming: the table's entries first, then the data, both only as far as the kernel.

use super::read::How;
use super::{CHUNK, Copy};
use crate::engine::entry::{self, Content, State};
use crate::engine::error::{EngineError, is_full};
use crate::engine::group::Group;
use crate::engine::layout::{BLOCK, ENTRY, Piece};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// What becomes of blocks.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Write(&'a [u8]),
    Zero,
    /// Those that are absent get this.
    Fill(&'a [u8]),
}

impl Copy {
    /// Writes whole blocks from `first` on. When it returns the kernel has them: they survive the process, and after
    /// a [`Copy::flush`] the machine. Writes of the same blocks at the same time must not be handed in.
    ///
    /// # Errors
    /// [`EngineError::Misaligned`], [`EngineError::Beyond`], [`EngineError::NotLogged`], [`EngineError::NoSpace`]
    /// (a part from the start may have been written), [`EngineError::Failed`].
    pub fn write(&self, first: u64, bytes: &[u8]) -> Result<(), EngineError> {
        self.change_bytes(first, bytes, Change::Write(bytes), How::Wait).map(drop)
    }

    /// The same, if that waits for nothing but the page cache. False: somebody else works on the blocks' extent, the
    /// drive must be asked first, or a cut must keep what is there; a part from the start may have been written, and all of it shall be again.
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn write_cached(&self, first: u64, bytes: &[u8]) -> Result<bool, EngineError> {
        self.change_bytes(first, bytes, Change::Write(bytes), How::Cached)
    }

    /// Makes blocks zeros for good and gives their room back once that is flushed.
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn zero(&self, first: u64, blocks: u64) -> Result<(), EngineError> {
        self.change(first, blocks, Change::Zero, How::Wait).map(drop)
    }

    /// As [`Copy::write_cached`].
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn zero_cached(&self, first: u64, blocks: u64) -> Result<bool, EngineError> {
        self.change(first, blocks, Change::Zero, How::Cached)
    }

    pub(super) fn change_bytes(
        &self,
        first: u64,
        bytes: &[u8],
        change: Change<'_>,
        how: How,
    ) -> Result<bool, EngineError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
            return Err(EngineError::Misaligned { len: bytes.len() });
        }
        self.change(first, (bytes.len() / BLOCK) as u64, change, how)
    }

    fn change(&self, first: u64, blocks: u64, change: Change<'_>, how: How) -> Result<bool, EngineError> {
        self.alive()?;
        self.check_range(first, blocks)?;
        for piece in self.shape.pieces(first, blocks, CHUNK) {
            let not_logged = EngineError::NotLogged { extent: piece.group };
            let group = self.group(piece.group).ok_or(not_logged.clone())?;
            let Some(mut group) = self.lock_to_change(&group, &piece, how)? else { return Ok(false) };
            self.alive()?;
            if group.retiring {
                return Err(not_logged);
            }
            self.settle(&mut group, piece.range.clone(), true)?;
            self.change_chunk(&mut group, &piece, change)?;
        }
        Ok(true)
    }

    /// Locks a group of which all cuts know what it was. None: it would have to wait.
    fn lock_to_change<'a>(
        &self,
        group: &'a Mutex<Group>,
        piece: &Piece,
        how: How,
    ) -> Result<Option<MutexGuard<'a, Group>>, EngineError> {
        if how == How::Cached {
            let locked = group.try_lock().filter(|group| !group.must_ask(&piece.range));
            let ready = self.cuts.cover(piece.group) && !self.cuts.need(piece.group, &piece.range);
            return Ok(locked.filter(|_| ready));
        }
        loop {
            if !self.cuts.cover(piece.group) {
                self.prepare_cuts(group, piece.group)?;
            }
            let locked = group.lock();
            // A cut may have been taken meanwhile.
            if self.cuts.cover(piece.group) {
                return Ok(Some(locked));
            }
        }
    }

    fn change_chunk(&self, group: &mut Group, piece: &Piece, change: Change<'_>) -> Result<(), EngineError> {
        let bugs = &self.pool.bugs;
        let (late, unkept) = (bugs.cut_copies_late, bugs.cut_ignores_trim && matches!(change, Change::Zero));
        if self.cuts.any() && !late && !unkept {
            self.keep(group, &piece.range)?;
        }
        let at = piece.skip * BLOCK;
        let part = at..at + piece.range.len() * BLOCK;
        if !matches!(change, Change::Fill(_)) {
            group.note_changed(&piece.range, self.shape, self.cuts.round());
        }
        match change {
            Change::Write(bytes) => self.write_chunk(group, piece, &bytes[part])?,
            Change::Zero => self.zero_chunk(group, piece)?,
            Change::Fill(bytes) => self.fill_chunk(group, piece, &bytes[part])?,
        }
        if self.cuts.any() && late {
            self.keep(group, &piece.range)?;
        }
        Ok(())
    }

    pub(super) fn write_chunk(
        &self,
        group: &mut Group,
        piece: &Piece,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let entries = &group.entries[piece.range.clone()];
        let fresh = entries.iter().filter(|entry| entry.new.state != State::Data).count() as u64;
        self.pool.take(fresh)?;
        let flushed = self.flushed.load(Ordering::Acquire);
        for ((index, block), data) in piece.range.clone().zip(piece.block..).zip(bytes.chunks_exact(BLOCK)) {
            group.push(index, Content::data(entry::sum(data, self.salt, block)), flushed);
        }
        let data_at = self.shape.data_at(piece.group, piece.range.start);
        let bugs = &self.pool.bugs;
        let written = if bugs.entry_after_data || bugs.flush_skips_table {
            self.file.write_at(bytes, data_at).and_then(|()| self.put_entries(group, piece.range.clone()))
        } else {
            let mut table = [0; CHUNK * ENTRY];
            let (entries, at) = self.entries(group, piece.range.clone(), &mut table);
            self.file.write_many(&[(entries, at), (bytes, data_at)])
        };
        if let Err(error) = written {
            self.pool.give(fresh);
            return Err(self.take_back(group, piece, error));
        }
        self.note_written(group, piece.range.clone());
        piece.range.clone().for_each(|index| group.stale.clear(index));
        self.data_blocks.fetch_add(fresh, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn zero_chunk(&self, group: &mut Group, piece: &Piece) -> Result<(), EngineError> {
        let keeps = self.pool.bugs.trim_leaves_absent;
        let is_zero = |index: usize| match group.entries[index].new.state {
            State::Absent => keeps,
            state => state == State::Zero,
        };
        if piece.range.clone().all(is_zero) {
            return Ok(());
        }
        let flushed = self.flushed.load(Ordering::Acquire);
        for index in piece.range.clone() {
            let mut new = group.entries[index].new.zero_over();
            if group.entries[index].new.state == State::Invalid {
                // What lies there must be known, so that it can be told from what will be written over it.
                new.sum = self.read_raw(group.number, index, &mut [0; BLOCK])?;
            }
            group.push(index, new, flushed);
        }
        if let Err(error) = self.put_entries(group, piece.range.clone()) {
            return Err(self.take_back(group, piece, error));
        }
        self.note_written(group, piece.range.clone());
        for index in piece.range.clone() {
            self.count(group.entries[index].before.state, State::Zero);
            group.stale.set(index);
        }
        self.stale.store(true, Ordering::Release);
        Ok(())
    }

    /// After the kernel has them: whatever flush starts from now on makes them durable.
    fn note_written(&self, group: &mut Group, range: Range<usize>) {
        group.labels[range].fill(self.round.load(Ordering::Acquire));
        self.dirty.store(true, Ordering::Release);
    }

    /// Hands entries to the kernel.
    pub(super) fn put_entries(&self, group: &Group, range: Range<usize>) -> io::Result<()> {
        if self.pool.bugs.flush_skips_table {
            return Ok(());
        }
        let mut table = [0; CHUNK * ENTRY];
        let (entries, at) = self.entries(group, range, &mut table);
        self.file.write_at(entries, at)
    }

    /// A part of the table, and where it lies.
    fn entries<'a>(
        &self,
        group: &Group,
        range: Range<usize>,
        table: &'a mut [u8; CHUNK * ENTRY],
    ) -> (&'a [u8], u64) {
        let first = self.first_block(group.number);
        for (out, index) in table.as_chunks_mut::<ENTRY>().0.iter_mut().zip(range.clone()) {
            *out = group.entries[index].encode(self.salt, first + index as u64);
        }
        (&table[..range.len() * ENTRY], self.shape.entry_at(group.number, range.start))
    }

    /// A write failed. If the drive is full, the blocks become again what they were; otherwise the copy fails.
    fn take_back(&self, group: &mut Group, piece: &Piece, error: io::Error) -> EngineError {
        if !is_full(&error) {
            return self.fail("write blocks", error);
        }
        for index in piece.range.clone() {
            let entry = &mut group.entries[index];
            let old = entry.before;
            if old.state.is_nothing() && entry.new.state == State::Data {
                // Some of the new bytes may lie there. Without room for anything, a hole can still be made.
                if let Err(error) = self.file.punch(self.shape.data_at(group.number, index), BLOCK as u64) {
                    return self.fail("take a write back", error);
                }
            } else if old.state == State::Data && entry.new.state == State::Data {
                // It has either content, or a mixture: looked at when it is next read.
                group.unsettled.set(index);
                group.labels[index] = self.round.load(Ordering::Acquire);
                self.unsettled.store(true, Ordering::Release);
                continue;
            }
            (entry.new, entry.before) = (old, old);
            group.labels[index] = self.round.load(Ordering::Acquire);
        }
        self.dirty.store(true, Ordering::Release);
        if let Err(error) = self.put_entries(group, piece.range.clone()) {
            return self.fail("take a write back", error);
        }
        EngineError::NoSpace { needed: (piece.range.len() * BLOCK) as u64 }
    }
}
