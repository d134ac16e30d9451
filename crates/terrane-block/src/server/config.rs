//! What the owner of a block server chooses.

use super::drive_use::DriveUses;
use super::metrics::BlockMetrics;
use crate::engine::PoolConfig;
use crate::engine::media::{DataPath, FsMedia, Media};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terrane_block_wire::control;
use terrane_block_wire::transport::{BusyPoll, Credentials};
use terrane_types::Zone;

/// A pool of the server: a directory on a drive, and what that is declared to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Kind of drive.
    pub media: control::Media,
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes; without it what the drive has free, with what the pool has of it already.
    pub capacity: Option<u64>,
    /// I/O operations per second that placement may commit.
    pub iops: u32,
    /// Bytes per second that placement may commit.
    pub throughput: u64,
}

/// Opens the medium of a pool; tests put faulty ones in.
pub type OpenMedia = dyn Fn(&PoolSpec, DataPath) -> std::io::Result<Arc<dyn Media>> + Send + Sync;

/// Configuration of a [`super::BlockServer`].
#[derive(Clone)]
pub struct BlockServerConfig {
    /// Where the server keeps who it is.
    pub dir: PathBuf,
    /// Its zone.
    pub zone: Zone,
    /// Its name, for people.
    pub name: String,
    /// Where it takes data connections; port 0 for any.
    pub listen: SocketAddr,
    /// Where others reach that, `host:port`, if not under the address that it listens on.
    pub advertise: Option<String>,
    /// Managers, `host:port` each; the one that answers is used.
    pub managers: Vec<String>,
    /// How to speak with all others.
    pub credentials: Credentials,
    /// Its pools.
    pub pools: Vec<PoolSpec>,
    /// Where it is kept who uses its drives.
    pub drive_uses: DriveUses,
    /// Where its measurements go.
    pub metrics: BlockMetrics,
    /// How hard it works in the background.
    pub pace: Pace,
    /// The thread sleeps after so long without a message; see [`BusyPoll`].
    pub busy_poll: Duration,
    /// Changes how pools are kept; for tests.
    pub tune: fn(&mut PoolConfig),
    /// How bytes get to the drives; `None`: the best way that works here.
    pub data_path: Option<DataPath>,
    /// Opens pools' media.
    pub open_media: Arc<OpenMedia>,
}

impl fmt::Debug for BlockServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("BlockServerConfig");
        out.field("dir", &self.dir).field("zone", &self.zone).field("name", &self.name);
        out.field("listen", &self.listen).field("managers", &self.managers);
        out.field("pools", &self.pools).finish_non_exhaustive()
    }
}

impl BlockServerConfig {
    /// The usual values.
    #[must_use]
    pub fn new(dir: PathBuf, zone: Zone, name: String, credentials: Credentials) -> Self {
        Self {
            dir,
            zone,
            name,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            managers: Vec::new(),
            credentials,
            pools: Vec::new(),
            drive_uses: DriveUses::default(),
            metrics: BlockMetrics::default(),
            pace: Pace::default(),
            busy_poll: BusyPoll::PATIENCE,
            tune: |_| {},
            data_path: None,
            open_media: Arc::new(|spec, path| Ok(FsMedia::open_by(&spec.dir, path)?)),
        }
    }
}

/// Bounds of background work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes per second that bringing a copy up to date gets, however busy clients are.
    pub resync_floor: u64,
    /// Bytes per second that it takes at most, per copy that catches up.
    pub resync_ceiling: u64,
    /// Bytes per second that scrubbing reads, per pool; 0: only when asked for.
    pub scrub: u64,
    /// After a copy failed (a drive that is full, or refuses writes): before it is tried again.
    pub retry: Duration,
    /// A drive that has not answered for so long, and then not a probe either, hangs.
    pub hang: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            resync_floor: 16 << 20,
            resync_ceiling: 400 << 20,
            scrub: 4 << 20,
            retry: Duration::from_secs(5),
            hang: Duration::from_secs(2),
        }
    }
}
