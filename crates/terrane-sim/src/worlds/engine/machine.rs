//! The machine with the pool, and what its users do.

use super::media::{Kill, SimMedia};
use super::model::{Model, Outcome, Value, fill, value};
use crate::disk::SimDisk;
use crate::runner::{Context, Plan, Violation};
use std::sync::Arc;
use terrane_block::engine::bugs::Bugs;
use terrane_block::engine::{
    BLOCK, Contents, Copy, CopyKey, Declared, Drive, EngineError, Geometry, Kind, Op, Pool, PoolConfig,
};
use terrane_log::Preallocate;

/// Blocks of a group, and of a copy.
pub(super) const GROUP: u64 = 8;
pub(super) const BLOCKS: u64 = 24;
/// Copies.
const COPIES: usize = 2;
/// Room for everything.
const AMPLE: u64 = 16 << 20;

pub(super) struct Machine {
    pub(super) disk: SimDisk,
    pub(super) kill: Kill,
    pub(super) config: PoolConfig,
    pub(super) plan: Plan,
    pub(super) pool: Option<Pool>,
    pub(super) slots: Vec<Slot>,
    /// A sync of a copy failed: its file reads better than it is.
    pub(super) cache_lies: bool,
    /// Writes to taken room may find the disk full.
    pub(super) full: bool,
    serial: u64,
}

/// A place for a copy.
pub(super) struct Slot {
    pub(super) key: CopyKey,
    pub(super) copy: Option<Arc<Copy>>,
    /// What it must be, if it may be there.
    pub(super) model: Option<Model>,
    /// Nobody knows whether it is there.
    pub(super) unsure: bool,
}

impl Machine {
    pub(super) fn new(plan: &Plan, context: &mut Context) -> Result<Self, Violation> {
        let disk = SimDisk::new(&mut context.rng, AMPLE, context.coverage.clone());
        let slot = |number| Slot { key: CopyKey(number), copy: None, model: None, unsure: false };
        let mut machine = Self {
            disk,
            kill: Kill::never(),
            config: config(plan, context.rng.u64()),
            plan: plan.clone(),
            pool: None,
            slots: (1..=COPIES as u128).map(slot).collect(),
            cache_lies: false,
            full: false,
            serial: 0,
        };
        machine.open(context)?;
        Ok(machine)
    }

    /// Somebody does something.
    pub(super) fn turn(&mut self, context: &mut Context) -> Result<(), Violation> {
        let index = context.rng.below(COPIES);
        let what = context.rng.weighted(&[40, 10, 18, 12, 10, 6, 36, 1, 2, 1, 4]);
        context.trace.note(format_args!("{what} of {index}"));
        match what {
            0 => self.write(context, index)?,
            1 => self.trim(context, index)?,
            2 => self.flush(context, index)?,
            3 => self.enter(context, index)?,
            4 => self.retire(context, index)?,
            5 => self.note(context, index)?,
            6 => self.look(context, index)?,
            7 => self.delete(context, index)?,
            8 => return self.chaos(context),
            9 => return self.restart(context),
            _ => return self.rot(context, index),
        }
        let dead = self.disk.is_off() || self.kill.is_dead();
        let failed = self.slots.iter().any(|slot| slot.copy.as_ref().is_some_and(|c| c.failure().is_some()));
        if failed && !dead {
            context.coverage.hit("engine.copy_failed");
        }
        if dead || failed || self.pool.is_none() { self.restart(context) } else { Ok(()) }
    }

    fn blocks(&self, context: &mut Context) -> (u64, u64) {
        let first = context.rng.range(0..BLOCKS);
        let most = if context.rng.one_in(4) { 6 } else { 1 };
        (first, context.rng.range(1..most + 1).min(BLOCKS - first))
    }

    fn write(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let (first, blocks) = self.blocks(context);
        let values: Vec<Value> = (0..blocks).map(|_| self.next()).collect();
        let bytes = values.iter().map(|value| fill(*value)).collect::<Vec<_>>().concat();
        self.change(context, index, first, &values, |copy| copy.write(first, &bytes))?;
        context.coverage.hit("engine.written");
        Ok(())
    }

    fn trim(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let (first, blocks) = self.blocks(context);
        let values = vec![Value::Zero; blocks as usize];
        self.change(context, index, first, &values, |copy| copy.zero(first, blocks))?;
        context.coverage.hit("engine.trimmed");
        Ok(())
    }

    fn next(&mut self) -> Value {
        self.serial += 1;
        Value::Data(self.serial)
    }

