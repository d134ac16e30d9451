//! What a copy keeps on stable media besides the data. (Rules 2, 6, 11.)

use super::Settings;
use crate::ids::{AttachmentEpoch, CopyId, Extent};
use crate::record::Record;
use crate::set::BlockSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Runs of a bitmap. With more it gets coarser, which costs comparing, never copying: equal blocks are not copied.
pub(super) const RUNS_MAX: usize = 1 << 16;

/// The state on stable media. A driver journals each [`Update`] and gets it back by replaying them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The newest record adopted.
    pub record: Option<Record>,
    /// The activity log: extents that may differ between copies, because they were written since the last FLUSH
    /// that all copies completed.
    pub log: BlockSet,
    /// For each absent copy the blocks written since it was in sync. Kept while this copy is in sync.
    pub bitmaps: BTreeMap<CopyId, BlockSet>,
}

/// A change of [`Durable`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Update {
    /// Adopts a record.
    Adopt(Box<Record>),
    /// Log extents are about to be written.
    Enter(BlockSet),
    /// Log extents are the same, and durable, on all copies. Their blocks enter the bitmaps for good.
    Retire {
        /// Log extents.
        extents: BlockSet,
        /// Bits of bitmaps that only the log vouched for.
        bits: BTreeMap<CopyId, BlockSet>,
    },
}

impl Durable {
    /// Makes the change.
    pub fn apply(&mut self, update: Update, settings: &Settings, in_sync: bool) {
        match update {
            Update::Adopt(record) => self.adopt(*record, settings, in_sync),
            Update::Enter(extents) => self.log.extend(&extents),
            Update::Retire { extents, bits } => {
                for (copy, blocks) in bits {
                    if let Some(bitmap) = self.bitmaps.get_mut(&copy) {
                        bitmap.extend(&blocks);
                        bitmap.coarsen(RUNS_MAX);
                    }
                }
                self.log.subtract(&extents);
            }
        }
    }

    /// Bitmaps are kept by in-sync copies about absent ones, and start from the whole log: what is not yet flushed
    /// everywhere may be missing there. A copy that is out of sync keeps those it has: the generation that says so may
    /// never become active. Whether one is unbroken is for the record to say.
    fn adopt(&mut self, record: Record, settings: &Settings, in_sync: bool) {
        if !in_sync && settings.bugs.drop_bitmaps {
            self.bitmaps.clear();
        }
        self.bitmaps.retain(|copy, _| record.now.absent.contains_key(copy));
        let keeps = in_sync && (record.now.primary == settings.id || !settings.bugs.bitmap_at_primary);
        if keeps {
            for copy in record.now.absent.keys() {
                if !self.bitmaps.contains_key(copy) {
                    let from_log = self.touched_blocks(settings);
                    let start = if settings.bugs.bitmap_starts_empty { BlockSet::new() } else { from_log };
                    self.bitmaps.insert(*copy, start);
                }
            }
        }
        self.record = Some(record);
    }

    /// All blocks that the log covers.
    #[must_use]
    pub fn touched_blocks(&self, settings: &Settings) -> BlockSet {
        blocks_of(&self.log, settings)
    }

    /// The attachment whose requests are taken.
    #[must_use]
    pub fn epoch(&self) -> AttachmentEpoch {
        self.record.as_ref().map_or(AttachmentEpoch(0), |record| record.epoch)
    }
}

/// The blocks of log extents.
pub(super) fn blocks_of(extents: &BlockSet, settings: &Settings) -> BlockSet {
    let block = |extent: u64| extent.saturating_mul(settings.log_grain).min(settings.blocks);
    extents.runs().map(|run| block(run.start)..block(run.end())).collect()
}

/// The log extents that blocks touch.
pub(super) fn logs_of(blocks: &BlockSet, settings: &Settings) -> BlockSet {
    blocks.runs().map(|run| log_of(run, settings)).collect()
}

/// The log extents that an extent touches.
pub(super) fn log_of(extent: Extent, settings: &Settings) -> Range<u64> {
    extent.log_extents(settings.log_grain)
}
