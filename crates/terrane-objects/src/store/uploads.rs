//! Multipart uploads.

use std::sync::Arc;

use bytes::Bytes;
use terrane_keymap::etag::Etag;
use terrane_keymap::head::RowHead;
use terrane_keymap::lookup;
use terrane_keymap::record::{Data, Payload, RowState};
use terrane_keymap::write::{NewData, NewPayload, Op, PartRef, WriteRequest};
use terrane_keymap::{Lsn, Sub};

use super::Store;
use super::objects::{Retries, payload};
use super::stage::StagedBody;
use super::view::{Seen, Stale, unreadable};
use crate::convert;
use crate::meta::{self, ObjectMeta};
use crate::records;
use crate::service::*;

/// Parts of an upload (S3's limit).
const PARTS_MAX: usize = 10_000;

fn sync_request(op: Op) -> WriteRequest {
    WriteRequest { op, mode: terrane_keymap::class::ModeRequest::default() }
}

/// What a completion is computed from.
struct Assembled {
    parts: Vec<PartRef>,
    object: NewPayload,
}

impl Store {
    pub(super) async fn create_upload(
        &self,
        bucket: &BucketInfo,
        key: &str,
        attrs: ObjectAttrs,
    ) -> Result<UploadId> {
        let meta = ObjectMeta { attrs, parts: Vec::new() };
        let op = Op::CreateUpload {
            bucket: convert::incarnation(bucket),
            key: Bytes::copy_from_slice(key.as_bytes()),
            meta: meta.encode().into(),
            mtime: convert::now(),
        };
        match self.write(bucket, sync_request(op), None).await?.sub {
            Sub::Upload(lsn) => Ok(convert::upload_id(lsn)),
            other => Err(ObjectError::Unavailable(format!("an upload was answered with {other:?}"))),
        }
    }

    pub(super) async fn upload(
        self: &Arc<Self>,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
    ) -> Result<UploadInfo> {
        let (key, lsn) = (key.to_owned(), convert::upload_lsn(upload)?);
        let read = move |store: &Self, seen: &Seen| {
            let head = upload_row(seen, &key, lsn)?;
            let (state, _) = records::read_state(&store.driver.reader, &head)?;
            let RowState::Upload { mtime, meta } = state else {
                return Err(ObjectError::Corrupt("an upload's row names another record".into()).into());
            };
            let attrs = ObjectMeta::decode(&meta)?.attrs;
            Ok(UploadInfo { key: key.clone(), attrs, initiated: convert::system_time(mtime) })
        };
        self.read_blocking(bucket, read).await
    }

    pub(super) async fn put_part(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        staged: Staged,
        part: PartInfo,
    ) -> Result<()> {
        let upload = convert::upload_lsn(upload)?;
        let (size, body) = StagedBody::of(staged)?;
        let redundancy = self.redundancy(bucket);
        let (data, staged) = self.to_bulk(redundancy, body).await?.into_data();
        let new = NewPayload {
            size,
            mtime: convert::timestamp(part.modified),
            etag: Etag::from(part.etag.as_str()),
            meta: meta::encode_part(&part).into(),
            data,
            ..NewPayload::default()
        };
        let op = Op::PutPart {
            bucket: convert::incarnation(bucket),
            key: Bytes::copy_from_slice(key.as_bytes()),
            upload,
            number: part.number,
            part: new,
        };
        self.write(bucket, sync_request(op), staged).await.map(|_| ())
    }

    pub(super) async fn list_parts(
        self: &Arc<Self>,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        after: u32,
        max: usize,
    ) -> Result<(Vec<PartInfo>, bool)> {
        let (key, lsn) = (key.to_owned(), convert::upload_lsn(upload)?);
        let read = move |store: &Self, seen: &Seen| {
            upload_row(seen, &key, lsn)?;
            let mut rows = part_rows(seen, &key, lsn, after, max.saturating_add(1))?;
            let more = rows.len() > max;
            rows.truncate(max);
            let parts = rows.iter().map(|(_, head)| Ok(store.part(head)?.1));
            Ok((parts.collect::<Result<_, Stale>>()?, more))
        };
        self.read_blocking(bucket, read).await
    }

