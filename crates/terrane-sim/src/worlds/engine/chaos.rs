//! What happens to the machine, and what must be true afterwards.

use super::machine::{BLOCKS, GROUP, Machine, Slot, kinds};
use super::model::Value;
use crate::disk::{DiskFaults, Loss};
use crate::runner::{Context, Violation};
use terrane_block::engine::{BLOCK, EngineError, Geometry, Kind, Pool};

impl Machine {
    /// Something will go wrong, or right again.
    pub(super) fn chaos(&mut self, context: &mut Context) -> Result<(), Violation> {
        match context.rng.weighted(&[3, 2, 3, 3]) {
            0 => self.calm(),
            1 => {
                let odds = |wanted, allowed: bool| if allowed { wanted } else { 0 };
                let n = 4 + context.rng.below(30) as u32;
                let faults = [
                    DiskFaults { sync_fails: odds(n, self.plan.allows("sync")), ..DiskFaults::default() },
                    DiskFaults { write_fails: odds(n, self.plan.allows("write")), ..DiskFaults::default() },
                    DiskFaults { overwrite_full: odds(n, self.plan.allows("full")), ..DiskFaults::default() },
                ];
                let faults = *context.rng.pick(&faults);
                self.full = faults.overwrite_full > 0;
                self.disk.set_faults(faults);
            }
            2 if self.plan.allows("power") => self.disk.power_off_after(context.rng.range(1..20)),
            3 if self.plan.allows("kill") => self.kill.after(context.rng.range(1..12)),
            _ => {}
        }
        Ok(())
    }

    fn calm(&mut self) {
        self.disk.set_faults(DiskFaults::default());
        self.full = false;
    }

    /// The process or the machine goes down and comes back.
    pub(super) fn restart(&mut self, context: &mut Context) -> Result<(), Violation> {
        let killed = self.kill.is_dead();
        let losses = [Loss::Nothing, Loss::Everything, Loss::AnySector, Loss::Tail];
        let mut loss = losses[context.rng.weighted(&[3, 1, 3, 1])];
        if killed {
            context.coverage.hit("engine.killed");
            loss = Loss::Nothing;
        }
        let settling = |slot: &Slot| {
            let failure = slot.copy.as_ref().and_then(|copy| copy.failure());
            matches!(failure, Some(EngineError::Failed { doing: "settle a table entry", .. }))
        };
        // A change that failed in its middle, of blocks that nobody has asked to change: lost as by a power failure.
        let torn = self.disk.is_off() || self.slots.iter().any(settling);
        if self.cache_lies || (torn && !killed && loss == Loss::Nothing) {
            // The engine asks the host to forget what it believes clean, which is what a power failure does here.
            loss = Loss::AnySector;
        }
        self.calm();
        self.kill.disarm();
        self.slots.iter_mut().for_each(|slot| slot.copy = None);
        self.pool = None;
        self.disk.crash(loss);
        let mut power_failed = loss != Loss::Nothing;
        self.cache_lies = false;
        context.trace.note(format_args!("  restart after {loss:?}"));
        if self.plan.allows("power") && context.rng.one_in(6) {
            self.disk.power_off_after(context.rng.range(1..12));
            let opened = Pool::open(self.media(), self.config.clone());
            if self.disk.is_off() {
                context.coverage.hit("engine.crash_in_open");
            }
            drop(opened);
            let loss = losses[1 + context.rng.below(3)];
            self.disk.crash(loss);
            power_failed |= loss != Loss::Nothing;
        }
        self.open(context)?;
        self.compare(context, power_failed)
    }

