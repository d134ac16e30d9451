use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;
use terrane_types::RandomId;
use tokio::sync::watch;

use super::{LocalSnapshot, Published};
use crate::committer::{Bugs, CommitRequest, Committer, Decision, Limits, Version};
use crate::{Result, StoreError};

/// The whole store in memory, for tests: as durable as the process.
pub(crate) struct Memory {
    incarnation: RandomId,
    state: Mutex<State>,
    changes: watch::Sender<Version>,
}

struct State {
    committer: Committer,
    rows: OrdMap<Bytes, Bytes>,
}

impl Memory {
    pub(crate) fn new(incarnation: RandomId) -> Self {
        let state = State {
            committer: Committer::new(1, 0, Limits::default(), Bugs::default()),
            rows: OrdMap::new(),
        };
        Self { incarnation, state: Mutex::new(state), changes: watch::Sender::new(1) }
    }

    pub(crate) fn incarnation(&self) -> RandomId {
        self.incarnation
    }

    pub(crate) fn published(&self) -> Published {
        let state = self.state.lock();
        Published { version: state.committer.last(), snapshot: LocalSnapshot::Memory(state.rows.clone()) }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Version> {
        self.changes.subscribe()
    }

    pub(crate) fn commit(&self, request: &CommitRequest) -> Result<Version> {
        let version = {
            let mut state = self.state.lock();
            let version = outcome(state.committer.submit(request))?;
            if version == state.committer.last() {
                for (key, value) in &request.writes {
                    match value {
                        Some(value) => state.rows.insert(key.clone(), value.clone()),
                        None => state.rows.remove(key),
                    };
                }
            }
            state.committer.durable();
            version
        };
        self.changes.send_if_modified(|seen| {
            let newer = version > *seen;
            *seen = version.max(*seen);
            newer
        });
        Ok(version)
    }
}

/// What a caller is told of a decision, if everything accepted is stored.
pub(crate) fn outcome(decision: Decision) -> Result<Version> {
    match decision {
        Decision::Accepted(version) | Decision::Duplicate(version) => Ok(version),
        Decision::Conflict | Decision::TooOld => Err(StoreError::Conflict),
        Decision::Forgotten => {
            Err(StoreError::UnknownOutcome("the attempt is older than the retained history".into()))
        }
    }
}