    fn change(
        &mut self,
        context: &mut Context,
        index: usize,
        first: u64,
        values: &[Value],
        work: impl FnOnce(&Copy) -> Result<(), EngineError>,
    ) -> Result<(), Violation> {
        let slot = &mut self.slots[index];
        let (Some(copy), Some(model)) = (&slot.copy, &mut slot.model) else { return Ok(()) };
        let result = work(copy);
        context.trace.note(format_args!("  {first}: {values:?} {result:?}"));
        let outcome = match &result {
            Ok(()) => Outcome::Done,
            Err(EngineError::NotLogged { .. }) => {
                let logged = (first..).zip(values).all(|(at, _)| model.log.contains(&(at / GROUP)));
                // Those before the extent that is not logged may have been written.
                if logged {
                    return Err(Violation::new("a logged extent is taken for one that is not"));
                }
                Outcome::Unknown { torn: false }
            }
            Err(EngineError::NoSpace { .. }) => {
                let counter = if self.full { "engine.overwrite_full" } else { "engine.no_space" };
                context.coverage.hit(counter);
                Outcome::Unknown { torn: self.full }
            }
            // A process that is killed leaves whole writes; a power failure or a failed write does not.
            Err(_) => Outcome::Unknown { torn: self.full || !self.kill.is_dead() },
        };
        for (at, value) in (first as usize..).zip(values) {
            model.blocks[at].change(*value, outcome);
        }
        if result.is_ok() && (first..).zip(values).any(|(at, _)| !model.log_may.contains(&(at / GROUP))) {
            return Err(Violation::new("written outside the activity log"));
        }
        Ok(())
    }

    fn flush(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let slot = &mut self.slots[index];
        let (Some(copy), Some(model)) = (&slot.copy, &mut slot.model) else { return Ok(()) };
        let result = copy.flush();
        context.trace.note(format_args!("  {result:?}"));
        match result {
            Ok(()) => {
                context.coverage.hit("engine.flushed");
                model.blocks.iter_mut().for_each(super::model::Block::flushed);
            }
            Err(EngineError::Failed { doing: "sync a copy", .. }) => self.cache_lies = true,
            Err(_) => {}
        }
        Ok(())
    }

    fn enter(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let extents = vec![context.rng.range(0..BLOCKS / GROUP)];
        let Some(result) = self.commit(context, index, vec![Op::Enter(extents.clone())]) else {
            return Ok(());
        };
        let Some(model) = &mut self.slots[index].model else { return Ok(()) };
        match result {
            Ok(()) => {
                context.coverage.hit("engine.entered");
                model.log.extend(&extents);
                model.log_may.extend(&extents);
            }
            Err(EngineError::LogFull { .. }) => {}
            Err(error) if error.is_no_space() => {}
            Err(_) => model.log_may.extend(&extents),
        }
        Ok(())
    }

    fn retire(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let extent = context.rng.range(0..BLOCKS / GROUP);
        // Often right after a flush, as the core does; else mostly refused.
        if context.rng.one_in(2) {
            self.flush(context, index)?;
        }
        let peer = context.rng.range(1..3);
        let mark = Op::Mark { peer, runs: run(extent * GROUP, 2) };
        let Some(result) = self.commit(context, index, vec![mark, Op::Retire(vec![extent])]) else {
            return Ok(());
        };
        let Some(model) = &mut self.slots[index].model else { return Ok(()) };
        let bits = extent * GROUP..extent * GROUP + 2;
        match result {
            Ok(()) => {
                context.coverage.hit("engine.retired");
                model.log.remove(&extent);
                model.log_may.remove(&extent);
                model.marked.entry(peer).or_default().extend(bits.clone());
                model.marked_may.entry(peer).or_default().extend(bits);
            }
            Err(EngineError::Unflushed { .. }) => {
                context.coverage.hit("engine.retire_refused");
                if model.extent(extent).iter().all(|block| !block.fragile && !block.unknown) {
                    return Err(Violation::new(format!("extent {extent} is flushed and does not retire")));
                }
            }
            Err(error) if error.is_no_space() => {}
            Err(_) => {
                model.log.remove(&extent);
                model.marked_may.entry(peer).or_default().extend(bits);
            }
        }
        Ok(())
    }

    /// Changes what a copy keeps besides its blocks.
    fn note(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        self.serial += 1;
        let record = self.serial.to_be_bytes().repeat(4);
        let (peer, at) = (context.rng.range(1..4), context.rng.range(0..BLOCKS));
        let forgets = context.rng.one_in(4);
        let op = if forgets { Op::Forget { peer } } else { Op::Mark { peer, runs: run(at, 1) } };
        let Some(result) = self.commit(context, index, vec![Op::Record(record.clone()), op]) else {
            return Ok(());
        };
        let Some(model) = &mut self.slots[index].model else { return Ok(()) };
        match result {
            Err(error) if error.is_no_space() => return Ok(()),
            Ok(()) => model.records = vec![record],
            Err(_) => model.records.push(record),
        }
        context.coverage.hit("engine.marked");
        match (forgets, result.is_ok()) {
            (true, _) => {
                model.marked.remove(&peer);
                if result.is_ok() {
                    model.marked_may.remove(&peer);
                }
            }
            (false, done) => {
                if done {
                    model.marked.entry(peer).or_default().insert(at);
                }
                model.marked_may.entry(peer).or_default().insert(at);
            }
        }
        Ok(())
    }

    /// A change of the journal. The pool goes if the journal is poisoned.
    fn commit(
        &mut self,
        context: &mut Context,
        index: usize,
        ops: Vec<Op>,
    ) -> Option<Result<(), EngineError>> {
        let result = self.slots[index].copy.as_ref()?.commit(ops.clone());
        context.trace.note(format_args!("  {ops:?} {result:?}"));
        if matches!(&result, Err(EngineError::Journal(error)) if !error.is_no_space()) {
            self.pool = None;
        }
        Some(result)
    }

