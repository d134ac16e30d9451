//! Keymap workers: threads that commit batches.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard};
use terrane_keymap::head::RowHead;
use terrane_keymap::keymap::{Keyspace, Mutation, PlanError, Planned, plan};
use terrane_keymap::reader::ReadError;
use terrane_keymap::{Batch, Extent, Input, SLOTS, Slot};
use terrane_log::LogReader;
use terrane_view::ViewError;

use super::Event;
use super::trouble::Trouble;
use crate::collect::Dirty;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::records;

/// What all workers share.
pub(super) struct WorkerContext {
    pub(super) engine: Engine,
    pub(super) log: LogReader,
    pub(super) events: Sender<Event>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dirty: Arc<Dirty>,
    trouble: Trouble,
    /// One per slot, so that planning and committing are one step even against a worker that was given up.
    pub(super) slots: Vec<Mutex<()>>,
}

impl WorkerContext {
    pub(super) fn new(
        engine: Engine,
        log: LogReader,
        events: Sender<Event>,
        metrics: Arc<Metrics>,
        dirty: Arc<Dirty>,
    ) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::new(())).collect();
        let trouble = Trouble::new("applying a batch to the keymap");
        Self { engine, log, events, metrics, dirty, trouble, slots }
    }

    /// Commits batches until the channel is closed.
    pub(super) fn run(&self, batches: &Receiver<Batch>) {
        for batch in batches {
            let (id, began, rows) = (batch.id, Instant::now(), batch.rows.len());
            let input = match self.commit(&batch) {
                Ok(unpurged) => {
                    self.metrics.batch_applied(began.elapsed(), rows);
                    self.trouble.works();
                    Input::BatchApplied { batch: id, unpurged }
                }
                Err(BatchError::Commit(error)) if !error.is_transient() => keymap_failed(&error),
                Err(why) => {
                    self.trouble.failed(&why);
                    Input::BatchFailed { batch: id }
                }
            };
            if self.events.send(Event::Core(input)).is_err() {
                return;
            }
        }
    }

    /// Gives the slots that have more to purge.
    fn commit(&self, batch: &Batch) -> Result<Vec<Slot>, BatchError> {
        let _slots = self.lock_slots(batch);
        let planned = planned(&self.engine, &self.log, batch)?;
        self.mark_dirty(&planned.mutations);
        self.engine.commit(planned.mutations)?;
        Ok(planned.unpurged)
    }

    fn lock_slots(&self, batch: &Batch) -> Vec<MutexGuard<'_, ()>> {
        let mut slots: Vec<usize> = batch.slots.iter().map(|part| part.slot.index()).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter_map(|slot| self.slots.get(slot)).map(|slot| slot.lock()).collect()
    }

    /// Data segments whose referrers change are worth another look of the collector.
    fn mark_dirty(&self, mutations: &[Mutation]) {
        let keys = mutations.iter().filter(|m| m.keyspace == Keyspace::Referrers).map(|m| &m.key);
        self.dirty.mark(keys.filter_map(|key| key.first_chunk::<8>()).map(|id| u64::from_be_bytes(*id)));
    }
}

/// The keymap's files are in an unknown state until they are opened anew: nothing more is acknowledged that could
/// never be applied.
pub(super) fn keymap_failed(error: &ViewError) -> Input {
    tracing::error!(%error, "the keymap has failed");
    Input::LogFailed { why: format!("the keymap has failed: {error}").into() }
}

fn planned(engine: &Engine, log: &LogReader, batch: &Batch) -> Result<Planned, PlanError> {
    plan(batch, &engine.snapshot(), &mut |head| extents_of(log, head))
}

/// Commits a batch while nobody else commits any.
pub(crate) fn commit(engine: &Engine, log: &LogReader, batch: &Batch) -> Result<(), BatchError> {
    Ok(engine.commit(planned(engine, log, batch)?.mutations)?)
}

/// Why a batch left no trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Commit(#[from] ViewError),
}

/// The extents of a row, from its record.
pub(crate) fn extents_of(log: &LogReader, head: &RowHead) -> Result<Vec<Extent>, ReadError> {
    let (state, _) = records::read_state(log, head).map_err(|e| ReadError::Storage(e.to_string().into()))?;
    Ok(records::payload_of(&state).map(|payload| payload.data.extents().to_vec()).unwrap_or_default())
}
