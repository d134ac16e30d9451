//! What goes into the next batch: classes by urgency and weight, slots in turn.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;
use super::runs::RunWork;
use crate::class::{Class, ClassName};
use crate::ids::{Lsn, Slot, Timestamp};

/// What is picked for one batch.
#[derive(Default)]
pub(super) struct Picks {
    pub(super) ops: BTreeMap<Slot, Vec<Lsn>>,
    pub(super) run_work: Vec<(Slot, RunWork)>,
    pub(super) purges: BTreeSet<Slot>,
    pub(super) count: usize,
}

impl Shard {
    pub(super) fn pick(&mut self, slots: &[Slot]) -> Picks {
        let mut picks = Picks::default();
        if slots.is_empty() {
            return picks;
        }
        let most = self.config.batch_entries_max.max(1);
        // Another slot is served first each time.
        self.rotation = self.rotation.wrapping_add(1);
        let turn = self.rotation % slots.len();
        let slots: Vec<Slot> = slots[turn..].iter().chain(&slots[..turn]).copied().collect();
        self.pick_class(ClassName::Sync, most, &slots, &mut picks);
        let rest = |picks: &Picks| most.saturating_sub(picks.count);
        self.pick_class(ClassName::Move, rest(&picks).div_ceil(4), &slots, &mut picks);
        self.pick_run_work(rest(&picks).div_ceil(2), &slots, &mut picks);
        // Delayed entries that are due come before those that merely wait.
        self.pick_class(ClassName::Delay, rest(&picks).div_ceil(2), &slots, &mut picks);
        let (high, low) = self.config.high_to_low;
        let share = rest(&picks) * high as usize / (high + low).max(1) as usize;
        self.pick_class(ClassName::High, share.max(1), &slots, &mut picks);
        self.pick_class(ClassName::Low, rest(&picks), &slots, &mut picks);
        self.pick_class(ClassName::High, rest(&picks), &slots, &mut picks);
        self.pick_class(ClassName::Delay, rest(&picks), &slots, &mut picks);
        self.pick_purges(&slots, &mut picks);
        picks
    }

    fn pick_class(&mut self, name: ClassName, quota: usize, slots: &[Slot], picks: &mut Picks) {
        if quota == 0 || self.pending.depth(name) == 0 {
            return;
        }
        let per_slot = quota.div_ceil(slots.len());
        let mut left = quota;
        // A first round in equal shares, a second for what some slots did not use.
        for share in [per_slot, quota] {
            for slot in slots {
                let chosen = picks.ops.get(slot).map_or(&[][..], |ops| ops);
                let taken = self.eligible(*slot, name, share.min(left), chosen);
                left -= taken.len();
                picks.count += taken.len();
                if !taken.is_empty() {
                    picks.ops.entry(*slot).or_default().extend(taken);
                }
                if left == 0 {
                    return;
                }
            }
        }
    }

    /// The first entries of a slot's class that may be applied now.
    fn eligible(&self, slot: Slot, name: ClassName, most: usize, chosen: &[Lsn]) -> Vec<Lsn> {
        let state = &self.slots.states[slot.index()];
        let mut taken = Vec::new();
        for (class, queue) in state.queues(name) {
            for lsn in queue {
                if taken.len() == most {
                    return taken;
                }
                let Some(op) = self.pending.get(*lsn) else { continue };
                if !self.may_apply(class, *lsn, op.due()) {
                    break;
                }
                if op.spilling || chosen.contains(lsn) {
                    continue;
                }
                taken.push(*lsn);
            }
        }
        taken
    }

    /// Whether an entry may be applied now: not paused, and if delayed, nearly due or wanted early.
    fn may_apply(&self, class: Class, lsn: Lsn, due: Option<Timestamp>) -> bool {
        if self.drained_upto(class.name()) >= lsn {
            return true;
        }
        if self.paused[class.name().index()] && class.name() != ClassName::Sync {
            return false;
        }
        due.is_none_or(|due| lsn <= self.early_upto || self.is_nearly_due(class, due))
    }

    pub(super) fn is_nearly_due(&self, class: Class, due: Timestamp) -> bool {
        let lead = self.config.due_lead_ms
            + class.delay_ms().unwrap_or(0).saturating_mul(self.config.due_lead_percent) / 100;
        self.now.plus_ms(lead) >= due
    }

    fn pick_run_work(&mut self, quota: usize, slots: &[Slot], picks: &mut Picks) {
        let mut left = quota;
        for slot in slots {
            while left > 0
                && let Some(work) = self.slots.get_mut(*slot).run_work.pop_front()
            {
                picks.run_work.push((*slot, work));
                picks.count += 1;
                left -= 1;
            }
        }
    }

    /// Slots with tombstones to purge come along, or alone if there is nothing else to do; those whose former owner is
    /// to be shut out come in any case.
    fn pick_purges(&mut self, slots: &[Slot], picks: &mut Picks) {
        let alone = picks.count == 0;
        for slot in slots {
            let state = &self.slots.states[slot.index()];
            let purge = state.purge_wanted && (alone || picks.ops.contains_key(slot));
            if purge || state.fence_wanted {
                picks.purges.insert(*slot);
                picks.count += 1;
            }
        }
    }

    /// Tombstones from here on are kept for the sake of spill runs.
    pub(super) fn purge_limit(&self) -> Lsn {
        self.runs.lsn_min().map_or(Lsn(u64::MAX - 1), Lsn::prev)
    }
}
