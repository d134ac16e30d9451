//! PutObject, DeleteObject, DeleteObjects.

use std::sync::Arc;

use futures::{StreamExt, stream};
use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{
    BucketInfo, Condition, DeleteObject, EtagSet, ObjectError, PutObject, VersionId, Versioning, Written,
};

use crate::access::Caller;
use crate::acl::{GrantHeaders, Right};
use crate::api::{Api, parse_version, version_text};
use crate::attrs::described;
use crate::body::Upload;
use crate::checksums::Expected;
use crate::conditions::{on_write, system_time};
use crate::errors::{from_store, not_implemented};
use crate::modes;
use crate::objects_read::{checksum_type, sum};

/// Keys in one DeleteObjects.
const DELETE_MAX: usize = 1000;
/// Deletes of one DeleteObjects that are under way at a time, so that they share log writes.
const DELETE_CONCURRENCY: usize = 32;

impl Api {
    pub(crate) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let mode = modes::requested(&request.headers)?;
        let expected = Expected::from_headers(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        if input.write_offset_bytes.is_some() {
            return Err(not_implemented("Appending to objects"));
        }
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let mut attrs = described!(input).into_attrs(self.config.limits.metadata_bytes)?;
        self.own(&caller, &bucket, input.acl.as_ref(), GrantHeaders::of(&request.headers), &mut attrs)
            .await?;
        let condition = on_write(input.if_match.take(), input.if_none_match.take());
        let upload = Upload {
            blob: input.body.take(),
            declared: declared(&request.headers, input.content_length),
            expected,
            algorithm: None,
            trailers: request.trailing_headers,
        };
        let limit = self.config.limits.put_bytes;
        let (staged, digests) = upload.stage(self.store.as_ref(), &bucket, limit, &self.metrics).await?;
        attrs.etag = digests.etag();
        attrs.checksums = digests.stored();
        attrs.checksum_type = (!attrs.checksums.is_empty()).then(|| ChecksumType::FULL_OBJECT.to_owned());
        let sums = attrs.checksums.clone();
        let output = PutObjectOutput {
            checksum_crc32: sum(&sums, "CRC32"),
            checksum_crc32c: sum(&sums, "CRC32C"),
            checksum_crc64nvme: sum(&sums, "CRC64NVME"),
            checksum_sha1: sum(&sums, "SHA1"),
            checksum_sha256: sum(&sums, "SHA256"),
            checksum_type: checksum_type(&attrs),
            e_tag: Some(ETag::Strong(attrs.etag.clone())),
            ..Default::default()
        };
        let put = PutObject { bucket: Arc::clone(&bucket), key: input.key, staged, attrs, condition, mode };
        let written = self.store.put_object(put).await.map_err(from_store)?;
        let version_id = new_version(&bucket, &written);
        let output = PutObjectOutput { version_id, ..output };
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    pub(crate) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let mode = modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        self.may_delete(&caller, &bucket, &input.key, version.as_ref()).await?;
        let mut condition = on_write(input.if_match.take(), None);
        condition.if_match_size = input.if_match_size.and_then(|s| u64::try_from(s).ok());
        condition.if_match_last_modified = input.if_match_last_modified_time.map(system_time);
        let named = version.clone();
        let delete = DeleteObject { bucket: Arc::clone(&bucket), key: input.key, version, condition, mode };
        let written = self.store.delete_object(delete).await.map_err(from_store)?;
        let output = DeleteObjectOutput {
            delete_marker: written.delete_marker.then_some(true),
            version_id: deleted_version(&bucket, named.as_ref(), &written),
            request_charged: None,
        };
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    async fn may_delete(
        &self,
        caller: &Caller,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> S3Result<()> {
        let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        self.may_key(caller, action, bucket, Some(key), Some(Right::Write)).await
    }

    pub(crate) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mode = modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        require_integrity(&request.headers)?;
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > DELETE_MAX {
            let message = format!("Between 1 and {DELETE_MAX} keys are deleted at once");
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, message));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let results: Vec<_> = stream::iter(objects)
            .map(|object| self.delete_one(&caller, &bucket, object, mode))
            .buffered(DELETE_CONCURRENCY)
            .collect()
            .await;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(_) if quiet => {}
                Ok(done) => deleted.push(done),
                Err(error) => errors.push(error),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            request_charged: None,
        }))
    }

    async fn delete_one(
        &self,
        caller: &Caller,
        bucket: &Arc<BucketInfo>,
        object: ObjectIdentifier,
        mode: terrane_objects::service::ModeRequest,
    ) -> Result<DeletedObject, Error> {
        let (key, version_text) = (object.key.clone(), object.version_id.clone());
        let delete = async {
            if object.key.is_empty() {
                return Err(S3Error::with_message(S3ErrorCode::UserKeyMustBeSpecified, "A key is missing"));
            }
            if object.key.len() > 1024 {
                return Err(S3Error::with_message(S3ErrorCode::KeyTooLongError, "Your key is too long"));
            }
            let version = match object.version_id.as_deref() {
                None => None,
                // S3 reports versions that cannot exist as missing ones here.
                Some(text) => {
                    Some(VersionId::parse(text).ok_or_else(|| from_store(ObjectError::NoSuchVersion))?)
                }
            };
            self.may_delete(caller, bucket, &object.key, version.as_ref()).await?;
            let condition = Condition {
                if_match: object.e_tag.as_ref().map(identifier_etag),
                if_match_size: object.size.and_then(|s| u64::try_from(s).ok()),
                if_match_last_modified: object.last_modified_time.map(system_time),
                ..Condition::default()
            };
            let bucket = Arc::clone(bucket);
            let delete = DeleteObject { bucket, key: object.key, version: version.clone(), condition, mode };
            let written = self.store.delete_object(delete).await.map_err(from_store)?;
            Ok((version, written))
        };
        match delete.await {
            Ok((version, written)) => {
                let marker = written.delete_marker;
                let affected = deleted_version(bucket, version.as_ref(), &written);
                Ok(DeletedObject {
                    delete_marker: marker.then_some(true),
                    delete_marker_version_id: if marker { affected } else { None },
                    key: Some(key),
                    version_id: version_text,
                })
            }
            Err(error) => Err(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id: version_text,
            }),
        }
    }
}

