//! What may be the case at one key.

use super::{Call, Id, Model, Scan};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One explanation of a key's history so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Case<M: Model> {
    pub(super) state: M::State,
    /// Those of the pending operations that have taken effect.
    pub(super) done: BTreeSet<Id>,
}

/// All explanations of a key's history so far, and what is pending there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyCases<M: Model> {
    pub(super) cases: Vec<Case<M>>,
    pub(super) pending: Vec<Id>,
}

impl<M: Model> Default for KeyCases<M> {
    fn default() -> Self {
        Self { cases: vec![Case { state: M::State::default(), done: BTreeSet::new() }], pending: Vec::new() }
    }
}

impl<M: Model> KeyCases<M> {
    /// Operation `id` returned: in every case it has taken effect. False: no case explains that.
    pub(super) fn force(&mut self, calls: &[Call<M>], id: Id) -> bool {
        let reached = self.reach(calls, |case| case.done.contains(&id));
        self.keep(calls, reached);
        self.retire(id);
        self.keep(calls, self.cases.clone());
        !self.cases.is_empty()
    }

    /// A scan happens now and shows `item` of this key. False: no case explains that.
    pub(super) fn shows(&mut self, calls: &[Call<M>], item: Option<&M::Item>) -> bool {
        let reached = self.reach(calls, |case| M::item(&case.state).as_ref() == item);
        self.keep(calls, reached);
        !self.cases.is_empty()
    }

    /// Operation `id` takes no effect any more: it did in some cases and did not in others.
    pub(super) fn lose(&mut self, calls: &[Call<M>], id: Id) {
        let mut reached = self.reach(calls, |case| case.done.contains(&id));
        reached.extend(self.cases.iter().filter(|case| !case.done.contains(&id)).cloned());
        self.cases = reached;
        self.retire(id);
        self.keep(calls, self.cases.clone());
    }

    fn retire(&mut self, id: Id) {
        self.pending.retain(|other| *other != id);
        for case in &mut self.cases {
            case.done.remove(&id);
        }
    }

    /// The first cases on every path of pending operations that satisfy `goal`. Whatever else
    /// is pending stays pending: it can still take effect right after.
    fn reach(&self, calls: &[Call<M>], goal: impl Fn(&Case<M>) -> bool) -> Vec<Case<M>> {
        let mut reached = Vec::new();
        let mut seen = Seen::default();
        let mut open = VecDeque::from(self.cases.clone());
        while let Some(case) = open.pop_front() {
            if !seen.adds(calls, &case) {
                continue;
            }
            if goal(&case) {
                reached.push(case);
                continue;
            }
            for id in self.pending.iter().filter(|id| !case.done.contains(id)) {
                if let Call::Op { op, ret, .. } = &calls[id.0]
                    && let Some(state) = M::step(&case.state, op, ret.as_ref())
                {
                    let mut done = case.done.clone();
                    done.insert(*id);
                    open.push_back(Case { state, done });
                }
            }
        }
        reached
    }

    /// Keeps these cases, without the needless ones.
    fn keep(&mut self, calls: &[Call<M>], mut cases: Vec<Case<M>>) {
        cases.sort_by_key(|case| case.done.len());
        let mut seen = Seen::default();
        cases.retain(|case| seen.adds(calls, case));
        cases.sort();
        self.cases = cases;
    }
}

/// Cases seen, by their state.
struct Seen<M: Model>(BTreeMap<M::State, Vec<BTreeSet<Id>>>);

impl<M: Model> Default for Seen<M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<M: Model> Seen<M> {
    /// Whether this case adds anything to those seen. One of the same state in which less has been done makes
    /// it needless if nobody saw the answers of the rest: those need never take effect, so all choices are open there.
    /// (That keeps the number of cases linear in what crashes leave open, not exponential.)
    fn adds(&mut self, calls: &[Call<M>], case: &Case<M>) -> bool {
        let unseen = |id: &Id| matches!(&calls[id.0], Call::Op { ret: None, .. });
        let seen = self.0.entry(case.state.clone()).or_default();
        let covered =
            |small: &BTreeSet<Id>| small.is_subset(&case.done) && case.done.difference(small).all(unseen);
        if seen.iter().any(covered) {
            return false;
        }
        seen.push(case.done.clone());
        true
    }
}

/// What a scan shows of a key, if it looked there.
pub(super) fn shown<'a, M: Model>(scan: &'a Scan<M>, key: &M::Key) -> Option<Option<&'a M::Item>> {
    scan.covers(key).then(|| scan.items.get(key))
}
