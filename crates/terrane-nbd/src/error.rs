//! Errors that a client is told of.

use std::borrow::Cow;
use std::fmt;

/// The error values of the protocol. Everything else must be mapped to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// `NBD_EPERM`: a write to a read-only export.
    NotPermitted = 1,
    /// `NBD_EIO`: the medium failed.
    Io = 5,
    /// `NBD_ENOMEM`: no memory for the request.
    NoMemory = 12,
    /// `NBD_EINVAL`: a request that is wrong by itself: misaligned, read beyond the end, unknown.
    Invalid = 22,
    /// `NBD_ENOSPC`: no space, or a write beyond the end.
    NoSpace = 28,
    /// `NBD_EOVERFLOW`: longer than the server handles in one request.
    Overflow = 75,
    /// `NBD_ENOTSUP`: zeroing would not be fast, and the client asked for fast or nothing.
    NotSupported = 95,
    /// `NBD_ESHUTDOWN`: the export is going away.
    Shutdown = 108,
}

/// An error with words for the human at the client. They are sent to the client: no secrets in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdError {
    /// What the client's program sees.
    pub code: ErrorCode,
    /// What its user reads, where the client has negotiated structured replies.
    pub message: Cow<'static, str>,
}

impl NbdError {
    /// An error of this code.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// `NBD_EIO`.
    pub fn io(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Io, message)
    }

    /// `NBD_EINVAL`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// `NBD_ENOSPC`.
    pub fn no_space(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::NoSpace, message)
    }

    /// `NBD_ESHUTDOWN`.
    pub fn shutdown() -> Self {
        Self::new(ErrorCode::Shutdown, "the export is going away")
    }
}

impl fmt::Display for NbdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.message, self.code)
    }
}

impl std::error::Error for NbdError {}
