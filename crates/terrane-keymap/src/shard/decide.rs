//! Decisions about objects: conditions, versions, deletes. Pure functions of the request and of the rows assigned so far.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::inflight::BucketEffect;
use crate::bucket::{BucketState, Versioning};
use crate::class::Class;
use crate::completion::EventKind;
use crate::head::{RowHead, RowKind};
use crate::ids::{Incarnation, Timestamp};
use crate::lookup::{self, Found};
use crate::reader::{ReadError, RowReader};
use crate::record::{Change, Data, Payload, RowState};
use crate::rows::{RowId, Sub};
use crate::write::{Condition, EtagSet, KeymapState, NewData, NewPayload, Op, WriteError, Written};

/// What becomes of a request.
pub(super) enum Decision {
    /// These records, in order; the asker gets the answer to the last.
    Log(Vec<Draft>),
    /// Nothing to log.
    Done(Box<Written>),
    /// Refused.
    Refuse(WriteError),
}

/// A record before it has an LSN.
pub(super) struct Draft {
    pub(super) incarnation: Incarnation,
    pub(super) key: Bytes,
    pub(super) changes: Vec<Change>,
    pub(super) inline: Bytes,
    pub(super) event: Option<EventKind>,
    /// `None`: by the request's mode, the bucket's default and the load.
    pub(super) class: Option<Class>,
    pub(super) reserved: bool,
    pub(super) bucket: Option<BucketEffect>,
    pub(super) delete_marker: bool,
    pub(super) mtime: Timestamp,
    pub(super) answer_bucket: Option<Arc<BucketState>>,
}

impl Draft {
    pub(super) fn new(incarnation: Incarnation, key: &Bytes, changes: Vec<Change>, mtime: Timestamp) -> Self {
        Self {
            incarnation,
            key: key.clone(),
            changes,
            inline: Bytes::new(),
            event: None,
            class: None,
            reserved: false,
            bucket: None,
            delete_marker: false,
            mtime,
            answer_bucket: None,
        }
    }
}

impl From<Draft> for Decision {
    fn from(draft: Draft) -> Self {
        Self::Log(vec![draft])
    }
}

pub(super) type Decided = Result<Decision, WriteError>;

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

/// Splits a payload into its state and its inline bytes.
pub(super) fn split_payload(payload: &NewPayload) -> (Payload, Bytes) {
    let (data, inline) = match &payload.data {
        NewData::Inline(bytes) if !bytes.is_empty() => (Data::Inline, bytes.clone()),
        NewData::Extents(extents) if !extents.is_empty() => (Data::Extents(extents.clone()), Bytes::new()),
        NewData::Empty | NewData::Inline(_) | NewData::Extents(_) => (Data::Empty, Bytes::new()),
    };
    let state = Payload {
        created: None,
        size: payload.size,
        mtime: payload.mtime,
        etag: payload.etag.clone(),
        checksums: payload.checksums,
        storage_class: payload.storage_class.clone(),
        upload: None,
        meta: payload.meta.clone(),
        data,
    };
    (state, inline)
}

fn among(set: &EtagSet, head: &RowHead) -> bool {
    match set {
        EtagSet::Any => true,
        // A delete marker has no ETag, not even an empty one.
        EtagSet::Tags(tags) => {
            head.kind != RowKind::DeleteMarker && tags.iter().any(|tag| head.etag.matches(tag))
        }
    }
}

/// Whether the conditions hold for an object (`None`: there is none, or a delete marker).
pub(super) fn check(condition: &Condition, object: Option<&RowHead>) -> Result<(), WriteError> {
    let failed = |what| Err(WriteError::PreconditionFailed(what));
    if let Some(set) = &condition.if_match {
        match object {
            None => return Err(WriteError::NoSuchKey),
            Some(head) if !among(set, head) => return failed("If-Match"),
            Some(_) => {}
        }
    }
    if let Some(set) = &condition.if_none_match
        && object.is_some_and(|head| among(set, head))
    {
        return failed("If-None-Match");
    }
    let Some(head) = object else {
        let asks = condition.if_match_size.is_some() || condition.if_match_mtime_seconds.is_some();
        return if asks { Err(WriteError::NoSuchKey) } else { Ok(()) };
    };
    if condition.if_match_size.is_some_and(|size| size != head.size) {
        return failed("x-amz-if-match-size");
    }
    if condition.if_match_mtime_seconds.is_some_and(|seconds| seconds != head.mtime.0 / 1_000) {
        return failed("x-amz-if-match-last-modified-time");
    }
    Ok(())
}

