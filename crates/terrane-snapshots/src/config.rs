use std::time::Duration;

use terrane_snapshot::WriterConfig;

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotsConfig {
    /// Whether this process is the only one that uses the store.
    pub exclusive: bool,
    /// Snapshots that an account may have.
    pub snapshots_max: usize,
    /// Snapshots that an account may have pending.
    pub pending_max: usize,
    /// Blocks that are being stored at the same time, 512 KiB each; more wait.
    pub blocks_max: usize,
    /// Blocks that wait for longer are refused.
    pub block_patience: Duration,
    /// How long deleted snapshots stay in the recycle bin; zero: they are gone at once.
    pub recycle: Duration,
    /// How long tokens of blocks and pages are good for.
    pub token_life: Duration,
    /// How often garbage is looked for.
    pub collect_interval: Duration,
    /// What readers of something deleted get.
    pub grace: Duration,
    /// A call of the object store that takes longer has failed.
    pub object_timeout: Duration,
    /// Assemblies and copies at the same time.
    pub jobs_max: usize,
    /// Attempts of an assembly or copy before the snapshot has failed.
    pub attempts_max: u32,
    /// Of assemblies and copies.
    pub writer: WriterConfig,
}

impl Default for SnapshotsConfig {
    fn default() -> Self {
        Self {
            exclusive: false,
            snapshots_max: 100_000,
            pending_max: 100,
            blocks_max: 64,
            block_patience: Duration::from_secs(20),
            recycle: Duration::ZERO,
            token_life: Duration::from_secs(7 * 86_400),
            collect_interval: Duration::from_secs(60),
            grace: Duration::from_secs(600),
            object_timeout: Duration::from_secs(60),
            jobs_max: 2,
            attempts_max: 20,
            writer: WriterConfig { pack_bytes: 16 << 20, uploads_max: 2 },
        }
    }
}
