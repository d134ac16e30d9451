//! Writing and trimming: the table's entries first, then the data, both only as far as the kernel.

use super::read::How;
use super::{CHUNK, Copy};
use crate::engine::entry::{self, Content, State};
use crate::engine::error::{EngineError, is_full};
use crate::engine::group::Group;
use crate::engine::layout::{BLOCK, ENTRY, Piece};
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl Copy {
    /// Writes whole blocks from `first` on. When it returns the kernel has them: they survive the process, and after
    /// a [`Copy::flush`] the machine. Writes of the same blocks at the same time must not be handed in.
    ///
    /// # Errors
    /// [`EngineError::Misaligned`], [`EngineError::Beyond`], [`EngineError::NotLogged`], [`EngineError::NoSpace`]
    /// (a part from the start may have been written), [`EngineError::Failed`].
    pub fn write(&self, first: u64, bytes: &[u8]) -> Result<(), EngineError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
            return Err(EngineError::Misaligned { len: bytes.len() });
        }
        self.change(first, (bytes.len() / BLOCK) as u64, Some(bytes), How::Wait).map(drop)
    }

    /// The same, if that waits for nothing but the page cache. False: somebody else works on the blocks' extent, or
    /// the drive must be asked first; a part from the start may have been written, and all of it shall be again.
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn write_cached(&self, first: u64, bytes: &[u8]) -> Result<bool, EngineError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
            return Err(EngineError::Misaligned { len: bytes.len() });
        }
        self.change(first, (bytes.len() / BLOCK) as u64, Some(bytes), How::Cached)
    }

    /// Makes blocks zeros for good and gives their room back once that is flushed.
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn zero(&self, first: u64, blocks: u64) -> Result<(), EngineError> {
        self.change(first, blocks, None, How::Wait).map(drop)
    }

    /// As [`Copy::write_cached`].
    ///
    /// # Errors
    /// As [`Copy::write`].
    pub fn zero_cached(&self, first: u64, blocks: u64) -> Result<bool, EngineError> {
        self.change(first, blocks, None, How::Cached)
    }

    fn change(&self, first: u64, blocks: u64, bytes: Option<&[u8]>, how: How) -> Result<bool, EngineError> {
        self.alive()?;
        self.check_range(first, blocks)?;
        for piece in self.shape.pieces(first, blocks, CHUNK) {
            let not_logged = EngineError::NotLogged { extent: piece.group };
            let group = self.group(piece.group).ok_or(not_logged.clone())?;
            let mut group = match how {
                How::Wait => group.lock(),
                How::Cached => match group.try_lock() {
                    Some(group) if !group.must_ask(&piece.range) => group,
                    _ => return Ok(false),
                },
            };
            self.alive()?;
            if group.retiring {
                return Err(not_logged);
            }
            self.settle(&mut group, piece.range.clone(), true)?;
            match bytes {
                Some(bytes) => {
                    let at = piece.skip * BLOCK;
                    self.write_chunk(&mut group, &piece, &bytes[at..at + piece.range.len() * BLOCK])?;
                }
                None => self.zero_chunk(&mut group, &piece)?,
            }
        }
        Ok(true)
    }

    fn write_chunk(&self, group: &mut Group, piece: &Piece, bytes: &[u8]) -> Result<(), EngineError> {
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

    fn zero_chunk(&self, group: &mut Group, piece: &Piece) -> Result<(), EngineError> {
        let is_zero = |index: usize| group.entries[index].new.state == State::Zero;
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
