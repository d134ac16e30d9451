//! The machine's drives, and the mirror over them.

use crate::disk::{DiskFaults, Loss, SimDisk};
use crate::runner::{Context, Plan, Violation};
use crate::worlds::log::bay::{Bay, any_loss};
use crate::worlds::log::machine::{AMPLE, segments};
use std::collections::BTreeSet;
use std::sync::Arc;
use terrane_log::bugs::MirrorBugs;
use terrane_log::disk::Disk;
use terrane_log::mirror::{
    Drive, DriveState, FanOut, MirrorConfig, MirrorDisk, MirrorError, MirrorReport, Resync,
};

/// One drive.
pub(super) struct Slot {
    pub(super) disk: SimDisk,
    pub(super) faults: DiskFaults,
    pub(super) full: bool,
    /// It was pulled out since it was opened last, so that what is open on it is dead.
    pub(super) dead: bool,
    /// A copy of its record of the set is rotten.
    pub(super) record_rotted: bool,
}

impl Slot {
    fn new(disk: SimDisk) -> Self {
        Self { disk, faults: DiskFaults::default(), full: false, dead: false, record_rotted: false }
    }

    /// Plugged in and open, whatever faults there are.
    pub(super) fn is_usable(&self) -> bool {
        self.disk.is_plugged() && !self.dead
    }

    fn works(&self) -> bool {
        self.is_usable() && self.faults == DiskFaults::default()
    }
}

pub(super) struct Drives {
    pub(super) slots: Vec<Slot>,
    pub(super) mirror: Option<MirrorDisk>,
    copy: Option<(usize, Resync)>,
    plan: Plan,
    /// The last set that was in use, and its epoch.
    set: Vec<usize>,
    epoch: u64,
    /// A drive that may have been about to become a member.
    joining: Option<usize>,
    read_around: u64,
    loss_accepted: bool,
    overrides: u32,
    /// Drives that were not there when a loss was accepted. They do not know that, so that an operator must not start
    /// from them alone.
    given_up: BTreeSet<usize>,
    /// Something has gone wrong since the copy was begun.
    pub(super) disturbed: bool,
    /// Drives neither go nor come at the next start.
    steady: bool,
}

impl Drives {
    pub(super) fn new(plan: &Plan, context: &mut Context) -> Self {
        let first = SimDisk::new(&mut context.rng, AMPLE, context.coverage.clone());
        let mut slots: Vec<Slot> =
            (0..context.rng.below(2) + 1).map(|_| Slot::new(first.beside(&mut context.rng, AMPLE))).collect();
        slots.push(Slot::new(first));
        Self {
            slots,
            mirror: None,
            copy: None,
            plan: plan.clone(),
            set: Vec::new(),
            epoch: 0,
            joining: None,
            read_around: 0,
            loss_accepted: false,
            overrides: 0,
            given_up: BTreeSet::new(),
            disturbed: false,
            steady: true,
        }
    }

    /// Members of the set in use.
    pub(super) fn members(&self) -> Vec<usize> {
        let Some(mirror) = &self.mirror else { return self.set.clone() };
        let status = mirror.status();
        let is_member = |id| status.set.contains(&id);
        (0..self.slots.len()).filter(|drive| status.drives[*drive].id.is_some_and(is_member)).collect()
    }

    /// No member is left: nothing works before the next start.
    pub(super) fn all_failed(&self) -> bool {
        let Some(mirror) = &self.mirror else { return false };
        mirror.status().drives.iter().all(|drive| drive.state != DriveState::InSet)
    }

    /// Notes how the set has changed.
    pub(super) fn observe(&mut self, context: &mut Context) {
        let Some(mirror) = &self.mirror else { return };
        let status = mirror.status();
        let around = status.read_around.saturating_sub(self.read_around);
        context.coverage.add("mirror.read_around", around);
        self.read_around = status.read_around;
        let members = self.members();
        // Two overrides may have led to the same epoch.
        if (status.epoch, &members) == (self.epoch, &self.set) {
            return;
        }
        let before = std::mem::replace(&mut self.set, members);
        self.epoch = status.epoch;
        context.trace.note(format_args!("  epoch {}: {:?}", self.epoch, self.set));
        if self.set.len() < before.len() {
            context.coverage.hit("mirror.drive_left");
            if self.set.len() == 1 {
                context.coverage.hit("mirror.all_but_one_left");
            }
        }
    }

