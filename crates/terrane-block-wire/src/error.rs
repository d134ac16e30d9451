//! What goes wrong on a connection.

use std::io;

/// Why a connection cannot be made, or is over.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other end closed it.
    #[error("the other end closed the connection")]
    Closed,
    /// The host says.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Bytes that nobody who speaks the protocol sends.
    #[error("broken {what}: {found}")]
    Broken {
        /// Of what.
        what: &'static str,
        /// What was there.
        found: String,
    },
    /// More than is allowed.
    #[error("{what} of {size}; {limit} is the most")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// No version that both speak.
    #[error("no common version: here {own:?}, there {theirs:?} (first and last)")]
    NoCommonVersion {
        /// First and last here.
        own: (u16, u16),
        /// First and last there.
        theirs: (u16, u16),
    },
    /// Another protocol is spoken at this address.
    #[error("another protocol is spoken there")]
    OtherProtocol,
    /// The other end does not know the cluster key.
    #[error("the other end does not know the cluster key")]
    NotOurs,
    /// Someone else answers at this address.
    #[error("someone else answers there: {found:032x} instead of {expected:032x}")]
    SomeoneElse {
        /// Who should.
        expected: u128,
        /// Who does.
        found: u128,
    },
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Slow,
    /// An address off loopback, without TLS.
    #[error("{0} is not a loopback address: TLS is needed")]
    NeedsTls(String),
    /// Certificates.
    #[error("TLS: {0}")]
    Tls(String),
}

impl WireError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io { doing, source },
        }
    }

    pub(crate) fn broken(what: &'static str, found: impl Into<String>) -> Self {
        Self::Broken { what, found: found.into() }
    }
}
