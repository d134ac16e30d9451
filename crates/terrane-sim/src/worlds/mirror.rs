//! World `mirror`: the real log over the real mirror over two or three drives, each of which fails by itself.
//!
//! The machine and its oracle are those of world `log`. Under it, drives fail syncs, writes and reads, fill up,
//! rot, are pulled out while the log runs, are missing at a start and come back with what they had, or are
//! replaced by blank ones; the power goes between any two changes, the ones of the set's records included;
//! drives are copied to while the log goes on. Checked besides what world `log` checks:
//! * the log never notices as long as one member of the set works;
//! * a start serves everything that was acknowledged, or is refused, and it is refused only while a drive is
//!   missing that was in the last set, or was just becoming a member;
//! * if an operator accepts a loss, what is served is something that was once written;
//! * after every start the members' segments are the same, byte by byte;
//! * rot on one drive is read around, and healed, in the last batch, too.

mod chaos;
mod drives;

use super::log::bay::Bay;
use super::log::machine::Machine;
use crate::disk::DISK_COVERAGE;
use crate::runner::{Context, Plan, Violation, World};
use crate::scheduler::Scheduler;
use drives::Drives;
use std::time::Duration;

/// See the module.
pub struct MirrorWorld;

/// Counters of this world besides the disks'.
const COVERAGE: &[&str] = &[
    "disk.unplugged",
    "log.acknowledged",
    "log.unacknowledged_replayed",
    "log.unacknowledged_lost",
    "log.torn_tail_erased",
    "log.crash_in_open",
    "log.rolled",
    "log.recycled",
    "log.removed",
    "log.poisoned",
    "log.no_space_at_append",
    "log.no_space_at_sync",
    "log.worked_again_after_full",
    "log.lost_by_override",
    "mirror.formed",
    "mirror.drive_left",
    "mirror.all_but_one_left",
    "mirror.left_at_start",
    "mirror.start_refused",
    "mirror.start_with_missing_drive",
    "mirror.start_with_stale_drive",
    "mirror.start_with_blank_drive",
    "mirror.override",
    "mirror.equalised_bytes",
    "mirror.equalised_segments",
    "mirror.equalised_spares",
    "mirror.copy_begun",
    "mirror.copy_failed",
    "mirror.copy_cut_off",
    "mirror.joined",
    "mirror.read_around",
    "mirror.rot_healed_by_read",
    "mirror.rot_healed_by_scan",
    "mirror.rot_healed_by_replay",
    "mirror.rot_healed_by_scrub",
    "mirror.rot_healed_by_open",
    "mirror.rotten_record",
    "mirror.drive_replaced",
];

/// What the actors of this world do when it is their turn.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Write { writer: u8 },
    Sync,
    Consume,
    Read,
    Copy,
    Crash,
    Chaos,
}

impl World for MirrorWorld {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn bugs(&self) -> &'static [&'static str] {
        &["acknowledge-before-set", "serve-stale-member", "skip-equalising", "retry-failed-fsync"]
    }

    fn coverage(&self) -> &'static [&'static str] {
        static ALL: std::sync::LazyLock<Vec<&'static str>> =
            std::sync::LazyLock::new(|| [COVERAGE, DISK_COVERAGE].concat());
        &ALL
    }

    fn faults(&self) -> &'static [&'static str] {
        &["power", "rot", "full", "sync", "write", "read", "unplug", "missing", "override", "replace"]
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        let drives = Drives::new(plan, context);
        let mut machine = Machine::new(drives, plan, context)?;
        let mut queue = Scheduler::new(&mut context.rng);
        let mut turns = vec![Turn::Sync, Turn::Consume, Turn::Read, Turn::Copy, Turn::Crash, Turn::Chaos];
        turns.extend((0..4).map(|writer| Turn::Write { writer }));
        for turn in turns {
            queue.within(pause(turn), turn);
        }
        while context.events < plan.events
            && let Some(turn) = queue.pop()
        {
            context.events += 1;
            context.trace.note(format_args!("{} {turn:?}", queue.now().0 / 1000));
            match turn {
                Turn::Write { writer } => machine.write(context, writer)?,
                Turn::Sync => machine.sync(context)?,
                Turn::Consume => machine.consume(context)?,
                Turn::Read => machine.read(context)?,
                Turn::Copy => machine.bay.copy(context)?,
                Turn::Crash => machine.crash(context)?,
                Turn::Chaos => machine.chaos(context)?,
            }
            machine.bay.observe(context);
            queue.within(pause(turn), turn);
        }
        machine.bay.calm(context);
        machine.bay.settle_down();
        machine.crash(context)?;
        machine.bay.copy_all(context)?;
        machine.crash(context)
    }
}

/// At most this long until the next turn.
fn pause(turn: Turn) -> Duration {
    Duration::from_micros(match turn {
        Turn::Write { .. } => 100,
        Turn::Sync => 150,
        Turn::Read => 200,
        Turn::Copy => 100,
        Turn::Consume => 800,
        Turn::Chaos => 1200,
        Turn::Crash => 3000,
    })
}
