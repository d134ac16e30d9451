//! From a batch to mutations. Rules: a row changes only to a greater guard; a slot's batches are refused once a later
//! owner has committed; rows, indexes, progress and completions change together.

use std::collections::{BTreeMap, BTreeSet};

use super::meta::{self, SlotProgress, encode};
use super::{KeymapRead, Keyspace, Mutation};
use crate::batch::{Batch, BatchRow, SlotPart};
use crate::head::{HeadData, RowHead};
use crate::ids::{Epoch, Extent, Guard, Lsn, Slot};
use crate::reader::ReadError;
use crate::rows::RowId;

/// Why a batch is not to be committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// A later owner has committed: this worker was given up. Tell the shard nothing but that the batch failed.
    #[error("slot {slot:?} is owned by epoch {stored:?}, the batch has {offered:?}")]
    Fenced {
        /// Which slot.
        slot: Slot,
        /// Seen in the keymap.
        stored: Epoch,
        /// The batch's.
        offered: Epoch,
    },
    /// The keymap or a record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Tombstones purged by one batch and slot at most.
const PURGE_MAX: usize = 64;

/// Finds the extents of a row whose head says [`HeadData::Many`], by reading its record.
pub type ExtentsOf<'a> = dyn FnMut(&RowHead) -> Result<Vec<Extent>, ReadError> + 'a;

/// What commits a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// One atomic engine batch.
    pub mutations: Vec<Mutation>,
    /// Slots that may have more tombstones to purge than one batch takes; comes with
    /// [`Input::BatchApplied`](crate::Input::BatchApplied).
    pub unpurged: Vec<Slot>,
}

/// The mutations that commit a batch. `keymap` must show everything committed before for the batch's slots (their
/// owner commits one batch after the other).
pub fn plan(
    batch: &Batch,
    keymap: &dyn KeymapRead,
    extents_of: &mut ExtentsOf<'_>,
) -> Result<Planned, PlanError> {
    let (out, usage, unpurged) = Default::default();
    let mut planner = Planner { keymap, extents_of, out, usage, unpurged };
    for part in &batch.slots {
        planner.progress(part)?;
    }
    for row in batch.rows.iter() {
        planner.row(row, batch.unguarded)?;
    }
    let touched: BTreeSet<&RowId> = batch.rows.iter().map(|row| &row.row).collect();
    for part in batch.slots.iter().filter(|part| part.purge_upto > Lsn::ZERO) {
        planner.purge(part, &touched)?;
    }
    for completion in &batch.completions {
        planner.put(Keyspace::Outbox, completion.cursor.to_be_bytes().to_vec(), completion.encode());
    }
    planner.settle_usage()?;
    let mutations = planner.out.into_iter();
    let mutations = mutations.map(|((keyspace, key), value)| Mutation { keyspace, key, value }).collect();
    Ok(Planned { mutations, unpurged: planner.unpurged })
}

struct Planner<'a, 'b> {
    keymap: &'a dyn KeymapRead,
    extents_of: &'a mut ExtentsOf<'b>,
    /// One final change per key: engines give no order within a batch.
    out: BTreeMap<(Keyspace, Vec<u8>), Option<Vec<u8>>>,
    usage: BTreeMap<(u64, Slot), i64>,
    unpurged: Vec<Slot>,
}

impl Planner<'_, '_> {
    fn put(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Vec<u8>) {
        self.out.insert((keyspace, key), Some(value));
    }

    fn delete(&mut self, keyspace: Keyspace, key: Vec<u8>) {
        self.out.insert((keyspace, key), None);
    }

    fn progress(&mut self, part: &SlotPart) -> Result<(), PlanError> {
        let stored = meta::slot_progress(self.keymap, part.slot)?.unwrap_or_default();
        if stored.epoch > part.epoch {
            let (slot, stored, offered) = (part.slot, stored.epoch, part.epoch);
            return Err(PlanError::Fenced { slot, stored, offered });
        }
        let progress = SlotProgress { epoch: part.epoch, base: part.base, behind: part.behind.clone() };
        self.put(Keyspace::Meta, meta::slot_key(part.slot).to_vec(), encode(&progress));
        for (class, lsn) in &part.exceptions_removed {
            self.delete(Keyspace::Exceptions, meta::exception_key(part.slot, *class, *lsn));
        }
        for (class, lsn) in &part.exceptions_added {
            self.put(Keyspace::Exceptions, meta::exception_key(part.slot, *class, *lsn), Vec::new());
        }
        Ok(())
    }

