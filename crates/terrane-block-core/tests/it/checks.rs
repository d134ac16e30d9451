//! What must hold in every state, besides right answers.

use crate::configs::Config;
use crate::world::World;
use terrane_block_core::copy::{Grantor, State, Update};
use terrane_block_core::{BlockSet, CopyId, Extent};

impl World {
    /// A FLUSH was acknowledged: every in-sync copy has on stable media what is not older.
    pub(crate) fn judge_flush(&mut self) {
        for copy in self.record.now.in_sync.keys() {
            let machine = &self.copies[copy.0 as usize];
            for (block, register) in self.registers.iter().enumerate() {
                let stable = machine.disk.stable(block as u64);
                if !register.is_flushed(&stable) {
                    self.violation = Some(format!("{copy:?}: block {block} is {stable} after a FLUSH"));
                }
            }
        }
    }

    /// A copy is committed in sync: it has on stable media nothing older than the last FLUSH.
    pub(crate) fn judge_commit(&mut self, copy: CopyId) {
        for (block, register) in self.registers.iter().enumerate() {
            let stable = self.copies[copy.0 as usize].disk.stable(block as u64);
            if !register.is_flushed(&stable) && !self.declared {
                self.violation =
                    Some(format!("{copy:?} joined with block {block} {stable}, older than a FLUSH"));
            }
        }
    }

    /// Checks the state as it is.
    pub(crate) fn judge(&mut self, config: &Config) {
        if self.violation.is_some() {
            return;
        }
        let acting: Vec<usize> = (0..self.copies.len())
            .filter(|c| self.copies[*c].up && self.copies[*c].state.may_act())
            .collect();
        if acting.len() > 1 {
            self.violation = Some(format!("copies {acting:?} act at the same time"));
        }
        for primary in &acting {
            self.judge_read(config, *primary);
        }
        if let [primary] = acting[..] {
            self.judge_equal(primary);
        }
        if config.budget.hand_overs > 0 {
            self.judge_leases();
        }
        let stopped = (0..self.copies.len()).filter(|copy| self.copies[*copy].up);
        let stopped = stopped.filter(|copy| self.copies[*copy].state.volatile.relinquished.is_some());
        for copy in stopped.collect::<Vec<_>>() {
            self.judge_relinquished(copy);
        }
    }

    /// Who gave a lease that is held knows of it, or waits as if it did.
    fn judge_leases(&mut self) {
        for (holder, grantor) in
            (0..self.copies.len()).flat_map(|h| (0..self.copies.len()).map(move |g| (h, g)))
        {
            let volatile = &self.copies[grantor].state.volatile;
            let knows = !volatile.settled || volatile.granted.contains(&CopyId(holder as u64));
            let held = self.holds(holder, Grantor::Copy(CopyId(grantor as u64))).is_some();
            if held && self.copies[grantor].up && !knows {
                self.violation =
                    Some(format!("c{grantor} does not know of the lease that c{holder} has of it"));
            }
        }
    }

    /// Who has relinquished has left nothing to be compared.
    fn judge_relinquished(&mut self, primary: usize) {
        let Some(record) = &self.copies[primary].state.durable.record else { return };
        for (copy, member) in &record.now.in_sync {
            let state = &self.copies[copy.0 as usize].state;
            let same = state.volatile.incarnation == member.incarnation
                && state.adopted_generation() == record.generation;
            if same && !(log_to_be(state).is_empty() && state.volatile.applies.is_empty()) {
                self.violation =
                    Some(format!("c{primary} has relinquished, and the log of {copy:?} is not empty"));
            }
        }
    }

    /// A read that came now would get no wrong answer.
    fn judge_read(&mut self, config: &Config, primary: usize) {
        let machine = &self.copies[primary];
        let open = machine.state.volatile.primary.as_ref().and_then(|p| p.session).is_some_and(|s| s.open);
        for block in (0..config.blocks).filter(|_| open && !self.declared) {
            let value = machine.disk.read(block);
            if machine.state.would_read(&Extent::block(block))
                && let Err(broken) = self.registers[block as usize].clone().read(&value, 0)
            {
                self.violation = Some(format!("c{primary} would answer for block {block}: {broken}"));
            }
        }
    }

    /// What the acting primary believes to be equal is equal, as far as nothing is being written.
    fn judge_equal(&mut self, primary: usize) {
        let ruling = &self.copies[primary];
        let Some(record) = &ruling.state.durable.record else { return };
        if record.generation != self.record.generation || !self.record.active || is_busy(&ruling.state) {
            return;
        }
        let Some(role) = &ruling.state.volatile.primary else { return };
        for (copy, member) in &record.now.in_sync {
            let mirror = &self.copies[copy.0 as usize];
            let lives = mirror.up && mirror.state.volatile.incarnation == member.incarnation;
            let Some(sync) = role.syncs.get(copy) else { continue };
            // What the mirror was told and has not answered may be on its way.
            let told = role.links.get(copy).is_some_and(|link| !link.unanswered.is_empty());
            if !lives || !sync.known || told || is_busy(&mirror.state) {
                continue;
            }
            for block in (0..self.registers.len() as u64).filter(|block| !sync.left.contains(*block)) {
                let (ours, theirs) = (ruling.disk.read(block), mirror.disk.read(block));
                if ours != theirs {
                    self.violation = Some(format!(
                        "block {block} is {ours} on c{primary} and {theirs} on {copy:?} in sync"
                    ));
                }
            }
        }
    }

    /// Notes it if every copy that was in sync has lost unflushed data.
    pub(crate) fn note_losses(&mut self) {
        let in_sync = self.in_sync();
        if in_sync.iter().all(|(copy, life)| self.copies[*copy].lost >= Some(*life)) {
            for copy in in_sync.into_keys() {
                self.edit(copy, |machine| machine.lost = None);
            }
            self.registers.iter_mut().for_each(terrane_block_core::promise::Register::lost);
        }
    }
}

/// The log once all updates under way are durable.
fn log_to_be(state: &State<u8>) -> BlockSet {
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

fn is_busy(state: &State<u8>) -> bool {
    let volatile = &state.volatile;
    !volatile.applies.is_empty() || volatile.primary.as_ref().is_some_and(|p| !p.ops.is_empty())
}
