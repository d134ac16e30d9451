//! Which entries leave memory for a run: the oldest, or those of the class that holds most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Shard;
use crate::class::{Class, ClassName};
use crate::ids::Lsn;
use crate::rows::RowId;
use crate::run::RunEntry;

/// Classes whose entries may be spilled: those that nobody waits for.
const SPILLED: [ClassName; 3] = [ClassName::Delay, ClassName::Low, ClassName::High];

impl Shard {
    /// Up to which LSN delayed entries are applied before their time, because of memory, disk or replay bounds.
    pub(super) fn find_pressure(&mut self) {
        let memory = self.pending.bytes() > self.config.pending_bytes_soft / 4 * 3;
        self.early_upto = if memory || self.disk_low {
            self.visible
        } else if self.replay_bytes() > self.config.replay_bytes_max / 4 * 3 {
            self.sync.lsn_before_last(self.config.replay_bytes_max / 2)
        } else {
            Lsn::ZERO
        };
    }

    /// Starts a run if memory or the bytes to replay are beyond their bounds.
    pub(super) fn spill(&mut self) {
        let over_memory = self.pending.bytes() > self.config.pending_bytes_soft;
        let over_replay = self.replay_bytes() > self.config.replay_bytes_max;
        let possible = !self.runs.writing() && self.runs.len() < self.config.runs_max;
        if !possible || !(over_memory || over_replay) || self.runs.held(self.now) {
            return;
        }
        let class = if over_memory {
            SPILLED.into_iter().max_by_key(|class| self.pending.class_bytes(*class))
        } else {
            let mut oldest =
                self.pending.iter().filter(|(_, op)| !op.spilling).map(|(_, op)| op.class.name());
            oldest.find(|class| SPILLED.contains(class))
        };
        let Some(class) = class else { return };
        let ops = self.spill_candidates(class);
        // A handful is better applied early than spread over many small runs.
        let few = ops.len() < self.config.run_entries_max / 64;
        if ops.is_empty() || (few && !over_memory && !self.paused[class.index()]) {
            return;
        }
        let entries = self.run_entries(&ops);
        self.write_run(class, ops.into_iter().collect(), entries);
    }

    fn spill_candidates(&self, class: ClassName) -> BTreeSet<Lsn> {
        let mut chosen = BTreeSet::new();
        for (lsn, op) in self.pending.iter() {
            if chosen.len() >= self.config.run_entries_max {
                break;
            }
            if op.class.name() == class && !chosen.contains(&lsn) {
                self.add_with_kin(lsn, &mut chosen);
            }
        }
        chosen
    }

    /// Adds a write together with all that share rows with it; or none of them, if one cannot leave now.
    fn add_with_kin(&self, lsn: Lsn, chosen: &mut BTreeSet<Lsn>) {
        let mut kin = BTreeSet::new();
        let mut open = vec![lsn];
        while let Some(lsn) = open.pop() {
            if chosen.contains(&lsn) || !kin.insert(lsn) {
                continue;
            }
            let Some(op) = self.pending.get(lsn) else { return };
            let outstanding = self.slots.states[op.slot.index()].outstanding;
            let touched = outstanding.and_then(|id| self.batches.get(&id)).is_some_and(|b| b.touches(lsn));
            if touched || op.spilling || matches!(op.class, Class::Sync | Class::Move) || op.done > 0 {
                return;
            }
            for (row, _) in op.rows() {
                open.extend(self.pending.writes_of(row));
            }
        }
        chosen.extend(kin);
    }

    fn run_entries(&self, ops: &BTreeSet<Lsn>) -> Vec<RunEntry> {
        let mut entries: BTreeMap<RowId, RunEntry> = BTreeMap::new();
        for lsn in ops {
            let Some(op) = self.pending.get(*lsn) else { continue };
            for (index, (row, own)) in op.rows().iter().enumerate() {
                let head = self.pending.overlay.get(row).unwrap_or(own);
                let entry = entries.entry(row.clone()).or_insert_with(|| RunEntry {
                    row: row.clone(),
                    head: Arc::clone(head),
                    completions: Vec::new(),
                });
                if index == 0
                    && let Some(mut completion) = op.completion(*lsn)
                {
                    completion.superseded = head.guard != own.guard;
                    entry.completions.push(completion);
                }
            }
        }
        entries.into_values().collect()
    }
}
