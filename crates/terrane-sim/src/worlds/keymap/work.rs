//! What workers and the driver's helpers do: batches reach the keymap, syncs end, runs are written and read.

use std::time::Duration;

use terrane_keymap::keymap::PlanError;
use terrane_keymap::run::RunEntry;
use terrane_keymap::{Batch, Input, RowId, RunId};

use super::history::{Event, History};
use super::machine::commit;
use crate::runner::Violation;

impl History<'_> {
    /// A batch reaches the keymap: of a worker in good standing, or of one that was given up long ago.
    pub(super) fn commit(&mut self, batch: Box<Batch>) -> Result<(), Violation> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let zombie = !machine.workers.contains(&batch.worker);
        let boot = self.boot;
        if zombie && self.context.rng.one_in(2) && !self.healing {
            self.queue.within(Duration::from_millis(3_000), Event::Commit { boot, batch });
            return Ok(());
        }
        let id = batch.id;
        if self.broken.commits && self.context.rng.one_in(3) {
            return self.feed(Input::BatchFailed { batch: id });
        }
        let committed = commit(&mut self.disks.keymap, &machine.reader, &batch);
        self.context.coverage.hit(match (&committed, zombie) {
            (Ok(_), false) => "keymap.batch_committed",
            (Ok(_), true) => "keymap.zombie_committed",
            (Err(_), true) => "keymap.zombie_fenced",
            (Err(_), false) => "keymap.batch_refused",
        });
        match committed {
            Ok(unpurged) => self.feed(Input::BatchApplied { batch: id, unpurged }),
            Err(PlanError::Fenced { .. }) => self.feed(Input::BatchFailed { batch: id }),
            Err(error) => Err(Violation(format!("a batch cannot be planned: {error}"))),
        }
    }

    pub(super) fn sync_done(&mut self, token: u64, upto: u64) -> Result<(), Violation> {
        if self.broken.syncs && self.context.rng.one_in(2) {
            self.context.coverage.hit("keymap.sync_failed");
            return self.feed(Input::KeymapSyncFailed { token });
        }
        self.disks.keymap.end_sync(upto);
        self.context.coverage.hit("keymap.synced");
        self.feed(Input::KeymapSynced { token })
    }

    pub(super) fn spill_done(&mut self, run: RunId) -> Result<(), Violation> {
        let Some((entries, mutations)) = self.spills.remove(&run) else { return Ok(()) };
        if self.broken.runs && self.context.rng.one_in(2) {
            self.context.coverage.hit("keymap.spill_failed");
            return self.feed(Input::SpillFailed { run });
        }
        self.disks.runs.insert(run, super::engine::RunFile::new(entries));
        self.disks.keymap.commit(mutations);
        self.context.coverage.hit("keymap.spilled");
        self.feed(Input::SpillDone { run })
    }

    pub(super) fn load_done(
        &mut self,
        run: RunId,
        after: Option<RowId>,
        max: usize,
    ) -> Result<(), Violation> {
        if self.broken.runs && self.context.rng.one_in(2) {
            return self.feed(Input::RunLoadFailed { run });
        }
        let Some(file) = self.disks.runs.get(&run) else {
            return Err(Violation(format!("{run:?} is to be applied and was deleted")));
        };
        let rest = file.entries.iter().filter(|entry| after.as_ref().is_none_or(|after| entry.row > *after));
        let entries: Vec<RunEntry> = rest.take(max).cloned().collect();
        let end = entries.len() < max;
        self.feed(Input::RunChunk { run, entries, end })
    }
}
