//! What an operator decides about an object store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use terrane_log::disk::Disk;

use crate::notify::{SecretKeeper, WebhookHosts};
use crate::space::SpaceProbe;

pub use terrane_keymap::class::WriteMode;
pub use terrane_keymap::config::Threshold;

/// Configuration of an [`ObjectStore`](crate::ObjectStore).
#[derive(Clone)]
pub struct ObjectsConfig {
    /// Directory of `log`, `data`, `keymap` and `runs`; made if absent. Where drives are given they hold all that, and this
    /// a record of whose they are.
    pub dir: PathBuf,
    /// Directories, each on a disk of its own: the log is mirrored over the first three, bulk bytes are laid over all as
    /// their buckets ask. Empty: one, `dir`.
    pub drives: Vec<PathBuf>,
    /// Start although drives of the log are not there, which may have acknowledged more than those that are.
    pub accept_missing_drives: bool,
    /// Memory for pending entries; at three quarters of it they spill, at the bound writes are answered SlowDown.
    pub pending_bytes_max: u64,
    /// Pending entries, spilled ones included; beyond it writes are answered SlowDown.
    pub pending_entries_max: u64,
    /// Log that a start may have to replay, in bytes and 256 for each record.
    pub replay_bytes_max: u64,
    /// Fewest and most keymap workers.
    pub workers: (usize, usize),
    /// Load thresholds, ascending; none: writes are synchronous unless they say otherwise.
    pub thresholds: Vec<Threshold>,
    /// Free bytes that are kept for deletes, syncs, spilling and one compaction segment.
    pub reserve_bytes: u64,
    /// Size of a log segment.
    pub log_segment_bytes: u32,
    /// Size at which a data segment takes no further body.
    pub data_segment_bytes: u64,
    /// Bodies that are written to data segments at a time; more wait.
    pub uploads_max: usize,
    /// Cache of keymap blocks.
    pub keymap_cache_bytes: u64,
    /// Keymap memory before it is written out.
    pub keymap_memory_bytes: u64,
    /// Buckets that an account may own.
    pub buckets_max: usize,
    /// Completions kept for consumers of the event stream; delivered ones leave first.
    pub completions_kept: u64,
    /// Segments with less than this share of live bytes are compacted.
    pub compact_below_percent: u8,
    /// How often the collector looks for garbage.
    pub collect_interval: Duration,
    /// How often all shards are verified.
    pub scrub_interval: Duration,
    /// Bytes of shards that are verified in a second.
    pub scrub_bytes_per_second: u64,
    /// Whom webhooks may reach besides public addresses.
    pub webhook_hosts: WebhookHosts,
    /// Seals the secrets of webhooks; without it none is taken.
    pub secrets: Option<Arc<dyn SecretKeeper>>,
    /// Where the log lies; `None`: in a directory `log` of `dir`. Tests put disks there that fail.
    pub log_disk: Option<Arc<dyn Disk>>,
    /// How free space is learnt; `None` asks the file system of `dir`.
    pub space: Option<Arc<dyn SpaceProbe>>,
}

impl ObjectsConfig {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            drives: Vec::new(),
            accept_missing_drives: false,
            pending_bytes_max: 256 << 20,
            pending_entries_max: 100_000_000,
            replay_bytes_max: 128 << 20,
            workers: (1, 4),
            thresholds: default_thresholds(),
            reserve_bytes: 512 << 20,
            log_segment_bytes: 64 << 20,
            data_segment_bytes: 256 << 20,
            uploads_max: 64,
            keymap_cache_bytes: 64 << 20,
            keymap_memory_bytes: 32 << 20,
            buckets_max: 1_000,
            completions_kept: 100_000,
            compact_below_percent: 50,
            collect_interval: Duration::from_secs(5),
            scrub_interval: Duration::from_secs(7 * 86_400),
            scrub_bytes_per_second: 64 << 20,
            webhook_hosts: WebhookHosts::default(),
            secrets: None,
            log_disk: None,
            space: None,
        }
    }
}

/// Asynchronous (high class) above 2,000 transactions per second, low class above 10,000.
fn default_thresholds() -> Vec<Threshold> {
    vec![
        Threshold { on: 2_000.0, off: 1_200.0, mode: WriteMode::High },
        Threshold { on: 10_000.0, off: 6_000.0, mode: WriteMode::Low },
    ]
}

impl std::fmt::Debug for ObjectsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectsConfig").field("dir", &self.dir).finish_non_exhaustive()
    }
}
