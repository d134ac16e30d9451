//! A view that loses what was not synced, and its write errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;
use terrane_store::committer::{CommitId, Version};
use terrane_store::local::{Applied, RowBatch, Rows};
use terrane_store::{Result, StoreError};

use crate::coverage::Coverage;
use crate::rng::SimRng;

/// All that the view has at one moment.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) rows: OrdMap<Bytes, Bytes>,
    pub(super) applied: Option<Applied>,
    ids: BTreeSet<(Version, CommitId)>,
}

/// Clones are the same view.
#[derive(Clone)]
pub(super) struct SimView(Arc<Mutex<Inner>>);

struct Inner {
    rng: SimRng,
    coverage: Coverage,
    /// Everything applied since the last sync, which comes first; the last is what readers see.
    states: Vec<State>,
    /// Writes fail one in so many times.
    fails: u32,
    failed: bool,
}

impl SimView {
    pub(super) fn new(rng: &mut SimRng, coverage: Coverage) -> Self {
        let states = vec![State::default()];
        Self(Arc::new(Mutex::new(Inner { rng: rng.fork(), coverage, states, fails: 0, failed: false })))
    }

    pub(super) fn set_fails(&self, fails: u32) {
        self.0.lock().fails = fails;
    }

    /// What readers see.
    pub(super) fn now(&self) -> State {
        self.0.lock().now().clone()
    }

    /// The power goes, or the files are read again: any moment since the last sync.
    pub(super) fn crash(&self) {
        let inner = &mut *self.0.lock();
        let keep = inner.rng.below(inner.states.len());
        if keep + 1 < inner.states.len() {
            inner.coverage.hit("store.view_went_back");
        }
        inner.states.truncate(keep + 1);
        inner.failed = false;
    }

    /// The first half of a sync: what will be durable with it.
    pub(super) fn begin_sync(&self) -> State {
        self.now()
    }

    /// The second half, while batches were applied in between.
    pub(super) fn end_sync(&self, begun: &State) -> Result<Option<Applied>> {
        let inner = &mut *self.0.lock();
        inner.write()?;
        // A view that was recovered meanwhile may no longer have it.
        let at = inner.states.iter().position(|state| state.applied == begun.applied);
        let at = at.ok_or_else(|| StoreError::Unavailable("the view was recovered meanwhile".into()))?;
        inner.states.drain(..at);
        Ok(begun.applied)
    }
}

impl Inner {
    fn now(&self) -> &State {
        self.states.last().expect("the synced state is always there")
    }

    /// After a failure every write fails until the view is recovered.
    fn write(&mut self) -> Result<()> {
        if !self.failed && self.rng.one_in(self.fails) {
            self.coverage.hit("store.view_failed");
            self.failed = true;
        }
        if self.failed { Err(StoreError::Unavailable("the view failed".into())) } else { Ok(()) }
    }
}

impl Rows for SimView {
    fn applied(&self) -> Result<Option<Applied>> {
        Ok(self.0.lock().now().applied)
    }

    fn ids(&self) -> Result<Vec<(Version, CommitId)>> {
        Ok(self.0.lock().now().ids.iter().copied().collect())
    }

    fn apply(&self, batch: RowBatch) -> Result<()> {
        let inner = &mut *self.0.lock();
        inner.write()?;
        let mut state = inner.now().clone();
        for (key, value) in batch.writes {
            match value {
                Some(value) => state.rows.insert(key, value),
                None => state.rows.remove(&key),
            };
        }
        state.ids.extend(batch.ids);
        batch.forgotten.iter().for_each(|id| _ = state.ids.remove(id));
        state.applied = Some(batch.applied);
        inner.states.push(state);
        Ok(())
    }

    fn sync(&self) -> Result<Option<Applied>> {
        let begun = self.begin_sync();
        self.end_sync(&begun)
    }

    fn recover(&self) -> Result<()> {
        self.crash();
        self.0.lock().coverage.hit("store.view_caught_up");
        Ok(())
    }
}
