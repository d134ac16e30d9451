use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_tree::SeqNo;
use parking_lot::Mutex;

/// The newest complete batch and the instants that open snapshots still read at.
///
/// The tree has a counter of its own for this, but a flush or a compaction advances it even while
/// a batch is half inserted; readers here therefore use only what [`Tracker::publish`] said.
#[derive(Debug)]
pub(crate) struct Tracker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    published: SeqNo,
    open: BTreeMap<SeqNo, usize>,
}

impl Tracker {
    pub(crate) fn new(published: SeqNo) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { published, open: BTreeMap::new() }) })
    }

    /// Everything with a sequence number below `instant` is complete.
    pub(crate) fn publish(&self, instant: SeqNo) {
        let mut state = self.state.lock();
        state.published = state.published.max(instant);
    }

    /// What the tree may forget: versions that are hidden for every reader at or after this.
    pub(crate) fn watermark(&self) -> SeqNo {
        let state = self.state.lock();
        let oldest = state.open.keys().next().copied().unwrap_or(state.published);
        oldest.min(state.published).saturating_sub(1)
    }

    pub(crate) fn open(self: &Arc<Self>) -> Instant {
        let mut state = self.state.lock();
        let at = state.published;
        *state.open.entry(at).or_default() += 1;
        Instant { at, tracker: Arc::clone(self) }
    }
}

/// A pinned moment of the view; unpinned when dropped.
#[derive(Debug)]
pub(crate) struct Instant {
    at: SeqNo,
    tracker: Arc<Tracker>,
}

impl Instant {
    pub(crate) fn seqno(&self) -> SeqNo {
        self.at
    }
}

impl Drop for Instant {
    fn drop(&mut self) {
        let mut state = self.tracker.state.lock();
        if let Some(count) = state.open.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.at);
            }
        }
    }
}
