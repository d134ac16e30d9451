//! What must hold, besides right answers.

use super::cluster::Cluster;
use super::disk::Values;
use crate::runner::{Context, Violation};
use terrane_block_core::BlockSet;
use terrane_block_core::copy::{State, Update};
use terrane_block_core::promise::Register;

/// The log once all updates under way are durable.
fn log_to_be(state: &State<Values>) -> BlockSet {
    let mut log = state.durable.log.clone();
    for update in &state.volatile.persisting {
        match update {
            Update::Enter(extents) => log.extend(extents),
            Update::Retire { extents, .. } => log.subtract(extents),
            Update::Adopt(_) => {}
        }
    }
    log
}

impl Cluster {
    /// At most one copy may act, and a generation has one primary in one life.
    pub(super) fn judge(&mut self, _context: &mut Context) -> Result<(), Violation> {
        let mut acting = None;
        for (copy, machine) in self.copies.iter().enumerate() {
            if !machine.up || !machine.state.may_act() {
                continue;
            }
            if let Some(other) = acting.replace(copy) {
                return Err(Violation::new(format!("c{other} and c{copy} act at the same time")));
            }
            let generation = machine.state.adopted_generation().0;
            let ruler = (copy, machine.life);
            let known = *self.rulers.entry(generation).or_insert(ruler);
            if known != ruler {
                return Err(Violation::new(format!("g{generation} is ruled by {known:?} and by {ruler:?}")));
            }
        }
        let stopped = self.copies.iter().filter(|m| m.up && m.state.volatile.relinquished.is_some());
        stopped.map(|machine| &machine.state).try_for_each(|state| self.judge_relinquished(state))
    }

    /// Who has relinquished has left nothing to be compared.
    fn judge_relinquished(&self, primary: &State<Values>) -> Result<(), Violation> {
        let Some(record) = &primary.durable.record else { return Ok(()) };
        for (copy, member) in &record.now.in_sync {
            let machine = usize::try_from(copy.0).ok().and_then(|at| self.copies.get(at));
            let Some(state) = machine.map(|machine| &machine.state) else { continue };
            let same = state.volatile.incarnation == member.incarnation
                && state.adopted_generation() == record.generation;
            if same && !(log_to_be(state).is_empty() && state.volatile.applies.is_empty()) {
                return Err(Violation::new(format!(
                    "a hand-over leaves {copy:?} with a log that is not empty"
                )));
            }
        }
        Ok(())
    }

    /// After a FLUSH every in-sync copy has nothing older on stable media.
    pub(super) fn judge_flush(&self) -> Result<(), Violation> {
        for copy in self.record.now.in_sync.keys() {
            let Some(machine) = usize::try_from(copy.0).ok().and_then(|at| self.copies.get(at)) else {
                continue;
            };
            for (block, register) in (0u64..).zip(&self.app.registers) {
                let stable = machine.disk.stable(block);
                if !register.is_flushed(&stable) {
                    return Err(Violation::new(format!("{copy:?}: block {block} is {stable} after a FLUSH")));
                }
            }
        }
        Ok(())
    }

    /// Notes it if every copy that was in sync has lost unflushed data.
    pub(super) fn note_losses(&mut self, context: &mut Context) {
        let (_, active) = self.record.active_membership();
        let at = |copy: &terrane_block_core::CopyId| usize::try_from(copy.0).unwrap_or(usize::MAX);
        let in_sync: Vec<_> = active.in_sync.iter().map(|(copy, m)| (at(copy), m.incarnation)).collect();
        if in_sync.iter().all(|(copy, life)| self.copies[*copy].lost >= Some(*life)) {
            context.coverage.hit("block.lost_everywhere");
            for (copy, _) in in_sync {
                self.copies[copy].lost = None;
            }
            self.app.registers.iter_mut().for_each(Register::lost);
        }
    }

    /// All copies up, in sync and equal as far as they know; nothing asked and not answered.
    pub(super) fn is_healed(&self) -> bool {
        let record = &self.record;
        let together = record.active && !record.fencing && record.now.in_sync.len() == self.copies.len();
        let quiet = self.copies.iter().all(|machine| {
            let volatile = &machine.state.volatile;
            let ops = volatile.primary.as_ref().is_none_or(|primary| primary.ops.is_empty());
            machine.up && ops && volatile.applies.is_empty() && volatile.known.is_none()
        });
        let equal = self.copies.iter().all(|machine| {
            let syncs = machine.state.volatile.primary.iter().flat_map(|primary| primary.syncs.values());
            syncs.into_iter().all(|sync| sync.known && sync.left.is_empty())
        });
        let rules = self.copies.iter().any(|machine| machine.up && machine.state.may_act());
        together && quiet && equal && rules && self.app.is_idle() && !self.has_rot()
    }

    pub(super) fn judge_identical(&self) -> Result<(), Violation> {
        for block in 0..self.blocks {
            let all: Vec<_> = self.copies.iter().map(|machine| machine.disk.peek(block)).collect();
            if all.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(Violation::new(format!("block {block} differs between copies: {all:?}")));
            }
        }
        Ok(())
    }
}
