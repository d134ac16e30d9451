//! World `store`: the embedded store's real pipeline (committer, log, recovery) over a simulated disk
//! and a simulated view.
//!
//! Clients run transactions of reads, limited scans, writes and deletes on few keys, each on the
//! snapshot of its beginning; a committer takes what waits in batches; the view is synced now and
//! then and the log recycled behind it. The power goes in the middle of any change, syncs and writes
//! fail, the disk fills up, the view's writes fail; after a crash the view is what it was at a random
//! moment since its last sync.
//!
//! The oracle knows every committed transaction with its version and checks that
//! * executed one by one in the order of their versions, all transactions read what they did read
//!   (serialisability, with phantoms), and a snapshot has everything acknowledged before it (strictness);
//! * after every restart all acknowledged commits are there, whole, and besides them only such whose
//!   outcome was unknown; nothing that was refused ever appears;
//! * asking again under an identifier commits once.

mod clients;
mod machine;
mod model;
mod view;

use std::time::Duration;

use crate::disk::DISK_COVERAGE;
use crate::runner::{Context, Plan, Violation, World};
use crate::scheduler::Scheduler;
use machine::Machine;

/// See the module.
pub struct StoreWorld;

/// Counters of this world besides the disk's.
const COVERAGE: &[&str] = &[
    "store.committed",
    "store.conflict",
    "store.conflict_within_batch",
    "store.batch_of_several",
    "store.no_space",
    "store.delete_used_reserve",
    "store.too_old",
    "store.unknown",
    "store.unknown_happened",
    "store.unknown_lost",
    "store.asked_again",
    "store.duplicate",
    "store.checkpoint",
    "store.segment_recycled",
    "store.view_failed",
    "store.view_caught_up",
    "store.view_went_back",
    "store.crash_in_open",
    "store.restart_without_loss",
    "store.log_failed",
];

/// The disk's counters that this world goes through. Rot, and what happens when a sealed segment is
/// cut, are for the log's own world.
fn disk_coverage() -> impl Iterator<Item = &'static str> {
    DISK_COVERAGE.iter().copied().filter(|name| !["disk.rotted", "disk.resize_lost"].contains(name))
}

/// What the actors of this world do when it is their turn.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Client(usize),
    Commit,
    SyncView,
    Crash,
    Chaos,
}

impl World for StoreWorld {
    fn name(&self) -> &'static str {
        "store"
    }

    fn bugs(&self) -> &'static [&'static str] {
        &[
            "acknowledge-before-fsync",
            "skip-in-flight-validation",
            "skip-range-validation",
            "recycle-before-view-sync",
        ]
    }

    fn coverage(&self) -> &'static [&'static str] {
        static ALL: std::sync::LazyLock<Vec<&'static str>> =
            std::sync::LazyLock::new(|| COVERAGE.iter().copied().chain(disk_coverage()).collect());
        &ALL
    }

    fn faults(&self) -> &'static [&'static str] {
        &["power", "full", "sync", "write", "read", "view"]
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        let mut machine = Machine::new(plan, context)?;
        let mut queue = Scheduler::new(&mut context.rng);
        let mut turns = vec![Turn::Commit, Turn::SyncView, Turn::Crash, Turn::Chaos];
        turns.extend((0..clients::COUNT).map(Turn::Client));
        for turn in turns {
            queue.within(pause(turn), turn);
        }
        while context.events < plan.events
            && let Some(turn) = queue.pop()
        {
            context.events += 1;
            context.trace.note(format_args!("{} {turn:?}", queue.now().0 / 1000));
            match turn {
                Turn::Client(client) => machine.client(context, client)?,
                Turn::Commit => machine.commit(context)?,
                Turn::SyncView => machine.sync_view(context)?,
                Turn::Crash => machine.crash(context)?,
                Turn::Chaos => machine.chaos(context),
            }
            queue.within(pause(turn), turn);
        }
        machine.calm();
        machine.crash(context)
    }
}

/// At most this long until the next turn.
fn pause(turn: Turn) -> Duration {
    Duration::from_micros(match turn {
        Turn::Client(_) => 100,
        Turn::Commit => 250,
        Turn::SyncView => 1500,
        Turn::Chaos => 2000,
        Turn::Crash => 4000,
    })
}
