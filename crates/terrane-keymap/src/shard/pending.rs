//! Pending operations: durable, visible, not yet (entirely) in the keymap.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::optable::OpTable;
use crate::class::{Class, ClassName};
use crate::completion::{Completion, EventKind, OperationKey, Origin};
use crate::events::Overlay;
use crate::head::RowHead;
use crate::ids::{Lsn, Slot, Timestamp};
use crate::rows::{RowId, RowName, Space, key_prefix, prefix_end};

/// One write.
pub(super) struct PendingOp {
    pub(super) slot: Slot,
    pub(super) class: Class,
    pub(super) event: Option<EventKind>,
    /// Being written to a run.
    pub(super) spilling: bool,
    /// Rows that the keymap contains already (or a newer state of them).
    pub(super) done: u32,
    pub(super) accepted: Timestamp,
    pub(super) origin: Option<Arc<Origin>>,
    rows: OpRows,
}

/// Nearly all writes change one row.
enum OpRows {
    One((RowId, Arc<RowHead>)),
    Many(Box<[(RowId, Arc<RowHead>)]>),
}

impl PendingOp {
    pub(super) fn new(
        slot: Slot,
        class: Class,
        accepted: Timestamp,
        event: Option<(EventKind, Arc<Origin>)>,
        mut rows: Vec<(RowId, Arc<RowHead>)>,
    ) -> Self {
        let rows = match rows.len() {
            1 => OpRows::One(rows.swap_remove(0)),
            _ => OpRows::Many(rows.into()),
        };
        let (event, origin) = event.unzip();
        Self { slot, class, event, spilling: false, done: 0, accepted, origin, rows }
    }

    pub(super) fn rows(&self) -> &[(RowId, Arc<RowHead>)] {
        match &self.rows {
            OpRows::One(row) => std::slice::from_ref(row),
            OpRows::Many(rows) => rows,
        }
    }

    /// When the keymap has to contain it, in a delay class.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.class.delay_ms().map(|ms| self.accepted.plus_ms(ms))
    }

    /// Estimate of the memory that it holds, in bytes (as measured by the example `throughput`, on the safe side).
    pub(super) fn cost(&self) -> u64 {
        self.rows().iter().map(|(row, _)| 300 + 2 * row.as_bytes().len() as u64).sum()
    }

    /// What to announce when it is applied, except for the cursor.
    pub(super) fn completion(&self, lsn: Lsn) -> Option<Completion> {
        let (row, head) = self.rows().first()?;
        let RowName { incarnation, key, sub } = row.parse().ok()?;
        Some(Completion {
            cursor: 0,
            operation: OperationKey { slot: self.slot, class: self.class, lsn },
            event: self.event?,
            origin: Arc::clone(self.origin.as_ref()?),
            incarnation,
            key: key.into(),
            sub,
            time: self.accepted,
            etag: head.etag.clone(),
            size: head.size,
            superseded: false,
        })
    }
}

/// All pending operations and the overlay that shows them.
#[derive(Default)]
pub(super) struct Pending {
    ops: OpTable,
    pub(super) overlay: Overlay,
    /// Rows that the overlay is still to show, with their writes.
    late: Vec<(RowId, Lsn, Arc<RowHead>)>,
    /// Pending operations of rows that have several (or one whose LSN is not its state's), ascending.
    chains: BTreeMap<RowId, Vec<Lsn>>,
    bytes: u64,
    class_bytes: [u64; ClassName::ALL.len()],
    depth: [u64; ClassName::ALL.len()],
    /// Broken on purpose, see [`crate::Bugs::one_entry_per_key`].
    pub(super) one_entry_per_key: bool,
}

impl Pending {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn class_bytes(&self, class: ClassName) -> u64 {
        self.class_bytes[class.index()]
    }

