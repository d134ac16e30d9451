//! Verifying the shards of a segment and writing anew what is damaged or missing.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::code::{self, Pieces, stream_of};
use super::format::{self, BLOCK_BYTES};
use super::segment::{Places, Segment, create_file};
use super::{DataError, DataStore, Extent, ids};
use crate::drives::Drive;
use crate::redundancy::Redundancy;

/// Segments known to be damaged; more are found by the next pass.
const NOTED_MAX: usize = 1 << 16;
/// Blocks looked at at a time.
const BATCH: u64 = 16;

/// What readers have found.
#[derive(Default)]
pub(crate) struct Damage {
    segments: Mutex<BTreeSet<u64>>,
    reads_around: AtomicU64,
    /// Told when a segment is noted.
    pub(crate) noted: Notify,
}

impl Damage {
    pub(super) fn note(&self, segment: u64) {
        let mut segments = self.segments.lock();
        if segments.len() < NOTED_MAX && segments.insert(segment) {
            self.noted.notify_one();
        }
    }

    pub(super) fn read_around(&self) {
        self.reads_around.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads that took other shards than they would have.
    pub(crate) fn reads_around(&self) -> u64 {
        self.reads_around.load(Ordering::Relaxed)
    }

    /// Takes what is noted.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.segments.lock()).into_iter().collect()
    }
}

/// What mending a segment came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mended {
    /// Bytes of shards read.
    pub(crate) bytes: u64,
    /// Blocks of shards written anew.
    pub(crate) blocks: u64,
    /// Shards made anew.
    pub(crate) shards: u64,
    /// Blocks of objects of which too few pieces are left.
    pub(crate) lost: u64,
    /// Shards that are missing and have no drive to be on, or no room there.
    pub(crate) homeless: u64,
}

/// A shard that is to be written to.
struct Patch {
    shard: usize,
    drive: Arc<Drive>,
    file: File,
    /// Its name until it is complete, if it is made anew.
    unfinished: Option<PathBuf>,
    touched: bool,
}

impl DataStore {
    /// Reads every shard of these extents, which are all that is live in the segment, and writes anew what is damaged or
    /// missing, on the drives where it was or on others. `pace` is told of bytes read, and may wait. `None`: the segment is
    /// being written or staged to, and has to be looked at another time.
    ///
    /// Nothing may remove or cut the segment meanwhile. A copy that begins meanwhile of bytes that nothing referred to
    /// when it began finds them on the other shards, and so does the next pass.
    pub(crate) fn mend(
        &self,
        segment: u64,
        live: &BTreeSet<Extent>,
        pace: &mut dyn FnMut(u64),
    ) -> Result<Option<Mended>, DataError> {
        let at_rest = self.shared.table.lock().at_rest(segment);
        let Some((redundancy, places, len)) = at_rest else { return Ok(None) };
        let mut mended = Mended::default();
        let had: Vec<bool> =
            places.iter().map(|place| place.as_ref().is_some_and(|drive| drive.is_live())).collect();
        let source = Segment::open(segment, redundancy, &places, self.shared.damage.clone())?;
        let mut patches = self.patches(&source, &places, len, &mut mended)?;
        let done = live.iter().try_for_each(|extent| {
            let count = extent.len.div_ceil(BLOCK_BYTES);
            for first in (0..count).step_by(BATCH as usize) {
                let blocks = first..(first + BATCH).min(count);
                let read = mend_blocks(&source, extent, blocks, &mut patches, &mut mended)?;
                mended.bytes += read;
                pace(read);
            }
            Ok(())
        });
        let placed = done.and_then(|()| self.finish(segment, redundancy, &mut patches, places));
        match placed {
            Ok(places) => {
                mended.shards = patches.iter().filter(|patch| patch.unfinished.is_some()).count() as u64;
                // Handles that were opened without a shard, or with a damaged one, are not opened again.
                if mended.blocks + mended.shards > 0 || had.contains(&false) {
                    self.shared.table.lock().set_places(segment, places);
                }
                Ok(Some(mended))
            }
            Err(error) => {
                for unfinished in patches.iter().filter_map(|patch| patch.unfinished.as_ref()) {
                    // What is left of it is removed at the next start.
                    let _ = std::fs::remove_file(unfinished);
                }
                self.noted(Err(error))
            }
        }
    }

