//! Taking connections.

use super::{Connection, Credentials, HANDSHAKE_MAX, HANDSHAKES_MAX, prepare};
use crate::error::WireError;
use crate::handshake::{self, Protocol};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};

/// After the host could not give a connection (too many files): before trying again.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections and shakes hands, with many at the same time.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    credentials: Credentials,
    protocol: Protocol,
    id: u128,
    handshakes: JoinSet<Result<Connection, WireError>>,
}

impl Listener {
    /// Listens. `id`: who answers here ([`handshake::Answer::id`]).
    ///
    /// # Errors
    /// [`WireError::NeedsTls`], [`WireError::Io`].
    pub async fn bind(
        address: SocketAddr,
        credentials: Credentials,
        protocol: Protocol,
        id: u128,
    ) -> Result<Self, WireError> {
        credentials.check(address)?;
        let socket = TcpListener::bind(address).await.map_err(WireError::io("listen"))?;
        let address = socket.local_addr().map_err(WireError::io("ask for the own address"))?;
        Ok(Self { socket, address, credentials, protocol, id, handshakes: JoinSet::new() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection of one who knows the key. May be dropped and called again. What fails before is left to
    /// the log; beyond [`HANDSHAKES_MAX`] unfinished handshakes new connections are closed at once.
    pub async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(connection)) => return connection,
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(error) => tracing::error!(%error, "a handshake broke off"),
                },
                taken = self.socket.accept() => match taken {
                    Ok((stream, _)) => self.begin(stream),
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        if self.handshakes.len() >= HANDSHAKES_MAX {
            tracing::debug!("too many handshakes at the same time");
            return;
        }
        let (credentials, protocol, id) = (self.credentials.clone(), self.protocol, self.id);
        self.handshakes.spawn(async move {
            let done = shake(stream, credentials, protocol, id);
            timeout(HANDSHAKE_MAX, done).await.unwrap_or(Err(WireError::Slow))
        });
    }
}

async fn shake(
    mut stream: TcpStream,
    credentials: Credentials,
    protocol: Protocol,
    id: u128,
) -> Result<Connection, WireError> {
    prepare(&stream)?;
    let key = &credentials.key;
    let Some(tls) = &credentials.tls else {
        let (version, dialer) = handshake::accept(&mut stream, key, protocol, id).await?;
        return Ok(Connection::plain(stream, version, dialer, id));
    };
    let stream = TlsAcceptor::from(tls.server.clone()).accept(stream).await;
    let mut stream = TlsStream::Server(stream.map_err(|error| WireError::Tls(error.to_string()))?);
    let (version, dialer) = handshake::accept(&mut stream, key, protocol, id).await?;
    Ok(Connection::tls(stream, version, dialer, id))
}