fn identifier_etag(etag: &ETag) -> EtagSet {
    match etag.value() {
        "*" => EtagSet::Any,
        value => EtagSet::Tags(vec![value.to_owned()]),
    }
}

/// S3 takes DeleteObjects only with a digest of its document.
fn require_integrity(headers: &HeaderMap) -> S3Result<()> {
    let has_digest = headers
        .keys()
        .any(|name| name.as_str() == "content-md5" || name.as_str().starts_with("x-amz-checksum-"));
    if has_digest {
        return Ok(());
    }
    let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
    Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message))
}

/// A declared length; a negative one counts as none.
pub(crate) fn declared(headers: &HeaderMap, length: Option<i64>) -> Option<u64> {
    // aws-chunked bodies may come in HTTP's own chunks, without Content-Length: boto3 over HTTPS sends them so.
    let decoded = headers.get(s3s::header::X_AMZ_DECODED_CONTENT_LENGTH);
    decoded
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .or_else(|| length.and_then(|l| u64::try_from(l).ok()))
}

/// `x-amz-version-id` of a write: named only while versioning is on.
pub(crate) fn new_version(bucket: &BucketInfo, written: &Written) -> Option<String> {
    match written.version {
        VersionId::Null => None,
        VersionId::Id(_) => version_text(bucket, &written.version).or(Some(written.version.to_string())),
    }
}

/// `x-amz-version-id` of a delete: the version removed, or the marker made.
fn deleted_version(bucket: &BucketInfo, named: Option<&VersionId>, written: &Written) -> Option<String> {
    match named {
        Some(version) => Some(version.to_string()),
        None if written.delete_marker || bucket.versioning == Versioning::Enabled => {
            version_text(bucket, &written.version)
        }
        None => None,
    }
}
