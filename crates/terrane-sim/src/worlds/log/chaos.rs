//! What happens to the machine's disk.

use super::bay::{Bay, OneDisk, any_faults};
use super::machine::{Machine, Written, violation};
use crate::disk::DiskFaults;
use crate::runner::{Context, Violation};
use terrane_log::{Log, LogError};

impl Machine<OneDisk> {
    /// Something goes wrong, or right again.
    pub(super) fn chaos(&mut self, context: &mut Context) -> Result<(), Violation> {
        match context.rng.weighted(&[3, 3, 2, 2, 3]) {
            0 => self.bay.calm(context),
            1 => {
                self.bay.faults = any_faults(&mut context.rng, &self.plan);
                self.bay.disk.set_faults(self.bay.faults);
            }
            2 if self.plan.allows("full") => self.fill(context),
            3 if self.plan.allows("power") => self.bay.power_off_after(context.rng.range(1..30)),
            // That bug also misses rot; it is to be found by what it resurrects.
            4 if self.plan.allows("rot") && !self.config.bugs.accept_stale_tail => return self.rot(context),
            _ => {}
        }
        Ok(())
    }

    /// The disk is nearly or quite full, or finds no room even for what it has.
    fn fill(&mut self, context: &mut Context) {
        self.bay.full = true;
        let free = context.rng.range(0..40 << 10);
        self.bay.disk.set_capacity(self.bay.disk.used() + free);
        if context.rng.one_in(3) {
            self.bay.faults = DiskFaults { overwrite_full: 3, ..DiskFaults::default() };
            self.bay.disk.set_faults(self.bay.faults);
        }
    }

    /// Rots a record that was durable before the last batch: every way to it must report that.
    fn rot(&mut self, context: &mut Context) -> Result<(), Violation> {
        if self.log.is_none() || self.bay.disk.is_off() {
            return Ok(());
        }
        let old: Vec<usize> =
            (0..self.last_batch).filter(|index| !self.may_be_gone(&self.acked[*index])).collect();
        if old.is_empty() {
            return Ok(());
        }
        self.bay.disk.set_faults(DiskFaults::default());
        let index = *context.rng.pick(&old);
        let record = self.acked[index].clone();
        let name = format!("{:016x}.log", record.at.segment);
        let range = u64::from(record.at.start().offset)..u64::from(record.at.end().offset);
        if let Some(rot) = self.bay.disk.rot(&name, range) {
            context.trace.note(format_args!("  rot {} at {}", record.at, rot.at));
            self.find_rot(context, &record, index >= self.consumed)?;
            self.bay.disk.heal(&name, rot);
        }
        self.bay.disk.set_faults(self.bay.faults);
        Ok(())
    }

    fn find_rot(&mut self, context: &mut Context, record: &Written, replayed: bool) -> Result<(), Violation> {
        let Some(log) = &self.log else { return Ok(()) };
        let reader = log.reader();
        let Some(newest) = reader.segments().last().copied() else { return Ok(()) };
        match reader.read(record.at) {
            Err(LogError::Corrupt { .. }) => context.coverage.hit("log.rot_found_by_read"),
            other => return Err(violation(&format!("rot not found by a read: {other:?}"), record)),
        }
        match reader.scan_segment(record.at.segment, |_, _| Ok::<(), LogError>(())) {
            Err(LogError::Corrupt { .. }) => context.coverage.hit("log.rot_found_by_scan"),
            other => return Err(violation(&format!("rot not found by a scan: {other:?}"), record)),
        }
        if replayed {
            match self.replay(log) {
                Err(LogError::Corrupt { .. }) => context.coverage.hit("log.rot_found_by_replay"),
                other => return Err(violation(&format!("rot not found by replay: {other:?}"), record)),
            }
        }
        // A second log over the same disk would disturb the first one, but a refused open changes nothing.
        if record.at.segment == newest.id {
            match Log::open(self.bay.disk.as_disk(), self.config.clone()) {
                Err(LogError::Corrupt { .. }) => context.coverage.hit("log.rot_found_by_open"),
                // It syncs names before it looks, and the power was about to go.
                Err(LogError::Io { .. }) if self.bay.disk.is_off() => {}
                Err(error) => return Err(violation(&format!("rot makes open fail with {error}"), record)),
                Ok(_) => return Err(violation("rot not found by open", record)),
            }
        }
        Ok(())
    }
}
