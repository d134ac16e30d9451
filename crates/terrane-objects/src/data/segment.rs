//! One open segment: its files, on as many drives.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::code::{Pieces, stream_of};
use super::format::{self, BLOCK_BYTES, CRC_BYTES};
use super::repair::Damage;
use super::{DataError, Extent, ids};
use crate::drives::Drive;
use crate::redundancy::Redundancy;

/// A segment's files. Whoever holds them reads on after the names are gone.
pub(crate) struct Segment {
    pub(super) id: u64,
    pub(super) redundancy: Redundancy,
    /// By shard; `None` where there is no such file.
    shards: Vec<Option<Shard>>,
    damage: Arc<Damage>,
}

/// One of a segment's files.
pub(super) struct Shard {
    pub(super) drive: Arc<Drive>,
    pub(super) file: File,
    /// Whether its header is as it should be; the pieces have checksums of their own.
    pub(super) sound: bool,
}

/// Where the shards of a segment are.
pub(super) type Places = Vec<Option<Arc<Drive>>>;

impl Segment {
    /// Makes the files of a new segment, durably: one on each drive given, the last shards are left out if there are
    /// fewer drives than shards.
    pub(super) fn create(
        id: u64,
        redundancy: Redundancy,
        drives: &[Arc<Drive>],
        damage: Arc<Damage>,
    ) -> Result<Self, DataError> {
        let mut shards: Vec<Option<Shard>> = Vec::with_capacity(redundancy.shards());
        for (shard, drive) in drives.iter().enumerate() {
            let path = ids::path(&drive.data_dir(), id, redundancy, shard);
            match create_file(&path, id, redundancy, shard) {
                Ok(file) => shards.push(Some(Shard { drive: drive.clone(), file, sound: true })),
                Err(source) => {
                    for (shard, drive) in drives.iter().enumerate().take(shard + 1) {
                        // Only this call knows the number, and it will not be handed out again.
                        let _ = std::fs::remove_file(ids::path(&drive.data_dir(), id, redundancy, shard));
                    }
                    return Err(refused(drive, id, "create", source));
                }
            }
        }
        shards.resize_with(redundancy.shards(), || None);
        Ok(Self { id, redundancy, shards, damage })
    }

    /// Opens what there is of a segment.
    pub(super) fn open(
        id: u64,
        redundancy: Redundancy,
        places: &Places,
        damage: Arc<Damage>,
    ) -> Result<Self, DataError> {
        let mut shards = Vec::with_capacity(places.len());
        let (mut gone, mut failed) = (true, None);
        for (shard, drive) in places.iter().enumerate() {
            let opened = drive.as_ref().map(|drive| {
                let path = ids::path(&drive.data_dir(), id, redundancy, shard);
                open_file(&path, id, redundancy, shard).map(|(file, sound)| (drive, file, sound))
            });
            match opened {
                Some(Ok((drive, file, sound))) => {
                    gone = false;
                    if !sound && redundancy != Redundancy::SINGLE {
                        drive.note_error();
                        damage.note(id);
                    }
                    shards.push(Some(Shard { drive: drive.clone(), file, sound }));
                }
                Some(Err(error)) => {
                    gone &= error.kind() == io::ErrorKind::NotFound;
                    failed = Some(error);
                    let expected = drive.as_ref().is_some_and(|drive| !drive.is_live());
                    if !expected && redundancy != Redundancy::SINGLE {
                        damage.note(id);
                    }
                    shards.push(None);
                }
                None => shards.push(None),
            }
        }
        let segment = Self { id, redundancy, shards, damage };
        match (redundancy == Redundancy::SINGLE, &segment.shards[..], failed) {
            (_, _, Some(_)) if gone => Err(DataError::Gone(id)),
            (true, _, Some(source)) => Err(DataError::Io { segment: id, doing: "open", source }),
            (true, [Some(shard)], None) if !shard.sound => Err(DataError::Corrupt { segment: id, offset: 0 }),
            _ => Ok(segment),
        }
    }

