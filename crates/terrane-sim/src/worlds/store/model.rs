//! All committed transactions, in the order of their versions.

use std::collections::BTreeMap;

use bytes::Bytes;
use imbl::OrdMap;
use terrane_store::KeyRange;
use terrane_store::committer::{Version, Writes};

use crate::runner::Violation;

/// What a transaction read: a range as scanned, and all rows in it.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) range: KeyRange,
    pub(super) rows: Vec<(Bytes, Bytes)>,
}

/// Every state that the store has had.
#[derive(Default)]
pub(super) struct Model {
    states: BTreeMap<Version, OrdMap<Bytes, Bytes>>,
}

impl Model {
    /// The state right after a version (or the last one before it that is known).
    pub(super) fn at(&self, version: Version) -> OrdMap<Bytes, Bytes> {
        self.states.range(..=version).next_back().map(|(_, rows)| rows.clone()).unwrap_or_default()
    }

    pub(super) fn last(&self) -> Version {
        self.states.keys().next_back().copied().unwrap_or_default()
    }

    pub(super) fn has(&self, version: Version) -> bool {
        self.states.contains_key(&version)
    }

    /// Adds a commit: executed now, after all earlier ones, it must read what it did read.
    pub(super) fn commit(
        &mut self,
        version: Version,
        reads: &[Read],
        writes: &Writes,
    ) -> Result<(), Violation> {
        if version <= self.last() {
            let last = self.last();
            return Err(Violation(format!("commit {version} is acknowledged after commit {last}")));
        }
        let mut rows = self.at(version);
        for read in reads {
            check(&rows, read)
                .map_err(|why| Violation(format!("commit {version} is not serialisable: {why}")))?;
        }
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        self.states.insert(version, rows);
        Ok(())
    }

    /// What a snapshot showed must be the state of its version.
    pub(super) fn check_read(&self, version: Version, read: &Read) -> Result<(), Violation> {
        check(&self.at(version), read)
            .map_err(|why| Violation(format!("the snapshot of version {version}: {why}")))
    }
}

fn check(rows: &OrdMap<Bytes, Bytes>, read: &Read) -> Result<(), String> {
    let there = rows.range(read.range.start.clone()..read.range.end.clone());
    if there.eq(read.rows.iter().map(|(k, v)| (k, v))) {
        return Ok(());
    }
    Err(format!("it read {:?} in {:?}, which does not fit", read.rows, read.range))
}
