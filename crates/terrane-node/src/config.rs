//! What a node manager is told at its start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use terrane_block_wire::transport::Credentials;
use terrane_nbd::{ListenError, TlsError, TlsFiles};
use terrane_types::{InstanceId, Zone};

use crate::IdentityError;

/// Configuration of a [`crate::NodeManager`].
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What is kept: who this machine is. Made if it is not there.
    pub dir: PathBuf,
    /// The instance that this machine is. `None`: what `dir` says; a random one for a new `dir`.
    pub instance: Option<InstanceId>,
    /// The machine's zone.
    pub zone: Zone,
    /// A name for people.
    pub host_name: String,
    /// Where managers take control connections, `host:port` each; tried in turn.
    pub managers: Vec<String>,
    /// The cluster's key, and certificates for addresses off loopback.
    pub credentials: Credentials,
    /// The Unix socket of the NBD exports (mode 0600).
    pub nbd_socket: PathBuf,
    /// A TCP address of the NBD exports as well. Off loopback it needs `nbd_tls`.
    pub nbd_listen: Option<SocketAddr>,
    /// Certificates of the NBD server over TCP; clients must show one.
    pub nbd_tls: Option<TlsFiles>,
    /// Bytes of blocks that are kept in memory, of all volumes together. 0: none.
    pub cache: u64,
    /// The thread sleeps after so long without a message; see [`terrane_block_wire::transport::BusyPoll`].
    pub busy_poll: Duration,
}

/// Why a node manager does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Who is this?
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Certificates of the NBD server.
    #[error("NBD server: {0}")]
    Tls(#[from] TlsError),
    /// The NBD server's sockets.
    #[error("NBD server: {0}")]
    Listen(#[from] ListenError),
    /// No thread, no runtime, or no directory.
    #[error("cannot start the node manager's thread: {0}")]
    Thread(#[source] io::Error),
    /// No managers are configured.
    #[error("a node manager needs the address of a manager")]
    NoManagers,
}