    /// Its shards.
    pub(super) fn shards(&self) -> &[Option<Shard>] {
        &self.shards
    }

    /// Drives that hold its shards, by shard.
    pub(super) fn places(&self) -> Places {
        self.shards.iter().map(|shard| shard.as_ref().map(|shard| shard.drive.clone())).collect()
    }

    /// Files that it keeps open.
    pub(super) fn files(&self) -> usize {
        self.shards.iter().flatten().count()
    }

    /// Writes the streams at the same offset of all files. A drive that fails leaves the set, the others get theirs.
    pub(super) fn write_at(&self, streams: &[Bytes], offset: u64) -> Result<(), DataError> {
        self.on_all("write", |index, file| {
            file.write_all_at(&streams[stream_of(self.redundancy, index)], offset)
        })
    }

    /// Makes all files durable, side by side.
    pub(super) fn sync_data(&self) -> Result<(), DataError> {
        if self.files() < 2 {
            return self.on_all("sync", |_, file| file.sync_data());
        }
        std::thread::scope(|scope| {
            let syncs: Vec<_> = self
                .shards
                .iter()
                .flatten()
                .map(|shard| scope.spawn(move || (shard, shard.file.sync_data())))
                .collect();
            let mut result = Ok(());
            for sync in syncs {
                let Ok((shard, synced)) = sync.join() else {
                    return Err(self.io("sync", io::Error::other("the syncing thread panicked")));
                };
                result = result.and(self.done(shard, "sync", synced));
            }
            result
        })
    }

    /// Cuts all files.
    pub(super) fn set_len(&self, len: u64) -> Result<(), DataError> {
        self.on_all("cut", |_, file| file.set_len(len))
    }

    fn on_all(
        &self,
        doing: &'static str,
        act: impl Fn(usize, &File) -> io::Result<()>,
    ) -> Result<(), DataError> {
        let mut result = Ok(());
        for (index, shard) in self.shards.iter().enumerate() {
            let Some(shard) = shard else { continue };
            if shard.drive.is_live() {
                result = result.and(self.done(shard, doing, act(index, &shard.file)));
            } else {
                result = result.and(Err(DataError::DriveLost(shard.drive.number)));
            }
        }
        result
    }

