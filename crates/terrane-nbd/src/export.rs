//! What is served: the traits between the protocol and whatever holds the blocks.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::NbdError;

/// What a client learns of an export when it connects. A connection keeps what it was told: a size that
/// changes is seen by the next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// Size in bytes.
    pub size: u64,
    /// Every offset and length is a multiple of this; a power of two up to 65,536. With more than 512, clients
    /// that do not ask for block sizes are refused, since they would not keep to it.
    pub min_block: u32,
    /// The smallest request that is efficient: a power of two, at least 512 and at least `min_block`.
    pub preferred_block: u32,
    /// The longest payload of one read or write, in bytes; at least `preferred_block`.
    pub max_payload: u32,
    /// Writes are refused with `EPERM`.
    pub read_only: bool,
    /// FLUSH and FUA on one connection cover what *all* connections have completed. Promise it only if true.
    pub multi_conn: bool,
    /// The medium rotates.
    pub rotational: bool,
    /// FLUSH is offered.
    pub flush: bool,
    /// FUA is offered.
    pub fua: bool,
    /// TRIM is offered.
    pub trim: bool,
    /// WRITE_ZEROES is offered.
    pub write_zeroes: bool,
    /// WRITE_ZEROES understands [`ZeroOptions::fast`].
    pub fast_zero: bool,
    /// CACHE is offered.
    pub cache: bool,
}

impl ExportInfo {
    /// A writable export of `size` bytes that offers everything, with the protocol's default block sizes
    /// (1, 4 KiB, 32 MiB), and that does *not* promise `multi_conn`.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            min_block: 1,
            preferred_block: 4096,
            max_payload: 32 << 20,
            read_only: false,
            multi_conn: false,
            rotational: false,
            flush: true,
            fua: true,
            trim: true,
            write_zeroes: true,
            fast_zero: true,
            cache: true,
        }
    }
}

/// How WRITE_ZEROES shall be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeroOptions {
    /// On stable media before the answer.
    pub fua: bool,
    /// The space stays allocated.
    pub no_hole: bool,
    /// Faster than a write of the same length, or `NBD_ENOTSUP` at once and nothing changed.
    pub fast: bool,
}

/// A part of what was read, in order and without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes, at least one.
    Data(Bytes),
    /// So many zeros, at least one, that need not be sent.
    Zeroes(u32),
}

impl Piece {
    /// What the pieces are together. A single piece of data is not copied.
    #[must_use]
    pub fn join(mut pieces: Vec<Self>) -> Bytes {
        if let [Self::Data(_)] = pieces[..]
            && let Some(Self::Data(data)) = pieces.pop()
        {
            return data;
        }
        let mut bytes = BytesMut::new();
        for piece in pieces {
            match piece {
                Self::Data(data) => bytes.extend_from_slice(&data),
                Self::Zeroes(zeroes) => bytes.resize(bytes.len() + zeroes as usize, 0),
            }
        }
        bytes.freeze()
    }
}

/// Whether blocks are allocated and known to be zero (`base:allocation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Allocated, or not known.
    Data,
    /// Allocated, and reads as zeros.
    Zero,
    /// Not allocated, and reads as zeros.
    Hole,
}

/// Consecutive blocks of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, at least one.
    pub len: u64,
    /// What they are.
    pub kind: ExtentKind,
}

/// A thing made of blocks.
///
/// The server has checked every request before it calls: within the size and aligned as [`Export::info`]
/// said *when the connection was made*, not empty, allowed by the flags. Requests of one connection run
/// concurrently and may overlap; in which order overlapping ones take effect is the export's business.
/// An operation that was begun is never cancelled by the server, even if its client has gone.
#[async_trait]
pub trait Export: Send + Sync {
    /// Size, block sizes and what is offered, now.
    fn info(&self) -> ExportInfo;

    /// Reads exactly `len` bytes.
    async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError>;

    /// Reads `len` bytes as pieces, so that zeros need not be sent. Called instead of [`Export::read`] where
    /// the client understands holes.
    async fn read_pieces(&self, offset: u64, len: u32) -> Result<Vec<Piece>, NbdError> {
        Ok(vec![Piece::Data(self.read(offset, len).await?)])
    }

    /// Writes; with `fua` it is on stable media before the answer.
    async fn write(&self, offset: u64, data: Bytes, fua: bool) -> Result<(), NbdError>;

    /// Everything that was answered before is on stable media before the answer.
    async fn flush(&self) -> Result<(), NbdError>;

    /// The blocks are no longer needed.
    async fn trim(&self, offset: u64, len: u64, fua: bool) -> Result<(), NbdError>;

    /// The blocks read as zeros from now on.
    async fn write_zeroes(&self, offset: u64, len: u64, options: ZeroOptions) -> Result<(), NbdError>;

    /// The blocks will be needed soon.
    async fn cache(&self, _offset: u64, _len: u64) -> Result<(), NbdError> {
        Ok(())
    }

    /// The kinds of consecutive extents from `offset` on: at least one, and at most `max_extents`. They may
    /// cover less than `len` bytes, and more.
    async fn block_status(
        &self,
        _offset: u64,
        len: u64,
        _max_extents: usize,
    ) -> Result<Vec<Extent>, NbdError> {
        Ok(vec![Extent { len, kind: ExtentKind::Data }])
    }

    /// Called once for each connection that begins to use the export. What it returns is dropped when the connection
    /// has ended, after the last of its requests.
    fn enter(self: Arc<Self>) -> Box<dyn Any + Send + Sync> {
        Box::new(())
    }

    /// Returns when the export has gone away (detached). Connections then answer what is in flight, refuse
    /// what still comes with `NBD_ESHUTDOWN`, and close. The default never returns.
    async fn gone(&self) {
        std::future::pending().await
    }
}

/// The name of an export, which is its password: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretName(String);

impl SecretName {
    /// Wraps a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretName")
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: PeerAddress,
    /// The leaf of the certificate (DER) that it has authenticated itself with, if any.
    pub certificate: Option<Bytes>,
}

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// A process of this machine.
    Unix {
        /// Its user.
        uid: u32,
    },
    /// Over TCP.
    Tcp(SocketAddr),
}

/// Finds exports by their secret names.
///
/// An implementation compares names in a way whose duration says nothing about how near a guess was
/// ([`crate::ExportTable`] does); the server limits the rate of unknown names.
#[async_trait]
pub trait Exports: Send + Sync {
    /// The export of this name, if there is one and this peer may use it.
    async fn find(&self, name: &SecretName, peer: &Peer) -> Option<Arc<dyn Export>>;
}
