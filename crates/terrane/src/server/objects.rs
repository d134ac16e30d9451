//! The object store within a server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;
use terrane_auth::KeyService;
use terrane_auth::keys::Purpose;
use terrane_keymap::class::WriteMode;
use terrane_objects::config::Threshold;
use terrane_objects::notify::{SecretKeeper, WebhookHosts};
use terrane_objects::service::ObjectService;
use terrane_objects::{MirrorError, ObjectStore, ObjectsConfig, OpenError};
use terrane_telemetry::Metrics;
use terrane_types::{AccountId, ByteSize};

use super::config::Config;
use super::datadir::DataDir;

/// `[objects]`: bounds of the object store.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ObjectsSection {
    /// Directories, each on a disk of its own, that hold the log and all bytes; absent: `objects` in the data directory.
    drives: Option<Vec<PathBuf>>,
    /// Start although drives of the log are missing that may have acknowledged more than those that are there.
    #[serde(skip)]
    pub(super) accept_missing_drives: bool,
    /// Hours between passes that verify all shards of data segments.
    scrub_interval_hours: u64,
    /// Bytes of shards that a pass reads in a second.
    scrub_rate: ByteSize,
    /// Memory for pending entries; at three quarters they spill, at the bound writes answer SlowDown.
    pending_memory: ByteSize,
    /// Pending entries, spilled ones included; beyond it writes answer SlowDown.
    pending_entries_max: u64,
    /// Log that a start may have to replay.
    replay_max: ByteSize,
    /// Fewest keymap workers.
    workers_min: usize,
    /// Most keymap workers.
    workers_max: usize,
    /// Free space that is kept for deletes, syncs, spilling and compaction; then writes are refused.
    pub(super) reserve: ByteSize,
    /// Size of a log segment.
    log_segment: ByteSize,
    /// Size at which a data segment takes no further body.
    data_segment: ByteSize,
    /// Bodies written to data segments at a time; more wait.
    uploads_max: usize,
    /// Cache of keymap blocks.
    keymap_cache: ByteSize,
    /// Keymap memory before it is written out.
    keymap_memory: ByteSize,
    /// Buckets that an account may own.
    buckets_max: usize,
    /// Completions kept for consumers of the event stream.
    completions_max: u64,
    /// Segments with less than this share of live bytes are compacted.
    compact_below_percent: u8,
    /// Whom webhooks may reach besides public addresses: names, `*.` and names, addresses, networks.
    webhook_hosts: Vec<String>,
    /// Seconds between looks for garbage.
    collect_interval_seconds: u64,
    /// From which load on writes are asynchronous that do not say otherwise.
    load: LoadSection,
}

/// `[objects.load]`: smoothed transactions per second; 0 turns a level off.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LoadSection {
    /// Asynchronous, high class.
    async_high_tps: u32,
    /// Asynchronous, low class.
    async_low_tps: u32,
    /// Asynchronous, delayed.
    async_delay_tps: u32,
    /// By how many seconds.
    delay_seconds: u64,
    /// A level is left below this share of what entered it.
    hysteresis_percent: u8,
}

impl Default for LoadSection {
    fn default() -> Self {
        Self {
            async_high_tps: 2_000,
            async_low_tps: 10_000,
            async_delay_tps: 0,
            delay_seconds: 3600,
            hysteresis_percent: 60,
        }
    }
}