/// Whether the conditions of a delete hold for what it would hide or remove, be it a delete marker. Where there is
/// nothing, nothing is left to protect.
fn check_delete(condition: &Condition, found: Option<&Found>) -> Result<(), WriteError> {
    found.map_or(Ok(()), |found| check(condition, Some(&found.head)))
}

pub(super) fn object_of(found: Option<&Found>) -> Option<&RowHead> {
    found.map(|found| &*found.head).filter(|head| head.kind == RowKind::Object)
}

impl Shard {
    pub(super) fn decide(&self, op: &Op, rows: &dyn RowReader) -> Decision {
        let decided = match op {
            Op::CreateBucket { .. } | Op::DeleteBucket { .. } | Op::ChangeBucket { .. } => {
                self.decide_bucket(op, rows)
            }
            Op::Move { .. } => self.decide_move(op, rows),
            _ => match self.bucket_of(op) {
                None => Err(WriteError::NoSuchBucket),
                Some(bucket) => self.decide_object(op, bucket, rows),
            },
        };
        decided.unwrap_or_else(Decision::Refuse)
    }

    fn decide_object(&self, op: &Op, bucket: &BucketState, rows: &dyn RowReader) -> Decided {
        match op {
            Op::Put { key, object, condition, source, event, .. } => {
                self.legal_key(key)?;
                self.legal_data(&object.data)?;
                if let Some((row, guard)) = source
                    && rows.get(row)?.is_none_or(|head| head.guard != *guard)
                {
                    return Err(WriteError::Conflict);
                }
                self.check_current(bucket, key, condition, rows)?;
                let (payload, inline) = split_payload(object);
                let change = Change::new(self.target(bucket), RowState::Object(Box::new(payload)));
                let mut draft = Draft::new(bucket.incarnation, key, vec![change], object.mtime);
                draft.inline = inline;
                draft.event = Some(*event);
                Ok(draft.into())
            }
            Op::Delete { key, version: None, condition, mtime, .. } => {
                self.delete_current(bucket, key, condition, *mtime, rows)
            }
            Op::Delete { key, version: Some(sub), condition, mtime, .. } => {
                Self::delete_version(bucket, key, *sub, condition, *mtime, rows)
            }
            Op::Change { key, sub, expect, object, .. } => {
                self.change(bucket, key, *sub, (*expect, object), rows)
            }
            _ => self.decide_upload(op, bucket, rows),
        }
    }

    /// The row that a new object or delete marker takes. The version's own LSN is the record's: the next one.
    pub(super) fn target(&self, bucket: &BucketState) -> Sub {
        match bucket.versioning {
            Versioning::Enabled => Sub::Version(self.next_lsn),
            Versioning::Off | Versioning::Suspended => Sub::Null,
        }
    }

    pub(super) fn legal_key(&self, key: &[u8]) -> Result<(), WriteError> {
        if key.is_empty() || key.len() > self.config.key_bytes_max {
            return Err(WriteError::Malformed("key length"));
        }
        Ok(())
    }

    /// Bytes in a segment that is being emptied must not get new owners.
    pub(super) fn legal_data(&self, data: &NewData) -> Result<(), WriteError> {
        if let NewData::Extents(extents) = data
            && let Some(extent) = extents.iter().find(|extent| self.condemned.contains(&extent.segment))
        {
            return Err(WriteError::SourceMoved(extent.segment));
        }
        Ok(())
    }

