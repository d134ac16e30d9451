//! What was observed lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::question::{CommandKey, Observation};

/// The newest observation of each key, within bounds of count, bytes and age; the oldest go first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    by_key: BTreeMap<CommandKey, Arc<Observation>>,
    by_age: BTreeSet<(Time, CommandKey)>,
    bytes: usize,
}

impl Cache {
    /// Keeps an observation, unless there is a newer one.
    pub(crate) fn put(&mut self, observation: Arc<Observation>, count_max: usize, bytes_max: usize) {
        let key = &observation.key;
        if self.by_key.get(key).is_some_and(|held| held.observed_at >= observation.observed_at) {
            return;
        }
        self.remove(&key.clone());
        self.by_age.insert((observation.observed_at, key.clone()));
        self.bytes = self.bytes.saturating_add(observation.bytes);
        self.by_key.insert(key.clone(), observation);
        while self.by_key.len() > count_max || self.bytes > bytes_max {
            let Some((_, oldest)) = self.by_age.first().cloned() else { break };
            self.remove(&oldest);
        }
    }

    /// The observation of a key, if it is not from before `not_before`.
    pub(crate) fn get(&self, key: &CommandKey, not_before: Time) -> Option<&Arc<Observation>> {
        self.by_key.get(key).filter(|observation| observation.observed_at >= not_before)
    }

    /// Drops what is older than that.
    pub(crate) fn expire(&mut self, now: Time, age_max: Duration) {
        let limit = now.before(age_max);
        while let Some((at, key)) = self.by_age.first().cloned()
            && at < limit
        {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &CommandKey) {
        if let Some(held) = self.by_key.remove(key) {
            self.bytes = self.bytes.saturating_sub(held.bytes);
            self.by_age.remove(&(held.observed_at, key.clone()));
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