    /// Some drives are not there at the start, or there again.
    fn shuffle(&mut self, context: &mut Context) {
        if self.steady || !self.plan.allows("missing") {
            return;
        }
        for slot in &self.slots {
            if !slot.disk.is_plugged() {
                if context.rng.one_in(2) {
                    slot.disk.plug();
                }
            } else if context.rng.one_in(8) {
                slot.disk.unplug(any_loss(&mut context.rng, self.plan.allows("power")));
            }
        }
    }

    /// What was given up does not come back without those that know that it was and can say so: a drive whose record
    /// cannot be read is no better than one that is not there.
    fn keep_out_given_up(&self) {
        let silent = |slot: &Slot| !slot.disk.is_plugged() || slot.faults.read_fails > 0;
        if self.set.iter().any(|drive| silent(&self.slots[*drive])) {
            for drive in &self.given_up {
                self.slots[*drive].disk.unplug(Loss::Nothing);
            }
        }
    }

    fn open(
        &self,
        context: &mut Context,
        accept_loss: bool,
    ) -> Result<(MirrorDisk, MirrorReport), MirrorError> {
        let drive = |(number, slot): (usize, &Slot)| {
            let there = slot.disk.is_plugged().then(|| slot.disk.as_disk());
            Drive { name: number.to_string(), disk: there.ok_or_else(|| std::io::ErrorKind::NotFound.into()) }
        };
        let config = MirrorConfig {
            accept_loss,
            fan_out: FanOut::InTurn,
            seed: Some(context.rng.u64()),
            bugs: MirrorBugs {
                ack_before_set_durable: self.plan.switches.has("acknowledge-before-set"),
                serve_stale: self.plan.switches.has("serve-stale-member"),
                skip_equalise: self.plan.switches.has("skip-equalising"),
                retry_failed_fsync: self.plan.switches.has("retry-failed-fsync"),
            },
        };
        MirrorDisk::open(self.slots.iter().enumerate().map(drive).collect(), config)
    }

    /// A start was refused: rightly only if a drive that was in use last is missing, or does not answer.
    fn refused(&mut self, context: &mut Context, error: &MirrorError) -> Result<bool, Violation> {
        context.trace.note(format_args!("  refused: {error}"));
        match error {
            MirrorError::MembersMissing { .. } | MirrorError::NoSet(_) => {
                context.coverage.hit("mirror.start_refused");
                let every: Vec<usize> = (0..self.slots.len()).collect();
                // Before there is a set, it takes all drives to make one.
                let set = if self.set.is_empty() { &every } else { &self.set };
                let mut needed = set.iter().copied().chain(self.joining);
                // An override that failed may have been remembered, or not.
                let known = !self.loss_accepted && !self.slots[0].disk.is_off();
                if known && needed.all(|drive| self.slots[drive].works()) {
                    return Err(Violation::new(format_args!("refused although all are there: {error}")));
                }
                let member_missing = matches!(error, MirrorError::MembersMissing { .. });
                let wanted = self.loss_accepted || (!self.steady && self.plan.allows("override"));
                let may = member_missing && wanted;
                Ok(may && context.rng.one_in(3))
            }
            // Each side was started without the other at some time; the operator keeps what was in use last, also what
            // was just becoming a member there.
            MirrorError::Split { .. } if self.overrides > 1 => {
                context.coverage.hit("mirror.split");
                for drive in 0..self.slots.len() {
                    if !self.set.contains(&drive) && !self.is_copied_to(drive) {
                        self.replace(context, drive);
                    }
                }
                Ok(false)
            }
            MirrorError::NoDrive { .. } | MirrorError::Drive { .. }
                if self.slots[0].disk.is_off()
                    || self.slots.iter().any(|slot| !slot.works() || slot.full) =>
            {
                Ok(false)
            }
            error => Err(Violation::new(format_args!("refused: {error}"))),
        }
    }

