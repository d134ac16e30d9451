//! One order of the scans so far, with what it leaves possible at every key.

use super::keys::{KeyCases, shown};
use super::{Call, Id, Model, Scan};
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Branch<M: Model> {
    keys: BTreeMap<M::Key, Rc<KeyCases<M>>>,
    /// Scans that have started and not yet taken their look.
    pub(super) scans: Vec<Id>,
}

impl<M: Model> Default for Branch<M> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), scans: Vec::new() }
    }
}

impl<M: Model> Branch<M> {
    fn key(&mut self, key: &M::Key) -> &mut KeyCases<M> {
        Rc::make_mut(self.keys.entry(key.clone()).or_default())
    }

    pub(super) fn start(&mut self, key: &M::Key, id: Id) {
        self.key(key).pending.push(id);
    }

    /// Scan `id` takes its look now, if that can be.
    fn look(&self, calls: &[Call<M>], id: Id, scan: &Scan<M>) -> Option<Self> {
        // A key that was never touched holds nothing.
        let untouched = |key: &&M::Key| !self.keys.contains_key(*key);
        if scan.items.keys().any(|key| untouched(&key)) {
            return None;
        }
        let mut after = self.clone();
        after.scans.retain(|other| *other != id);
        for (key, cases) in &mut after.keys {
            if let Some(item) = shown(scan, key)
                && !Rc::make_mut(cases).shows(calls, item)
            {
                return None;
            }
        }
        Some(after)
    }

    /// This branch and all that come of it when some of the pending scans take their look now, in every order.
    fn with_looks(self, calls: &[Call<M>]) -> Vec<Self> {
        let mut all = vec![self];
        let mut at = 0;
        while at < all.len() {
            for id in all[at].scans.clone() {
                if let Call::Scan(Some(scan)) = &calls[id.0]
                    && let Some(after) = all[at].look(calls, id, scan)
                {
                    all.push(after);
                }
            }
            at += 1;
        }
        all
    }
}

/// Call `id` returned: the branches in which it has taken effect.
pub(super) fn linearize_all<M: Model>(branches: Vec<Branch<M>>, calls: &[Call<M>], id: Id) -> Vec<Branch<M>> {
    let mut after = Vec::new();
    for branch in branches {
        match &calls[id.0] {
            Call::Scan(_) if !branch.scans.contains(&id) => after.push(branch),
            Call::Scan(_) => {
                after.extend(branch.with_looks(calls).into_iter().filter(|b| !b.scans.contains(&id)));
            }
            // A pending scan may have to look before this takes effect.
            Call::Op { key, .. } => {
                for mut branch in branch.with_looks(calls) {
                    if branch.key(key).force(calls, id) {
                        after.push(branch);
                    }
                }
            }
        }
    }
    super::dedup(&mut after);
    after
}

/// Operation `id` takes no effect any more. Pending scans may have looked before it did.
pub(super) fn lose_all<M: Model>(branches: Vec<Branch<M>>, calls: &[Call<M>], id: Id) -> Vec<Branch<M>> {
    let Call::Op { key, .. } = &calls[id.0] else { return branches };
    let mut after: Vec<_> = branches.into_iter().flat_map(|branch| branch.with_looks(calls)).collect();
    after.iter_mut().for_each(|branch| branch.key(key).lose(calls, id));
    super::dedup(&mut after);
    after
}
