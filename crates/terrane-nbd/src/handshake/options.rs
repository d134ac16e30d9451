//! Data of the options that have any.

use bytes::Buf;

use crate::SecretName;
use crate::wire::{ALLOCATION_CONTEXT, STRING_MAX, rep};

/// Data that is not what the option says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Too short, too long, or lengths that do not add up.
    Layout,
    /// A string that is too long, not UTF-8, or has a NUL in it.
    Text,
    /// A query without a namespace.
    Query,
}

impl Malformed {
    pub(super) fn reply(self) -> u32 {
        rep::ERR_INVALID
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Layout => "lengths in the option do not add up",
            Self::Text => "strings are UTF-8 of at most 4096 bytes without NUL",
            Self::Query => "a query names a namespace and a colon",
        }
    }
}

/// Data of EXPORT_NAME.
pub(super) fn name(data: &[u8]) -> Option<SecretName> {
    text(data).ok().map(SecretName::new)
}

/// Data of INFO and GO.
#[derive(Debug)]
pub(super) struct InfoRequest {
    pub(super) name: SecretName,
    wanted: Vec<u16>,
}

impl InfoRequest {
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, Malformed> {
        let name = SecretName::new(prefixed(&mut data)?);
        let count = data.try_get_u16().map_err(|_| Malformed::Layout)?;
        if data.len() != usize::from(count) * 2 {
            return Err(Malformed::Layout);
        }
        let wanted = (0..count).map(|_| data.get_u16()).collect();
        Ok(Self { name, wanted })
    }

    pub(super) fn wants(&self, info: u16) -> bool {
        self.wanted.contains(&info)
    }
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
#[derive(Debug)]
pub(super) struct ContextQuery {
    pub(super) name: SecretName,
    /// No query at all, which lists everything and selects nothing.
    empty: bool,
    /// `base:`, a wildcard for lists.
    wildcard: bool,
    /// `base:allocation`.
    allocation: bool,
}

impl ContextQuery {
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, Malformed> {
        let name = SecretName::new(prefixed(&mut data)?);
        let count = data.try_get_u32().map_err(|_| Malformed::Layout)?;
        let mut parsed = Self { name, empty: count == 0, wildcard: false, allocation: false };
        // Each takes bytes from `data`, so a large count ends with an error.
        for _ in 0..count {
            let query = prefixed(&mut data)?;
            let (namespace, _) = query.split_once(':').ok_or(Malformed::Query)?;
            parsed.wildcard |= query.len() == namespace.len() + 1 && namespace == "base";
            parsed.allocation |= query == ALLOCATION_CONTEXT;
        }
        if data.is_empty() { Ok(parsed) } else { Err(Malformed::Layout) }
    }

    pub(super) fn lists_allocation(&self) -> bool {
        self.empty || self.wildcard || self.allocation
    }

    pub(super) fn selects_allocation(&self) -> bool {
        self.allocation
    }
}

/// A string with its length before it.
fn prefixed<'a>(data: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let len = data.try_get_u32().map_err(|_| Malformed::Layout)? as usize;
    let (string, rest) = data.split_at_checked(len).ok_or(Malformed::Layout)?;
    *data = rest;
    text(string)
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Text)?;
    if bytes.len() > STRING_MAX || text.contains('\0') { Err(Malformed::Text) } else { Ok(text) }
}