    /// Puts a blank drive in the place of one.
    pub(super) fn replace(&mut self, context: &mut Context, drive: usize) {
        let disk = self.slots[drive].disk.beside(&mut context.rng, AMPLE);
        self.slots[drive] = Slot { dead: true, ..Slot::new(disk) };
        self.given_up.remove(&drive);
        context.coverage.hit("mirror.drive_replaced");
    }

    fn note_start(&mut self, context: &mut Context, mirror: MirrorDisk, report: &MirrorReport) {
        if report.formed {
            context.coverage.hit("mirror.formed");
        }
        context.coverage.add("mirror.equalised_bytes", report.equalised.rewritten);
        context.coverage.add("mirror.equalised_segments", report.equalised.copied);
        context.coverage.add("mirror.equalised_spares", report.equalised.removed);
        for (drive, slot) in report.status.drives.iter().zip(&self.slots) {
            match &drive.state {
                DriveState::Lost(_) if slot.disk.is_plugged() => context.coverage.hit("mirror.left_at_start"),
                DriveState::Lost(_) => context.coverage.hit("mirror.start_with_missing_drive"),
                DriveState::Stale => context.coverage.hit("mirror.start_with_stale_drive"),
                DriveState::Blank => context.coverage.hit("mirror.start_with_blank_drive"),
                _ => {}
            }
        }
        // Written anew on the members.
        for (slot, drive) in self.slots.iter_mut().zip(&report.status.drives) {
            slot.record_rotted &= drive.state != DriveState::InSet;
        }
        self.mirror = Some(mirror);
        self.read_around = 0;
        self.joining = None;
        self.observe(context);
        self.given_up.retain(|drive| !self.set.contains(drive));
    }

    /// An operator accepts the loss of the drives that are not there. Some are thrown away.
    fn give_up(&mut self, context: &mut Context) {
        // Also if the start fails: it may have got as far as to be remembered.
        self.loss_accepted = true;
        self.overrides += 1;
        self.set.clear();
        for drive in 0..self.slots.len() {
            if self.slots[drive].disk.is_plugged() {
                self.set.push(drive);
            } else if self.plan.allows("replace") && context.rng.one_in(2) {
                self.replace(context, drive);
            } else {
                self.given_up.insert(drive);
            }
        }
    }

    /// Somebody copies to a drive that is not in the set.
    pub(super) fn copy(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let (drive, outcome) = match &mut self.copy {
            Some((drive, copy)) => (*drive, copy.step()),
            None => {
                let members = self.members();
                let outside = (0..self.slots.len()).filter(|drive| !members.contains(drive));
                let Some(drive) = outside.max_by_key(|_| context.rng.u64()) else { return Ok(()) };
                if !self.slots[drive].disk.is_plugged() || context.rng.one_in(2) {
                    return Ok(());
                }
                context.coverage.hit("mirror.copy_begun");
                // What is opened from now on is alive.
                self.slots[drive].dead = false;
                self.disturbed = self.may_fail() || self.slots.iter().any(|slot| !slot.works() || slot.full);
                let begun = mirror.begin_resync(drive, self.slots[drive].disk.as_disk());
                let begun = begun.map(|copy| {
                    self.copy = Some((drive, copy));
                    self.joining = Some(drive);
                    true
                });
                (drive, begun)
            }
        };
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                context.coverage.hit("mirror.joined");
                self.given_up.remove(&drive);
                self.joining = None;
            }
            Err(error) => {
                context.trace.note(format_args!("  copy to {drive}: {error}"));
                context.coverage.hit("mirror.copy_failed");
                if !self.disturbed && !self.is_off() {
                    return Err(Violation::new(format_args!("copy: {error}")));
                }
            }
        }
        self.copy = None;
        Ok(())
    }

    /// Copies to all drives that are not in the set, with nothing going wrong any more.
    pub(super) fn copy_all(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.calm(context);
        self.pause_faults(false);
        for _ in 0..10_000 {
            if self.members().len() == self.slots.len() {
                return Ok(());
            }
            self.copy(context)?;
        }
        Err(Violation::new("copying to a drive does not come to an end"))
    }

    /// Whether this drive may be becoming a member.
    pub(super) fn is_copied_to(&self, drive: usize) -> bool {
        self.joining == Some(drive)
    }

    /// Nothing goes wrong for a moment, or all that did does so again.
    pub(super) fn pause_faults(&mut self, pause: bool) {
        self.slots[0].disk.power_off_after(u64::MAX);
        for slot in &self.slots {
            slot.disk.set_faults(if pause { DiskFaults::default() } else { slot.faults });
        }
    }

    /// No drive goes at the next start.
    pub(super) fn settle_down(&mut self) {
        self.steady = true;
    }
}

