//! A keymap engine as the design allows it to be: atomic batches, snapshots, syncs. A crash takes it back to any
//! state since the last sync, or it is lost altogether.

use std::collections::BTreeMap;
use std::sync::Arc;

use terrane_keymap::keymap::{KeymapRows, MemoryKeymap, Mutation};
use terrane_keymap::reader::{Merged, RowReader};
use terrane_keymap::run::RunEntry;
use terrane_keymap::{Overlay, RunId};

use crate::rng::SimRng;

/// The engine.
#[derive(Default)]
pub(super) struct Engine {
    pub(super) current: MemoryKeymap,
    durable: MemoryKeymap,
    /// All states since `durable`, the last is `current`.
    since: Vec<MemoryKeymap>,
    /// States that became durable so far.
    base: u64,
}

impl Engine {
    pub(super) fn commit(&mut self, mutations: Vec<Mutation>) {
        self.current.commit(mutations);
        self.since.push(self.current.clone());
    }

    /// What a sync that begins now will make durable.
    pub(super) fn begin_sync(&self) -> u64 {
        self.base + self.since.len() as u64
    }

    pub(super) fn end_sync(&mut self, upto: u64) {
        let count = usize::try_from(upto.saturating_sub(self.base)).unwrap_or(0).min(self.since.len());
        if let Some(last) = self.since.drain(..count).next_back() {
            self.durable = last;
        }
        self.base += count as u64;
    }

    /// Power failure.
    pub(super) fn crash(&mut self, rng: &mut SimRng) {
        let kept = rng.below(self.since.len() + 1);
        if let Some(last) = kept.checked_sub(1).and_then(|last| self.since.get(last)) {
            self.durable = last.clone();
        }
        self.current = self.durable.clone();
        self.since.clear();
    }

    /// The engine's files are beyond repair.
    pub(super) fn wipe(&mut self) {
        *self = Self { base: self.base, ..Self::default() };
    }
}

/// One run file.
pub(super) struct RunFile {
    pub(super) entries: Vec<RunEntry>,
    rows: Overlay,
}

impl RunFile {
    pub(super) fn new(entries: Vec<RunEntry>) -> Arc<Self> {
        let rows = entries.iter().map(|entry| (entry.row.clone(), entry.head.clone())).collect();
        Arc::new(Self { entries, rows })
    }
}

pub(super) type Runs = BTreeMap<RunId, Arc<RunFile>>;

/// Gives a reader of the merge of an overlay, runs and a keymap.
pub(super) fn with_rows<T>(
    overlay: &Overlay,
    runs: &Runs,
    keymap: &MemoryKeymap,
    work: impl FnOnce(&dyn RowReader) -> T,
) -> T {
    let keymap = KeymapRows(keymap);
    let mut layers: Vec<&dyn RowReader> = vec![&keymap];
    layers.extend(runs.values().map(|run| &run.rows as &dyn RowReader));
    work(&Merged::new(overlay, layers))
}
