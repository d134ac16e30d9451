//! Row identities and their memcmp-ordered bytes.
//!
//! ```text
//! incarnation u64 BE | space u8 | key, 0x00 → 0x00 0xFF, end 0x00 0x01 | sub
//! ```
//! so that rows sort by bucket, then space, then key (as bytes), then sub. Within a key the `null` version comes
//! first, then versions from the newest to the oldest; uploads and parts ascend.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, Lsn, Slot};

/// Which rows of a key: objects and versions, unfinished uploads, or their parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// `null` and versioned objects and delete markers; also the rows of buckets.
    Object,
    /// Unfinished multipart uploads.
    Upload,
    /// Parts of unfinished multipart uploads.
    Part,
}

impl Space {
    const fn byte(self) -> u8 {
        match self {
            Self::Object => 0x10,
            Self::Upload => 0x20,
            Self::Part => 0x30,
        }
    }
}

/// Which row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sub {
    /// The `null` version; also a bucket's own row.
    Null,
    /// The version created by that write.
    Version(Lsn),
    /// The upload initiated by that write.
    Upload(Lsn),
    /// A part of that upload.
    Part(Lsn, u32),
}

impl Sub {
    /// The space that the row lies in.
    pub fn space(self) -> Space {
        match self {
            Self::Null | Self::Version(_) => Space::Object,
            Self::Upload(_) => Space::Upload,
            Self::Part(..) => Space::Part,
        }
    }
}

/// Encoded identity of a row; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(Arc<[u8]>);

impl RowId {
    /// Encodes.
    pub fn new(incarnation: Incarnation, key: &[u8], sub: Sub) -> Self {
        let mut bytes = key_prefix(incarnation, sub.space(), key);
        match sub {
            Sub::Null => bytes.push(0),
            Sub::Version(created) => {
                bytes.push(1);
                bytes.extend((!created.0).to_be_bytes());
            }
            Sub::Upload(initiated) => bytes.extend(initiated.0.to_be_bytes()),
            Sub::Part(upload, number) => {
                bytes.extend(upload.0.to_be_bytes());
                bytes.extend(number.to_be_bytes());
            }
        }
        Self(bytes.into())
    }

    /// The row of a bucket.
    pub fn bucket(name: &str) -> Self {
        Self::new(Incarnation::BUCKETS, name.as_bytes(), Sub::Null)
    }

    /// Takes encoded bytes without looking at them; use [`RowId::parse`] to learn what they say.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decodes.
    pub fn parse(&self) -> Result<RowName, RowIdError> {
        RowName::parse(&self.0)
    }
}

impl std::borrow::Borrow<[u8]> for RowId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Ok(name) => {
                write!(f, "{:016x}/{:?}/{}", name.incarnation.0, name.sub, String::from_utf8_lossy(&name.key))
            }
            Err(_) => write!(f, "row {:02x?}", &self.0[..]),
        }
    }
}

/// Decoded identity of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowName {
    /// Whose row.
    pub incarnation: Incarnation,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// Which row of the key.
    pub sub: Sub,
}

/// Bytes that are no row identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed row identity of {0} bytes")]
pub struct RowIdError(pub usize);

impl RowName {
    /// Decodes; refuses anything that [`RowId::new`] does not produce.
    pub fn parse(bytes: &[u8]) -> Result<Self, RowIdError> {
        parse(bytes).ok_or(RowIdError(bytes.len()))
    }

    /// The key's slot.
    pub fn slot(&self) -> Slot {
        Slot::of(self.incarnation, &self.key)
    }
}

fn parse(bytes: &[u8]) -> Option<RowName> {
    let (incarnation, rest) = bytes.split_first_chunk::<8>()?;
    let (space, mut rest) = rest.split_first()?;
    let mut key = Vec::with_capacity(rest.len());
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        if *byte != 0 {
            key.push(*byte);
            continue;
        }
        let (escape, tail) = rest.split_first()?;
        rest = tail;
        match escape {
            0xff => key.push(0),
            0x01 => break,
            _ => return None,
        }
    }
    let number = |b: &[u8]| b.try_into().ok().map(u64::from_be_bytes);
    let sub = match (*space, rest) {
        (0x10, [0]) => Sub::Null,
        (0x10, [1, lsn @ ..]) => Sub::Version(Lsn(!number(lsn)?)),
        (0x20, lsn) => Sub::Upload(Lsn(number(lsn)?)),
        (0x30, rest) => {
            let (upload, part) = rest.split_first_chunk::<8>()?;
            Sub::Part(Lsn(u64::from_be_bytes(*upload)), u32::from_be_bytes(part.try_into().ok()?))
        }
        _ => return None,
    };
    Some(RowName { incarnation: Incarnation(u64::from_be_bytes(*incarnation)), key, sub })
}

/// First bytes of all rows of a bucket in a space.
pub fn space_prefix(incarnation: Incarnation, space: Space) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend(incarnation.0.to_be_bytes());
    bytes.push(space.byte());
    bytes
}

/// First bytes of all rows of a bucket in a space whose key begins with `prefix`.
pub fn open_prefix(incarnation: Incarnation, space: Space, prefix: &[u8]) -> Vec<u8> {
    let mut bytes = space_prefix(incarnation, space);
    bytes.reserve(prefix.len() + 16);
    for byte in prefix {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes
}

/// First bytes of all rows of exactly one key in a space.
pub fn key_prefix(incarnation: Incarnation, space: Space, key: &[u8]) -> Vec<u8> {
    let mut bytes = open_prefix(incarnation, space, key);
    bytes.extend([0, 1]);
    bytes
}

/// First bytes of all parts of an upload.
pub fn parts_prefix(incarnation: Incarnation, key: &[u8], upload: Lsn) -> Vec<u8> {
    let mut bytes = key_prefix(incarnation, Space::Part, key);
    bytes.extend(upload.0.to_be_bytes());
    bytes
}

/// The least byte string greater than all that begin with `prefix`; empty if there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end;
        }
        end.pop();
    }
    end
}

#[cfg(test)]
mod tests;
