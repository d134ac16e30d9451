//! Sockets that clients connect to.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, fchmod};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::handshake::TlsMode;
use crate::{Peer, PeerAddress};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// A machine that is gone is noticed after two minutes, and its connections are free.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(6);

/// Why nothing is listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Off loopback, everything would be readable by the network.
    #[error("cannot listen on {0} without TLS: it is not a loopback address")]
    Exposed(SocketAddr),
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, _file: SocketFile },
    Tcp(TcpListener, TlsMode),
}

impl Listener {
    /// Binds a Unix socket that only this user may connect to (mode 0600). A socket that a process left
    /// behind is replaced; one that somebody listens on is an error. Dropped, the listener removes its file.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let bind = || {
            remove_stale(path)?;
            let socket = UnixSocket::new_stream()?;
            // Linux gives the file the socket's own mode: nobody can connect before it is restricted.
            fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
            socket.bind(path)?;
            let listener = socket.listen(BACKLOG)?;
            let inode = fs::symlink_metadata(path)?.ino();
            Ok((listener, SocketFile { path: path.to_owned(), inode }))
        };
        let (listener, _file) =
            bind().map_err(|source| ListenError::Bind { address: path.display().to_string(), source })?;
        Ok(Self(Socket::Unix { listener, _file }))
    }

    pub(super) async fn tcp(address: SocketAddr, has_tls: bool) -> Result<Self, ListenError> {
        let tls = match (address.ip().to_canonical().is_loopback(), has_tls) {
            (true, true) => TlsMode::Optional,
            (true, false) => TlsMode::Off,
            (false, true) => TlsMode::Required,
            (false, false) => return Err(ListenError::Exposed(address)),
        };
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Bind { address: address.to_string(), source })?;
        Ok(Self(Socket::Tcp(listener, tls)))
    }

    /// The address of a TCP listener, with the port that it got.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Socket::Unix { .. } => None,
            Socket::Tcp(listener, _) => listener.local_addr().ok(),
        }
    }

    pub(super) fn tls_mode(&self) -> TlsMode {
        match &self.0 {
            Socket::Unix { .. } => TlsMode::Off,
            Socket::Tcp(_, tls) => *tls,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        let (stream, address) = match &self.0 {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                (Accepted::Unix(stream), PeerAddress::Unix { uid })
            }
            Socket::Tcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                (Accepted::Tcp(stream), PeerAddress::Tcp(address))
            }
        };
        Ok((stream, Peer { address, certificate: None }))
    }
}

/// A stream of either kind.
pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Accepted {
    /// Serves the client to its end, and says so in the log.
    pub(super) async fn serve(self, server: &Server, peer: Peer, tls: TlsMode, stop: &CancellationToken) {
        let address = peer.address.clone();
        let ended = match self {
            Self::Unix(stream) => server.serve_connection(stream, peer, tls, stop).await,
            Self::Tcp(stream) => server.serve_connection(stream, peer, tls, stop).await,
        };
        match ended {
            Ok(()) => tracing::debug!(peer = ?address, "NBD connection ended"),
            Err(error) => tracing::info!(peer = ?address, %error, "NBD connection ended"),
        }
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Unless another process has put its own there.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        },
        // Binding says what is wrong with any other file.
        _ => Ok(()),
    }
}
