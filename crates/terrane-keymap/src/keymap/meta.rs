//! Keys and values of the small tables.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{KeymapRead, Keyspace, Mutation, ReplayPoint};
use crate::class::Class;
use crate::completion::OperationKey;
use crate::ids::{Epoch, Extent, Guard, Lsn, RunId, SLOTS, Slot};
use crate::reader::ReadError;
use crate::rows::{self, RowId};
use crate::run::RunInfo;

const REPLAY_KEY: &[u8] = b"replay";
const SLOT_KEY: u8 = b's';
const RUN_KEY: u8 = b'u';
const VERSION: u8 = 1;

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("keymap values always serialise into memory")
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ReadError> {
    let malformed = || ReadError::Storage(format!("malformed {what} of {} bytes", bytes.len()).into());
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| malformed()),
        _ => Err(malformed()),
    }
}

/// How far a slot is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotProgress {
    /// Fencing token of the last owner that committed.
    pub epoch: Epoch,
    /// Every class not in `behind` is applied up to here.
    pub base: Lsn,
    /// Classes that are applied only up to there.
    pub behind: Vec<(Class, Lsn)>,
}

impl SlotProgress {
    /// The watermark of a class.
    pub fn watermark(&self, class: Class) -> Lsn {
        self.behind.iter().find(|(behind, _)| *behind == class).map_or(self.base, |(_, lsn)| *lsn)
    }
}

/// All that recovery reads of a keymap. An empty keymap gives the default: rebuild from the log's beginning.
#[derive(Clone, Debug, Default)]
pub struct KeymapMeta {
    /// Where replay begins.
    pub replay: ReplayPoint,
    /// By slot.
    pub slots: Vec<SlotProgress>,
    /// Entries applied beyond their watermark.
    pub exceptions: Vec<(Slot, Class, Lsn)>,
    /// Spill runs; the driver deletes run files that are not among them.
    pub runs: Vec<RunInfo>,
    /// Completion records in the outbox.
    pub outbox: u64,
}

const PAGE: usize = 1_024;

impl KeymapMeta {
    /// Reads it.
    pub fn load(keymap: &dyn KeymapRead) -> Result<Self, ReadError> {
        let mut meta = Self { slots: vec![SlotProgress::default(); SLOTS], ..Self::default() };
        if let Some(bytes) = keymap.get(Keyspace::Meta, REPLAY_KEY)? {
            meta.replay = decode("replay point", &bytes)?;
        }
        for slot in Slot::all() {
            if let Some(progress) = slot_progress(keymap, slot)? {
                meta.slots[slot.index()] = progress;
            }
        }
        each(keymap, Keyspace::Meta, &[RUN_KEY], |_, value| {
            meta.runs.push(decode("run", &value)?);
            Ok(())
        })?;
        each(keymap, Keyspace::Exceptions, &[], |key, _| {
            let key = key[..].try_into().ok().and_then(OperationKey::decode);
            let key = key.ok_or_else(|| ReadError::Storage("malformed exception key".into()))?;
            meta.exceptions.push((key.slot, key.class, key.lsn));
            Ok(())
        })?;
        each(keymap, Keyspace::Outbox, &[], |_, _| {
            meta.outbox += 1;
            Ok(())
        })?;
        Ok(meta)
    }
}

/// Walks all pairs whose key begins with `prefix`, page by page.
fn each(
    keymap: &dyn KeymapRead,
    keyspace: Keyspace,
    prefix: &[u8],
    mut visit: impl FnMut(Bytes, Bytes) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let to = rows::prefix_end(prefix);
    let mut from = prefix.to_vec();
    loop {
        let page = keymap.range(keyspace, &from, &to, PAGE)?;
        let full = page.len() == PAGE;
        for (key, value) in page {
            from = [&key[..], &[0]].concat();
            visit(key, value)?;
        }
        if !full {
            return Ok(());
        }
    }
}

/// Every row that refers to bytes of a data segment, with the extent.
pub fn referrers_of(keymap: &dyn KeymapRead, segment: u64) -> Result<Vec<(RowId, Extent)>, ReadError> {
    let mut found = Vec::new();
    each(keymap, Keyspace::Referrers, &segment.to_be_bytes(), |key, value| {
        let (offset, row) = key[8..]
            .split_first_chunk::<8>()
            .ok_or_else(|| ReadError::Storage("malformed referrer key".into()))?;
        let (len, crc) = decode("referrer", &value)?;
        let offset = u64::from_be_bytes(*offset);
        found.push((RowId::from_bytes(row), Extent { segment, offset, len, crc }));
        Ok(())
    })?;
    Ok(found)
}

/// Bytes of live records per log segment, ascending; what a victim of compaction is chosen by.
pub fn usage_of(keymap: &dyn KeymapRead) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut usage: Vec<(u64, u64)> = Vec::new();
    each(keymap, Keyspace::Usage, &[], |key, value| {
        let segment = key.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        let segment = segment.ok_or_else(|| ReadError::Storage("malformed usage key".into()))?;
        let bytes: u64 = decode("usage", &value)?;
        match usage.last_mut() {
            Some(last) if last.0 == segment => last.1 += bytes,
            _ => usage.push((segment, bytes)),
        }
        Ok(())
    })?;
    Ok(usage)
}

pub(super) fn slot_progress(keymap: &dyn KeymapRead, slot: Slot) -> Result<Option<SlotProgress>, ReadError> {
    let bytes = keymap.get(Keyspace::Meta, &slot_key(slot))?;
    bytes.map(|bytes| decode("slot progress", &bytes)).transpose()
}

pub(super) fn slot_key(slot: Slot) -> [u8; 2] {
    [SLOT_KEY, slot.0]
}

pub(super) fn exception_key(slot: Slot, class: Class, lsn: Lsn) -> Vec<u8> {
    OperationKey { slot, class, lsn }.encode().to_vec()
}

pub(super) fn tombstone_key(slot: Slot, guard: Guard, row: &RowId) -> Vec<u8> {
    [&[slot.0][..], &guard.lsn.0.to_be_bytes(), &guard.moved.to_be_bytes(), row.as_bytes()].concat()
}

pub(super) fn referrer_key(extent: &Extent, row: &RowId) -> Vec<u8> {
    [&extent.segment.to_be_bytes()[..], &extent.offset.to_be_bytes(), row.as_bytes()].concat()
}

pub(super) fn usage_key(segment: u64, slot: Slot) -> Vec<u8> {
    [&segment.to_be_bytes()[..], &[slot.0]].concat()
}

fn run_key(run: RunId) -> Vec<u8> {
    [&[RUN_KEY][..], &run.0.to_be_bytes()].concat()
}

/// Records (`Some`) or forgets a run.
pub(crate) fn run_mutation(run: RunId, info: Option<&RunInfo>) -> Mutation {
    Mutation { keyspace: Keyspace::Meta, key: run_key(run), value: info.map(encode) }
}

/// Records the replay point.
pub(crate) fn replay_mutation(replay: &ReplayPoint) -> Mutation {
    Mutation { keyspace: Keyspace::Meta, key: REPLAY_KEY.to_vec(), value: Some(encode(replay)) }
}
