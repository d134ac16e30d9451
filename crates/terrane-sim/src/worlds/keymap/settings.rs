//! Settings of one history: small bounds, so that everything happens often.

use terrane_keymap::class::WriteMode;
use terrane_keymap::config::{Bugs, ShardConfig, Threshold};
use terrane_log::LogConfig;

use crate::rng::SimRng;
use crate::runner::Plan;

/// Bugs that can be put back; the last two are the log's. (Its world finds the other ones of the log.)
pub(super) const BUGS: &[&str] = &[
    "skip-lsn-check",
    "drop-overlay-entry-early",
    "maximum-lsn-progress",
    "acknowledge-before-fsync",
    "recycle-log-before-keymap-sync",
    "one-entry-per-key",
    "reuse-segment-id",
    "accept-stale-tail",
];

pub(super) fn shard(rng: &mut SimRng, plan: &Plan) -> ShardConfig {
    let has = |name| plan.switches.has(name);
    let bugs = Bugs {
        skip_guard: has("skip-lsn-check"),
        drop_overlay_early: has("drop-overlay-entry-early"),
        max_lsn_progress: has("maximum-lsn-progress"),
        ack_before_fsync: has("acknowledge-before-fsync"),
        release_log_before_sync: has("recycle-log-before-keymap-sync"),
        one_entry_per_key: has("one-entry-per-key"),
    };
    let soft = rng.range(4_000..40_000);
    let on = rng.range(20..200) as f64;
    let threshold = |factor: f64, mode| Threshold { on: on * factor, off: on * factor * 0.8, mode };
    let thresholds = vec![
        threshold(1.0, WriteMode::High),
        threshold(1.5, WriteMode::Low),
        threshold(3.0, WriteMode::Delay { ms: 2_000 }),
    ];
    ShardConfig {
        pending_bytes_soft: soft,
        pending_bytes_hard: soft * rng.range(2..12),
        pending_count_hard: 5_000,
        inflight_bytes_max: 40_000,
        replay_bytes_max: rng.range(8_000..120_000),
        sync_bytes: *rng.pick(&[2_000, 10_000, 30_000, 1_000_000]),
        sync_interval_ms: *rng.pick(&[200, 500, 60_000]),
        batch_entries_max: rng.range(1..24) as usize,
        run_entries_max: rng.range(8..96) as usize,
        runs_max: rng.range(2..12) as usize,
        run_chunk_entries: rng.range(1..20) as usize,
        due_lead_ms: 300,
        workers_min: 1,
        workers_max: 3,
        worker_depth: 10,
        worker_age_ms: 100,
        worker_idle_ms: 400,
        batch_timeout_ms: 2_000,
        sync_timeout_ms: 1_500,
        thresholds: if rng.one_in(2) { thresholds } else { Vec::new() },
        part_bytes_min: 0,
        delete_bucket_uploads_max: 100,
        bugs,
        ..ShardConfig::default()
    }
}

pub(super) fn log(rng: &mut SimRng, plan: &Plan) -> LogConfig {
    let bugs = terrane_log::bugs::Bugs {
        ack_before_fsync: false,
        accept_stale_tail: plan.switches.has("accept-stale-tail"),
        reuse_segment_id: plan.switches.has("reuse-segment-id"),
    };
    LogConfig {
        segment_bytes: rng.range(4_096..20_000) as u32,
        max_record_bytes: 3_000,
        max_batch_bytes: 64_000,
        spares: rng.below(3),
        reserve_bytes: 24_000,
        bugs,
        ..LogConfig::default()
    }
}
