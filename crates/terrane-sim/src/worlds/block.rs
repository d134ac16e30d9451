//! World `block`: the real replication core: several copies, a client, the manager over a transactional record.
//!
//! Packets are late (some by several leases), lost, doubled, overtaken and cut off in one direction; disks forget what was
//! not flushed, or even what they said was, tear writes of several blocks, fail to flush, are slow and rot; processes die
//! and are back within a heartbeat, some in an older version, which tells no hashes; clocks run at different rates;
//! managers change, and the old one does not know yet; copies that are away are forgotten and come back; primaries hand
//! their role over, and copies are let go, in the middle of all that; resync is held up; and failures come one on top of
//! the other. Checked all the time:
//! * every answer against the promise ([`terrane_block_core::promise`]), block by block;
//! * at most one copy may act, and a generation has one primary;
//! * after a FLUSH every in-sync copy has nothing older on stable media;
//! * who hands over leaves nothing to be compared;
//! * once all is healed, everything asked for is answered, all copies are in sync, and byte-identical.

mod app;
mod cascade;
mod chaos;
mod checks;
mod cluster;
mod disk;
mod machine;
mod manager;

use crate::runner::{Context, Plan, Violation, World};
use cluster::Cluster;

/// See the module.
pub struct BlockWorld;

/// Counters that must not be zero.
const COVERAGE: &[&str] = &[
    "block.acknowledged",
    "block.read",
    "block.flushed",
    "block.crash",
    "block.power_failure",
    "block.power_lost_data",
    "block.flush_failed",
    "block.rot",
    "block.rot_repaired",
    "block.restarted_within_heartbeat",
    "block.cut_one_way",
    "block.cut_off",
    "block.manager_failover",
    "block.manager_zombie",
    "block.promoted",
    "block.removed",
    "block.join_committed",
    "block.join_began",
    "block.went_back",
    "block.all_restarted",
    "block.activated",
    "block.lost_everywhere",
    "block.lease_lapsed",
    "block.grant_lapsed",
    "block.detach_forced",
    "block.detach_complete",
    "block.session_refused",
    "block.session_reopened",
    "block.refused_old_generation",
    "block.log_retired",
    "block.three_copies",
    "block.joiner_compared",
    "block.suspect_compared",
    "block.overtaken",
    "block.compared_several",
    "block.digests_withheld",
    "block.recopied_data",
    "block.recopied_nothing",
    "block.fetched_elsewhere",
    "block.mirror_damaged",
    "block.mirror_wants_flush",
    "block.retire_sent",
    "block.refused_sent",
    "block.paced",
    "block.torn",
    "block.old_socket",
    "block.cascade",
    "block.mixed_versions",
    "block.updated",
    "block.put_back",
    "block.drive_lied",
    "block.slow_journal",
    "block.slow_hashing",
    "block.forgotten",
    "block.admitted",
    "block.hand_over_ordered",
    "block.hand_over_abandoned",
    "block.relinquished",
    "block.release_sent",
    "block.handed_over",
    "block.retired",
    "block.retired_joining",
    "net.lost",
    "net.duplicated",
    "net.dropped_at_cut",
];

impl World for BlockWorld {
    fn name(&self) -> &'static str {
        "block"
    }

    fn bugs(&self) -> &'static [&'static str] {
        // The others are too rare for random walks: the breadth-first search finds them.
        &[
            "primary_overlaps",
            "ack_before_mirror",
            "apply_duplicates",
            "accept_old_generation",
            "keep_restarted",
            "skip_grants",
            "shrink_alone",
            "joiner_skips_flush",
            "data_before_log",
            "bitmap_at_primary",
            "bitmap_starts_empty",
            "drop_bitmaps",
            "trust_forgotten",
            "suspects_one_sided",
            "flush_before_suspects",
            "join_before_flush",
            "accept_old_session",
            "detach_early",
            "serve_relinquished",
            "relinquish_undrained",
        ]
    }

    fn coverage(&self) -> &'static [&'static str] {
        COVERAGE
    }

    fn events(&self) -> u64 {
        3_000
    }

    fn faults(&self) -> &'static [&'static str] {
        &[
            "crash",
            "power",
            "flush",
            "rot",
            "cut",
            "manager",
            "detach",
            "cascade",
            "forget",
            "hand_over",
            "retire",
            "lie",
        ]
    }

    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        let mut cluster = Cluster::new(plan, context);
        while context.events < plan.events {
            cluster.next(context)?;
        }
        cluster.calm(context)
    }
}
