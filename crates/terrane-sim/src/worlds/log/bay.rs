//! What the machine's log lies on.

use super::machine::AMPLE;
use crate::disk::{DiskFaults, Loss, SimDisk};
use crate::rng::SimRng;
use crate::runner::{Context, Plan, Violation};
use std::sync::Arc;
use terrane_log::disk::Disk;

/// One disk or several.
pub(in crate::worlds) trait Bay {
    /// What the log is to be opened on. `None`: the start is refused, or fails, as long as nothing changes.
    fn start(&mut self, context: &mut Context, attempt: u32) -> Result<Option<Arc<dyn Disk>>, Violation>;
    /// Whether what was acknowledged may be gone since the last start, because an operator accepted that.
    fn loss_accepted(&self) -> bool;
    /// The machine has taken what is there for the truth.
    fn loss_noted(&mut self) {}
    /// The log is open.
    ///
    /// # Errors
    /// What is wrong with the disks.
    fn started(&mut self, _: &mut Context) -> Result<(), Violation> {
        Ok(())
    }
    /// The process ends, with or without the machine.
    fn crash(&mut self, context: &mut Context, power: bool);
    /// Lets the power go in the middle of a change soon.
    fn power_off_after(&self, changes: u64);
    fn is_off(&self) -> bool;
    /// Whether an operation may fail as a whole.
    fn may_fail(&self) -> bool;
    /// Whether a read may fail.
    fn read_may_fail(&self) -> bool;
    /// Whether there may be no room.
    fn is_full(&self) -> bool;
    /// All is well again. What had failed for lack of room only must work again at once.
    fn calm(&mut self, context: &mut Context);
    /// Names of the files that a reader of any disk sees.
    fn names(&self) -> Vec<String>;
}

/// What a crash leaves.
pub(in crate::worlds) fn any_loss(rng: &mut SimRng, power: bool) -> Loss {
    let losses = [Loss::Nothing, Loss::Everything, Loss::AnySector, Loss::Tail];
    if power { *rng.pick(&losses) } else { Loss::Nothing }
}

/// Faults of one kind, at random odds.
pub(in crate::worlds) fn any_faults(rng: &mut SimRng, plan: &Plan) -> DiskFaults {
    let odds = |wanted, allowed: bool| if allowed { wanted } else { 0 };
    let n = 4 + rng.below(60) as u32;
    let faults = [
        DiskFaults { sync_fails: odds(n, plan.allows("sync")), ..DiskFaults::default() },
        DiskFaults { sync_dir_fails: odds(n, plan.allows("sync")), ..DiskFaults::default() },
        DiskFaults { write_fails: odds(n, plan.allows("write")), ..DiskFaults::default() },
        DiskFaults { read_fails: odds(n, plan.allows("read")), ..DiskFaults::default() },
    ];
    *rng.pick(&faults)
}

/// One disk.
pub(super) struct OneDisk {
    pub(super) disk: SimDisk,
    pub(super) full: bool,
    pub(super) faults: DiskFaults,
}

impl OneDisk {
    pub(super) fn new(context: &mut Context) -> Self {
        let disk = SimDisk::new(&mut context.rng, AMPLE, context.coverage.clone());
        Self { disk, full: false, faults: DiskFaults::default() }
    }
}

impl Bay for OneDisk {
    fn start(&mut self, _: &mut Context, _: u32) -> Result<Option<Arc<dyn Disk>>, Violation> {
        Ok(Some(self.disk.as_disk()))
    }

    fn loss_accepted(&self) -> bool {
        false
    }

    fn crash(&mut self, context: &mut Context, power: bool) {
        let loss = any_loss(&mut context.rng, power);
        context.trace.note(format_args!("  crash: {loss:?}"));
        self.disk.crash(loss);
    }

    fn power_off_after(&self, changes: u64) {
        self.disk.power_off_after(changes);
    }

    fn is_off(&self) -> bool {
        self.disk.is_off()
    }

    fn may_fail(&self) -> bool {
        self.faults != DiskFaults::default() || self.full || self.disk.is_off()
    }

    fn read_may_fail(&self) -> bool {
        self.faults.read_fails > 0
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn calm(&mut self, context: &mut Context) {
        self.faults = DiskFaults::default();
        self.disk.set_faults(self.faults);
        self.disk.set_capacity(AMPLE);
        if std::mem::take(&mut self.full) {
            context.coverage.hit("log.worked_again_after_full");
        }
    }

    fn names(&self) -> Vec<String> {
        self.disk.names()
    }
}
