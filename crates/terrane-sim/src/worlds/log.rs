//! World `log`: the real [`Log`] over a disk that does everything a disk may do.
//!
//! Several writers append, somebody syncs, a consumer advances its sync point and removes the segments
//! behind it, readers read; the machine crashes in the middle of any change, syncs fail, the disk fills up,
//! bits rot. Checked after every step and every restart:
//! * all that was acknowledged from the consumer's sync point on is replayed, in order, byte for byte;
//! * what else is replayed was appended right after it, in order, and was never reported as not stored;
//! * a locator reads its own record or nothing, for ever;
//! * removed segments stay removed; damage in the synced region is reported, never skipped.

pub(super) mod bay;
mod chaos;
pub(super) mod machine;

use crate::disk::DISK_COVERAGE;
use crate::runner::{Context, Plan, Violation, World};
use crate::scheduler::Scheduler;
use bay::{Bay, OneDisk};
use machine::Machine;
use std::time::Duration;

/// See the module.
pub struct LogWorld;

/// Counters of this world besides the disk's.
const COVERAGE: &[&str] = &[
    "log.acknowledged",
    "log.unacknowledged_replayed",
    "log.unacknowledged_lost",
    "log.torn_tail_erased",
    "log.crash_in_open",
    "log.rolled",
    "log.sealed",
    "log.recycled",
    "log.removed",
    "log.poisoned",
    "log.no_space_at_append",
    "log.no_space_at_sync",
    "log.reserve_used",
    "log.worked_again_after_full",
    "log.rot_found_by_open",
    "log.rot_found_by_replay",
    "log.rot_found_by_read",
    "log.rot_found_by_scan",
];

/// What the actors of this world do when it is their turn.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Write { writer: u8 },
    Sync,
    Consume,
    Read,
    Crash,
    Chaos,
}

impl World for LogWorld {
    fn name(&self) -> &'static str {
        "log"
    }

    fn bugs(&self) -> &'static [&'static str] {
        &["acknowledge-before-fsync", "recycle-before-sync-point", "accept-stale-tail", "reuse-segment-id"]
    }

    fn coverage(&self) -> &'static [&'static str] {
        static ALL: std::sync::LazyLock<Vec<&'static str>> =
            std::sync::LazyLock::new(|| [COVERAGE, DISK_COVERAGE].concat());
        &ALL
    }

    fn faults(&self) -> &'static [&'static str] {
        &["power", "rot", "full", "sync", "write", "read"]
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        let mut machine = Machine::new(OneDisk::new(context), plan, context)?;
        let mut queue = Scheduler::new(&mut context.rng);
        let mut turns = vec![Turn::Sync, Turn::Consume, Turn::Read, Turn::Crash, Turn::Chaos];
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
                Turn::Crash => machine.crash(context)?,
                Turn::Chaos => machine.chaos(context)?,
            }
            queue.within(pause(turn), turn);
        }
        machine.bay.calm(context);
        machine.crash(context)
    }
}

/// At most this long until the next turn.
fn pause(turn: Turn) -> Duration {
    Duration::from_micros(match turn {
        Turn::Write { .. } => 100,
        Turn::Sync => 150,
        Turn::Read => 200,
        Turn::Consume => 800,
        Turn::Chaos => 1500,
        Turn::Crash => 3000,
    })
}