impl Default for ObjectsSection {
    fn default() -> Self {
        let objects = ObjectsConfig::new("");
        Self {
            drives: None,
            accept_missing_drives: false,
            scrub_interval_hours: objects.scrub_interval.as_secs() / 3600,
            scrub_rate: ByteSize(objects.scrub_bytes_per_second),
            pending_memory: ByteSize(objects.pending_bytes_max),
            pending_entries_max: objects.pending_entries_max,
            replay_max: ByteSize(objects.replay_bytes_max),
            workers_min: objects.workers.0,
            workers_max: objects.workers.1,
            reserve: ByteSize(objects.reserve_bytes),
            log_segment: ByteSize(objects.log_segment_bytes.into()),
            data_segment: ByteSize(objects.data_segment_bytes),
            uploads_max: objects.uploads_max,
            keymap_cache: ByteSize(objects.keymap_cache_bytes),
            keymap_memory: ByteSize(objects.keymap_memory_bytes),
            buckets_max: objects.buckets_max,
            completions_max: objects.completions_kept,
            compact_below_percent: objects.compact_below_percent,
            webhook_hosts: Vec::new(),
            collect_interval_seconds: objects.collect_interval.as_secs(),
            load: LoadSection::default(),
        }
    }
}

impl LoadSection {
    fn thresholds(&self) -> Vec<Threshold> {
        let delay = WriteMode::Delay { ms: self.delay_seconds.saturating_mul(1000) };
        [
            (self.async_high_tps, WriteMode::High),
            (self.async_low_tps, WriteMode::Low),
            (self.async_delay_tps, delay),
        ]
        .into_iter()
        .filter(|(tps, _)| *tps > 0)
        .map(|(tps, mode)| {
            let on = f64::from(tps);
            Threshold { on, off: on * f64::from(self.hysteresis_percent) / 100.0, mode }
        })
        .collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        let levels: Vec<f64> = self.thresholds().iter().map(|threshold| threshold.on).collect();
        if !levels.is_sorted_by(|a, b| a < b) {
            bail!("objects.load: async_high_tps, async_low_tps and async_delay_tps must ascend");
        }
        if !(1..=99).contains(&self.hysteresis_percent) {
            bail!("objects.load.hysteresis_percent must be from 1 to 99");
        }
        if !(1..=4 * 7 * 86_400).contains(&self.delay_seconds) {
            bail!("objects.load.delay_seconds must be from 1 s to four weeks");
        }
        Ok(())
    }
}

impl ObjectsSection {
    /// Checks what types cannot say.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        const MIB: u64 = 1 << 20;
        for (name, size, least, most) in [
            ("pending_memory", self.pending_memory, MIB, 1 << 40),
            ("replay_max", self.replay_max, MIB, 1 << 40),
            ("log_segment", self.log_segment, MIB, 1 << 30),
            ("data_segment", self.data_segment, MIB, 1 << 40),
            ("keymap_cache", self.keymap_cache, MIB, 1 << 40),
            ("keymap_memory", self.keymap_memory, MIB, 1 << 40),
            ("scrub_rate", self.scrub_rate, MIB, 1 << 40),
        ] {
            if !(least..=most).contains(&size.0) {
                bail!("objects.{name} must be from {} to {}", ByteSize(least), ByteSize(most));
            }
        }
        for (name, value) in [
            ("pending_entries_max", self.pending_entries_max),
            ("workers_min", self.workers_min as u64),
            ("uploads_max", self.uploads_max as u64),
            ("buckets_max", self.buckets_max as u64),
            ("scrub_interval_hours", self.scrub_interval_hours),
            ("collect_interval_seconds", self.collect_interval_seconds),
        ] {
            if value == 0 {
                bail!("objects.{name} must be at least 1");
            }
        }
        match self.drives.as_deref() {
            Some([]) => bail!("objects.drives must name at least one directory, or be left out"),
            Some(drives) if drives.iter().any(|drive| !drive.is_absolute()) => {
                bail!("objects.drives must be absolute paths")
            }
            _ => {}
        }
        if self.workers_max < self.workers_min || self.workers_max > 64 {
            bail!("objects.workers_max must be from workers_min to 64");
        }
        if self.compact_below_percent > 95 {
            bail!("objects.compact_below_percent must be at most 95");
        }
        WebhookHosts::parse(&self.webhook_hosts).context("objects.webhook_hosts")?;
        self.load.check()
    }

    fn config(&self, data: &DataDir) -> anyhow::Result<ObjectsConfig> {
        Ok(ObjectsConfig {
            drives: self.drives.clone().unwrap_or_default(),
            accept_missing_drives: self.accept_missing_drives,
            scrub_interval: Duration::from_secs(self.scrub_interval_hours.saturating_mul(3600)),
            scrub_bytes_per_second: self.scrub_rate.0,
            pending_bytes_max: self.pending_memory.0,
            pending_entries_max: self.pending_entries_max,
            replay_bytes_max: self.replay_max.0,
            workers: (self.workers_min, self.workers_max),
            thresholds: self.load.thresholds(),
            reserve_bytes: self.reserve.0,
            log_segment_bytes: u32::try_from(self.log_segment.0).context("objects.log_segment")?,
            data_segment_bytes: self.data_segment.0,
            uploads_max: self.uploads_max,
            keymap_cache_bytes: self.keymap_cache.0,
            keymap_memory_bytes: self.keymap_memory.0,
            buckets_max: self.buckets_max,
            completions_kept: self.completions_max,
            compact_below_percent: self.compact_below_percent,
            webhook_hosts: WebhookHosts::parse(&self.webhook_hosts).context("objects.webhook_hosts")?,
            collect_interval: Duration::from_secs(self.collect_interval_seconds),
            ..ObjectsConfig::new(data.path("objects"))
        })
    }
}

