//! Reading, and finding out after a crash what is there.

use super::{CHUNK, Copy};
use crate::engine::entry::{self, Content, Entry, State};
use crate::engine::error::EngineError;
use crate::engine::group::Group;
use crate::engine::layout::{BLOCK, ENTRY, Piece};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Never written nor trimmed: its owner knows whether that means zeros or "fetch it". The buffer has zeros.
    Absent,
    /// Of a copy that is being restored: neither written, trimmed nor filled yet. What it is whoever made the copy can
    /// tell, by [`super::super::Origin`]. The buffer has zeros.
    Unfetched,
    /// Trimmed: zeros.
    Zero,
    /// The bytes in the buffer, verified.
    Data,
    /// Lost in a crash, or recorded as lost: take it from another copy. The buffer has zeros.
    Invalid,
    /// It was durable and does not fit its checksum any more. The buffer has zeros.
    Corrupt,
}

impl Kind {
    /// Whether another copy's content is needed.
    #[must_use]
    pub fn is_damaged(self) -> bool {
        matches!(self, Self::Invalid | Self::Corrupt)
    }
}

/// Consecutive blocks of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block, as the copy counts them.
    pub first: u64,
    /// How many.
    pub blocks: u64,
    /// What they are.
    pub kind: Kind,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All blocks are of one kind.
    All(Kind),
    /// Runs in order; neighbours differ in kind.
    Mixed(Vec<Run>),
}

impl Contents {
    /// Whether some of it is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        match self {
            Self::All(kind) => kind.is_damaged(),
            Self::Mixed(runs) => runs.iter().any(|run| run.kind.is_damaged()),
        }
    }
}

/// Puts runs together.
pub(super) struct Runs {
    first: u64,
    /// Blocks so far and their kind, while there is only one.
    blocks: u64,
    only: Option<Kind>,
    mixed: Vec<Run>,
}

impl Runs {
    pub(super) fn new(first: u64) -> Self {
        Self { first, blocks: 0, only: None, mixed: Vec::new() }
    }

    pub(super) fn finish(self) -> Contents {
        if self.mixed.is_empty() {
            Contents::All(self.only.unwrap_or(Kind::Absent))
        } else {
            Contents::Mixed(self.mixed)
        }
    }

    pub(super) fn push(&mut self, kind: Kind) {
        let first = self.first + self.blocks;
        self.blocks += 1;
        if self.mixed.is_empty() {
            match self.only {
                None => self.only = Some(kind),
                Some(only) if only == kind => {}
                Some(only) => {
                    let before = Run { first: self.first, blocks: self.blocks - 1, kind: only };
                    self.mixed = vec![before, Run { first, blocks: 1, kind }];
                }
            }
            return;
        }
        match self.mixed.last_mut() {
            Some(run) if run.kind == kind => run.blocks += 1,
            _ => self.mixed.push(Run { first, blocks: 1, kind }),
        }
    }
}

/// Whether a read may wait for the drive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Wait,
    Cached,
}

/// The contents that the blocks of a chunk should have.
pub(super) type Wanted = [Content; CHUNK];

impl Copy {
    /// Reads the blocks from `first` on that fill `buf`. What is not [`Kind::Data`] reads as zeros.
    ///
    /// # Errors
    /// [`EngineError::Misaligned`], [`EngineError::Beyond`], [`EngineError::Failed`], or [`EngineError::Io`]. Damage
    /// is no error but a [`Kind`].
    pub fn read(&self, first: u64, buf: &mut [u8]) -> Result<Contents, EngineError> {
        self.read_how(first, buf, How::Wait)
    }

