//! Keymap workers: who owns which slots, with which epoch, and how many there should be.

use std::collections::BTreeMap;

use super::Shard;
use crate::class::ClassName;
use crate::events::Output;
use crate::ids::{BatchId, Epoch, SLOTS, Timestamp, WorkerId};

/// One worker.
pub(super) struct Worker {
    pub(super) busy: Option<BatchId>,
    pub(super) retiring: bool,
    /// No batch before this time (after a failure).
    pub(super) not_before: Timestamp,
}

/// All workers.
pub(super) struct Workers {
    pub(super) all: BTreeMap<WorkerId, Worker>,
    pub(super) target: usize,
    /// Since when fewer would do.
    fewer_since: Option<Timestamp>,
    epochs: u64,
    epoch_base: u64,
    stale_ownership: bool,
}

impl Workers {
    pub(super) fn new(start: u32) -> Self {
        Self {
            all: BTreeMap::new(),
            target: 0,
            fewer_since: None,
            epochs: 0,
            epoch_base: u64::from(start) << 40,
            stale_ownership: true,
        }
    }

    /// A fencing token greater than all before, also than those of earlier starts.
    pub(super) fn fresh_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch(self.epoch_base + self.epochs)
    }

    fn active(&self) -> Vec<WorkerId> {
        self.all.iter().filter(|(_, worker)| !worker.retiring).map(|(id, _)| *id).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.all.values().filter(|worker| !worker.retiring).count()
    }
}

impl Shard {
    pub(super) fn worker_ready(&mut self, worker: WorkerId) {
        let fresh = Worker { busy: None, retiring: false, not_before: Timestamp(0) };
        self.workers.all.entry(worker).or_insert(fresh);
        self.workers.stale_ownership = true;
    }

    /// The worker is given up: its batch is handed out again with a later epoch.
    pub(super) fn worker_lost(&mut self, worker: WorkerId) {
        let Some(gone) = self.workers.all.remove(&worker) else { return };
        self.counters.workers_lost += 1;
        if let Some(batch) = gone.busy {
            self.forget_batch(batch, true);
        }
        for slot in &mut self.slots.states {
            if slot.owner == Some(worker) {
                slot.owner = None;
            }
        }
        self.workers.stale_ownership = true;
    }

    /// Cuts the slots into as many contiguous ranges as there are workers. A slot whose batch is out moves later.
    pub(super) fn rebalance(&mut self) {
        if !self.workers.stale_ownership {
            return;
        }
        let active = self.workers.active();
        let mut stale = false;
        for index in 0..SLOTS {
            let owner = active.get(index * active.len() / SLOTS).copied();
            let slot = &mut self.slots.states[index];
            if slot.owner == owner {
                continue;
            }
            if slot.outstanding.is_some() {
                stale = true;
                continue;
            }
            slot.owner = owner;
            slot.epoch = self.workers.fresh_epoch();
            self.counters.slots_moved += 1;
        }
        self.workers.stale_ownership = stale;
    }

    /// Compares the work that is due with the workers.
    pub(super) fn scale(&mut self) {
        let depth = |name: ClassName| if self.paused[name.index()] { 0 } else { self.pending.depth(name) };
        let delayed = if self.early_upto > self.pending.first().map_or(self.visible, |(lsn, _)| lsn) {
            depth(ClassName::Delay)
        } else {
            0
        };
        // Somebody waits for synchronous entries, and high ones matter more than low ones.
        let weighted = 4 * depth(ClassName::Sync)
            + 2 * depth(ClassName::High)
            + depth(ClassName::Low)
            + depth(ClassName::Move)
            + delayed;
        let by_depth = weighted.div_ceil(self.config.worker_depth.max(1));
        let oldest = [ClassName::Sync, ClassName::High, ClassName::Low]
            .into_iter()
            .filter(|name| depth(*name) > 0)
            .filter_map(|name| self.slots.oldest(name, &self.pending))
            .min();
        let late = oldest.is_some_and(|oldest| self.now.since_ms(oldest) > self.config.worker_age_ms);
        let by_age = if late { self.workers.target as u64 + 1 } else { 0 };
        let want = usize::try_from(by_depth.max(by_age)).unwrap_or(usize::MAX);
        self.move_target(want.clamp(self.config.workers_min, self.config.workers_max));
        self.retire_surplus();
    }

    fn move_target(&mut self, want: usize) {
        let target = self.workers.target;
        if want > target {
            self.workers.target = want;
            self.workers.fewer_since = None;
            self.counters.scaled_up += 1;
            self.out.push_back(Output::Workers { target: want });
        } else if want == target {
            self.workers.fewer_since = None;
        } else {
            let since = *self.workers.fewer_since.get_or_insert(self.now);
            if self.now.since_ms(since) >= self.config.worker_idle_ms {
                self.workers.target = target - 1;
                self.workers.fewer_since = Some(self.now);
                self.counters.scaled_down += 1;
                self.out.push_back(Output::Workers { target: target - 1 });
            }
        }
    }

    /// Marks surplus workers; they are let go once they hold no batch.
    fn retire_surplus(&mut self) {
        let active = self.workers.active();
        for id in active.iter().skip(self.workers.target) {
            if let Some(worker) = self.workers.all.get_mut(id) {
                worker.retiring = true;
                self.workers.stale_ownership = true;
            }
        }
        let gone: Vec<WorkerId> = self
            .workers
            .all
            .iter()
            .filter(|(_, w)| w.retiring && w.busy.is_none())
            .map(|(id, _)| *id)
            .collect();
        for worker in gone {
            self.workers.all.remove(&worker);
            self.out.push_back(Output::Retire { worker });
        }
    }
}
