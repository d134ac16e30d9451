//! Multipart uploads of the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;

use super::objects::{check, staged_bytes};
use super::{Bucket, Object, State, Upload};
use crate::service::*;

/// Smallest part other than the last (S3's limit).
const PART_SIZE_MIN: u64 = 5 << 20;

pub(super) fn upload_text(lsn: u64) -> UploadId {
    UploadId(format!("{lsn:016x}"))
}

pub(super) fn upload_lsn(id: &UploadId) -> Option<u64> {
    u64::from_str_radix(&id.0, 16).ok()
}

fn find<'a>(bucket: &'a mut Bucket, key: &str, id: &UploadId) -> Result<&'a mut Upload> {
    let lsn = upload_lsn(id).ok_or(ObjectError::NoSuchUpload)?;
    bucket.uploads.get_mut(&(key.to_owned(), lsn)).ok_or(ObjectError::NoSuchUpload)
}

impl State {
    pub(super) fn create_upload(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        attrs: ObjectAttrs,
    ) -> Result<UploadId> {
        let lsn = self.next();
        let upload = Upload { attrs: Arc::new(attrs), initiated: SystemTime::now(), parts: BTreeMap::new() };
        self.bucket(seen)?.uploads.insert((key.into(), lsn), upload);
        Ok(upload_text(lsn))
    }

    pub(super) fn upload(&mut self, seen: &BucketInfo, key: &str, id: &UploadId) -> Result<UploadInfo> {
        let upload = find(self.bucket(seen)?, key, id)?;
        Ok(UploadInfo {
            key: key.into(),
            attrs: ObjectAttrs::clone(&upload.attrs),
            initiated: upload.initiated,
        })
    }

    pub(super) fn put_part(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        id: &UploadId,
        staged: Staged,
        part: PartInfo,
    ) -> Result<()> {
        let bytes = staged_bytes(staged)?;
        find(self.bucket(seen)?, key, id)?.parts.insert(part.number, (part, bytes));
        Ok(())
    }

    pub(super) fn list_parts(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        id: &UploadId,
        after: u32,
        max: usize,
    ) -> Result<(Vec<PartInfo>, bool)> {
        let upload = find(self.bucket(seen)?, key, id)?;
        let mut rest = upload.parts.range(after.saturating_add(1)..).map(|(_, (part, _))| part.clone());
        let page: Vec<PartInfo> = rest.by_ref().take(max).collect();
        Ok((page, rest.next().is_some()))
    }

    pub(super) fn abort_upload(&mut self, seen: &BucketInfo, key: &str, id: &UploadId) -> Result<()> {
        let bucket = self.bucket(seen)?;
        find(bucket, key, id)?;
        if let Some(lsn) = upload_lsn(id) {
            bucket.uploads.remove(&(key.to_owned(), lsn));
        }
        Ok(())
    }

    pub(super) fn complete_upload(&mut self, complete: CompleteUpload) -> Result<Written> {
        let bucket = self.bucket(&complete.bucket)?;
        let key = complete.key.as_str();
        let upload = match find(bucket, key, &complete.upload) {
            Ok(upload) => upload,
            Err(error) => return self.completed_before(&complete).ok_or(error),
        };
        if !complete.parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(ObjectError::InvalidPartOrder);
        }
        let (mut bytes, mut parts) = (BytesMut::new(), Vec::new());
        for wanted in &complete.parts {
            let part = upload.parts.get(&wanted.number).filter(|(info, _)| info.etag == wanted.etag);
            let (info, data) = part.ok_or(ObjectError::InvalidPart(wanted.number))?;
            bytes.extend_from_slice(data);
            parts.push(info.clone());
        }
        let all_but_last = parts.split_last().map_or(&[][..], |(_, rest)| rest);
        if let Some(small) = all_but_last.iter().find(|part| part.size < PART_SIZE_MIN) {
            let (part, size, minimum) = (small.number, small.size, PART_SIZE_MIN);
            return Err(ObjectError::PartTooSmall { part, size, minimum });
        }
        check(&complete.condition, bucket.current(key))?;
        if let Some(lsn) = upload_lsn(&complete.upload) {
            bucket.uploads.remove(&(complete.key.clone(), lsn));
        }
        let object = Object {
            bytes: bytes.freeze(),
            attrs: complete.attrs,
            parts: parts.into(),
            upload: Some(complete.upload),
        };
        let event = "ObjectCreated:CompleteMultipartUpload";
        self.bind(&complete.bucket, key, object, event, complete.mode)
    }

    /// The answer to a repeated completion, while what the first one made is current.
    fn completed_before(&mut self, complete: &CompleteUpload) -> Option<Written> {
        let bucket = self.bucket(&complete.bucket).ok()?;
        let current = bucket.current(&complete.key)?;
        let object = current.object.as_ref()?;
        (object.upload.as_ref() == Some(&complete.upload)).then(|| Written {
            version: current.id.clone(),
            delete_marker: false,
            modified: current.modified,
            keymap: KeymapState::Applied,
            // Nothing is logged for it: the first completion's identity was told then.
            operation: None,
        })
    }
}
