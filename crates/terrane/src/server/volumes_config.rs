//! `[volumes]` of the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use terrane_block::server::{DataPath, Pace};
use terrane_block_wire::tls::TlsFiles;
use terrane_block_wire::transport::BusyPoll;
use terrane_types::{AccountId, ByteSize, Region, Zone};
use terrane_volumes::Timing;

/// Where block servers and node managers find the manager.
const CONTROL_PORT: u16 = 7071;
/// The port of NBD.
const NBD_PORT: u16 = 10809;

/// `[volumes]`: replicated block storage.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VolumesSection {
    /// Whether volumes are offered.
    pub(crate) enabled: bool,
    /// Block servers that `terrane up` runs in its process, spread over the zones.
    pub(crate) servers: u8,
    /// Zones; absent: the region's name with `a` and with `b`.
    pub(crate) zones: Vec<Zone>,
    /// Copies of a new volume.
    pub(crate) copies: usize,
    /// Bytes promised per byte of capacity, at most.
    pub(crate) overcommit: u32,
    /// Whose the machines are that register.
    pub(crate) host_account: AccountId,
    /// The cluster's key of another manager; absent: `run/cluster.key`, made at the first start.
    pub(crate) cluster_key: Option<PathBuf>,
    /// Where the manager takes block servers and node managers.
    pub(crate) control: SocketAddr,
    /// Where NBD is served besides the Unix socket.
    pub(crate) nbd: SocketAddr,
    /// Bytes of volumes' blocks that a node manager keeps in memory.
    pub(crate) cache: ByteSize,
    /// Microseconds that a block server or node manager that has heard something waits for more before it sleeps.
    busy_poll_us: u64,
    /// How block servers use their drives.
    data_path: DataPathChoice,
    /// A drive that answers nothing for so long hangs.
    drive_hang_ms: u64,
    /// What each pool of `terrane up` declares: I/O operations and bytes per second.
    pub(crate) pool_iops: u32,
    pub(crate) pool_throughput: ByteSize,
    heartbeat_ms: u64,
    suspect_after_ms: u64,
    reconnect_within_ms: u64,
    silence_ms: u64,
    lease_ms: u64,
    remirror_after_ms: u64,
    complaints_after_ms: u64,
    resync_floor: ByteSize,
    resync_ceiling: ByteSize,
    scrub_rate: ByteSize,
    pub(crate) tls: Option<ClusterTls>,
}

/// `[volumes.tls]`: certificates between machines, and of NBD over TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTls {
    /// This process's chain, leaf first.
    cert: PathBuf,
    /// Its private key.
    key: PathBuf,
    /// The authorities that the other end's certificate must be of.
    ca: PathBuf,
}

/// How block servers use their drives.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DataPathChoice {
    Auto,
    IoUring,
    Portable,
}

impl ClusterTls {
    /// Between processes of the cluster.
    pub(crate) fn cluster(&self) -> TlsFiles {
        TlsFiles { cert: self.cert.clone(), key: self.key.clone(), ca: self.ca.clone() }
    }

    /// Of the NBD server.
    pub(crate) fn nbd(&self) -> terrane_nbd::TlsFiles {
        let Self { cert, key, ca } = self.clone();
        terrane_nbd::TlsFiles { cert, key, client_ca: ca }
    }
}

impl Default for VolumesSection {
    fn default() -> Self {
        let (timing, pace) = (Timing::default(), Pace::default());
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            enabled: true,
            servers: 4,
            zones: Vec::new(),
            copies: 2,
            overcommit: 20,
            host_account: AccountId::root(),
            cluster_key: None,
            control: loopback(CONTROL_PORT),
            nbd: loopback(NBD_PORT),
            cache: ByteSize(0),
            busy_poll_us: u64::try_from(BusyPoll::PATIENCE.as_micros()).unwrap_or(u64::MAX),
            data_path: DataPathChoice::Auto,
            drive_hang_ms: ms(pace.hang),
            pool_iops: 100_000,
            pool_throughput: ByteSize::mib(2000),
            heartbeat_ms: ms(timing.heartbeat),
            suspect_after_ms: ms(timing.suspect_after),
            reconnect_within_ms: ms(timing.reconnect_within),
            silence_ms: ms(timing.silence),
            lease_ms: ms(timing.lease),
            remirror_after_ms: ms(timing.remirror_after),
            complaints_after_ms: ms(timing.complaints_after),
            resync_floor: ByteSize(pace.resync_floor),
            resync_ceiling: ByteSize(pace.resync_ceiling),
            scrub_rate: ByteSize(pace.scrub),
            tls: None,
        }
    }
}

