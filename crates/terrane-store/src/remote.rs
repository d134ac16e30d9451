//! The store of another process, by RPC.
//!
//! The process that has the embedded store serves it with [`serve_rpc`]; others open it with
//! [`Store::remote`](crate::Store::remote). Reads go to a snapshot that the server holds for a
//! while; a commit is one message with the ranges that were read and all writes, under a random
//! identifier that is stored with it, so that asking again after a lost connection cannot commit twice.
//!
//! For loopback and Unix sockets: frames are authenticated by a shared token at the handshake, and
//! not encrypted.

mod client;
mod frame;
mod message;
mod server;

pub use client::RemoteConfig;
pub(crate) use client::{Remote, RemoteTx};
pub use message::decode_any as fuzz_decode;
pub use server::{RpcListener, RpcServerConfig, serve_rpc};

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a store is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RpcAddress {
    /// An address of this machine.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The shared secret of a server and its clients.
#[derive(Clone)]
pub struct RpcToken(Vec<u8>);

impl RpcToken {
    /// A token of these bytes (at most 64).
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes = bytes.into();
        bytes.truncate(64);
        Self(bytes)
    }

    /// Compares in constant time.
    fn matches(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(other).into()
    }
}

impl std::fmt::Debug for RpcToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RpcToken(…)")
    }
}
