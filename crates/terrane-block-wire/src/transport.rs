//! Connections: dialing, listening, and both directions of an established one.

mod busy;
mod connection;
mod listen;

pub use busy::BusyPoll;
pub use connection::{Connection, Reader, SendError, Sender, Writer};
pub use listen::Listener;

use crate::data::Dialer;
use crate::error::WireError;
use crate::handshake::{self, Protocol};
use crate::key::ClusterKey;
use crate::tls::Tls;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

/// A handshake takes so long, at most, with dialing.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// Connecting takes so long, at most: what a broken network has swallowed is not waited for once it is whole again.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// What was sent and not confirmed by the other host for so long ends a connection, and so does a host that is gone.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(3);
/// Connections of one listener whose handshake is under way.
pub const HANDSHAKES_MAX: usize = 64;
/// Bytes that wait to be sent on one connection; then it is given up.
pub const OUTPUT_MAX: usize = 64 << 20;

/// How to speak with the processes of a cluster.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The cluster's key.
    pub key: ClusterKey,
    /// Certificates; without them only loopback addresses are spoken with. With them TLS is spoken everywhere.
    pub tls: Option<Tls>,
}

impl Credentials {
    /// Of the key alone.
    #[must_use]
    pub fn plain(key: ClusterKey) -> Self {
        Self { key, tls: None }
    }

    fn check(&self, address: SocketAddr) -> Result<(), WireError> {
        if self.tls.is_none() && !address.ip().is_loopback() {
            return Err(WireError::NeedsTls(address.to_string()));
        }
        Ok(())
    }
}

/// Opens a connection to `host:port`. `expected`: who should answer there ([`handshake::Answer::id`]), if that is
/// known.
///
/// # Errors
/// [`WireError`]; after [`HANDSHAKE_MAX`] at the latest.
pub async fn dial(
    address: &str,
    credentials: &Credentials,
    protocol: Protocol,
    dialer: Dialer,
    expected: Option<u128>,
) -> Result<Connection, WireError> {
    let opened = open(address, credentials, protocol, dialer, expected);
    timeout(HANDSHAKE_MAX, opened).await.unwrap_or(Err(WireError::Slow))
}

/// Nothing waits for more to send; a host that is gone is noticed. (A process that is frozen is not: its host
/// confirms.)
fn prepare(stream: &TcpStream) -> Result<(), WireError> {
    let set = || {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        socket.set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
        let (idle, between) = (Duration::from_secs(10), Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(3))
    };
    set().map_err(WireError::io("prepare a connection"))
}

async fn open(
    address: &str,
    credentials: &Credentials,
    protocol: Protocol,
    dialer: Dialer,
    expected: Option<u128>,
) -> Result<Connection, WireError> {
    let resolved = lookup_host(address).await.map_err(WireError::io("look up an address"))?.next();
    let resolved = resolved.ok_or_else(|| WireError::broken("address", address))?;
    credentials.check(resolved)?;
    let connected = timeout(CONNECT_MAX, TcpStream::connect(resolved)).await.map_err(|_| WireError::Slow)?;
    let stream = connected.map_err(WireError::io("connect"))?;
    prepare(&stream)?;
    let key = &credentials.key;
    let Some(tls) = &credentials.tls else {
        let mut stream = stream;
        let (version, id) = handshake::dial(&mut stream, key, protocol, dialer, expected).await?;
        return Ok(Connection::plain(stream, version, dialer, id));
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|error| WireError::Tls(format!("{address}: {error}")))?;
    let connector = TlsConnector::from(tls.client.clone());
    let stream = connector.connect(name, stream).await.map_err(|error| WireError::Tls(error.to_string()))?;
    let mut stream = TlsStream::Client(stream);
    let (version, id) = handshake::dial(&mut stream, key, protocol, dialer, expected).await?;
    Ok(Connection::tls(stream, version, dialer, id))
}
