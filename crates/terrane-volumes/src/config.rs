//! What a manager is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use terrane_block_wire::transport::Credentials;
use terrane_store::Store;
use terrane_telemetry::health::HealthRegistry;
use terrane_types::{AccountId, Region, Zone};

/// What a manager is told at its start.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Where everything is kept.
    pub store: Store,
    /// The store is this process's alone (memory, embedded): there is no election. With PostgreSQL or a remote
    /// store, `false`: one of the managers is elected, the others answer calls and wait.
    pub exclusive: bool,
    /// The region.
    pub region: Region,
    /// Its zones; those of registered servers come on top.
    pub zones: Vec<Zone>,
    /// Where block servers and node managers connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The cluster's key, and certificates for addresses that are not loopback.
    pub credentials: Credentials,
    /// Whose the registered machines are.
    pub host_account: AccountId,
    /// Copies of a new volume.
    pub copies: usize,
    /// Bytes promised per byte of capacity, at most: volumes are thin.
    pub overcommit: u32,
    /// Times.
    pub timing: Timing,
    /// Where health is reported.
    pub health: HealthRegistry,
}

/// Times of failure detection and repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often everyone says that it is there.
    pub heartbeat: Duration,
    /// A server that was silent for so long, and that somebody waits for, is taken for dead. One that nobody complains
    /// about may be silent three times as long, and one that has shown to be that slow as well.
    pub suspect_after: Duration,
    /// So is one whose connection broke and did not come back within this time.
    pub reconnect_within: Duration,
    /// A silent connection is closed after this time.
    pub silence: Duration,
    /// How long a lease lasts, counted by its holder from sending the request. The manager counts a quarter more.
    pub lease: Duration,
    /// How long a lost copy may come back before it is replaced.
    pub remirror_after: Duration,
    /// A copy that others keep complaining about, while its server says to be well, is put aside after this time.
    pub complaints_after: Duration,
    /// The manager's election: how long a renewal lasts. Another manager takes office a quarter and an eighth more
    /// after the last one, so a store that stalls for so long costs an election.
    pub office: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            suspect_after: Duration::from_millis(300),
            reconnect_within: Duration::from_millis(100),
            silence: Duration::from_secs(1),
            lease: Duration::from_millis(250),
            remirror_after: Duration::from_secs(60),
            complaints_after: Duration::from_secs(1),
            office: Duration::from_millis(800),
        }
    }
}

impl Timing {
    /// How long the manager counts a lease that it granted: longer than the holder by more than clocks may differ.
    #[must_use]
    pub fn grant(&self) -> Duration {
        self.lease + self.lease / 4
    }
}

impl ManagerConfig {
    /// A manager with a store of its own, listening on loopback, and everything else as usual.
    #[must_use]
    pub fn new(store: Store, region: Region, credentials: Credentials) -> Self {
        let zone = |letter: &str| Zone::parse(&format!("{region}{letter}")).ok();
        Self {
            zones: ["a", "b"].into_iter().filter_map(zone).collect(),
            store,
            exclusive: true,
            region,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            credentials,
            host_account: AccountId::root(),
            copies: 2,
            overcommit: 20,
            timing: Timing::default(),
            health: HealthRegistry::default(),
        }
    }
}
