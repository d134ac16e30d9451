//! What the owner of a pool chooses.

use super::bugs::Bugs;
use super::error::EngineError;
use super::identity::PoolId;
use super::layout::Geometry;
use terrane_log::{LogConfig, Preallocate};

/// Kind of drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// Flash.
    Ssd,
    /// Rotating.
    Hdd,
}

/// What a pool is declared to have. Kept in its identity; may be declared anew at each open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Kind of drive.
    pub drive: Drive,
    /// Bytes of data that the pool may hold.
    pub capacity: u64,
    /// I/O operations per second that placement may commit.
    pub iops: u32,
    /// Bytes per second that placement may commit.
    pub throughput: u64,
}

/// Configuration of a [`super::Pool`].
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// What the pool is declared to have.
    pub declared: Declared,
    /// The server that the pool belongs to; a pool of another one is refused.
    pub server: u128,
    /// The pool that must be there; `None`: the one that is there, or a new one in an empty directory.
    pub expected: Option<PoolId>,
    /// Shape of new copies.
    pub geometry: Geometry,
    /// Extents that the activity log of one copy may hold.
    pub log_extents: usize,
    /// Bytes that all cuts of the pool may keep of what is overwritten; what needs more is void.
    pub cut_bytes_max: u64,
    /// Bytes of the drive that cuts leave to writes.
    pub cut_bytes_spare: u64,
    /// Journal bytes after which a snapshot is written and older segments go. Bounds replay.
    pub replay_bytes: u64,
    /// How the journal is kept at first: small. One that gets a record that is too large for it is opened again with
    /// [`PoolConfig::roomy_journal`].
    pub journal: LogConfig,
    /// Where the pool's identifier and copies' salts come from; `None`: the system's generator.
    pub seed: Option<u64>,
    /// Test-only switches.
    pub bugs: Bugs,
}

impl PoolConfig {
    /// The usual values.
    #[must_use]
    pub fn new(server: u128, declared: Declared) -> Self {
        Self {
            declared,
            server,
            expected: None,
            geometry: Geometry::default(),
            log_extents: 1024,
            cut_bytes_max: declared.capacity / 4,
            cut_bytes_spare: (declared.capacity / 64).min(1 << 30),
            replay_bytes: 8 << 20,
            journal: LogConfig {
                segment_bytes: 4 << 20,
                max_record_bytes: 2 << 20,
                max_batch_bytes: 3 << 20,
                preallocate: Preallocate::Background,
                ..LogConfig::default()
            },
            seed: None,
            bugs: Bugs::default(),
        }
    }

    /// The journal of a pool with more in it than [`PoolConfig::journal`] takes: the largest state of a copy fits
    /// (65,536 extents in its log and as many runs in each of 8 bitmaps and what changed since 5 cuts: 14 MiB).
    #[must_use]
    pub fn roomy_journal(&self) -> LogConfig {
        LogConfig {
            segment_bytes: 32 << 20,
            max_record_bytes: 16 << 20,
            max_batch_bytes: 24 << 20,
            ..self.journal.clone()
        }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.log_extents == 0 || self.log_extents > 1 << 16 {
            return Err(EngineError::Config("the activity log holds 1 to 65,536 extents"));
        }
        if self.declared.capacity == 0 {
            return Err(EngineError::Config("a pool without capacity"));
        }
        Ok(())
    }
}
