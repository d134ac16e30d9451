//! Log records: the full truth about every write, for ever. The keymap can be rebuilt from records alone.
//!
//! ```text
//! version u8 | length of header u32 LE | header (postcard) | inline payload
//! ```

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bucket::BucketState;
use crate::class::Class;
use crate::completion::{EventKind, Origin};
use crate::etag::{Checksums, Etag};
use crate::head::{HeadData, Rare, RowHead, RowKind};
use crate::ids::{Extent, Guard, Incarnation, Locator, Lsn, Slot, Timestamp};
use crate::rows::{RowId, Sub};

/// One write: changes of rows of one key, applied by the owner of its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the order of writes.
    pub lsn: Lsn,
    /// Queue class.
    pub class: Class,
    /// When the sequencer took it; due times count from here.
    pub accepted: Timestamp,
    /// Which completion event it ends in, if any.
    pub event: Option<EventKind>,
    /// Bucket name and owner, where there is an event.
    pub origin: Option<Arc<Origin>>,
    /// Bucket.
    pub incarnation: Incarnation,
    /// Key.
    pub key: Bytes,
    /// Row changes. The first is the one that the completion tells of.
    pub changes: Vec<Change>,
    /// The payload of the one change whose data is inline.
    #[serde(skip)]
    pub inline: Bytes,
}

/// The complete resulting state of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which row of the key.
    pub sub: Sub,
    /// `None`: the record's own LSN. Moves keep the guard of what they move, with one more move.
    pub guard: Option<Guard>,
    /// The state.
    pub state: RowState,
}

/// All that is known of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowState {
    /// Deleted.
    Tombstone,
    /// An object. `created` is `None` for "by this record".
    Object(Box<Payload>),
    /// A delete marker.
    DeleteMarker {
        /// `None`: by this record.
        created: Option<Lsn>,
        /// Creation time.
        mtime: Timestamp,
    },
    /// An unfinished upload.
    Upload {
        /// Initiation time.
        mtime: Timestamp,
        /// The front end's state, opaque here.
        meta: Bytes,
    },
    /// A part.
    Part(Box<Payload>),
    /// A bucket.
    Bucket(Box<BucketState>),
}

/// State of an object or part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The write that created it, `None` for "by this record".
    pub created: Option<Lsn>,
    /// Length in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// ETag.
    pub etag: Etag,
    /// What LIST tells of additional checksums.
    pub checksums: Checksums,
    /// Storage class, if not `STANDARD`.
    pub storage_class: Option<Box<str>>,
    /// The upload that became this object.
    pub upload: Option<Lsn>,
    /// The front end's state (attributes, part manifest), opaque here.
    pub meta: Bytes,
    /// Where the bytes are.
    pub data: Data,
}

/// Where a payload's bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// There are none.
    #[default]
    Empty,
    /// In [`Record::inline`].
    Inline,
    /// In data segments, in order.
    Extents(Vec<Extent>),
}

impl Data {
    /// The extents; empty for inline and empty payloads.
    pub fn extents(&self) -> &[Extent] {
        match self {
            Self::Extents(extents) => extents,
            Self::Empty | Self::Inline => &[],
        }
    }
}

impl Change {
    /// A change made by the record's own write.
    pub fn new(sub: Sub, state: RowState) -> Self {
        Self { sub, guard: None, state }
    }
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too short.
    #[error("record of {0} bytes is cut off")]
    Short(usize),
    /// Of a later format.
    #[error("record of unknown version {0}")]
    Version(u8),
    /// Damaged.
    #[error("malformed record: {0}")]
    Malformed(postcard::Error),
}

const VERSION: u8 = 1;
const PREFIX: usize = 5;

impl Record {
    /// The bytes before the inline payload.
    pub fn encode_header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.key.len());
        bytes.extend([VERSION, 0, 0, 0, 0]);
        let mut bytes = postcard::to_extend(self, bytes).expect("a record always serialises into memory");
        let length = u32::try_from(bytes.len() - PREFIX).expect("a record header is far below 4 GiB");
        bytes[1..PREFIX].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    /// Header and payload in one piece.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_header();
        bytes.extend_from_slice(&self.inline);
        bytes
    }

    /// Decodes; the payload shares `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let (mut record, payload) = Self::decode_header(bytes)?;
        record.inline = bytes.slice(payload..);
        Ok(record)
    }

    /// Decodes all but the payload; also tells where that begins.
    pub fn decode_header(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        let short = RecordError::Short(bytes.len());
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX>().ok_or(short.clone())?;
        if prefix[0] != VERSION {
            return Err(RecordError::Version(prefix[0]));
        }
        let length = u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let header = rest.get(..length).ok_or(short)?;
        let record: Self = postcard::from_bytes(header).map_err(RecordError::Malformed)?;
        Ok((record, PREFIX + length))
    }

    /// The key's slot.
    pub fn slot(&self) -> Slot {
        Slot::of(self.incarnation, &self.key)
    }

    /// The guard of a change.
    pub fn guard(&self, change: &Change) -> Guard {
        change.guard.unwrap_or(Guard::new(self.lsn))
    }

    /// The row of a change.
    pub fn row(&self, change: &Change) -> RowId {
        RowId::new(self.incarnation, &self.key, change.sub)
    }

    /// What overlay and keymap keep of a change, once the record's place is known.
    pub fn head(&self, change: &Change, record: Locator) -> RowHead {
        let guard = self.guard(change);
        let mut head = RowHead {
            guard,
            // Moves keep the guard, and so what was created "by this record".
            created: guard.lsn,
            kind: RowKind::Tombstone,
            checksums: Checksums::default(),
            size: 0,
            mtime: self.accepted,
            etag: Etag::default(),
            record,
            data: HeadData::Empty,
            rare: None,
        };
        match &change.state {
            RowState::Tombstone => {}
            RowState::Object(payload) => head.fill(RowKind::Object, payload),
            RowState::Part(payload) => head.fill(RowKind::Part, payload),
            RowState::DeleteMarker { created, mtime } => {
                head.kind = RowKind::DeleteMarker;
                head.created = created.unwrap_or(head.created);
                head.mtime = *mtime;
            }
            RowState::Upload { mtime, .. } => {
                head.kind = RowKind::Upload;
                head.mtime = *mtime;
            }
            RowState::Bucket(bucket) => {
                head.kind = RowKind::Bucket;
                head.mtime = bucket.created;
            }
        }
        head
    }
}

impl RowHead {
    fn fill(&mut self, kind: RowKind, payload: &Payload) {
        self.kind = kind;
        self.created = payload.created.unwrap_or(self.created);
        self.checksums = payload.checksums;
        self.size = payload.size;
        self.mtime = payload.mtime;
        self.etag = payload.etag.clone();
        self.data = match &payload.data {
            Data::Empty => HeadData::Empty,
            Data::Inline => HeadData::Inline,
            Data::Extents(extents) => match &extents[..] {
                [] => HeadData::Empty,
                [one] => HeadData::One(Box::new(*one)),
                many => HeadData::Many(u32::try_from(many.len()).unwrap_or(u32::MAX)),
            },
        };
        if payload.storage_class.is_some() || payload.upload.is_some() {
            let storage_class = payload.storage_class.clone();
            self.rare = Some(Box::new(Rare { storage_class, upload: payload.upload }));
        }
    }
}
