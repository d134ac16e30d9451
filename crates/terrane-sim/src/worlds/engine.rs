//! World `engine`: the block server's storage engine over a disk that does everything a disk may do.
//!
//! A pool with two copies, made, written, trimmed, flushed, deleted and made again; the process is killed between any
//! two changes of a file, the power goes within any, syncs and writes fail, the pool fills up, bits rot. Checked at
//! every read, and of all blocks after every restart:
//! * while the process lives, and after it was killed, a block is what was last written;
//! * after a power failure it is what was flushed or anything written since, or, only if something was written since,
//!   reported as lost; from then on it stays that;
//! * nobody reads what another copy, or the copy before it, wrote; what was trimmed reads as zeros;
//! * damage is reported, never read;
//! * the activity log, records and bitmaps have what was acknowledged and nothing that was not asked for;
//! * the pool's count of blocks with data is right.

mod chaos;
mod machine;
mod media;
mod model;

use crate::runner::{Context, Plan, Violation, World};
use machine::Machine;

/// See the module.
pub struct EngineWorld;

const COVERAGE: &[&str] = &[
    "disk.crash_kept_all",
    "disk.crash_lost_all",
    "disk.crash_lost_sectors",
    "disk.crash_lost_tail",
    "disk.sector_lost",
    "disk.sector_torn",
    "disk.sync_failed",
    "disk.write_failed",
    "disk.power_off",
    "disk.rotted",
    "engine.written",
    "engine.trimmed",
    "engine.flushed",
    "engine.entered",
    "engine.retired",
    "engine.retire_refused",
    "engine.marked",
    "engine.recreated",
    "engine.no_space",
    "engine.overwrite_full",
    "engine.killed",
    "engine.crash_in_open",
    "engine.copy_failed",
    "engine.old_content_after_power_failure",
    "engine.new_content_after_power_failure",
    "engine.lost_after_power_failure",
    "engine.rot_of_data_found",
    "engine.rot_of_table_found",
];

impl World for EngineWorld {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn bugs(&self) -> &'static [&'static str] {
        &[
            "data-before-log",
            "entry-after-data",
            "flush-skips-table",
            "flush-without-sync",
            "retry-failed-sync",
            "trim-keeps-content",
            "retire-unflushed",
            "trust-logged",
            "drop-journal-early",
            "snapshot-forgets-bitmaps",
            "read-unverified",
        ]
    }

    fn coverage(&self) -> &'static [&'static str] {
        COVERAGE
    }

    fn faults(&self) -> &'static [&'static str] {
        &["power", "kill", "rot", "full", "sync", "write"]
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        let mut machine = Machine::new(plan, context)?;
        while context.events < plan.events {
            context.events += 1;
            machine.turn(context)?;
        }
        machine.restart(context)
    }
}
