//! What goes wrong.

use super::cluster::{CLIENTS, Cluster, MANAGER, Turn, weather};
use crate::runner::{Context, Violation};
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_core::{CopyId, Extent};

impl Cluster {
    /// One fault, and when the next one comes.
    pub(super) fn chaos(&mut self, context: &mut Context) {
        if self.calm {
            return;
        }
        self.queue.within(Duration::from_millis(20), Turn::Chaos);
        if self.has_rot() {
            return;
        }
        if self.rot_pending {
            context.coverage.hit("block.rot_repaired");
            self.rot_pending = false;
        }
        // In some histories primaries hand their role over, and copies are let go.
        let moves = if self.plan.seed.is_multiple_of(3) { 6 } else { 0 };
        let weights =
            [4, 4, 1, 4, 3, 1, 2, 3, 2, if self.cascades { 30 } else { 1 }, 4, 2 * moves, moves / 2];
        match self.rng.weighted(&weights) {
            0 if self.plan.allows("crash") => self.one_down(context, false),
            1 if self.plan.allows("power") => self.one_down(context, true),
            2 if self.plan.allows("power") => self.all_down(context),
            3 if self.plan.allows("cut") => self.cut_one_way(context),
            4 if self.plan.allows("cut") => self.cut_off(context),
            5 if self.plan.allows("manager") => self.fail_over(context),
            6 if self.plan.allows("detach") => self.force_detach(context),
            7 if self.plan.allows("rot") => self.rot(context),
            8 => self.pace(context),
            9 if self.plan.allows("cascade") => self.cascade(context),
            10 if self.plan.allows("forget") => self.forget(context),
            11 if self.plan.allows("hand_over") => self.order_hand_over(),
            12 if self.plan.allows("retire") => self.retire(context),
            _ => {}
        }
    }

    pub(super) fn has_rot(&self) -> bool {
        self.copies.iter().any(|machine| !machine.disk.rotten.is_empty())
    }

    /// Damage is kept within what is promised: while a block has only one good copy, that one stays.
    pub(super) fn may_fail(&self) -> bool {
        !self.has_rot()
    }

    /// Damage that nobody in sync could repair any more is more than anything is promised for.
    pub(super) fn withdraw_rot(&mut self) {
        let is_damaged = |copy: &CopyId| {
            let machine = usize::try_from(copy.0).ok().and_then(|at| self.copies.get(at));
            machine.is_none_or(|machine| !machine.disk.rotten.is_empty())
        };
        if self.record.now.in_sync.keys().all(is_damaged) {
            for machine in &mut self.copies {
                machine.disk.rotten.clear();
            }
        }
    }

    /// Resync of joining copies is held up, or let go.
    fn pace(&mut self, context: &mut Context) {
        context.coverage.hit("block.paced");
        let most = self.rng.below(3);
        for copy in 0..self.copies.len() {
            self.event(context, copy, Event::Pace(most));
        }
    }

    fn down_for(&mut self) -> Duration {
        let (short, long) = (300..5_000, 20_000..70_000);
        let range = if self.rng.one_in(2) { short } else { long };
        Duration::from_micros(self.rng.range(range))
    }

    fn one_down(&mut self, context: &mut Context, power: bool) {
        let copy = self.rng.below(self.copies.len());
        self.down(context, copy, power);
    }

    pub(super) fn down(&mut self, context: &mut Context, copy: usize, power: bool) {
        if !self.copies[copy].up {
            return;
        }
        if power {
            context.coverage.hit("block.power_failure");
            let whole = self.is_whole();
            self.power_fails(context, copy);
            if whole && self.plan.allows("lie") && self.rng.one_in(3) {
                self.lied(context, copy);
            }
        } else {
            context.coverage.hit("block.crash");
            self.crash(context, copy);
        }
        let pause = self.down_for();
        self.queue.after(pause, Turn::Start { copy });
    }

    fn all_down(&mut self, context: &mut Context) {
        for copy in 0..self.copies.len() {
            let power = self.rng.one_in(2);
            self.down(context, copy, power);
        }
    }

    fn anybody(&mut self) -> u32 {
        let copies = self.copies.len();
        let at = self.rng.below(copies + 2);
        match at.checked_sub(copies) {
            None => super::machine::address(at),
            Some(0) => MANAGER,
            Some(_) => CLIENTS + u32::try_from(self.app.clients.len() - 1).unwrap_or(0),
        }
    }

    pub(super) fn heal_later(&mut self) {
        let pause = Duration::from_micros(self.rng.range(2_000..60_000));
        self.queue.after(pause, Turn::Heal);
    }

    fn cut_one_way(&mut self, context: &mut Context) {
        let (from, to) = (self.anybody(), self.anybody());
        context.coverage.hit("block.cut_one_way");
        self.net.cut(from, to);
        self.heal_later();
    }

    fn cut_off(&mut self, context: &mut Context) {
        let lonely = self.anybody();
        context.coverage.hit("block.cut_off");
        let clients = (0..self.app.clients.len()).map(|c| CLIENTS + u32::try_from(c).unwrap_or(0));
        let copies = (0..self.copies.len()).map(super::machine::address);
        let others: Vec<u32> = copies.chain(clients).chain([MANAGER]).filter(|o| *o != lonely).collect();
        for other in others {
            self.net.cut(lonely, other);
            self.net.cut(other, lonely);
        }
        self.heal_later();
    }

    /// All copies are up and in sync, so that any one of them can be made whole by the others.
    fn is_whole(&self) -> bool {
        let all = self.record.active && self.record.now.in_sync.len() == self.copies.len();
        all && self.copies.iter().all(|m| m.up && m.state.volatile.known.is_none())
    }

    /// The drive of a machine that lost power had told that something was flushed, and it was not: what is there does not
    /// fit its checksum.
    fn lied(&mut self, context: &mut Context, copy: usize) {
        context.coverage.hit("block.drive_lied");
        let block = self.rng.range(0..self.blocks);
        self.copies[copy].disk.rotten.insert(block);
        self.rot_pending = true;
    }

    fn rot(&mut self, context: &mut Context) {
        if !self.is_whole() {
            return;
        }
        let copy = self.rng.below(self.copies.len());
        let block = self.rng.range(0..self.blocks);
        context.coverage.hit("block.rot");
        self.copies[copy].disk.rotten.insert(block);
        self.rot_pending = true;
    }

    /// No more faults: everything must come to an end, and to the same one on all copies.
    pub(super) fn calm(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.calm = true;
        self.net.heal();
        self.net.set_weather(weather(false));
        for copy in 0..self.copies.len() {
            self.start(context, copy);
            self.event(context, copy, Event::Pace(2));
        }
        self.until(context, "everything in sync and answered", Self::is_healed)?;
        let client = self.app.clients.len() - 1;
        for block in 0..self.blocks {
            self.submit(context, client, Extent::block(block), 1)?;
        }
        self.submit(context, client, Extent::block(0), 2)?;
        self.until(context, "the last reads answered", Self::is_healed)?;
        self.judge_identical()
    }

    fn until(
        &mut self,
        context: &mut Context,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let limit = context.events + 40_000;
        while !done(self) {
            if context.events > limit {
                let record = &self.record;
                let states: Vec<String> = self.copies.iter().map(|m| format!("{:?}", m.state)).collect();
                return Err(Violation::new(format!(
                    "never: {what}; waiting {:?}, {record:?}\n{}",
                    self.app.waiting,
                    states.join("\n")
                )));
            }
            self.next(context)?;
        }
        Ok(())
    }
}
