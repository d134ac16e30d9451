//! Decisions about multipart uploads: rows of the same key in spaces of their own.

use bytes::Bytes;

use super::Shard;
use super::decide::{Decided, Draft, done, split_payload};
use crate::bucket::BucketState;
use crate::class::Class;
use crate::completion::EventKind;
use crate::head::RowKind;
use crate::ids::{Incarnation, Lsn};
use crate::lookup;
use crate::reader::{ReadError, RowReader};
use crate::record::{Change, RowState};
use crate::rows::{RowId, Sub};
use crate::write::{Condition, NewData, NewPayload, Op, PartRef, WriteError};

/// S3's greatest part number.
const PART_MAX: u32 = 10_000;

impl Shard {
    pub(super) fn decide_upload(&self, op: &Op, bucket: &BucketState, rows: &dyn RowReader) -> Decided {
        match op {
            Op::CreateUpload { key, meta, mtime, .. } => {
                self.legal_key(key)?;
                let state = RowState::Upload { mtime: *mtime, meta: meta.clone() };
                let change = Change::new(Sub::Upload(self.next_lsn), state);
                let mut draft = Draft::new(bucket.incarnation, key, vec![change], *mtime);
                draft.class = Some(Class::High);
                Ok(draft.into())
            }
            Op::PutPart { key, upload, number, part, .. } => {
                self.put_part(bucket.incarnation, key, (*upload, *number), part, rows)
            }
            Op::Complete { key, upload, parts, object, condition, .. } => {
                self.complete_upload(bucket, key, *upload, parts, (object, condition), rows)
            }
            Op::Abort { key, upload, .. } => {
                require_upload(rows, bucket.incarnation, key, *upload)?;
                let changes = drop_upload(rows, bucket.incarnation, key, *upload)?;
                Ok(abort(bucket.incarnation, key, changes).into())
            }
            _ => Err(WriteError::Malformed("operation")),
        }
    }

    fn put_part(
        &self,
        incarnation: Incarnation,
        key: &Bytes,
        (upload, number): (Lsn, u32),
        part: &NewPayload,
        rows: &dyn RowReader,
    ) -> Decided {
        if !(1..=PART_MAX).contains(&number) {
            return Err(WriteError::Malformed("part number"));
        }
        if matches!(&part.data, NewData::Inline(bytes) if !bytes.is_empty()) {
            return Err(WriteError::Malformed("inline part"));
        }
        self.legal_data(&part.data)?;
        require_upload(rows, incarnation, key, upload)?;
        let (payload, _) = split_payload(part);
        let change = Change::new(Sub::Part(upload, number), RowState::Part(Box::new(payload)));
        let mut draft = Draft::new(incarnation, key, vec![change], part.mtime);
        draft.class = Some(Class::High);
        Ok(draft.into())
    }

    fn complete_upload(
        &self,
        bucket: &BucketState,
        key: &Bytes,
        upload: Lsn,
        parts: &[PartRef],
        (object, condition): (&NewPayload, &Condition),
        rows: &dyn RowReader,
    ) -> Decided {
        let incarnation = bucket.incarnation;
        if let Err(error) = require_upload(rows, incarnation, key, upload) {
            // Repeated: answered as before while the object that it made is current.
            let current = lookup::current(rows, incarnation, key, bucket.versioning)?;
            return match current.filter(|found| found.head.upload() == Some(upload)) {
                Some(found) => Ok(done(found.sub, found.head.mtime)),
                None => Err(error),
            };
        }
        self.check_parts(incarnation, key, upload, parts, rows)?;
        self.check_current(bucket, key, condition, rows)?;
        self.legal_data(&object.data)?;
        let (mut payload, inline) = split_payload(object);
        payload.upload = Some(upload);
        let mut changes = vec![Change::new(self.target(bucket), RowState::Object(Box::new(payload)))];
        changes.extend(drop_upload(rows, incarnation, key, upload)?);
        let mut draft = Draft::new(incarnation, key, changes, object.mtime);
        draft.inline = inline;
        draft.event = Some(EventKind::Complete);
        Ok(draft.into())
    }

    fn check_parts(
        &self,
        incarnation: Incarnation,
        key: &[u8],
        upload: Lsn,
        parts: &[PartRef],
        rows: &dyn RowReader,
    ) -> Result<(), WriteError> {
        if parts.is_empty() {
            return Err(WriteError::Malformed("no parts"));
        }
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(WriteError::InvalidPartOrder);
        }
        for (index, part) in parts.iter().enumerate() {
            let head = rows.get(&RowId::new(incarnation, key, Sub::Part(upload, part.number)))?;
            let Some(head) = head.filter(|head| head.kind == RowKind::Part) else {
                return Err(WriteError::InvalidPart(part.number));
            };
            if head.guard != part.expect {
                return Err(WriteError::Conflict);
            }
            let minimum = self.config.part_bytes_min;
            if head.size < minimum && index + 1 < parts.len() {
                return Err(WriteError::PartTooSmall { part: part.number, size: head.size, minimum });
            }
        }
        Ok(())
    }
}

fn require_upload(
    rows: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
    upload: Lsn,
) -> Result<(), WriteError> {
    let found = lookup::version(rows, incarnation, key, Sub::Upload(upload))?;
    found.map(|_| ()).ok_or(WriteError::NoSuchUpload)
}

/// Tombstones for an upload and all of its parts.
pub(super) fn drop_upload(
    rows: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
    upload: Lsn,
) -> Result<Vec<Change>, ReadError> {
    let parts = lookup::parts(rows, incarnation, key, upload, 0, PART_MAX as usize)?;
    let subs = std::iter::once(Sub::Upload(upload)).chain(parts.iter().map(|(n, _)| Sub::Part(upload, *n)));
    Ok(subs.map(|sub| Change::new(sub, RowState::Tombstone)).collect())
}

/// The record that drops an upload.
pub(super) fn abort(incarnation: Incarnation, key: &Bytes, changes: Vec<Change>) -> Draft {
    let mut draft = Draft::new(incarnation, key, changes, crate::ids::Timestamp(0));
    draft.class = Some(Class::High);
    draft.reserved = true;
    draft
}
