//! World `keymap`: the real shard over the real log on a simulated disk, a keymap engine that crashes back to any state
//! since its last sync, and clients, workers, compaction and an operator who get in each other's way.
//!
//! The oracle is a naive store that evaluates each request at the point at which the sequencer takes it, so that its
//! states are indexed by LSN. A view says which LSN it shows, so every read is compared exactly, and linearizability
//! is that a read's view shows at least all that was acknowledged before. Checked throughout:
//! * every answer is the model's, and is given only when what it follows from is visible;
//! * every GET and every page of LIST is the model's at the view's LSN, also on views held for long, and the bytes are
//!   there;
//! * after every start, all that was visible is there, the rest is a prefix, and nothing that was given up comes back;
//! * delayed entries are applied by their due times; completions follow application, and each is delivered;
//! * at rest the keymap alone equals the model, and so does one rebuilt from the log.

mod clients;
mod compactor;
mod compare;
mod engine;
mod faults;
mod history;
mod machine;
mod model;
mod settings;
mod verify;
mod work;

use crate::runner::{Context, Plan, Violation, World};

/// See the module.
pub struct KeymapWorld;

const COVERAGE: &[&str] = &[
    "keymap.acknowledged_delay",
    "keymap.acknowledged_high",
    "keymap.acknowledged_low",
    "keymap.acknowledged_sync",
    "keymap.batch_committed",
    "keymap.burst",
    "keymap.bytes_moved",
    "keymap.conflict",
    "keymap.crashed",
    "keymap.crashed_in_start",
    "keymap.data_segment_removed",
    "keymap.drained",
    "keymap.due_kept",
    "keymap.got",
    "keymap.got_nothing",
    "keymap.jumped_week",
    "keymap.listed",
    "keymap.list_truncated",
    "keymap.log_poisoned",
    "keymap.log_segment_removed",
    "keymap.moved",
    "keymap.no_space_at_append",
    "keymap.no_space_at_sync",
    "keymap.paused",
    "keymap.rebuilt_equal",
    "keymap.refused",
    "keymap.restarted",
    "keymap.resumed",
    "keymap.run_dropped",
    "keymap.slow_copy",
    "keymap.slow_down",
    "keymap.source_moved",
    "keymap.spill_failed",
    "keymap.spilled",
    "keymap.sync_failed",
    "keymap.synced",
    "keymap.torn",
    "keymap.unseen_lost",
    "keymap.unseen_survived",
    "keymap.wiped",
    "keymap.worker_lost",
    "keymap.zombie_committed",
    "keymap.zombie_fenced",
    "batches_forgotten",
    "coalesced",
    "load_switches",
    "purges",
    "refused_by_bounds",
    "replayed_applied",
    "runs_applied",
    "scaled_down",
    "scaled_up",
    "slots_moved",
    "stale_batches",
    "sync_timeouts",
    "waited_for_durable",
];

impl World for KeymapWorld {
    fn name(&self) -> &'static str {
        "keymap"
    }

    fn bugs(&self) -> &'static [&'static str] {
        settings::BUGS
    }

    fn coverage(&self) -> &'static [&'static str] {
        COVERAGE
    }

    fn faults(&self) -> &'static [&'static str] {
        faults::FAULTS
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        history::History::new(plan, context).run()
    }
}
