//! Records that were given an LSN and are not yet durable. Only the sequencer looks at them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::bucket::BucketState;
use crate::class::Class;
use crate::completion::{EventKind, Origin};
use crate::head::RowHead;
use crate::ids::{Locator, Lsn, OpRef, Slot, Timestamp};
use crate::reader::{ReadError, RowReader, Rows};
use crate::rows::RowId;
use crate::write::{WriteError, Written};

/// One record on its way to the disk.
pub(super) struct InFlightRecord {
    pub(super) lsn: Lsn,
    pub(super) slot: Slot,
    pub(super) class: Class,
    pub(super) accepted: Timestamp,
    pub(super) event: Option<EventKind>,
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) rows: Vec<(RowId, RowHead)>,
    pub(super) bytes: u64,
    pub(super) bucket: Option<BucketEffect>,
    /// Whom to answer; aborts that go along with DeleteBucket have nobody.
    pub(super) reply: Option<(OpRef, Box<Written>)>,
    pub(super) appended: bool,
}

/// What a record does to the table of buckets.
#[derive(Clone)]
pub(super) enum BucketEffect {
    Set(Arc<BucketState>),
    Remove(Arc<BucketState>),
}

/// All of them, in the order of LSNs.
#[derive(Default)]
pub(super) struct InFlight {
    records: VecDeque<InFlightRecord>,
    /// The newest in-flight record of each row.
    newest: BTreeMap<RowId, Lsn>,
    /// Refusals that follow from records up to that LSN.
    waiting: VecDeque<(Lsn, OpRef, Result<Box<Written>, WriteError>)>,
    bytes: u64,
}

impl InFlight {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn last(&self) -> Option<Lsn> {
        self.records.back().map(|record| record.lsn)
    }

    pub(super) fn first(&self) -> Option<Lsn> {
        self.records.front().map(|record| record.lsn)
    }

    pub(super) fn push(&mut self, record: InFlightRecord) {
        for (row, _) in &record.rows {
            self.newest.insert(row.clone(), record.lsn);
        }
        self.bytes += record.bytes;
        self.records.push_back(record);
    }

    fn index(&self, lsn: Lsn) -> Option<usize> {
        self.records.binary_search_by_key(&lsn, |record| record.lsn).ok()
    }

    pub(super) fn appended(&mut self, lsn: Lsn, locator: Locator) {
        if let Some(index) = self.index(lsn) {
            let record = &mut self.records[index];
            record.appended = true;
            for (_, head) in &mut record.rows {
                head.record = locator;
            }
        }
    }

    /// Answers once everything assigned so far is durable.
    pub(super) fn wait(&mut self, upto: Lsn, op_ref: OpRef, result: Result<Box<Written>, WriteError>) {
        self.waiting.push_back((upto, op_ref, result));
    }

    /// The next record that is durable.
    pub(super) fn pop_durable(&mut self, upto: Lsn) -> Option<InFlightRecord> {
        if self.records.front().is_none_or(|record| record.lsn > upto) {
            return None;
        }
        let record = self.records.pop_front()?;
        self.bytes -= record.bytes;
        for (row, _) in &record.rows {
            if self.newest.get(row) == Some(&record.lsn) {
                self.newest.remove(row);
            }
        }
        Some(record)
    }

    /// The next answer that was waiting for a durable record.
    pub(super) fn pop_answer(&mut self, upto: Lsn) -> Option<(OpRef, Result<Box<Written>, WriteError>)> {
        if self.waiting.front().is_none_or(|(lsn, ..)| *lsn > upto) {
            return None;
        }
        self.waiting.pop_front().map(|(_, op_ref, result)| (op_ref, result))
    }

    /// Forgets everything; returns who has to be told.
    pub(super) fn fail(&mut self) -> Vec<OpRef> {
        let all = std::mem::take(self);
        let records = all.records.into_iter().filter_map(|record| record.reply).map(|(op_ref, _)| op_ref);
        records.chain(all.waiting.into_iter().map(|(_, op_ref, _)| op_ref)).collect()
    }

    fn head(&self, row: &RowId, lsn: Lsn) -> Option<Arc<RowHead>> {
        let record = &self.records[self.index(lsn)?];
        let head = record.rows.iter().find(|(own, _)| own == row).map(|(_, head)| head)?;
        Some(Arc::new(head.clone()))
    }
}

impl RowReader for InFlight {
    fn get(&self, row: &RowId) -> Result<Option<Arc<RowHead>>, ReadError> {
        Ok(self.newest.get(row).and_then(|lsn| self.head(row, *lsn)))
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Rows<'a> {
        if !to.is_empty() && from >= to {
            return Box::new(std::iter::empty());
        }
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let rows = self.newest.range::<[u8], _>((Bound::Included(from), end));
        Box::new(rows.filter_map(|(row, lsn)| Some(Ok((row.clone(), self.head(row, *lsn)?)))))
    }
}