    pub(super) fn check_current(
        &self,
        bucket: &BucketState,
        key: &[u8],
        condition: &Condition,
        rows: &dyn RowReader,
    ) -> Result<(), WriteError> {
        if *condition == Condition::default() {
            return Ok(());
        }
        let current = lookup::current(rows, bucket.incarnation, key, bucket.versioning)?;
        check(condition, object_of(current.as_ref()))
    }

    fn delete_current(
        &self,
        bucket: &BucketState,
        key: &Bytes,
        condition: &Condition,
        mtime: Timestamp,
        rows: &dyn RowReader,
    ) -> Decided {
        self.legal_key(key)?;
        let conditional = *condition != Condition::default();
        if bucket.versioning == Versioning::Off || conditional {
            let found = lookup::current(rows, bucket.incarnation, key, bucket.versioning)?;
            check_delete(condition, found.as_ref())?;
            match (found, bucket.versioning) {
                (None, _) => return Ok(nothing_to_delete(Sub::Null, mtime)),
                (Some(_), Versioning::Off) => return Ok(deletion(bucket, key, Sub::Null, mtime).into()),
                (Some(_), _) => {}
            }
        }
        let marker = RowState::DeleteMarker { created: None, mtime };
        let changes = vec![Change::new(self.target(bucket), marker)];
        let mut draft = Draft::new(bucket.incarnation, key, changes, mtime);
        draft.delete_marker = true;
        draft.event = Some(EventKind::DeleteMarker);
        draft.reserved = true;
        Ok(draft.into())
    }

    fn delete_version(
        bucket: &BucketState,
        key: &Bytes,
        sub: Sub,
        condition: &Condition,
        mtime: Timestamp,
        rows: &dyn RowReader,
    ) -> Decided {
        if !matches!(sub, Sub::Null | Sub::Version(_)) {
            return Err(WriteError::Malformed("version"));
        }
        let found = lookup::version(rows, bucket.incarnation, key, sub)?;
        check_delete(condition, found.as_ref())?;
        Ok(match found {
            None => nothing_to_delete(sub, mtime),
            Some(found) => {
                let mut draft = deletion(bucket, key, sub, mtime);
                draft.delete_marker = found.head.kind == RowKind::DeleteMarker;
                draft.into()
            }
        })
    }

    fn change(
        &self,
        bucket: &BucketState,
        key: &Bytes,
        sub: Sub,
        (expect, object): (crate::ids::Guard, &NewPayload),
        rows: &dyn RowReader,
    ) -> Decided {
        let head = rows.get(&RowId::new(bucket.incarnation, key, sub))?;
        let Some(head) = head.filter(|head| head.kind == RowKind::Object) else {
            return Err(WriteError::NoSuchVersion);
        };
        if head.guard != expect {
            return Err(WriteError::Conflict);
        }
        self.legal_data(&object.data)?;
        let (mut payload, inline) = split_payload(object);
        payload.created = Some(head.created);
        payload.upload = head.upload();
        let change = Change::new(sub, RowState::Object(Box::new(payload)));
        let mut draft = Draft::new(bucket.incarnation, key, vec![change], object.mtime);
        draft.inline = inline;
        draft.event = Some(EventKind::Change);
        Ok(draft.into())
    }
}

fn nothing_to_delete(sub: Sub, mtime: Timestamp) -> Decision {
    done(sub, mtime)
}

/// Success without a record.
pub(super) fn done(sub: Sub, mtime: Timestamp) -> Decision {
    let keymap = KeymapState::Applied;
    Decision::Done(Box::new(Written {
        operation: None,
        sub,
        delete_marker: false,
        mtime,
        keymap,
        bucket: None,
    }))
}

fn deletion(bucket: &BucketState, key: &Bytes, sub: Sub, mtime: Timestamp) -> Draft {
    let change = Change::new(sub, RowState::Tombstone);
    let mut draft = Draft::new(bucket.incarnation, key, vec![change], mtime);
    draft.event = Some(EventKind::Delete);
    draft.reserved = true;
    draft
}
