//! Trouble, its end, starts, and the end of the history.

use std::time::Duration;

use terrane_keymap::class::{ClassName, ExplicitMode, ModeRequest, Priority};
use terrane_keymap::{Input, OpRef};

use super::history::{Broken, Event, History, ROOM};
use super::machine::{StartError, start};
use crate::disk::{DiskFaults, Loss};
use crate::runner::Violation;

/// Names of the kinds of trouble; the shrinker leaves some out.
pub(super) const FAULTS: &[&str] = &[
    "crash", "wipe", "worker", "pause", "jump", "full", "sync", "burst", "commits", "runs", "drain", "power",
    "torn",
];

/// Always the same class, whatever the load.
const SAME_CLASS: ModeRequest =
    ModeRequest { explicit: Some(ExplicitMode::Async), priority: Some(Priority::High) };

impl History<'_> {
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        self.queue.within(self.think * 8, Event::Fault);
        let fault = FAULTS[self.context.rng.weighted(&[6, 2, 8, 8, 6, 4, 2, 4, 4, 4, 4, 3, 3])];
        if !self.plan.allows(fault) || self.machine.is_none() {
            return Ok(());
        }
        self.note(format_args!("fault {fault}"));
        self.healthy_since = self.now();
        match fault {
            "crash" | "wipe" => self.crash(fault == "wipe"),
            "power" => {
                let changes = self.context.rng.range(1..8);
                self.disks.log.power_off_after(changes);
            }
            "torn" => return self.tear(),
            "worker" => return self.lose_worker(),
            "pause" => return self.pause(),
            "jump" => {
                let hours = *self.context.rng.pick(&[0, 1, 24, 24 * 7]);
                self.jumped_ms += hours * 3_600_000 + self.context.rng.range(0..60_000);
                self.context.coverage.hit(if hours == 168 { "keymap.jumped_week" } else { "keymap.jumped" });
                self.healthy_since = self.now();
            }
            "full" => {
                let room = self.context.rng.range(0..40_000);
                self.disks.log.set_capacity(self.disks.log.used() + room);
                // Some file systems need room even to overwrite.
                let overwrite_full = *self.context.rng.pick(&[0, 3]);
                self.disks.log.set_faults(DiskFaults { overwrite_full, ..DiskFaults::default() });
                self.queue.within(self.think * 60, Event::Mend);
                let low = self.context.rng.one_in(2);
                return self.feed(Input::DiskPressure { low });
            }
            "sync" => self.disks.log.set_faults(DiskFaults { sync_fails: 3, ..DiskFaults::default() }),
            "burst" => {
                self.context.coverage.hit("keymap.burst");
                for client in 0..self.clients.len() {
                    for _ in 0..20 {
                        self.queue.within(self.think * 4, Event::Client(client));
                    }
                }
            }
            "commits" => self.broken.commits = true,
            "runs" => {
                self.broken.runs = true;
                self.broken.syncs = true;
            }
            _ => {
                let class = *self.context.rng.pick(&[None, Some(ClassName::Delay), Some(ClassName::Low)]);
                self.requests += 1;
                return self.feed(Input::Drain { class, op_ref: OpRef(self.requests) });
            }
        }
        if self.context.rng.one_in(2) {
            self.queue.within(self.think * 40, Event::Mend);
        }
        Ok(())
    }

    fn lose_worker(&mut self) -> Result<(), Violation> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        if machine.workers.is_empty() {
            return Ok(());
        }
        let worker = *self.context.rng.pick(&machine.workers);
        self.forget_worker(worker);
        self.context.coverage.hit("keymap.worker_lost");
        self.feed(Input::WorkerLost { worker })
    }

    fn pause(&mut self) -> Result<(), Violation> {
        let some = [None, Some(ClassName::High), Some(ClassName::Low), Some(ClassName::Delay)];
        let class = *self.context.rng.pick(&some);
        let paused = !self.context.rng.one_in(3);
        let classes = [ClassName::Sync, ClassName::High, ClassName::Low, ClassName::Delay];
        for name in classes.into_iter().filter(|name| class.is_none_or(|class| class == *name)) {
            if paused {
                self.paused.insert(name)
            } else {
                self.paused.remove(&name)
            };
        }
        self.context.coverage.hit(if paused { "keymap.paused" } else { "keymap.resumed" });
        self.feed(Input::Pause { class, paused })
    }

    /// Trouble ends.
    pub(super) fn mend(&mut self) -> Result<(), Violation> {
        self.disks.log.set_faults(DiskFaults::default());
        self.disks.log.set_capacity(ROOM);
        self.broken = Broken::default();
        self.paused.clear();
        self.healthy_since = self.now();
        self.feed(Input::DiskPressure { low: false })?;
        self.feed(Input::Pause { class: None, paused: false })
    }

    /// The power goes while several records of one length are written, and of each sector it is open whether it got to
    /// the disk: an intact record may follow one that is lost. What the next start writes first takes just the place of
    /// the lost one. Should the start not have erased what followed, the one after it would take that for part of the log.
    fn tear(&mut self) -> Result<(), Violation> {
        let buckets = self.seen.as_ref().map(|seen| seen.model.buckets.clone()).unwrap_or_default();
        let Some(bucket) = buckets.values().next().map(|bucket| bucket.incarnation) else { return Ok(()) };
        let op = self.same_put(bucket);
        for _ in 0..self.context.rng.range(2..8) {
            self.ask(Some(0), op.clone(), SAME_CLASS)?;
        }
        // The write is one change, the sync another.
        self.disks.log.power_off_after(2);
        if let Some(machine) = &mut self.machine {
            let written = machine.log.sync();
            self.context.coverage.hit(if written.is_err() { "keymap.torn" } else { "keymap.not_torn" });
        }
        self.torn = Some(op);
        self.crash_losing(false, Loss::AnySector);
        Ok(())
    }

    /// See [`History::tear`].
    fn write_over_torn_tail(&mut self) -> Result<(), Violation> {
        if let Some(op) = self.torn.take()
            && !self.healing
        {
            self.ask(Some(0), op, SAME_CLASS)?;
            self.flush()?;
            self.crash_losing(false, Loss::Nothing);
        }
        Ok(())
    }

    /// The process, or the whole machine, is gone.
    pub(super) fn crash(&mut self, wipe: bool) {
        let losses = [Loss::Nothing, Loss::Everything, Loss::AnySector, Loss::Tail];
        let loss = *self.context.rng.pick(&losses);
        self.crash_losing(wipe, loss);
    }

    fn crash_losing(&mut self, wipe: bool, loss: Loss) {
        self.note(format_args!("crash, wipe: {wipe}, {loss:?}"));
        self.context.coverage.hit(if wipe { "keymap.wiped" } else { "keymap.crashed" });
        self.collect_counters();
        self.machine = None;
        self.boot += 1;
        self.disks.log.crash(loss);
        self.disks.keymap.crash(&mut self.context.rng);
        if wipe {
            self.disks.keymap.wipe();
        }
        self.disks.log.set_faults(DiskFaults::default());
        self.seen = None;
        self.held.clear();
        self.spills.clear();
        self.asked.clear();
        self.paused.clear();
        self.give_up_compaction();
        for client in 0..self.clients.len() {
            self.clients[client].forget();
            self.queue.within(self.think * 3, Event::Client(client));
        }
        self.queue.within(Duration::from_millis(50), Event::Start);
    }

    /// Counters of the shard that is about to end.
    fn collect_counters(&mut self) {
        if let Some(machine) = &mut self.machine {
            for (name, value) in machine.shard.counters().each() {
                self.context.coverage.add(name, value);
            }
            let (_, _, switches) = machine.shard.load();
            self.context.coverage.add("load_switches", switches);
        }
    }

    pub(super) fn start(&mut self) -> Result<(), Violation> {
        if self.machine.is_some() {
            if self.context.rng.one_in(2) {
                // The log has failed: an orderly restart of the process, or the machine's.
                self.context.coverage.hit("keymap.restarted");
            }
            self.crash(false);
            return Ok(());
        }
        if self.disks.log.is_off() {
            self.disks.log.crash(Loss::Tail);
        }
        let again = self.boot > 0 && !self.healing && self.plan.allows("crash") && self.context.rng.one_in(6);
        let crash_after = again.then(|| self.context.rng.range(0..40));
        let now = self.now();
        match start(&mut self.disks, &self.config, &self.log_config, now, crash_after) {
            Err(StartError::Violation(violation)) => Err(violation),
            Err(StartError::Crashed) => {
                self.context.coverage.hit("keymap.crashed_in_start");
                self.crash(false);
                Ok(())
            }
            Ok(started) => {
                self.boot += 1;
                self.check_start(&started)?;
                self.note(format_args!(
                    "started, {} records replayed, {}",
                    started.replayed.len(),
                    started.found
                ));
                self.machine = Some(started.machine);
                self.healthy_since = self.now();
                self.queue.within(Duration::from_millis(20), Event::WorkerUp(self.boot));
                self.queue.within(Duration::from_millis(100), Event::Tick(self.boot));
                self.drain()?;
                self.check_view()?;
                self.write_over_torn_tail()
            }
        }
    }

    /// No more trouble and no more requests: everything comes to rest.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healing = true;
        self.queue.retain(|event| !matches!(event, Event::Client(_) | Event::Fault));
        if self.disks.log.is_off() {
            self.crash(false);
        }
        self.mend()?;
        for round in 0..200 {
            for _ in 0..100 {
                self.step()?;
            }
            let down = self.machine.is_none();
            if down && self.queue.is_empty() {
                self.queue.within(Duration::from_millis(50), Event::Start);
            }
            if self.disks.log.is_off() {
                self.crash(false);
            }
            self.held.clear();
            let rest = self.machine.as_ref().is_some_and(|m| {
                m.shard.pending().0 == 0 && m.shard.runs() == 0 && m.appended <= m.shard.visible()
            });
            if rest && round > 2 {
                self.collect_counters();
                return Ok(());
            }
            if !rest && !down {
                // Delayed entries need not be waited for.
                self.requests += 1;
                let op_ref = OpRef(self.requests);
                self.feed(Input::Drain { class: None, op_ref })?;
            }
        }
        let state = self.machine.as_ref().map(|m| (m.shard.pending(), m.shard.runs(), m.shard.workers()));
        Err(Violation(format!("it does not come to rest: {state:?}")))
    }

    /// At rest: the keymap alone says it all; so does one rebuilt from the log.
    pub(super) fn final_checks(&mut self) -> Result<(), Violation> {
        self.check_view()?;
        self.check_converged("at rest")?;
        if self.plan.switches == crate::switches::Switches::NONE || self.asked.is_empty() {
            let open: Vec<_> = self.asked.iter().filter(|(_, asked)| asked.client.is_some()).collect();
            if let Some((request, _)) = open.first() {
                return Err(Violation(format!("request {request} was never answered")));
            }
        }
        while self.delivered.len() < self.written.len() {
            let before = self.cursor;
            self.consume()?;
            if before == self.cursor {
                break;
            }
        }
        self.check_delivered()?;
        self.disks.log.crash(Loss::Nothing);
        self.crash(true);
        self.queue.retain(|event| !matches!(event, Event::Client(_)));
        self.start()?;
        self.heal()?;
        self.check_view()?;
        self.check_converged("rebuilt from the log")?;
        self.context.coverage.hit("keymap.rebuilt_equal");
        Ok(())
    }
}