    /// A part's state and what the front end keeps with it.
    fn part(&self, head: &RowHead) -> Result<(Payload, PartInfo), Stale> {
        let (state, _) = records::read_state(&self.driver.reader, head)?;
        let RowState::Part(payload) = state else {
            return Err(ObjectError::Corrupt("a part's row names a record of another kind".into()).into());
        };
        let info = meta::decode_part(&payload.meta)?;
        Ok((*payload, info))
    }

    pub(super) async fn complete_upload(self: &Arc<Self>, complete: CompleteUpload) -> Result<Written> {
        let upload = convert::upload_lsn(&complete.upload)?;
        let CompleteUpload { bucket, key, parts, attrs, condition, mode, .. } = complete;
        let wanted: Arc<[CompletedPart]> = parts.into();
        let mut retries = Retries::default();
        loop {
            let (row_key, parts, given) = (key.clone(), wanted.clone(), attrs.clone());
            let read =
                move |store: &Self, seen: &Seen| store.assemble(seen, &row_key, upload, &parts, &given);
            let assembled = match self.read_blocking(&bucket, read).await {
                // Completed before, perhaps: the sequencer knows, and needs no parts to say so.
                Err(ObjectError::NoSuchUpload) => {
                    let object = payload(attrs.clone(), Vec::new(), 0, NewData::Empty);
                    Assembled { parts: Vec::new(), object }
                }
                other => other?,
            };
            let op = Op::Complete {
                bucket: convert::incarnation(&bucket),
                key: Bytes::copy_from_slice(key.as_bytes()),
                upload,
                parts: assembled.parts,
                object: assembled.object,
                condition: convert::condition(condition.clone()),
            };
            let request = WriteRequest { op, mode: convert::mode_request(mode) };
            match self.driver.write(request, None).await {
                Ok(written) => return Ok(convert::written(&written, bucket.owner.as_str())),
                Err(error) => retries.after(error, &bucket).await?,
            }
        }
    }

    fn assemble(
        &self,
        seen: &Seen,
        key: &str,
        upload: Lsn,
        wanted: &[CompletedPart],
        attrs: &ObjectAttrs,
    ) -> Result<Assembled, Stale> {
        upload_row(seen, key, upload)?;
        if !wanted.is_sorted_by(|a, b| a.number < b.number) {
            return Err(ObjectError::InvalidPartOrder.into());
        }
        let rows = part_rows(seen, key, upload, 0, PARTS_MAX)?;
        let (mut parts, mut manifest, mut extents, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for part in wanted {
            let row = rows.binary_search_by_key(&part.number, |(number, _)| *number);
            let head = row.ok().and_then(|at| rows.get(at)).map(|(_, head)| head);
            let head = head.filter(|head| head.etag.matches(&part.etag));
            let head = head.ok_or(ObjectError::InvalidPart(part.number))?;
            let (state, info) = self.part(head)?;
            size += state.size;
            if let Data::Extents(list) = state.data {
                extents.extend(list);
            }
            parts.push(PartRef { number: part.number, expect: head.guard });
            manifest.push(info);
        }
        let data = if extents.is_empty() { NewData::Empty } else { NewData::Extents(extents) };
        Ok(Assembled { parts, object: payload(attrs.clone(), manifest, size, data) })
    }

    pub(super) async fn abort_upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<()> {
        let op = Op::Abort {
            bucket: convert::incarnation(bucket),
            key: Bytes::copy_from_slice(key.as_bytes()),
            upload: convert::upload_lsn(upload)?,
        };
        self.write(bucket, sync_request(op), None).await.map(|_| ())
    }
}

fn upload_row(seen: &Seen, key: &str, upload: Lsn) -> Result<Arc<RowHead>, Stale> {
    let rows = seen.view.rows();
    let found = lookup::version(&rows, seen.bucket.incarnation, key.as_bytes(), Sub::Upload(upload));
    Ok(found.map_err(unreadable)?.ok_or(ObjectError::NoSuchUpload)?.head)
}

fn part_rows(
    seen: &Seen,
    key: &str,
    upload: Lsn,
    after: u32,
    max: usize,
) -> Result<Vec<(u32, Arc<RowHead>)>, Stale> {
    let rows = seen.view.rows();
    let parts = lookup::parts(&rows, seen.bucket.incarnation, key.as_bytes(), upload, after, max);
    Ok(parts.map_err(unreadable)?)
}
