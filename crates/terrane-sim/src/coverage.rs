//! Counters of what a run went through. A kind of fault that never happened proves nothing,
//! so a world names what must have happened and a zero at the end of a run fails it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Named counters. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Coverage(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Coverage {
    /// Counts one.
    pub fn hit(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts several.
    pub fn add(&self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.lock().entry(name).or_default() += count;
        }
    }

    /// A counter.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.lock().get(name).copied().unwrap_or(0)
    }

    /// Adds another run's counters.
    pub fn merge(&self, other: &Self) {
        let other = other.0.lock().clone();
        for (name, count) in other {
            self.add(name, count);
        }
    }

    /// Those of `expected` that are zero.
    #[must_use]
    pub fn missing(&self, expected: &[&'static str]) -> Vec<&'static str> {
        expected.iter().copied().filter(|name| self.get(name) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &*self.0.lock() {
            writeln!(f, "  {name:<34} {count}")?;
        }
        Ok(())
    }
}