    /// Opens the pool, which must work.
    pub(super) fn open(&mut self, context: &mut Context) -> Result<(), Violation> {
        let opened = Pool::open(self.media(), self.config.clone());
        let (pool, report) = opened.map_err(|e| Violation::new(format!("the pool does not open: {e}")))?;
        context.trace.note(format_args!("  {report:?}"));
        for slot in &mut self.slots {
            let states = pool.states();
            let Some(state) = states.get(&slot.key) else {
                if slot.model.is_some() && !slot.unsure {
                    return Err(Violation::new(format!("copy {} is gone", slot.key)));
                }
                slot.model = None;
                continue;
            };
            let Some(model) = &mut slot.model else {
                return Err(Violation::new(format!("copy {} is back", slot.key)));
            };
            slot.unsure = false;
            model.take_state(state).map_err(Violation::new)?;
            let copy = pool.open_copy(slot.key);
            let copy = copy.map_err(|e| Violation::new(format!("copy {} does not open: {e}", slot.key)))?;
            slot.copy = Some(copy);
        }
        self.pool = Some(pool);
        for index in 0..self.slots.len() {
            if self.slots[index].model.is_none() {
                self.create(context, index)?;
            }
        }
        Ok(())
    }

    /// Reads everything.
    fn compare(&mut self, context: &mut Context, power_failed: bool) -> Result<(), Violation> {
        let coverage = context.coverage.clone();
        for index in 0..self.slots.len() {
            self.check(index, 0, BLOCKS, |block, found| {
                if !power_failed {
                    return block.see(found);
                }
                let (now, touched) = (block.now, block.may_be.len() > 1);
                if touched {
                    coverage.hit(match found {
                        Value::Lost => "engine.lost_after_power_failure",
                        found if found == now => "engine.new_content_after_power_failure",
                        _ => "engine.old_content_after_power_failure",
                    });
                }
                block.see_after_power_failure(found)
            })?;
            // Settling may have rewritten table entries of what is in the log.
            if let Some(model) = &mut self.slots[index].model {
                for (at, block) in (0..).zip(&mut model.blocks) {
                    block.fragile |= model.log.contains(&(at / GROUP));
                }
            }
        }
        self.compare_usage()
    }

    fn compare_usage(&self) -> Result<(), Violation> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let models = || self.slots.iter().filter_map(|slot| slot.model.as_ref());
        let blocks = models().flat_map(|model| &model.blocks);
        let data = blocks.filter(|block| matches!(block.now, Value::Data(_))).count() as u64;
        let counted = pool.usage().map_err(Violation::new)?.data_bytes / BLOCK as u64;
        if counted != data {
            return Err(Violation::new(format!("{data} blocks have data, the pool counts {counted}")));
        }
        Ok(())
    }

    /// A bit of a block, or of its table entry, rots: that must be noticed. Then it is as it was.
    pub(super) fn rot(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let at = context.rng.range(0..BLOCKS);
        let in_table = context.rng.one_in(2);
        let slot = &self.slots[index];
        let (Some(copy), Some(model)) = (&slot.copy, &slot.model) else { return Ok(()) };
        let block = &model.blocks[at as usize];
        let is_data = matches!(block.now, Value::Data(_)) && !block.unknown;
        // Tables of extents in the log are in memory.
        if !self.plan.allows("rot") || !is_data || (in_table && model.log_may.contains(&(at / GROUP))) {
            return Ok(());
        }
        let shape = Geometry { group_blocks: GROUP as u32 };
        let (group, inside) = (at / GROUP, (at % GROUP) as usize);
        let range = if in_table {
            shape.entry_at(group, inside)..shape.entry_at(group, inside) + 16
        } else {
            shape.data_at(group, inside)..shape.data_at(group, inside) + BLOCK as u64
        };
        let name = format!("{}.copy", slot.key);
        let Some(rot) = self.disk.rot(&name, range) else { return Ok(()) };
        let mut bytes = vec![0; BLOCK];
        let found = copy.read(at, &mut bytes).map(|contents| kinds(&contents, 1));
        self.disk.heal(&name, rot);
        match found {
            Ok(found) if found == [Kind::Corrupt] && bytes.iter().all(|byte| *byte == 0) => {
                let counter = if in_table { "engine.rot_of_table_found" } else { "engine.rot_of_data_found" };
                context.coverage.hit(counter);
                Ok(())
            }
            other => Err(Violation::new(format!("rot of block {at} (table: {in_table}) is {other:?}"))),
        }
    }
}
