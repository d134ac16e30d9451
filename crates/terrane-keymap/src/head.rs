//! Row heads: what the overlay and the keymap keep of a row. Everything that LIST prints and that a condition
//! asks for is here; the rest is in the record that the head points to.

use serde::{Deserialize, Serialize};

use crate::etag::{Checksums, Etag};
use crate::ids::{Extent, Guard, Locator, Lsn, Timestamp};

/// One row's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowHead {
    /// Decides against other states of the same row.
    pub guard: Guard,
    /// Which write created the object or marker; the greatest among a key's live rows is the current one.
    /// For uploads and parts: the write that stored them. For tombstones: that of the delete.
    pub created: Lsn,
    /// What the row is.
    pub kind: RowKind,
    /// Additional checksums.
    pub checksums: Checksums,
    /// Payload length in bytes.
    pub size: u64,
    /// Modification time (uploads: initiation).
    pub mtime: Timestamp,
    /// ETag (empty where the kind has none).
    pub etag: Etag,
    /// The record with the full state.
    pub record: Locator,
    /// Where the payload lies.
    pub data: HeadData,
    /// Seldom set.
    pub rare: Option<Box<Rare>>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RowKind {
    /// Deleted; hides older states.
    Tombstone,
    /// An object.
    Object,
    /// A delete marker.
    DeleteMarker,
    /// An unfinished upload.
    Upload,
    /// A part of an unfinished upload.
    Part,
    /// A bucket; its state is in the record.
    Bucket,
}

/// Where a payload lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeadData {
    /// Nowhere: there is none.
    #[default]
    Empty,
    /// At the end of the record.
    Inline,
    /// In one extent.
    One(Box<Extent>),
    /// In so many extents, which the record lists.
    Many(u32),
}

/// Fields that most rows lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rare {
    /// Storage class, if not `STANDARD`.
    pub storage_class: Option<Box<str>>,
    /// The upload that became this object.
    pub upload: Option<Lsn>,
}

/// Bytes that are no row head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No bytes, or of a later format.
    #[error("row head of unknown version {0:?}")]
    Version(Option<u8>),
    /// Damaged.
    #[error("malformed row head: {0}")]
    Malformed(postcard::Error),
}

const VERSION: u8 = 1;

impl RowHead {
    /// Whether the row hides what is under it and shows nothing.
    pub fn is_tombstone(&self) -> bool {
        self.kind == RowKind::Tombstone
    }

    /// Storage class, if not `STANDARD`.
    pub fn storage_class(&self) -> Option<&str> {
        self.rare.as_ref()?.storage_class.as_deref()
    }

    /// The upload that became this object.
    pub fn upload(&self) -> Option<Lsn> {
        self.rare.as_ref()?.upload
    }

    /// Version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(112);
        bytes.push(VERSION);
        postcard::to_extend(self, bytes).expect("a row head always serialises into memory")
    }

    /// Decodes.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(HeadError::Malformed),
            other => Err(HeadError::Version(other.map(|(version, _)| *version))),
        }
    }
}
