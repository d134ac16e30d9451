//! The table of buckets: as sequenced (counting records in flight) and as readers see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use terrane_types::AccountId;

use super::inflight::BucketEffect;
use crate::bucket::BucketState;
use crate::completion::Origin;
use crate::ids::Incarnation;

/// One state of the table. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct BucketTable {
    by_name: OrdMap<String, Arc<BucketState>>,
    by_incarnation: OrdMap<Incarnation, (Arc<BucketState>, Arc<Origin>)>,
    owned: OrdMap<AccountId, usize>,
}

impl BucketTable {
    pub(super) fn by_name(&self) -> &OrdMap<String, Arc<BucketState>> {
        &self.by_name
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<BucketState>> {
        self.by_name.get(name)
    }

    pub(super) fn find(&self, incarnation: Incarnation) -> Option<&(Arc<BucketState>, Arc<Origin>)> {
        self.by_incarnation.get(&incarnation)
    }

    pub(super) fn owned_by(&self, owner: &AccountId) -> usize {
        self.owned.get(owner).copied().unwrap_or(0)
    }

    pub(super) fn apply(&mut self, effect: &BucketEffect) {
        match effect {
            BucketEffect::Set(state) => self.set(state),
            BucketEffect::Remove(state) => self.remove(state),
        }
    }

    fn set(&mut self, state: &Arc<BucketState>) {
        let origin = match self.by_incarnation.get(&state.incarnation) {
            Some((_, origin)) => Arc::clone(origin),
            None => Arc::new(Origin { bucket: state.name.as_str().into(), owner: state.owner.clone() }),
        };
        if self.by_name.insert(state.name.clone(), Arc::clone(state)).is_none() {
            *self.owned.entry(state.owner.clone()).or_default() += 1;
        }
        self.by_incarnation.insert(state.incarnation, (Arc::clone(state), origin));
    }

    fn remove(&mut self, state: &Arc<BucketState>) {
        self.by_incarnation.remove(&state.incarnation);
        if self.by_name.remove(&state.name).is_some() {
            let count = self.owned_by(&state.owner).saturating_sub(1);
            match count {
                0 => self.owned.remove(&state.owner),
                count => self.owned.insert(state.owner.clone(), count),
            };
        }
    }
}

/// Both states of the table.
#[derive(Default)]
pub(super) struct Buckets {
    /// What the sequencer decides by.
    pub(super) sequenced: BucketTable,
    /// What readers see.
    pub(super) visible: BucketTable,
}

impl Buckets {
    /// Records in flight are gone.
    pub(super) fn roll_back(&mut self) {
        self.sequenced = self.visible.clone();
    }

    /// At start.
    pub(super) fn load(&mut self, states: BTreeMap<String, Arc<BucketState>>) {
        for state in states.into_values() {
            self.visible.set(&state);
        }
        self.roll_back();
    }
}
