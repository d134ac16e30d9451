//! Batches: what a keymap worker commits at once.

use std::sync::Arc;

use crate::class::Class;
use crate::completion::Completion;
use crate::head::RowHead;
use crate::ids::{BatchId, Epoch, Lsn, Slot, WorkerId};
use crate::rows::RowId;

/// Row changes, progress and completions of the slots of one worker, to be committed atomically.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// Whose it is.
    pub worker: WorkerId,
    /// The slots touched.
    pub slots: Vec<SlotPart>,
    /// Row changes, at most one per row.
    pub rows: Arc<[BatchRow]>,
    /// Completion records for the outbox.
    pub completions: Vec<Completion>,
    /// Broken on purpose, see [`crate::Bugs::skip_guard`].
    pub unguarded: bool,
}

/// One slot's progress after the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPart {
    /// Which.
    pub slot: Slot,
    /// The owner's fencing token.
    pub epoch: Epoch,
    /// Every class not in `behind` is applied up to here.
    pub base: Lsn,
    /// Classes with entries pending below `base`: applied up to there.
    pub behind: Vec<(Class, Lsn)>,
    /// Entries applied beyond their class's watermark.
    pub exceptions_added: Vec<(Class, Lsn)>,
    /// Exceptions that the watermark has passed.
    pub exceptions_removed: Vec<(Class, Lsn)>,
    /// Tombstones up to here are no longer needed (zero: none).
    pub purge_upto: Lsn,
}

/// One row change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The key's slot.
    pub slot: Slot,
    /// Which row.
    pub row: RowId,
    /// Its new state, unless the keymap has one with a greater guard.
    pub head: Arc<RowHead>,
}
