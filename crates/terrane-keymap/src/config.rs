//! Settings of a shard, and test-only switches that break one rule each.

use crate::class::WriteMode;

/// Settings of a shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Number of this start of the shard: grows with every start, durably written before use. 24 bits.
    /// Epochs, completion cursors and run numbers begin with it, so that nothing of an earlier start is mistaken.
    pub start: u32,
    /// Soft bound of memory for pending entries; beyond it they spill.
    pub pending_bytes_soft: u64,
    /// Hard bound of memory for pending entries; beyond it writes are answered SlowDown.
    pub pending_bytes_hard: u64,
    /// Hard bound of pending entries, spilled ones included.
    pub pending_count_hard: u64,
    /// Share of the hard bounds kept for deletes, in percent.
    pub delete_share_percent: u64,
    /// Bound of records appended and not yet durable.
    pub inflight_bytes_max: u64,
    /// What a start may have to replay, in log bytes and 256 for each record, before entries are spilled for it.
    pub replay_bytes_max: u64,
    /// Log bytes appended since the last keymap sync that start the next one.
    pub sync_bytes: u64,
    /// Longest time between keymap syncs while there is something to sync.
    pub sync_interval_ms: u64,
    /// Entries of one batch.
    pub batch_entries_max: usize,
    /// Entries of one spill run.
    pub run_entries_max: usize,
    /// Spill runs at once; at the bound writes are answered SlowDown instead of spilling.
    pub runs_max: usize,
    /// Entries loaded from a run at once.
    pub run_chunk_entries: usize,
    /// High entries applied for so many low ones (`.0` : `.1`).
    pub high_to_low: (u32, u32),
    /// Delayed entries are applied this long before they are due: a base…
    pub due_lead_ms: u64,
    /// …plus this share of the delay, in percent.
    pub due_lead_percent: u64,
    /// Fewest workers.
    pub workers_min: usize,
    /// Most workers.
    pub workers_max: usize,
    /// Entries that are due now per worker, above which another worker is wanted.
    pub worker_depth: u64,
    /// Age of the oldest entry that is due now, in milliseconds, above which another worker is wanted.
    pub worker_age_ms: u64,
    /// A worker is given up after so many milliseconds in which fewer would have done.
    pub worker_idle_ms: u64,
    /// A batch that is not answered for so long makes its worker count as lost.
    pub batch_timeout_ms: u64,
    /// A synchronous write that is not applied for so long is answered "pending".
    pub sync_timeout_ms: u64,
    /// Load thresholds, ascending; empty: always synchronous.
    pub thresholds: Vec<Threshold>,
    /// Half-life of the smoothed load in milliseconds.
    pub load_half_life_ms: u64,
    /// Completion records kept undelivered; beyond it they are counted as dead letters.
    pub outbox_max: u64,
    /// Smallest part but the last of a multipart upload.
    pub part_bytes_min: u64,
    /// Uploads (and parts) that DeleteBucket aborts at most.
    pub delete_bucket_uploads_max: usize,
    /// Longest key in bytes.
    pub key_bytes_max: usize,
    /// Broken rules; all off outside simulations.
    pub bugs: Bugs,
}

/// From this load on, unforced writes are applied in that mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Smoothed transactions per second that switch it on.
    pub on: f64,
    /// Below this it is switched off again; less than `on`.
    pub off: f64,
    /// The mode.
    pub mode: WriteMode,
}

/// Test-only switches: each breaks one rule of the design, so that simulations can prove that they would notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// Batches overwrite rows without comparing guards.
    pub skip_guard: bool,
    /// An overlay entry is dropped when its batch is handed out, not with the view that contains its application.
    pub drop_overlay_early: bool,
    /// Progress is the greatest LSN applied in a slot, for all classes.
    pub max_lsn_progress: bool,
    /// Writes are published and answered when appended.
    pub ack_before_fsync: bool,
    /// The replay position counts before the keymap sync that contains it.
    pub release_log_before_sync: bool,
    /// The overlay keeps one entry per key instead of one per row.
    pub one_entry_per_key: bool,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            start: 1,
            pending_bytes_soft: 192 << 20,
            pending_bytes_hard: 256 << 20,
            pending_count_hard: 100_000_000,
            delete_share_percent: 10,
            inflight_bytes_max: 64 << 20,
            replay_bytes_max: 128 << 20,
            sync_bytes: 32 << 20,
            sync_interval_ms: 10_000,
            batch_entries_max: 512,
            run_entries_max: 65_536,
            runs_max: 256,
            run_chunk_entries: 4_096,
            high_to_low: (4, 1),
            due_lead_ms: 500,
            due_lead_percent: 2,
            workers_min: 1,
            workers_max: 4,
            worker_depth: 2_000,
            worker_age_ms: 2_000,
            worker_idle_ms: 10_000,
            batch_timeout_ms: 30_000,
            sync_timeout_ms: 5_000,
            thresholds: Vec::new(),
            load_half_life_ms: 1_000,
            outbox_max: 1_000_000,
            part_bytes_min: 5 << 20,
            delete_bucket_uploads_max: 10_000,
            key_bytes_max: 1_024,
            bugs: Bugs::default(),
        }
    }
}