    pub(super) fn depth(&self, class: ClassName) -> u64 {
        self.depth[class.index()]
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn get(&self, lsn: Lsn) -> Option<&PendingOp> {
        self.ops.get(lsn)
    }

    pub(super) fn get_mut(&mut self, lsn: Lsn) -> Option<&mut PendingOp> {
        self.ops.get_mut(lsn)
    }

    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        self.ops.get(lsn).is_some()
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<(Lsn, &PendingOp)> {
        self.ops.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Lsn, &PendingOp)> {
        self.ops.iter()
    }

    /// Adds the write and shows its rows. Gives the number of rows that were pending already.
    pub(super) fn insert(&mut self, lsn: Lsn, op: PendingOp) -> u64 {
        let mut coalesced = 0;
        for (row, head) in op.rows() {
            coalesced += u64::from(self.show(lsn, row, head));
        }
        self.push(lsn, op);
        coalesced
    }

    /// As [`Pending::insert`], except that the rows are shown by the next [`Pending::show_late`]: in the order of rows,
    /// which finds its way in the overlay several times as fast.
    pub(super) fn insert_late(&mut self, lsn: Lsn, op: PendingOp) {
        self.late.extend(op.rows().iter().map(|(row, head)| (row.clone(), lsn, Arc::clone(head))));
        self.push(lsn, op);
    }

    /// Shows what [`Pending::insert_late`] has added. Gives the number of rows that were pending already.
    pub(super) fn show_late(&mut self) -> u64 {
        let mut late = std::mem::take(&mut self.late);
        // Stable: the writes of a row stay in the order of LSNs.
        late.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        late.iter().map(|(row, lsn, head)| u64::from(self.show(*lsn, row, head))).sum()
    }

    fn push(&mut self, lsn: Lsn, op: PendingOp) {
        self.bytes += op.cost();
        self.class_bytes[op.class.name().index()] += op.cost();
        self.depth[op.class.name().index()] += 1;
        self.ops.push(lsn, op);
    }

    /// Shows a row's state, unless a newer one is shown. Tells whether any was.
    fn show(&mut self, lsn: Lsn, row: &RowId, head: &Arc<RowHead>) -> bool {
        // The usual case, a row of which nothing is pending, descends but once.
        let Some(shown) = self.overlay.insert(row.clone(), Arc::clone(head)) else {
            if head.guard.lsn != lsn {
                self.chains.insert(row.clone(), vec![lsn]);
            }
            if self.one_entry_per_key {
                drop_other_rows(&mut self.overlay, row);
            }
            return false;
        };
        match self.chains.get_mut(row) {
            Some(chain) => chain.push(lsn),
            None => {
                self.chains.insert(row.clone(), vec![shown.guard.lsn, lsn]);
            }
        }
        if shown.guard >= head.guard {
            self.overlay.insert(row.clone(), shown);
        } else if self.one_entry_per_key {
            drop_other_rows(&mut self.overlay, row);
        }
        true
    }

    /// Takes the write off the list; its rows are settled by [`Pending::settle_row`].
    pub(super) fn remove(&mut self, lsn: Lsn) -> Option<PendingOp> {
        let op = self.ops.remove(lsn)?;
        self.bytes -= op.cost();
        self.class_bytes[op.class.name().index()] -= op.cost();
        self.depth[op.class.name().index()] -= 1;
        Some(op)
    }

    /// The pending writes of a row, ascending.
    pub(super) fn writes_of(&self, row: &RowId) -> Vec<Lsn> {
        match self.chains.get(row) {
            Some(chain) => chain.clone(),
            None => self.overlay.get(row).map(|head| head.guard.lsn).into_iter().collect(),
        }
    }

    /// Takes the writes that `gone` names off the row. Without any left, the row is no longer shown.
    pub(super) fn settle_row(&mut self, row: &RowId, gone: impl Fn(Lsn) -> bool) {
        let left = match self.chains.get_mut(row) {
            Some(chain) => {
                chain.retain(|lsn| !gone(*lsn));
                match chain[..] {
                    [] => {
                        self.chains.remove(row);
                        false
                    }
                    [lsn] if self.overlay.get(row).is_some_and(|head| head.guard.lsn == lsn) => {
                        self.chains.remove(row);
                        true
                    }
                    _ => true,
                }
            }
            None => self.overlay.get(row).is_some_and(|head| !gone(head.guard.lsn)),
        };
        if !left {
            self.overlay.remove(row);
        }
    }
}

fn drop_other_rows(overlay: &mut Overlay, row: &RowId) {
    let Ok(name) = row.parse() else { return };
    let from = key_prefix(name.incarnation, Space::Object, &name.key);
    let to = prefix_end(&from);
    let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&to[..]));
    let others: Vec<RowId> = overlay.range::<_, [u8]>(range).map(|(row, _)| row.clone()).collect();
    for other in others.into_iter().filter(|other| other != row) {
        overlay.remove(&other);
    }
}
