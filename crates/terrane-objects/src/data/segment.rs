//! One open segment file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::format::{self, BLOCK_BYTES, CRC_BYTES};
use super::{DataError, Extent};

/// A segment's file. Whoever holds one reads on after the name is gone.
pub(crate) struct Segment {
    pub(super) id: u64,
    file: File,
}

impl Segment {
    pub(super) fn create(path: &Path, id: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&format::header(id), 0)?;
        Ok(Self { id, file })
    }

    pub(super) fn open(path: &Path, id: u64) -> Result<Self, DataError> {
        let failed = |source| DataError::Io { segment: id, doing: "open", source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(DataError::Gone(id)),
            Err(e) => return Err(failed(e)),
        };
        let mut header = [0; format::HEADER_BYTES as usize];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) if header == format::header(id) => Ok(Self { id, file }),
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(failed(e)),
            _ => Err(DataError::Corrupt { segment: id, offset: 0 }),
        }
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Reads and verifies whole blocks of an extent; gives their payloads.
    pub(crate) fn read_blocks(
        &self,
        extent: &Extent,
        blocks: std::ops::Range<u64>,
    ) -> Result<Vec<Bytes>, DataError> {
        let start = extent.offset + format::block_offset(blocks.start);
        let last = blocks.end.saturating_sub(1);
        let end =
            extent.offset + format::block_offset(last) + format::block_len(extent.len, last) + CRC_BYTES;
        let mut bytes = BytesMut::zeroed(end.saturating_sub(start) as usize);
        self.file.read_exact_at(&mut bytes, start).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => DataError::Corrupt { segment: self.id, offset: start },
            _ => DataError::Io { segment: self.id, doing: "read", source },
        })?;
        let mut bytes = bytes.freeze();
        let mut payloads = Vec::with_capacity((blocks.end - blocks.start) as usize);
        for index in blocks {
            let payload = bytes.split_to(format::block_len(extent.len, index) as usize);
            let stored = bytes.split_to(CRC_BYTES as usize);
            let offset = extent.offset + format::block_offset(index);
            let sealed = format::seal(self.id, offset, format::crc32c(&payload));
            if *stored != sealed.to_le_bytes() {
                return Err(DataError::Corrupt { segment: self.id, offset });
            }
            payloads.push(payload);
        }
        Ok(payloads)
    }

    /// Reads a whole extent and compares its checksum.
    pub(crate) fn verify(&self, extent: &Extent) -> Result<(), DataError> {
        const BATCH: u64 = 16;
        let count = extent.len.div_ceil(BLOCK_BYTES);
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        for first in (0..count).step_by(BATCH as usize) {
            for payload in self.read_blocks(extent, first..(first + BATCH).min(count))? {
                digest.update(&payload);
            }
        }
        if digest.finalize() as u32 == extent.crc {
            Ok(())
        } else {
            Err(DataError::Corrupt { segment: self.id, offset: extent.offset })
        }
    }
}
