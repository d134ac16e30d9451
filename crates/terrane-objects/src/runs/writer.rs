//! Writing a run.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::bloom::{self, Bloom};
use super::format::{self, Footer, HEADER_BYTES, IndexEntry};

/// A block is closed when it has this many bytes.
const BLOCK_BYTES: usize = 16 << 10;

/// Writes a run under a temporary name; [`RunWriter::finish`] makes it durable under its own.
pub(crate) struct RunWriter {
    id: u64,
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    offset: u64,
    block: Vec<u8>,
    first_key: Bytes,
    index: Vec<IndexEntry>,
    hashes: Vec<u64>,
}

impl RunWriter {
    pub(crate) fn create(path: &Path, id: u64) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        let mut file = BufWriter::with_capacity(256 << 10, File::create(&temporary)?);
        file.write_all(&format::header(id))?;
        Ok(Self {
            id,
            path: path.into(),
            temporary,
            file,
            offset: HEADER_BYTES,
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            first_key: Bytes::new(),
            index: Vec::new(),
            hashes: Vec::new(),
        })
    }

    /// Appends; keys must ascend.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.block.is_empty() {
            self.first_key = Bytes::copy_from_slice(key);
        }
        self.hashes.push(bloom::hash(key));
        format::encode_entry(&mut self.block, key, value);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Makes the run durable.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.close_block()?;
        let index = format::encode_index(&self.index);
        let bloom = Bloom::encode(&self.hashes);
        let footer = Footer {
            index: (self.offset, index.len() as u64),
            bloom: (self.offset + index.len() as u64, bloom.len() as u64),
            entries: self.hashes.len() as u64,
        };
        self.file.write_all(&index)?;
        self.file.write_all(&bloom)?;
        self.file.write_all(&footer.encode(self.id))?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let crc = format::block_crc(&self.block, self.id, self.offset);
        self.block.extend_from_slice(&crc.to_le_bytes());
        self.file.write_all(&self.block)?;
        let len = self.block.len() as u32;
        let first_key = std::mem::take(&mut self.first_key);
        self.index.push(IndexEntry { first_key, offset: self.offset, len });
        self.offset += u64::from(len);
        self.block.clear();
        Ok(())
    }
}
