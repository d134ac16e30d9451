//! The committer's decisions, without I/O: which commits may happen, in which order.
//!
//! Optimistic concurrency control: a transaction reads one snapshot, and its commit carries the
//! ranges that it read, as scanned. It may commit if no commit after its snapshot wrote into one of
//! them. Commits that were accepted but are not durable yet (*in flight*) count as well: they will
//! be ordered before it. Together with snapshots that show every acknowledged commit this makes
//! transactions strictly serialisable in the order of their versions.
//!
//! What was accepted leaves through [`Committer::durable`], or is undone by [`Committer::abort`]
//! if the log did not store it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::KeyRange;

/// The number of a commit; later commits have larger ones. Numbers may be skipped.
pub type Version = u64;

/// Names one attempt to commit, so that asking again cannot commit twice. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommitId(pub u128);

/// Writes of one commit: each key once, in key order; `None` deletes.
pub type Writes = Vec<(Bytes, Option<Bytes>)>;

/// A transaction that asks to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The version whose state the transaction read.
    pub snapshot: Version,
    /// What it read.
    pub reads: Vec<KeyRange>,
    /// What it writes.
    pub writes: Writes,
    /// Set by callers that may not hear the answer.
    pub id: Option<CommitId>,
    /// Whether a request with this `id` was sent before.
    pub retry: bool,
}

/// What the committer decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To be stored under this version.
    Accepted(Version),
    /// The same commit was accepted earlier under this version.
    Duplicate(Version),
    /// A later commit wrote what the transaction read.
    Conflict,
    /// The snapshot is older than what is remembered for validation.
    TooOld,
    /// The snapshot is so old that it cannot be said whether an earlier attempt was committed.
    Forgotten,
}

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Written keys that are remembered for validation.
    pub history_keys: usize,
    /// Commit identifiers that are remembered.
    pub ids: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { history_keys: 200_000, ids: 100_000 }
    }
}

/// Test-only switches that break one rule each; the simulator must find every one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bugs {
    /// Validation ignores commits that are not durable yet.
    pub skip_in_flight: bool,
    /// Validation looks at the keys that were found, not at the ranges that were scanned.
    pub skip_ranges: bool,
    /// Commits are acknowledged although the log was not synced.
    pub ack_before_fsync: bool,
    /// Log segments are removed although the view was not synced.
    pub recycle_before_sync: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Committer {
    limits: Limits,
    bugs: Bugs,
    last: Version,
    durable: Version,
    /// The last version that wrote a key, for all commits after `floor`.
    recent: BTreeMap<Bytes, Version>,
    history: VecDeque<(Version, Vec<Bytes>)>,
    history_keys: usize,
    floor: Version,
    ids: BTreeMap<CommitId, Version>,
    id_order: VecDeque<(Version, CommitId)>,
    ids_floor: Version,
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    version: Version,
    keys: Vec<Bytes>,
    /// What `recent` said before, in the order of `keys`.
    before: Vec<Option<Version>>,
    id: Option<CommitId>,
}

impl Committer {
    /// A committer that continues after `last`, the version of the newest stored commit, and will be
    /// told of all identifiers of commits after `ids_floor`.
    pub fn new(last: Version, ids_floor: Version, limits: Limits, bugs: Bugs) -> Self {
        Self {
            limits,
            bugs,
            last,
            durable: last,
            recent: BTreeMap::new(),
            history: VecDeque::new(),
            history_keys: 0,
            floor: last,
            ids: BTreeMap::new(),
            id_order: VecDeque::new(),
            ids_floor,
            in_flight: VecDeque::new(),
        }
    }

    /// Remembers the identifier of a stored commit; called in version order before the first
    /// [`Committer::submit`].
    pub fn remember_id(&mut self, id: CommitId, version: Version) {
        self.ids.insert(id, version);
        self.id_order.push_back((version, id));
    }

    /// Decides on a commit. What is accepted is in flight from now on.
    pub fn submit(&mut self, request: &CommitRequest) -> Decision {
        if let Some(version) = request.id.and_then(|id| self.ids.get(&id)) {
            return Decision::Duplicate(*version);
        }
        // Identifiers of all commits after `ids_floor` are known, and an earlier attempt could only
        // have been stored after its snapshot: above the floor it surely was not.
        if request.retry && request.snapshot < self.ids_floor {
            return Decision::Forgotten;
        }
        if request.snapshot < self.floor || request.snapshot > self.last {
            return Decision::TooOld;
        }
        if request.reads.iter().any(|range| self.written_since(range, request.snapshot)) {
            return Decision::Conflict;
        }
        self.accept(request)
    }

    fn written_since(&self, range: &KeyRange, snapshot: Version) -> bool {
        if range.is_empty() || (self.bugs.skip_ranges && !range.is_single_key()) {
            return false;
        }
        let newest = if self.bugs.skip_in_flight { self.durable } else { Version::MAX };
        self.recent
            .range::<[u8], _>((
                std::ops::Bound::Included(&*range.start),
                std::ops::Bound::Excluded(&*range.end),
            ))
            .any(|(_, version)| *version > snapshot && *version <= newest)
    }

    fn accept(&mut self, request: &CommitRequest) -> Decision {
        self.last += 1;
        let version = self.last;
        let keys: Vec<Bytes> = request.writes.iter().map(|(key, _)| key.clone()).collect();
        let before = keys.iter().map(|key| self.recent.insert(key.clone(), version)).collect();
        if let Some(id) = request.id {
            self.remember_id(id, version);
        }
        self.in_flight.push_back(InFlight { version, keys, before, id: request.id });
        Decision::Accepted(version)
    }

    /// Everything in flight is stored: it counts as history. Returns the identifiers (and their
    /// versions) that were forgotten to make room.
    pub fn durable(&mut self) -> Vec<(Version, CommitId)> {
        for commit in self.in_flight.drain(..) {
            self.history_keys += commit.keys.len();
            self.history.push_back((commit.version, commit.keys));
            self.durable = commit.version;
        }
        while self.history_keys > self.limits.history_keys
            && let Some((version, keys)) = self.history.pop_front()
        {
            self.history_keys -= keys.len();
            self.floor = version;
            for key in keys {
                if self.recent.get(&key) == Some(&version) {
                    self.recent.remove(&key);
                }
            }
        }
        let excess = self.id_order.len().saturating_sub(self.limits.ids);
        let forgotten: Vec<(Version, CommitId)> = self.id_order.drain(..excess).collect();
        for (version, id) in &forgotten {
            self.ids.remove(id);
            self.ids_floor = *version;
        }
        forgotten
    }

    /// The newest accepted commit was not stored after all.
    pub fn abort_last(&mut self) {
        if let Some(commit) = self.in_flight.pop_back() {
            self.undo(commit);
        }
    }

    /// Nothing of what is in flight was stored.
    pub fn abort(&mut self) {
        while !self.in_flight.is_empty() {
            self.abort_last();
        }
    }

    fn undo(&mut self, commit: InFlight) {
        for (key, before) in commit.keys.into_iter().zip(commit.before).rev() {
            match before {
                Some(version) => self.recent.insert(key, version),
                None => self.recent.remove(&key),
            };
        }
        if let Some(id) = commit.id {
            self.ids.remove(&id);
            self.id_order.pop_back();
        }
    }

    /// Identifiers of commits up to this version may have been forgotten.
    pub fn ids_floor(&self) -> Version {
        self.ids_floor
    }

    /// The newest version handed out.
    pub fn last(&self) -> Version {
        self.last
    }
}

#[cfg(test)]
mod tests;