impl VolumesSection {
    /// See [`BusyPoll`].
    pub(super) fn busy_poll(&self) -> Duration {
        Duration::from_micros(self.busy_poll_us)
    }

    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let positive = [
            ("copies", self.copies as u64),
            ("overcommit", self.overcommit.into()),
            ("heartbeat_ms", self.heartbeat_ms),
            ("suspect_after_ms", self.suspect_after_ms),
            ("silence_ms", self.silence_ms),
            ("lease_ms", self.lease_ms),
            ("drive_hang_ms", self.drive_hang_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            bail!("volumes.{name} must be at least 1");
        }
        if !(1..=3).contains(&self.copies) {
            bail!("volumes.copies must be from 1 to 3");
        }
        if self.lease_ms > 400 {
            bail!("volumes.lease_ms must be at most 400");
        }
        if self.heartbeat_ms >= self.suspect_after_ms || self.suspect_after_ms > self.silence_ms {
            bail!("volumes: heartbeat_ms < suspect_after_ms <= silence_ms must hold");
        }
        if self.resync_floor > self.resync_ceiling {
            bail!("volumes.resync_floor must not be above volumes.resync_ceiling");
        }
        Ok(())
    }

    /// The zones of a region.
    pub(crate) fn zones(&self, region: &Region) -> anyhow::Result<Vec<Zone>> {
        if !self.zones.is_empty() {
            return Ok(self.zones.clone());
        }
        let zone = |letter: &str| Zone::parse(&format!("{region}{letter}"));
        let zones = ["a", "b"].into_iter().map(zone).collect::<Result<_, _>>();
        zones.context("the region's name makes no names of zones: set volumes.zones")
    }

    /// Times of failure detection and repair.
    pub(crate) fn timing(&self) -> Timing {
        let ms = Duration::from_millis;
        Timing {
            heartbeat: ms(self.heartbeat_ms),
            suspect_after: ms(self.suspect_after_ms),
            reconnect_within: ms(self.reconnect_within_ms),
            silence: ms(self.silence_ms),
            lease: ms(self.lease_ms),
            remirror_after: ms(self.remirror_after_ms),
            complaints_after: ms(self.complaints_after_ms),
            ..Timing::default()
        }
    }

    /// How block servers use their drives; `None`: the best way that works.
    pub(crate) fn data_path(&self) -> Option<DataPath> {
        match self.data_path {
            DataPathChoice::Auto => None,
            DataPathChoice::IoUring => Some(DataPath::Ring),
            DataPathChoice::Portable => Some(DataPath::Portable),
        }
    }

    /// Bounds of background work.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            resync_floor: self.resync_floor.0,
            resync_ceiling: self.resync_ceiling.0,
            scrub: self.scrub_rate.0,
            hang: Duration::from_millis(self.drive_hang_ms),
            ..Pace::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> anyhow::Result<VolumesSection> {
        let section: VolumesSection = toml::from_str(text)?;
        section.check()?;
        Ok(section)
    }

    #[test]
    fn our_defaults_are_the_parts_own() {
        let section = section("").unwrap();
        assert_eq!((section.timing(), section.pace()), (Timing::default(), Pace::default()));
        let zones: Vec<_> = section.zones(&Region::us_east_1()).unwrap();
        assert_eq!(zones.iter().map(Zone::as_str).collect::<Vec<_>>(), ["us-east-1a", "us-east-1b"]);
    }

    #[test]
    fn what_would_not_work_is_refused() {
        for bad in [
            "copies = 0",
            "copies = 4",
            "lease_ms = 500",
            "heartbeat_ms = 300",
            "suspect_after_ms = 5000",
            "zones = ['Ü']",
            "resync_floor = '1GiB'",
            "nbd = 'localhost'",
            "[tls]\ncert = 'a'",
        ] {
            assert!(section(bad).is_err(), "{bad}");
        }
    }
}
