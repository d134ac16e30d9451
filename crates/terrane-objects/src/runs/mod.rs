//! Spill runs: pending rows that left memory, as one sorted immutable file each.
//!
//! ```text
//! header   16 bytes: magic "TRRN" · version u8 · 3 × 0 · run number u64 (little endian)
//! blocks   sorted entries: key length u32 · value length u32 · key · value; then CRC-32C u32
//! index    per block: first key (length u32 · bytes) · offset u64 · length u32; then CRC-32C
//! bloom    ten bits per entry; then CRC-32C
//! footer   48 bytes: index offset, index length, bloom offset, bloom length, entries (u64 each) · version u8 · 3 × 0
//!          · CRC-32C of the footer and the run's number
//! ```
//! Index and filter are held in memory, blocks are read and verified when needed.

mod bloom;
mod format;
mod writer;

pub(crate) use writer::RunWriter;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;

use bloom::Bloom;
use format::{Block, Footer, IndexEntry};

/// Why a run could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The operating system refused.
    #[error("spill run {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A checksum or a length is wrong.
    #[error("spill run {}: damaged {what}", path.display())]
    Corrupt { path: PathBuf, what: &'static str },
}

/// An open run.
pub(crate) struct RunFile {
    path: PathBuf,
    file: File,
    id: u64,
    index: Vec<IndexEntry>,
    bloom: Bloom,
    entries: u64,
    /// See [`RunFile::log_usage`].
    pub(crate) log_usage: OnceLock<BTreeMap<u64, u64>>,
}

impl RunFile {
    /// Opens a run and verifies everything but its blocks.
    pub(crate) fn open(path: &Path, id: u64) -> Result<Self, RunError> {
        let io = |source| RunError::Io { path: path.into(), source };
        let corrupt = |what| RunError::Corrupt { path: path.into(), what };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let read = |offset: u64, len: u64, what| {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset).map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => corrupt(what),
                _ => io(source),
            })?;
            Ok::<_, RunError>(Bytes::from(bytes))
        };
        let header = read(0, format::HEADER_BYTES, "header")?;
        let footer_at = len.checked_sub(format::FOOTER_BYTES).ok_or_else(|| corrupt("footer"))?;
        let footer = read(footer_at, format::FOOTER_BYTES, "footer")?;
        let footer = Footer::decode(&footer, id).ok_or_else(|| corrupt("footer"))?;
        if header != format::header(id)[..] || !footer.fits(footer_at) {
            return Err(corrupt("header"));
        }
        let index = read(footer.index.0, footer.index.1, "index")?;
        let index = format::decode_index(&index, footer.index.0).ok_or_else(|| corrupt("index"))?;
        let bloom = read(footer.bloom.0, footer.bloom.1, "filter")?;
        let bloom = Bloom::decode(&bloom).ok_or_else(|| corrupt("filter"))?;
        let (path, entries, log_usage) = (path.into(), footer.entries, OnceLock::new());
        Ok(Self { path, file, id, index, bloom, entries, log_usage })
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RunError> {
        if !self.bloom.may_contain(key) {
            return Ok(None);
        }
        let Some(at) = self.index.partition_point(|e| e.first_key[..] <= *key).checked_sub(1) else {
            return Ok(None);
        };
        for entry in self.block(at)? {
            let (found, value) = entry.map_err(|()| self.corrupt("block"))?;
            if found == key {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Entries from `from` (included) to `to` (excluded; empty: no end), ascending.
    pub(crate) fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> RunScan<'a> {
        let first = self.index.partition_point(|e| e.first_key[..] <= *from).saturating_sub(1);
        RunScan { run: self, next_block: first, block: None, from: from.into(), to: to.into(), failed: false }
    }

    /// Verifies all blocks.
    pub(crate) fn verify(&self) -> Result<(), RunError> {
        let mut count = 0;
        for entry in self.scan(&[], &[]) {
            entry?;
            count += 1;
        }
        if count == self.entries { Ok(()) } else { Err(self.corrupt("number of entries")) }
    }

    fn block(&self, at: usize) -> Result<Block, RunError> {
        let Some(entry) = self.index.get(at) else { return Err(self.corrupt("index")) };
        let mut bytes = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut bytes, entry.offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.corrupt("block"),
            _ => RunError::Io { path: self.path.clone(), source },
        })?;
        Block::decode(bytes.into(), self.id, entry.offset).ok_or_else(|| self.corrupt("block"))
    }

    fn corrupt(&self, what: &'static str) -> RunError {
        RunError::Corrupt { path: self.path.clone(), what }
    }
}

/// Iterator over a range of a run.
pub(crate) struct RunScan<'a> {
    run: &'a RunFile,
    next_block: usize,
    block: Option<Block>,
    from: Vec<u8>,
    to: Vec<u8>,
    failed: bool,
}

impl Iterator for RunScan<'_> {
    type Item = Result<(Bytes, Bytes), RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let Some(block) = self.block.as_mut() else {
                if self.next_block >= self.run.index.len() {
                    return None;
                }
                match self.run.block(self.next_block) {
                    Ok(block) => self.block = Some(block),
                    Err(error) => {
                        self.failed = true;
                        return Some(Err(error));
                    }
                }
                self.next_block += 1;
                continue;
            };
            match block.next() {
                None => self.block = None,
                Some(Ok((key, _))) if key[..] < self.from[..] => {}
                Some(Ok((key, _))) if !self.to.is_empty() && key[..] >= self.to[..] => return None,
                Some(Ok(entry)) => return Some(Ok(entry)),
                Some(Err(())) => {
                    self.failed = true;
                    return Some(Err(self.run.corrupt("block")));
                }
            }
        }
        None
    }
}

/// Decodes bytes as every part of a run, with right checksums too: damage that a checksum would not show.
pub(crate) fn decode_anything(bytes: &Bytes) {
    let resealed = |crc: u32| Bytes::from([&bytes[..], &crc.to_le_bytes()[..]].concat());
    let _ = Footer::decode(bytes, 1);
    let _ = Footer::decode(&resealed(format::block_crc(bytes, 1, 0)), 1).map(|footer| footer.fits(1 << 20));
    let plain = resealed(crate::data::crc32c(bytes));
    let _ = format::decode_index(&plain, bytes.len() as u64);
    let _ = Bloom::decode(&plain).map(|bloom| bloom.may_contain(bytes));
    if let Some(block) = Block::decode(resealed(format::block_crc(bytes, 1, 2)), 1, 2) {
        assert!(block.count() <= bytes.len() / 8 + 1, "every entry takes eight bytes at least");
    }
}

#[cfg(test)]
mod tests;