    fn done(&self, shard: &Shard, doing: &'static str, result: io::Result<()>) -> Result<(), DataError> {
        match result {
            Ok(()) if !shard.drive.is_live() => Err(DataError::DriveLost(shard.drive.number)),
            Ok(()) => Ok(()),
            Err(source) => Err(refused(&shard.drive, self.id, doing, source)),
        }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> DataError {
        DataError::Io { segment: self.id, doing, source }
    }

    /// Reads and verifies whole blocks of an extent; gives their payloads. What is missing or damaged on one drive is
    /// read around, and noted for repair.
    pub(crate) fn read_blocks(&self, extent: &Extent, blocks: Range<u64>) -> Result<Vec<Bytes>, DataError> {
        let mut stripes = vec![Pieces::none(self.redundancy); (blocks.end - blocks.start) as usize];
        let mut refusal = None;
        for (turn, index) in self.order(blocks.start).into_iter().enumerate() {
            if stripes.iter().all(|pieces| pieces.suffice(self.redundancy)) {
                break;
            }
            let plain = self.redundancy.is_copies() || index < self.redundancy.data_shards();
            if turn >= self.redundancy.data_shards() || !plain {
                self.damage.read_around();
            }
            match self.read_shard(index, extent, blocks.clone(), &mut stripes) {
                Ok(true) => {}
                Ok(false) => self.note(index),
                Err(error) => {
                    self.note(index);
                    refusal = Some(error);
                }
            }
        }
        let mut payloads = Vec::with_capacity(stripes.len());
        for (block, pieces) in blocks.zip(stripes) {
            let payload = pieces
                .suffice(self.redundancy)
                .then(|| pieces.join(self.redundancy, format::block_len(extent.len, block) as usize));
            let Some(payload) = payload.flatten() else {
                let offset = extent.offset + format::block_offset(self.redundancy, block);
                let corrupt = Err(DataError::Corrupt { segment: self.id, offset });
                return refusal.map_or(corrupt, |source| Err(self.io("read", source)));
            };
            payloads.push(payload);
        }
        Ok(payloads)
    }

    /// Shards in the order in which they are tried: those that hold data plainly first, drives that failed last; copies
    /// take turns by place.
    fn order(&self, block: u64) -> Vec<usize> {
        let mut order: Vec<usize> =
            (0..self.shards.len()).filter(|index| self.shards[*index].is_some()).collect();
        if self.redundancy.is_copies() && order.len() > 1 {
            let turn = (self.id ^ (block / 16)) as usize % order.len();
            order.rotate_left(turn);
        }
        order.sort_by_key(|index| self.shards[*index].as_ref().is_none_or(|shard| !shard.drive.is_live()));
        order
    }

    fn note(&self, index: usize) {
        let Some(shard) = self.shards[index].as_ref() else { return };
        shard.drive.note_error();
        if self.redundancy != Redundancy::SINGLE {
            let segment = format!("{:016x}", self.id);
            tracing::warn!(segment, shard = index, drive = %shard.drive.root().display(), "damaged or unreadable");
            self.damage.note(self.id);
        }
    }

    /// Adds a shard's intact pieces of the blocks to what is known of them; false if one is damaged.
    pub(super) fn read_shard(
        &self,
        index: usize,
        extent: &Extent,
        blocks: Range<u64>,
        stripes: &mut [Pieces],
    ) -> io::Result<bool> {
        let Some(shard) = self.shards[index].as_ref() else { return Ok(false) };
        let of = self.redundancy;
        let piece = |block| format::piece_len(of, format::block_len(extent.len, block));
        let start = extent.offset + format::block_offset(of, blocks.start);
        let last = blocks.end.saturating_sub(1);
        let end = extent.offset + format::block_offset(of, last) + piece(last) + CRC_BYTES;
        let mut bytes = BytesMut::zeroed(end.saturating_sub(start) as usize);
        match shard.file.read_exact_at(&mut bytes, start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        let (mut bytes, mut intact) = (bytes.freeze(), true);
        for (block, pieces) in blocks.zip(stripes) {
            let payload = bytes.split_to(piece(block) as usize);
            let stored = bytes.split_to(CRC_BYTES as usize);
            let offset = extent.offset + format::block_offset(of, block);
            let crc = format::crc32c(&payload);
            if *stored == format::seal(self.id, offset, stream_of(of, index), crc).to_le_bytes() {
                pieces.0[index] = Some(payload);
            } else {
                intact = false;
            }
        }
        Ok(intact)
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

/// What a failed change of a drive's files means. A full disk is no failure; a drive of several leaves the set.
fn refused(drive: &Drive, segment: u64, doing: &'static str, source: io::Error) -> DataError {
    if source.kind() == io::ErrorKind::StorageFull {
        return DataError::NoSpace;
    }
    drive.fail(&source);
    if drive.is_live() {
        return DataError::Io { segment, doing, source };
    }
    DataError::DriveLost(drive.number)
}

pub(super) fn create_file(path: &Path, id: u64, redundancy: Redundancy, shard: usize) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.write_all_at(&format::header(id, redundancy, shard), 0)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

/// Opens a shard and tells whether its header is right.
fn open_file(path: &Path, id: u64, redundancy: Redundancy, shard: usize) -> io::Result<(File, bool)> {
    let file = File::open(path)?;
    let expected = format::header(id, redundancy, shard);
    let mut header = vec![0; expected.len()];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok((file, header == expected)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok((file, false)),
        Err(e) => Err(e),
    }
}
