//! NBD server: what a machine that uses a volume talks to; and [`client`], to use somebody else's export.
//!
//! Three layers, each usable without the one above it:
//!
//! * **protocol**, without any I/O: [`handshake`] (fixed newstyle option haggling), [`request`]
//!   (decoding and judging requests), [`reply`] (encoding). They take bytes and give bytes.
//! * **one connection**: [`Server::serve_connection`] drives the protocol over any byte stream, with bounds on
//!   what is in flight, and calls an [`Export`].
//! * **a server**: [`Server`] with [`Listener`]s on Unix sockets (mode 0600) and TCP (plain on loopback
//!   only, else TLS with client certificates), limits on half-open connections and on guessing of names.
//!
//! Export names are secrets: nothing lists them, and an unknown name is answered like any other unknown
//! name, at a limited rate.
//!
//! The protocol is the one of <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, with
//! extended headers as in that repository's branch `extension-ext-header`; "the specification" in this
//! crate means these two.

pub mod client;
mod error;
mod export;
pub mod handshake;
mod memory;
pub mod output;
pub mod reply;
pub mod request;
mod server;
mod table;
mod wire;

pub use error::{ErrorCode, NbdError};
pub use export::{
    Export, ExportInfo, Exports, Extent, ExtentKind, Peer, PeerAddress, Piece, SecretName, ZeroOptions,
};
pub use memory::MemoryExport;
pub use server::{ConnectionError, ListenError, Listener, Server, ServerConfig, Tls, TlsError, TlsFiles};
pub use table::ExportTable;