    fn stored_row(&self, row: &RowId) -> Result<Option<RowHead>, ReadError> {
        let bytes = self.keymap.get(Keyspace::Rows, row.as_bytes())?;
        let decode = |bytes: bytes::Bytes| RowHead::decode(&bytes);
        bytes.map(decode).transpose().map_err(|source| ReadError::Corrupt { row: row.clone(), source })
    }

    fn row(&mut self, change: &BatchRow, unguarded: bool) -> Result<(), PlanError> {
        let BatchRow { slot, row, head } = change;
        if let Some(old) = self.stored_row(row)? {
            if old.guard >= head.guard && !unguarded {
                return Ok(());
            }
            self.unlink(*slot, row, &old)?;
        }
        self.put(Keyspace::Rows, row.as_bytes().to_vec(), head.encode());
        if head.is_tombstone() {
            self.put(Keyspace::Tombstones, meta::tombstone_key(*slot, head.guard, row), Vec::new());
            return Ok(());
        }
        for extent in self.extents(head)? {
            self.put(
                Keyspace::Referrers,
                meta::referrer_key(&extent, row),
                encode(&(extent.len, extent.crc)),
            );
        }
        *self.usage.entry((head.record.segment, *slot)).or_default() += i64::from(head.record.len);
        Ok(())
    }

    /// Takes a row's present state out of the indexes.
    fn unlink(&mut self, slot: Slot, row: &RowId, old: &RowHead) -> Result<(), PlanError> {
        if old.is_tombstone() {
            self.delete(Keyspace::Tombstones, meta::tombstone_key(slot, old.guard, row));
            return Ok(());
        }
        for extent in self.extents(old)? {
            self.delete(Keyspace::Referrers, meta::referrer_key(&extent, row));
        }
        *self.usage.entry((old.record.segment, slot)).or_default() -= i64::from(old.record.len);
        Ok(())
    }

    fn extents(&mut self, head: &RowHead) -> Result<Vec<Extent>, ReadError> {
        match &head.data {
            HeadData::Empty | HeadData::Inline => Ok(Vec::new()),
            HeadData::One(extent) => Ok(vec![**extent]),
            HeadData::Many(_) => (self.extents_of)(head),
        }
    }

    fn purge(&mut self, part: &SlotPart, touched: &BTreeSet<&RowId>) -> Result<(), PlanError> {
        let from = [part.slot.0];
        let to = [&[part.slot.0][..], &part.purge_upto.next().0.to_be_bytes()].concat();
        let tombstones = self.keymap.range(Keyspace::Tombstones, &from, &to, PURGE_MAX)?;
        if tombstones.len() == PURGE_MAX {
            self.unpurged.push(part.slot);
        }
        for (key, _) in tombstones {
            let Some((guard, row)) = parse_tombstone(&key) else {
                return Err(ReadError::Storage("malformed tombstone key".into()).into());
            };
            if touched.contains(&row) {
                continue;
            }
            let stored = self.stored_row(&row)?;
            if stored.is_some_and(|head| head.is_tombstone() && head.guard == guard) {
                self.delete(Keyspace::Rows, row.as_bytes().to_vec());
            }
            self.delete(Keyspace::Tombstones, key.to_vec());
        }
        Ok(())
    }

    fn settle_usage(&mut self) -> Result<(), PlanError> {
        for ((segment, slot), delta) in std::mem::take(&mut self.usage) {
            let key = meta::usage_key(segment, slot);
            let stored = self.keymap.get(Keyspace::Usage, &key)?;
            let bytes: u64 = stored.map(|bytes| meta::decode("usage", &bytes)).transpose()?.unwrap_or(0);
            match bytes.saturating_add_signed(delta) {
                0 => self.delete(Keyspace::Usage, key),
                bytes => self.put(Keyspace::Usage, key, encode(&bytes)),
            }
        }
        Ok(())
    }
}

fn parse_tombstone(key: &[u8]) -> Option<(Guard, RowId)> {
    let (_, rest) = key.split_first()?;
    let (lsn, rest) = rest.split_first_chunk::<8>()?;
    let (moved, row) = rest.split_first_chunk::<4>()?;
    let guard = Guard { lsn: Lsn(u64::from_be_bytes(*lsn)), moved: u32::from_be_bytes(*moved) };
    Some((guard, RowId::from_bytes(row)))
}
