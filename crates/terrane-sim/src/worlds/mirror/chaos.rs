//! What happens to the machine's drives.

use super::drives::Drives;
use crate::disk::DiskFaults;
use crate::runner::{Context, Violation};
use crate::worlds::log::bay::{Bay, any_faults, any_loss};
use crate::worlds::log::machine::{Machine, Written, violation};
use terrane_log::LogError;

impl Machine<Drives> {
    /// Something goes wrong with one drive, or right again with all.
    pub(super) fn chaos(&mut self, context: &mut Context) -> Result<(), Violation> {
        let drive = context.rng.below(self.bay.slots.len());
        let plan = self.plan.clone();
        self.bay.disturbed = true;
        match context.rng.weighted(&[4, 4, 1, 2, 3, 2, 1, 1]) {
            0 => self.bay.calm(context),
            1 => {
                let slot = &mut self.bay.slots[drive];
                slot.faults = any_faults(&mut context.rng, &plan);
                slot.disk.set_faults(slot.faults);
            }
            2 if plan.allows("full") => self.fill(context, drive),
            3 if plan.allows("power") => self.bay.power_off_after(context.rng.range(1..40)),
            4 if plan.allows("rot") => return self.rot(context),
            5 if plan.allows("unplug") => {
                let loss = any_loss(&mut context.rng, plan.allows("power"));
                let slot = &mut self.bay.slots[drive];
                context.trace.note(format_args!("  unplug {drive}: {loss:?}"));
                slot.disk.unplug(loss);
                slot.dead = true;
            }
            6 if plan.allows("replace")
                && !self.bay.members().contains(&drive)
                && !self.bay.is_copied_to(drive) =>
            {
                self.bay.replace(context, drive);
            }
            7 if plan.allows("rot") => self.rot_set_record(context, drive),
            _ => {}
        }
        Ok(())
    }

    /// A drive is nearly or quite full, or finds no room even for what it has.
    fn fill(&mut self, context: &mut Context, drive: usize) {
        let free = context.rng.range(0..40 << 10);
        let slot = &mut self.bay.slots[drive];
        slot.full = true;
        slot.disk.set_capacity(slot.disk.used() + free);
        if context.rng.one_in(3) {
            slot.faults = DiskFaults { overwrite_full: 3, ..DiskFaults::default() };
            slot.disk.set_faults(slot.faults);
        }
    }

    /// One of the two copies of a drive's record of the set.
    fn rot_set_record(&mut self, context: &mut Context, drive: usize) {
        let slot = &mut self.bay.slots[drive];
        if !std::mem::replace(&mut slot.record_rotted, true) && slot.disk.rot("members", 0..60).is_some() {
            context.coverage.hit("mirror.rotten_record");
        }
    }

    /// Rots an acknowledged record on one member: every way to it must give it, and heal it.
    fn rot(&mut self, context: &mut Context) -> Result<(), Violation> {
        let members = self.bay.members();
        let usable = members.iter().all(|drive| self.bay.slots[*drive].is_usable());
        let ready = self.log.is_some() && !self.bay.is_off() && !self.bay.all_failed();
        if !ready || members.len() < 2 || !usable {
            return Ok(());
        }
        let there: Vec<usize> =
            (0..self.acked.len()).filter(|index| !self.may_be_gone(&self.acked[*index])).collect();
        if there.is_empty() {
            return Ok(());
        }
        self.bay.pause_faults(true);
        let index = *context.rng.pick(&there);
        let record = self.acked[index].clone();
        let drive = *context.rng.pick(&members);
        let name = format!("{:016x}.log", record.at.segment);
        let range = u64::from(record.at.start().offset)..u64::from(record.at.end().offset);
        if let Some(rot) = self.bay.slots[drive].disk.rot(&name, range.clone()) {
            context.trace.note(format_args!("  rot {} at {} on {drive}", record.at, rot.at));
            self.heal_rot(context, &record, index)?;
            let bytes = |drive: &usize| {
                let bytes = self.bay.slots[*drive].disk.contents(&name)?;
                bytes.get(range.start as usize..range.end as usize).map(<[u8]>::to_vec)
            };
            let members = self.bay.members();
            if members.iter().any(|drive| bytes(drive) != bytes(&members[0])) {
                return Err(violation("rot not healed", &record));
            }
        }
        self.bay.pause_faults(false);
        Ok(())
    }

    fn heal_rot(&mut self, context: &mut Context, record: &Written, index: usize) -> Result<(), Violation> {
        let Some(log) = &self.log else { return Ok(()) };
        let reader = log.reader();
        let healed = |drives: &Drives| drives.mirror.as_ref().map_or(0, |mirror| mirror.status().healed);
        let before = healed(&self.bay);
        let wrong =
            |how, error: LogError| violation(&format!("rot not read around by {how}: {error}"), record);
        let way = match context.rng.below(5) {
            0 => match reader.read(record.at) {
                Ok(bytes) if bytes == record.bytes => "mirror.rot_healed_by_read",
                other => return Err(violation(&format!("rot not read around: {other:?}"), record)),
            },
            1 => {
                let scanned = reader.scan_segment(record.at.segment, |_, _| Ok::<(), LogError>(()));
                scanned.map_err(|e| wrong("a scan", e))?;
                "mirror.rot_healed_by_scan"
            }
            2 if index >= self.consumed => {
                self.replay(log).map_err(|e| wrong("replay", e))?;
                "mirror.rot_healed_by_replay"
            }
            // That it is there after the start is checked by the machine.
            3 if reader.segments().last().is_some_and(|newest| newest.id == record.at.segment) => {
                self.bay.settle_down();
                self.crash(context)?;
                context.coverage.hit("mirror.rot_healed_by_open");
                return self.scrub(record);
            }
            _ => "mirror.rot_healed_by_scrub",
        };
        if way == "mirror.rot_healed_by_scrub" {
            self.scrub(record)?;
        }
        if healed(&self.bay) > before {
            context.coverage.hit(way);
        }
        self.scrub(record)
    }

    fn scrub(&mut self, record: &Written) -> Result<(), Violation> {
        let Some(log) = &self.log else { return Ok(()) };
        match log.reader().scrub_segment(record.at.segment) {
            Ok(_) => Ok(()),
            Err(error) => Err(violation(&format!("not healed by a scrub: {error}"), record)),
        }
    }
}