    /// The same, if the kernel has all of it in memory and nothing has to be found out first; otherwise nothing.
    ///
    /// # Errors
    /// As [`Copy::read`].
    pub fn read_cached(&self, first: u64, buf: &mut [u8]) -> Result<Option<Contents>, EngineError> {
        match self.read_how(first, buf, How::Cached) {
            Ok(contents) if contents.is_damaged() => Ok(None),
            Ok(contents) => Ok(Some(contents)),
            Err(EngineError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_how(&self, first: u64, buf: &mut [u8], how: How) -> Result<Contents, EngineError> {
        if buf.is_empty() || !buf.len().is_multiple_of(BLOCK) {
            return Err(EngineError::Misaligned { len: buf.len() });
        }
        let blocks = (buf.len() / BLOCK) as u64;
        self.alive()?;
        self.check_range(first, blocks)?;
        let mut runs = Runs::new(first);
        let together = how == How::Wait && blocks > CHUNK as u64;
        let mut fetched = if together { self.fetch(first, buf)?.into_iter() } else { Vec::new().into_iter() };
        for piece in self.shape.pieces(first, blocks, CHUNK) {
            let at = piece.skip * BLOCK;
            let part = &mut buf[at..at + piece.range.len() * BLOCK];
            let mut kinds = [Kind::Absent; CHUNK];
            match fetched.next() {
                Some(wanted) => self.judge(&piece, &wanted, part, &mut kinds),
                None => self.read_chunk(&piece, part, &mut kinds, how)?,
            }
            if how == How::Wait {
                self.doubt(&piece, part, &mut kinds)?;
            }
            let kinds = &kinds[..piece.range.len()];
            let damaged = kinds.iter().filter(|kind| kind.is_damaged()).count();
            if damaged > 0 && how == How::Wait {
                self.damaged.fetch_add(damaged as u64, Ordering::Relaxed);
            }
            kinds.iter().for_each(|kind| runs.push(*kind));
        }
        Ok(runs.finish())
    }

    /// Reads a chunk.
    pub(super) fn read_piece(
        &self,
        piece: &Piece,
        buf: &mut [u8],
        kinds: &mut [Kind; CHUNK],
    ) -> Result<(), EngineError> {
        self.read_chunk(piece, buf, kinds, How::Wait)?;
        self.doubt(piece, buf, kinds)
    }

    /// What is corrupt is read again: a write at the same time may explain it.
    fn doubt(&self, piece: &Piece, buf: &mut [u8], kinds: &mut [Kind; CHUNK]) -> Result<(), EngineError> {
        if kinds.contains(&Kind::Corrupt) { self.read_chunk_alone(piece, buf, kinds) } else { Ok(()) }
    }

    /// Without keeping writers out.
    fn read_chunk(
        &self,
        piece: &Piece,
        buf: &mut [u8],
        kinds: &mut [Kind; CHUNK],
        how: How,
    ) -> Result<(), EngineError> {
        let mut wanted: Wanted = [Content::default(); CHUNK];
        self.wanted(piece, &mut wanted, how)?;
        self.read_wanted(piece, &wanted, buf, kinds, how)
    }

    /// The same for many chunks: first all that the tables say, then all that lies there, each in one go. Returns what
    /// the chunks should be.
    fn fetch(&self, first: u64, buf: &mut [u8]) -> Result<Vec<Wanted>, EngineError> {
        let blocks = buf.len() / BLOCK;
        let pieces: Vec<Piece> = self.shape.pieces(first, blocks as u64, CHUNK).collect();
        let mut all = vec![[Content::default(); CHUNK]; pieces.len()];
        let mut table = vec![0; blocks * ENTRY];
        let (mut cold, mut tables) = (Vec::new(), Vec::new());
        let mut rest = &mut table[..];
        for (piece, wanted) in pieces.iter().zip(&mut all) {
            let (entries, behind) = std::mem::take(&mut rest).split_at_mut(piece.range.len() * ENTRY);
            rest = behind;
            if self.group(piece.group).is_some() {
                self.wanted(piece, wanted, How::Wait)?;
            } else {
                cold.push((piece, wanted));
                tables.push((entries, self.shape.entry_at(piece.group, piece.range.start)));
            }
        }
        self.file.read_many(&mut tables).map_err(EngineError::io("read tables"))?;
        for ((piece, wanted), (entries, _)) in cold.into_iter().zip(tables) {
            self.decode(piece, entries, wanted);
        }
        let mut data = Vec::new();
        let mut rest = buf;
        for (piece, wanted) in pieces.iter().zip(&all) {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(piece.range.len() * BLOCK);
            rest = behind;
            if self.has_data(&wanted[..piece.range.len()]) {
                data.push((part, self.shape.data_at(piece.group, piece.range.start)));
            }
        }
        self.file.read_many(&mut data).map_err(EngineError::io("read blocks"))?;
        Ok(all)
    }

    /// The same with writers kept out: what does not fit now is damaged.
    fn read_chunk_alone(
        &self,
        piece: &Piece,
        buf: &mut [u8],
        kinds: &mut [Kind; CHUNK],
    ) -> Result<(), EngineError> {
        let mut wanted: Wanted = [Content::default(); CHUNK];
        // Entering the log needs this lock for writing, so a group that is not in the log stays so.
        let hot = self.hot.read();
        if let Some(group) = hot.get(&piece.group).cloned() {
            drop(hot);
            let mut group = group.lock();
            self.settle(&mut group, piece.range.clone(), false)?;
            take_wanted(&group, piece, &mut wanted);
            return self.read_wanted(piece, &wanted, buf, kinds, How::Wait);
        }
        self.wanted_from_file(piece, &mut wanted, How::Wait)?;
        self.read_wanted(piece, &wanted, buf, kinds, How::Wait)
    }

    /// What the table says.
    pub(super) fn wanted(&self, piece: &Piece, wanted: &mut Wanted, how: How) -> Result<(), EngineError> {
        let Some(group) = self.group(piece.group) else { return self.wanted_from_file(piece, wanted, how) };
        let mut group = match how {
            How::Wait => group.lock(),
            How::Cached => match group.try_lock() {
                Some(group) if !group.unsettled.any(piece.range.clone()) => group,
                _ => return Err(EngineError::io("read blocks at once")(ErrorKind::WouldBlock.into())),
            },
        };
        self.settle(&mut group, piece.range.clone(), false)?;
        take_wanted(&group, piece, wanted);
        Ok(())
    }

    pub(super) fn read_file(&self, buf: &mut [u8], offset: u64, how: How) -> io::Result<()> {
        match how {
            How::Wait => self.file.read_at(buf, offset),
            How::Cached if self.file.read_cached(buf, offset)? => Ok(()),
            How::Cached => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn wanted_from_file(&self, piece: &Piece, wanted: &mut Wanted, how: How) -> Result<(), EngineError> {
        let mut table = [0; CHUNK * ENTRY];
        let table = &mut table[..piece.range.len() * ENTRY];
        let read = self.read_file(table, self.shape.entry_at(piece.group, piece.range.start), how);
        read.map_err(EngineError::io("read a table"))?;
        self.decode(piece, table, wanted);
        Ok(())
    }

    fn decode(&self, piece: &Piece, table: &[u8], wanted: &mut Wanted) {
        for ((bytes, wanted), block) in table.as_chunks::<ENTRY>().0.iter().zip(wanted).zip(piece.block..) {
            *wanted = Entry::decode(bytes, self.salt, block).map_or(Content::BROKEN, |entry| entry.new);
        }
    }

    /// Whether what lies on the drive matters.
    fn has_data(&self, wanted: &[Content]) -> bool {
        self.pool.bugs.trim_keeps_content || wanted.iter().any(|content| content.state == State::Data)
    }

    fn read_wanted(
        &self,
        piece: &Piece,
        wanted: &Wanted,
        buf: &mut [u8],
        kinds: &mut [Kind; CHUNK],
        how: How,
    ) -> Result<(), EngineError> {
        if self.has_data(&wanted[..piece.range.len()]) {
            let read = self.read_file(buf, self.shape.data_at(piece.group, piece.range.start), how);
            read.map_err(EngineError::io("read blocks"))?;
        }
        self.judge(piece, wanted, buf, kinds);
        Ok(())
    }

    /// Compares what was read with what it should be.
    fn judge(&self, piece: &Piece, wanted: &Wanted, buf: &mut [u8], kinds: &mut [Kind; CHUNK]) {
        let wanted = &wanted[..piece.range.len()];
        let raw = self.pool.bugs.trim_keeps_content;
        let blocks = buf.chunks_exact_mut(BLOCK).zip(piece.block..);
        for ((content, kind), (bytes, block)) in wanted.iter().zip(kinds).zip(blocks) {
            *kind = match content.state {
                State::Absent if self.is_unfetched(content.state, block) => Kind::Unfetched,
                State::Absent => Kind::Absent,
                State::Zero => Kind::Zero,
                State::Invalid if *content == Content::BROKEN => Kind::Corrupt,
                State::Invalid => Kind::Invalid,
                State::Data if self.fits(content.sum, bytes, block) => Kind::Data,
                State::Data => Kind::Corrupt,
            };
            if *kind != Kind::Data && !raw {
                bytes.fill(0);
            }
        }
    }

    pub(super) fn fits(&self, sum: u32, bytes: &[u8], block: u64) -> bool {
        sum == entry::sum(bytes, self.salt, block) || self.pool.bugs.read_unverified
    }

    /// After a crash: finds out which content the blocks have, and writes that into the table. `nothing_too`: also what
    /// lies below blocks that are nothing, so that it can be told from what will be written over it; reads need not.
    pub(super) fn settle(
        &self,
        group: &mut Group,
        range: Range<usize>,
        nothing_too: bool,
    ) -> Result<(), EngineError> {
        if !group.unsettled.any(range.clone()) {
            return Ok(());
        }
        let mut bytes = [0; BLOCK];
        for index in range {
            let entry = group.entries[index];
            if !group.unsettled.has(index) || (entry.new.state.is_nothing() && !nothing_too) {
                continue;
            }
            let mut settled = Content::INVALID;
            if entry.new.state != State::Invalid {
                let sum = self.read_raw(group.number, index, &mut bytes)?;
                settled = entry.resolve(&bytes, sum);
                if settled.state.is_nothing() {
                    settled.sum = sum;
                } else if settled.state == State::Invalid && self.pool.bugs.trust_logged {
                    settled = Content::data(sum);
                }
            }
            self.note_settled(group, index, settled)?;
        }
        Ok(())
    }

    /// What lies on the drive for a block, and its checksum.
    pub(super) fn read_raw(
        &self,
        group: u64,
        index: usize,
        bytes: &mut [u8; BLOCK],
    ) -> Result<u32, EngineError> {
        let read = self.file.read_at(bytes, self.shape.data_at(group, index));
        read.map_err(EngineError::io("read a block"))?;
        Ok(entry::sum(bytes, self.salt, self.first_block(group) + index as u64))
    }

    fn note_settled(&self, group: &mut Group, index: usize, settled: Content) -> Result<(), EngineError> {
        let old = group.entries[index];
        let block = self.first_block(group.number) + index as u64;
        let entry = Entry { new: settled, before: settled, flushed: old.flushed };
        if settled != old.new {
            let at = self.shape.entry_at(group.number, index);
            let written = self.file.write_at(&entry.encode(self.salt, block), at);
            written.map_err(|error| self.fail("settle a table entry", error))?;
            self.dirty.store(true, Ordering::Release);
            self.count(old.new.state, settled.state);
            group.labels[index] = self.round.load(Ordering::Acquire);
        }
        group.entries[index] = entry;
        group.unsettled.clear(index);
        if settled.state.is_nothing() {
            group.stale.set(index);
            self.stale.store(true, Ordering::Release);
        }
        Ok(())
    }
}

fn take_wanted(group: &Group, piece: &Piece, wanted: &mut Wanted) {
    for (wanted, entry) in wanted.iter_mut().zip(&group.entries[piece.range.clone()]) {
        *wanted = entry.new;
    }
}