impl Bay for Drives {
    fn start(&mut self, context: &mut Context, _: u32) -> Result<Option<Arc<dyn Disk>>, Violation> {
        self.shuffle(context);
        self.keep_out_given_up();
        let mut opened = self.open(context, false);
        if let Err(error) = &opened
            && self.refused(context, error)?
        {
            context.coverage.hit("mirror.override");
            self.give_up(context);
            opened = self.open(context, true);
            if let Err(error) = &opened {
                self.refused(context, error)?;
            }
        }
        let Ok((mirror, report)) = opened else { return Ok(None) };
        self.note_start(context, mirror.clone(), &report);
        Ok(Some(Arc::new(mirror)))
    }

    fn loss_accepted(&self) -> bool {
        self.loss_accepted
    }

    fn loss_noted(&mut self) {
        self.loss_accepted = false;
    }

    /// The members' segments are the same.
    fn started(&mut self, _: &mut Context) -> Result<(), Violation> {
        self.steady = false;
        let members = self.members();
        let works = |drive: &&usize| self.slots[**drive].works();
        let mut good = members.iter().filter(works).map(|drive| &self.slots[*drive].disk);
        let Some(first) = good.next() else { return Ok(()) };
        let names: BTreeSet<u64> = segments(&first.names()).into_iter().collect();
        for other in good {
            if segments(&other.names()).into_iter().collect::<BTreeSet<u64>>() != names {
                return Err(Violation::new("members have different segments"));
            }
            for id in &names {
                let name = format!("{id:016x}.log");
                if first.contents(&name) != other.contents(&name) {
                    return Err(Violation::new(format_args!("members have different bytes in {name}")));
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, context: &mut Context, power: bool) {
        self.observe(context);
        if self.copy.take().is_some() {
            context.coverage.hit("mirror.copy_cut_off");
        }
        self.mirror = None;
        for slot in &mut self.slots {
            let loss = any_loss(&mut context.rng, power);
            context.trace.note(format_args!("  crash: {loss:?}"));
            slot.disk.crash(loss);
            slot.dead = false;
        }
    }

    fn power_off_after(&self, changes: u64) {
        self.slots[0].disk.power_off_after(changes);
    }

    fn is_off(&self) -> bool {
        self.slots[0].disk.is_off()
    }

    fn may_fail(&self) -> bool {
        self.is_off() || self.is_full() || self.read_may_fail() || self.all_failed()
    }

    fn read_may_fail(&self) -> bool {
        self.members().iter().all(|drive| !self.slots[*drive].works())
    }

    fn is_full(&self) -> bool {
        self.slots.iter().any(|slot| slot.full)
    }

    fn calm(&mut self, context: &mut Context) {
        let mut was_full = false;
        for slot in &mut self.slots {
            slot.faults = DiskFaults::default();
            slot.disk.set_faults(slot.faults);
            slot.disk.set_capacity(AMPLE);
            slot.disk.plug();
            was_full |= std::mem::take(&mut slot.full);
        }
        if was_full {
            context.coverage.hit("log.worked_again_after_full");
        }
        self.steady = true;
    }

    fn names(&self) -> Vec<String> {
        let members = self.members();
        members.first().map(|drive| self.slots[*drive].disk.names()).unwrap_or_default()
    }
}