    /// The shards as they are to be written to: those that there are, and new ones on live drives for the others.
    fn patches(
        &self,
        source: &Segment,
        places: &Places,
        len: u64,
        mended: &mut Mended,
    ) -> Result<Vec<Patch>, DataError> {
        let (id, redundancy) = (source.id, source.redundancy);
        let mut patches = Vec::new();
        if redundancy == Redundancy::SINGLE {
            return Ok(patches);
        }
        let live = |place: &Option<Arc<Drive>>| place.clone().filter(|drive| drive.is_live());
        let mut taken: Vec<usize> = places.iter().filter_map(live).map(|drive| drive.number).collect();
        for (shard, place) in places.iter().enumerate() {
            let path = |drive: &Drive| ids::path(&drive.data_dir(), id, redundancy, shard);
            let opened = match live(place) {
                Some(drive) => match OpenOptions::new().write(true).open(path(&drive)) {
                    Ok(file) => {
                        patches.push(Patch { shard, drive, file, unfinished: None, touched: false });
                        continue;
                    }
                    Err(_) => Some(drive),
                },
                None => self.shared.drives.place(1, &taken).into_iter().next(),
            };
            // What is new takes room, and the reserve is for others.
            let Some(drive) = opened.filter(|_| self.shared.space.admits(len)) else {
                mended.homeless += 1;
                continue;
            };
            taken.push(drive.number);
            let mut name = path(&drive).into_os_string();
            name.push(ids::UNFINISHED);
            let unfinished = PathBuf::from(name);
            let _ = std::fs::remove_file(&unfinished);
            let file = create_file(&unfinished, id, redundancy, shard).map_err(|e| failed(&drive, id, e))?;
            patches.push(Patch { shard, drive, file, unfinished: Some(unfinished), touched: true });
        }
        for patch in patches.iter_mut().filter(|patch| patch.unfinished.is_none()) {
            let unsound = source.shards()[patch.shard].as_ref().is_none_or(|shard| !shard.sound);
            if unsound {
                let header = format::header(id, redundancy, patch.shard);
                patch.file.write_all_at(&header, 0).map_err(|e| failed(&patch.drive, id, e))?;
                patch.touched = true;
                mended.blocks += 1;
            }
        }
        Ok(patches)
    }

    /// Makes everything written durable and gives new shards their names.
    fn finish(
        &self,
        segment: u64,
        redundancy: Redundancy,
        patches: &mut [Patch],
        mut places: Places,
    ) -> Result<Places, DataError> {
        for patch in patches.iter().filter(|patch| patch.touched) {
            let dir = patch.drive.data_dir();
            let synced = patch.file.sync_data().and_then(|()| {
                let Some(unfinished) = &patch.unfinished else { return Ok(()) };
                std::fs::rename(unfinished, ids::path(&dir, segment, redundancy, patch.shard))?;
                File::open(&dir)?.sync_all()
            });
            synced.map_err(|error| failed(&patch.drive, segment, error))?;
            places[patch.shard] = Some(patch.drive.clone());
        }
        Ok(places)
    }
}

fn failed(drive: &Drive, segment: u64, source: io::Error) -> DataError {
    if source.kind() == io::ErrorKind::StorageFull {
        return DataError::NoSpace;
    }
    drive.fail(&source);
    DataError::Io { segment, doing: "repair", source }
}

/// Verifies some blocks of an extent on all shards and writes to those that lack a piece; gives the bytes read.
fn mend_blocks(
    source: &Segment,
    extent: &Extent,
    blocks: Range<u64>,
    patches: &mut [Patch],
    mended: &mut Mended,
) -> Result<u64, DataError> {
    let redundancy = source.redundancy;
    let mut stripes = vec![Pieces::none(redundancy); (blocks.end - blocks.start) as usize];
    let mut read = 0;
    for (index, shard) in source.shards().iter().enumerate() {
        let Some(shard) = shard else { continue };
        let intact = source.read_shard(index, extent, blocks.clone(), &mut stripes);
        if !matches!(intact, Ok(true)) {
            shard.drive.note_error();
        }
        let payload: u64 = blocks.clone().map(|block| format::block_len(extent.len, block)).sum();
        read += payload / redundancy.data_shards() as u64;
    }
    for (block, pieces) in blocks.zip(stripes) {
        let lacking = |patch: &&mut Patch| pieces.0[patch.shard].is_none();
        let len = format::block_len(extent.len, block) as usize;
        let payload = pieces.suffice(redundancy).then(|| pieces.join(redundancy, len)).flatten();
        let Some(payload) = payload else {
            mended.lost += 1;
            continue;
        };
        let offset = extent.offset + format::block_offset(redundancy, block);
        let mut frames: Option<Vec<Bytes>> = None;
        for patch in patches.iter_mut().filter(lacking) {
            let frames = frames.get_or_insert_with(|| code::frames(source.id, redundancy, offset, &payload));
            let written = patch.file.write_all_at(&frames[stream_of(redundancy, patch.shard)], offset);
            written.map_err(|error| failed(&patch.drive, source.id, error))?;
            patch.drive.note_repaired(1);
            patch.touched = true;
            mended.blocks += 1;
        }
    }
    Ok(read)
}
