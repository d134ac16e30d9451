//! Pending writes by LSN, in little more memory than they take themselves: they come in the order of LSNs, and a
//! B-tree would leave half of each leaf empty.

use std::collections::BTreeMap;

use super::pending::PendingOp;
use crate::ids::Lsn;

/// LSNs per page.
const PAGE: u64 = 32;

/// Writes by LSN.
#[derive(Default)]
pub(super) struct OpTable {
    /// Sorted by LSN; none is empty.
    pages: BTreeMap<u64, Vec<(Lsn, PendingOp)>>,
    len: usize,
}

impl OpTable {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a write; its LSN is greater than all there.
    pub(super) fn push(&mut self, lsn: Lsn, op: PendingOp) {
        let number = lsn.0 / PAGE;
        if !self.pages.contains_key(&number)
            && let Some(mut last) = self.pages.last_entry()
        {
            debug_assert!(*last.key() < number, "LSNs ascend");
            last.get_mut().shrink_to_fit();
        }
        self.pages.entry(number).or_default().push((lsn, op));
        self.len += 1;
    }

    fn find(&self, lsn: Lsn) -> Option<(&Vec<(Lsn, PendingOp)>, usize)> {
        let page = self.pages.get(&(lsn.0 / PAGE))?;
        let index = page.binary_search_by_key(&lsn, |(own, _)| *own).ok()?;
        Some((page, index))
    }

    pub(super) fn get(&self, lsn: Lsn) -> Option<&PendingOp> {
        self.find(lsn).map(|(page, index)| &page[index].1)
    }

    pub(super) fn get_mut(&mut self, lsn: Lsn) -> Option<&mut PendingOp> {
        let page = self.pages.get_mut(&(lsn.0 / PAGE))?;
        let index = page.binary_search_by_key(&lsn, |(own, _)| *own).ok()?;
        page.get_mut(index).map(|(_, op)| op)
    }

    pub(super) fn remove(&mut self, lsn: Lsn) -> Option<PendingOp> {
        let number = lsn.0 / PAGE;
        let page = self.pages.get_mut(&number)?;
        let index = page.binary_search_by_key(&lsn, |(own, _)| *own).ok()?;
        let (_, op) = page.remove(index);
        if page.is_empty() {
            self.pages.remove(&number);
        } else if page.len() * 4 < page.capacity() {
            page.shrink_to_fit();
        }
        self.len -= 1;
        Some(op)
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<(Lsn, &PendingOp)> {
        self.iter().next()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Lsn, &PendingOp)> {
        self.pages.values().flatten().map(|(lsn, op)| (*lsn, op))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::class::Class;
    use crate::ids::{Slot, Timestamp};

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 1u64..40), 1..200)) {
            let (mut table, mut model, mut next) = (OpTable::default(), BTreeMap::new(), 0);
            for (add, n) in steps {
                if add {
                    next += n;
                    let op = PendingOp::new(Slot(0), Class::High, Timestamp(next), None, Vec::new());
                    table.push(Lsn(next), op);
                    model.insert(Lsn(next), Timestamp(next));
                } else if let Some(lsn) = model.keys().nth(n as usize % model.len().max(1)).copied() {
                    prop_assert!(table.get_mut(lsn).is_some());
                    let removed = table.remove(lsn).map(|op| op.accepted);
                    prop_assert_eq!(removed, model.remove(&lsn));
                    prop_assert!(table.remove(lsn).is_none());
                }
                prop_assert_eq!(table.len(), model.len());
                let all: Vec<_> = table.iter().map(|(lsn, op)| (lsn, op.accepted)).collect();
                prop_assert_eq!(all, model.iter().map(|(lsn, at)| (*lsn, *at)).collect::<Vec<_>>());
                prop_assert_eq!(table.first().map(|(lsn, _)| lsn), model.keys().next().copied());
            }
        }
    }
}