/// Webhooks' secrets are sealed with their owner's key.
struct Keeper(KeyService);

fn webhook(place: &str) -> Purpose<'_> {
    Purpose { kind: "webhook", id: place }
}

#[async_trait]
impl SecretKeeper for Keeper {
    async fn seal(&self, owner: &AccountId, place: &str, secret: &[u8]) -> Result<Vec<u8>, String> {
        self.0.seal(owner, webhook(place), secret).await.map_err(|error| error.to_string())
    }

    async fn open(&self, owner: &AccountId, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let opened = self.0.open_sealed(owner, webhook(place), sealed).await;
        opened.map(|secret| secret.to_vec()).map_err(|error| error.to_string())
    }
}

/// A running object store.
pub(super) struct Objects {
    store: Arc<ObjectStore>,
}

impl Objects {
    /// Opens the object store of a data directory.
    pub(super) async fn open(
        data: &DataDir,
        config: &Config,
        keys: &KeyService,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let metrics = metrics.with(terrane_objects::Metrics::register);
        let secrets: Option<Arc<dyn SecretKeeper>> = Some(Arc::new(Keeper(keys.clone())));
        let config = ObjectsConfig { secrets, ..config.objects.config(data)? };
        let opened = ObjectStore::open(config, metrics).await;
        let opened = match opened {
            Err(error @ OpenError::Mirror(MirrorError::MembersMissing { .. })) => {
                let hint =
                    "drives are missing; to go on without them, start once with --accept-missing-drives";
                return Err(anyhow::Error::new(error).context(hint));
            }
            opened => opened.context("cannot open the object store")?,
        };
        Ok(Self { store: Arc::new(opened) })
    }

    /// What front ends call.
    pub(super) fn service(&self) -> Arc<dyn ObjectService> {
        self.store.clone()
    }

    /// Makes the keymap durable and ends its threads.
    pub(super) async fn close(self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_defaults_are_the_object_stores() {
        let section = ObjectsSection::default();
        section.check().unwrap();
        assert_eq!(section.load.thresholds(), ObjectsConfig::new("").thresholds);
    }

    #[test]
    fn levels_ascend_and_can_be_left_out() {
        let load = |text: &str| toml::from_str::<LoadSection>(text).unwrap();
        let only_low = load("async_high_tps = 0\nasync_low_tps = 5");
        assert_eq!(only_low.thresholds(), [Threshold { on: 5.0, off: 3.0, mode: WriteMode::Low }]);
        assert!(load("async_high_tps = 10\nasync_low_tps = 5").check().is_err());
        assert!(load("hysteresis_percent = 100").check().is_err());
        assert!(load("async_delay_tps = 20000\ndelay_seconds = 60").check().is_ok());
    }
}
