//! Connections, listeners, and the limits on both.

mod execute;
mod guesses;
mod listener;
mod lobby;
mod negotiate;
mod tls;
mod transmit;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handshake::{HandshakeError, TlsMode};
use crate::request::RequestError;
use crate::{Exports, Peer};
use guesses::Guesses;
pub use listener::{ListenError, Listener};
use lobby::Lobby;
pub use tls::{Tls, TlsError, TlsFiles};
use transmit::transmit;

/// How long a connection that is being closed waits for its client.
const LINGER: Duration = Duration::from_secs(1);

/// Bounds of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How long a client may take from connecting to the transmission phase.
    pub handshake_timeout: Duration,
    /// Connections in their handshake. A further one takes the place of the oldest.
    pub handshakes_max: usize,
    /// Connections in transmission. Clients beyond are refused.
    pub connections_max: usize,
    /// Requests of one connection that are not yet answered.
    pub requests_max: usize,
    /// Bytes of payload in one connection's unanswered requests and replies; one more request may exceed it.
    pub bytes_max: u64,
    /// Unknown names that one address (or user of this machine) may try in a row.
    pub guesses_burst: u32,
    /// Time after which it may try one more.
    pub guesses_pause: Duration,
    /// When the server stops, requests that still come are left unanswered, so that clients which reconnect send them
    /// again to its successor. Otherwise they are refused with `NBD_ESHUTDOWN`.
    pub hang_up_at_stop: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 256,
            connections_max: 1024,
            requests_max: 256,
            bytes_max: 64 << 20,
            guesses_burst: 16,
            guesses_pause: Duration::from_millis(500),
            hang_up_at_stop: false,
        }
    }
}

/// Why a connection ended otherwise than by its client's wish.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The stream broke.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    /// The client does not negotiate as it should.
    #[error("negotiation: {0}")]
    Handshake(#[from] HandshakeError),
    /// The client does not send requests as it should.
    #[error("transmission: {0}")]
    Request(#[from] RequestError),
    /// The negotiation took too long.
    #[error("negotiation took too long")]
    Timeout,
    /// Too many clients are negotiating and this was the oldest, or the server went down meanwhile.
    #[error("turned away while negotiating")]
    Evicted,
}

/// A server of exports.
pub struct Server {
    exports: Arc<dyn Exports>,
    config: ServerConfig,
    tls: Option<Arc<Tls>>,
    lobby: Arc<Lobby>,
    guesses: Guesses,
    established: Arc<Semaphore>,
}

impl Server {
    /// A server of these exports, without TLS.
    pub fn new(exports: Arc<dyn Exports>, config: ServerConfig) -> Self {
        Self {
            exports,
            tls: None,
            lobby: Arc::new(Lobby::new(config.handshakes_max)),
            guesses: Guesses::new(config.guesses_burst, config.guesses_pause),
            established: Arc::new(Semaphore::new(config.connections_max)),
            config,
        }
    }

    /// Offers TLS, where the listener asks for it.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<Tls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Binds a TCP socket. Off loopback, this server must have TLS.
    pub async fn listen_tcp(&self, address: std::net::SocketAddr) -> Result<Listener, ListenError> {
        Listener::tcp(address, self.tls.is_some()).await
    }

    /// Accepts connections until told to stop, then lets every connection answer what it has in flight.
    pub async fn run(self: Arc<Self>, listener: Listener, stop: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (server, tls, stop) = (self.clone(), listener.tls_mode(), stop.clone());
                    connections.spawn(async move { stream.serve(&server, peer, tls, &stop).await });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: others must end first.
                    tracing::warn!(%error, "cannot accept an NBD connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// Serves one client over any stream of bytes, from its greeting to its end. What was begun for it is
    /// finished before this returns, even if the stream breaks. When `stop` is cancelled, requests in flight
    /// are answered, others refused with `NBD_ESHUTDOWN` (see [`ServerConfig::hang_up_at_stop`]), and the stream is closed.
    pub async fn serve_connection<S>(
        &self,
        stream: S,
        peer: Peer,
        tls: TlsMode,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let place = self.lobby.enter();
        let negotiation = negotiate::Negotiation::new(self, peer, tls, stop);
        let negotiated = tokio::select! {
            negotiated = tokio::time::timeout(self.config.handshake_timeout, negotiation.run(stream)) => {
                negotiated.map_err(|_| ConnectionError::Timeout)??
            }
            () = place.evicted() => return Err(ConnectionError::Evicted),
            () = lingering(stop) => return Err(ConnectionError::Evicted),
        };
        drop(place);
        let Some((stream, session)) = negotiated else { return Ok(()) };
        match stream {
            negotiate::Secured::Plain(stream) => {
                close(transmit(stream, session, &self.config, stop).await).await
            }
            negotiate::Secured::Tls(stream) => {
                close(transmit(*stream, session, &self.config, stop).await).await
            }
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Returns when clients that are still negotiating have had time to learn that the server is going down.
async fn lingering(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LINGER).await;
}

/// Closes a stream so that the last replies arrive: data that is not read when a socket is closed makes the
/// kernel reset the connection, which throws away what the client has not read.
async fn close<S>(ended: transmit::Ended<S>) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let transmit::Ended { mut stream, result, at_end } = ended;
    let goodbye = async {
        if stream.shutdown().await.is_err() || at_end {
            return;
        }
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    };
    // A client that does not answer is not waited for.
    let _ = tokio::time::timeout(LINGER, goodbye).await;
    result
}