    /// Reads some blocks, which must be what they are.
    fn look(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let (first, blocks) = self.blocks(context);
        self.check(index, first, blocks, |block, found| block.see(found))
    }

    /// Reads blocks and compares them.
    pub(super) fn check(
        &mut self,
        index: usize,
        first: u64,
        blocks: u64,
        mut fits: impl FnMut(&mut super::model::Block, Value) -> bool,
    ) -> Result<(), Violation> {
        let slot = &mut self.slots[index];
        let (Some(copy), Some(model)) = (&slot.copy, &mut slot.model) else { return Ok(()) };
        let mut bytes = vec![0xee; blocks as usize * BLOCK];
        let kinds = match copy.read(first, &mut bytes) {
            Ok(contents) => kinds(&contents, blocks),
            // The power, or the process, goes while something is settled.
            Err(_) if self.disk.is_off() || self.kill.is_dead() || copy.failure().is_some() => return Ok(()),
            Err(error) => return Err(Violation::new(format!("a read of {first} fails: {error}"))),
        };
        for ((at, kind), bytes) in (first..).zip(kinds).zip(bytes.chunks(BLOCK)) {
            let block = &mut model.blocks[at as usize];
            let before = block.clone();
            let found = value(kind, bytes);
            if !found.is_some_and(|found| fits(block, found)) {
                let what = format!("block {at} of copy {index} is {kind:?} {found:?}: {before:?}");
                return Err(Violation::new(what));
            }
        }
        Ok(())
    }

    fn delete(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let slot = &mut self.slots[index];
        if slot.model.is_none() || slot.unsure {
            return Ok(());
        }
        slot.copy = None;
        let result = pool.delete_copy(slot.key);
        context.trace.note(format_args!("  {result:?}"));
        match result {
            Ok(()) => {
                slot.model = None;
                self.create(context, index)?;
                context.coverage.hit("engine.recreated");
            }
            Err(_) => {
                slot.unsure = true;
                self.pool = None;
            }
        }
        Ok(())
    }

    /// Makes a copy; who had its name before must not be seen any more.
    pub(super) fn create(&mut self, context: &mut Context, index: usize) -> Result<(), Violation> {
        let Some(pool) = &self.pool else { return Ok(()) };
        self.serial += 1;
        let record = self.serial.to_be_bytes().to_vec();
        let slot = &mut self.slots[index];
        let result = pool.create_copy(slot.key, BLOCKS, record.clone());
        context.trace.note(format_args!("  create {index}: {:?}", result.as_ref().map(|_| ())));
        slot.model = Some(Model::new(record));
        match result {
            Ok(copy) => slot.copy = Some(copy),
            Err(_) => {
                slot.unsure = true;
                self.pool = None;
            }
        }
        Ok(())
    }

    pub(super) fn media(&self) -> Arc<SimMedia> {
        Arc::new(SimMedia { disk: self.disk.clone(), kill: self.kill.clone() })
    }
}

/// One run of blocks.
fn run(first: u64, blocks: u64) -> Vec<std::ops::Range<u64>> {
    std::iter::once(first..first + blocks).collect()
}

/// The kind of each block.
pub(super) fn kinds(contents: &Contents, blocks: u64) -> Vec<Kind> {
    match contents {
        Contents::All(kind) => vec![*kind; blocks as usize],
        Contents::Mixed(runs) => {
            runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.blocks as usize)).collect()
        }
    }
}

fn config(plan: &Plan, seed: u64) -> PoolConfig {
    // Room for most blocks, not all.
    let capacity = (COPIES as u64 * BLOCKS - 8) * BLOCK as u64;
    let declared = Declared { drive: Drive::Hdd, capacity, iops: 1, throughput: 1 };
    let mut config = PoolConfig::new(7, declared);
    config.geometry = Geometry { group_blocks: GROUP as u32 };
    config.log_extents = 3;
    config.replay_bytes = 1 << 10;
    config.seed = Some(seed);
    config.journal.segment_bytes = 8 << 10;
    config.journal.max_record_bytes = 4 << 10;
    config.journal.max_batch_bytes = 8 << 10;
    config.journal.preallocate = Preallocate::Inline;
    config.journal.epoch_nonce = Some(seed as u32);
    let has = |name| plan.switches.has(name);
    config.bugs = Bugs {
        data_before_log: has("data-before-log"),
        entry_after_data: has("entry-after-data"),
        flush_skips_table: has("flush-skips-table"),
        flush_without_sync: has("flush-without-sync"),
        retry_failed_sync: has("retry-failed-sync"),
        trim_keeps_content: has("trim-keeps-content"),
        retire_unflushed: has("retire-unflushed"),
        trust_logged: has("trust-logged"),
        drop_journal_early: has("drop-journal-early"),
        snapshot_forgets_bitmaps: has("snapshot-forgets-bitmaps"),
        read_unverified: has("read-unverified"),
        ..Bugs::default()
    };
    config
}
