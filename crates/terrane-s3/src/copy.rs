//! CopyObject and UploadPartCopy.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::*;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{
    BucketInfo, CopyObject as StoreCopy, ObjectAttrs, ObjectHandle, PartInfo, UploadId,
};

use crate::access::Caller;
use crate::acl::{GrantHeaders, Right};
use crate::api::{Api, expect_owner, parse_version, version_text};
use crate::attrs::described;
use crate::body::Upload;
use crate::checksums::{Algorithm, Digests, Expected, Hasher};
use crate::conditions::{ReadConditions, on_write_headers};
use crate::errors::{from_store, invalid_argument, not_implemented};
use crate::modes;
use crate::multipart::{part_number, upload_checksum};
use crate::objects_read::{checksum_type, refuse_sse, sum};
use crate::objects_write::new_version;

/// Largest object that is copied in one piece.
const COPY_MAX: u64 = 5 << 30;

/// The source of a copy, opened and readable by the caller.
struct Source {
    bucket: Arc<BucketInfo>,
    handle: Arc<dyn ObjectHandle>,
    /// Whether the request names a version.
    versioned: bool,
}

impl Source {
    /// `x-amz-copy-source-version-id`
    fn version_text(&self) -> Option<String> {
        version_text(&self.bucket, &self.handle.info().version)
    }
}

impl Api {
    async fn source(
        &self,
        caller: &Caller,
        headers: &http::HeaderMap,
        source: &CopySource,
        conditions: ReadConditions,
    ) -> S3Result<Source> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(not_implemented("Copying from access points"));
        };
        let version = parse_version(version_id.as_deref())?;
        let bucket = self.store.bucket(bucket).await.map_err(from_store)?;
        expect_owner(&bucket, headers, &s3s::header::X_AMZ_SOURCE_EXPECTED_BUCKET_OWNER)?;
        let handle = self.open(caller, &bucket, key, version.as_ref()).await?;
        let info = handle.info();
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        self.may_object(caller, action, &bucket, info, Some(Right::Read)).await?;
        conditions.check_source(&info.attrs.etag, info.modified)?;
        Ok(Source { bucket, handle, versioned: version.is_some() })
    }

    pub(crate) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let mode = modes::requested(&request.headers)?;
        let condition = on_write_headers(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        refuse_sse(input.copy_source_sse_customer_algorithm.is_some())?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let conditions = ReadConditions::new(
            input.copy_source_if_match.take(),
            input.copy_source_if_none_match.take(),
            input.copy_source_if_modified_since.take(),
            input.copy_source_if_unmodified_since.take(),
        );
        let source = self.source(&caller, &request.headers, &input.copy_source, conditions).await?;
        if source.handle.info().size > COPY_MAX {
            let message = format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {COPY_MAX}"
            );
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        let mut attrs = copied_attrs(&mut input, &bucket, &source, self.config.limits.metadata_bytes)?;
        self.own(&caller, &bucket, input.acl.as_ref(), GrantHeaders::of(&request.headers), &mut attrs)
            .await?;
        self.checksum_of_copy(input.checksum_algorithm.as_ref(), &source, &mut attrs).await?;
        let (sums, etag, kind) = (attrs.checksums.clone(), attrs.etag.clone(), checksum_type(&attrs));
        let copy_source_version_id = source.version_text();
        let copy = StoreCopy {
            source: source.handle,
            source_bucket: source.bucket,
            bucket: Arc::clone(&bucket),
            key: input.key,
            attrs,
            condition,
            mode,
        };
        let written = self.store.copy_object(copy).await.map_err(from_store)?;
        let result = CopyObjectResult {
            checksum_crc32: sum(&sums, "CRC32"),
            checksum_crc32c: sum(&sums, "CRC32C"),
            checksum_crc64nvme: sum(&sums, "CRC64NVME"),
            checksum_sha1: sum(&sums, "SHA1"),
            checksum_sha256: sum(&sums, "SHA256"),
            checksum_type: kind,
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(Timestamp::from(written.modified)),
        };
        let output = CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id,
            version_id: new_version(&bucket, &written),
            ..Default::default()
        };
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    /// Keeps the source's checksum, or computes the one that is asked for.
    async fn checksum_of_copy(
        &self,
        asked: Option<&ChecksumAlgorithm>,
        source: &Source,
        attrs: &mut ObjectAttrs,
    ) -> S3Result<()> {
        let Some(asked) = asked else { return Ok(()) };
        let algorithm = Algorithm::parse(asked.as_str()).ok_or_else(|| {
            S3Error::with_message(S3ErrorCode::InvalidRequest, "Unknown checksum algorithm")
        })?;
        let whole = attrs.checksum_type.as_deref() != Some(ChecksumType::COMPOSITE);
        if whole && sum(&attrs.checksums, algorithm.as_str()).is_some() {
            return Ok(());
        }
        let digests = hash(source.handle.as_ref(), algorithm).await?;
        attrs.checksums = digests.stored();
        attrs.checksum_type = Some(ChecksumType::FULL_OBJECT.to_owned());
        Ok(())
    }

    pub(crate) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        refuse_sse(
            input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some(),
        )?;
        let number = part_number(input.part_number)?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let id = UploadId(input.upload_id);
        let upload = self.store.upload(&bucket, &input.key, &id).await.map_err(from_store)?;
        let conditions = ReadConditions::new(
            input.copy_source_if_match.take(),
            input.copy_source_if_none_match.take(),
            input.copy_source_if_modified_since.take(),
            input.copy_source_if_unmodified_since.take(),
        );
        let source = self.source(&caller, &request.headers, &input.copy_source, conditions).await?;
        let range = copy_range(input.copy_source_range.as_deref(), source.handle.info().size)?;
        let length = range.end - range.start;
        let frames = source.handle.read(range).map(|chunk| chunk.map(Frame::data));
        let staging = Upload {
            blob: Some(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(frames)))),
            declared: Some(length),
            expected: Expected::default(),
            algorithm: upload_checksum(&upload.attrs),
            trailers: None,
        };
        let limit = self.config.limits.put_bytes;
        let (staged, digests) = staging.stage(self.store.as_ref(), &bucket, limit, &self.metrics).await?;
        let part = PartInfo {
            number,
            size: digests.length,
            etag: digests.etag(),
            checksums: digests.stored(),
            modified: SystemTime::now(),
        };
        let result = CopyPartResult {
            checksum_crc32: sum(&part.checksums, "CRC32"),
            checksum_crc32c: sum(&part.checksums, "CRC32C"),
            checksum_crc64nvme: sum(&part.checksums, "CRC64NVME"),
            checksum_sha1: sum(&part.checksums, "SHA1"),
            checksum_sha256: sum(&part.checksums, "SHA256"),
            e_tag: Some(ETag::Strong(part.etag.clone())),
            last_modified: Some(Timestamp::from(part.modified)),
        };
        self.store.put_part(&bucket, &input.key, &id, staged, part).await.map_err(from_store)?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: source.version_text(),
            ..Default::default()
        }))
    }
}

/// What the copy keeps of its source and what the request replaces.
fn copied_attrs(
    input: &mut CopyObjectInput,
    bucket: &BucketInfo,
    source: &Source,
    metadata_max: usize,
) -> S3Result<ObjectAttrs> {
    let replace = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(_) => return Err(invalid_argument("Unknown metadata directive.")),
    };
    let retag = match input.tagging_directive.as_ref().map(TaggingDirective::as_str) {
        None | Some(TaggingDirective::COPY) => false,
        Some(TaggingDirective::REPLACE) => true,
        Some(_) => return Err(invalid_argument("Unknown tagging directive.")),
    };
    let described = described!(input);
    let changes = replace || retag || described.changes_something() || input.checksum_algorithm.is_some();
    let info = source.handle.info();
    let same = info.key == input.key && source.bucket.incarnation == bucket.incarnation;
    if same && !changes && !source.versioned {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    let given = described.into_attrs(metadata_max)?;
    let from = &info.attrs;
    let mut attrs = ObjectAttrs {
        etag: from.etag.clone(),
        checksums: from.checksums.clone(),
        checksum_type: from.checksum_type.clone(),
        tags: if retag { given.tags } else { from.tags.clone() },
        ..ObjectAttrs::default()
    };
    if replace {
        (attrs.headers, attrs.user_metadata) = (given.headers, given.user_metadata);
    } else {
        (attrs.headers, attrs.user_metadata) = (from.headers.clone(), from.user_metadata.clone());
        // A redirect is never copied.
        attrs.headers.remove(crate::attrs::REDIRECT);
        if let Some(redirect) = given.headers.get(crate::attrs::REDIRECT) {
            attrs.headers.insert(crate::attrs::REDIRECT.to_owned(), redirect.clone());
        }
    }
    Ok(attrs)
}

/// Reads an object to compute a checksum of it.
async fn hash(handle: &dyn ObjectHandle, algorithm: Algorithm) -> S3Result<Digests> {
    let mut hasher = Hasher::new(false, Some(algorithm));
    let mut data = handle.read(0..handle.info().size);
    while let Some(chunk) = data.next().await {
        hasher.update(&chunk.map_err(|e| from_store(e.into()))?);
    }
    Ok(hasher.finish())
}

/// `bytes=first-last`, both given and inside the source.
fn copy_range(text: Option<&str>, size: u64) -> S3Result<Range<u64>> {
    let Some(text) = text else { return Ok(0..size) };
    let bad = || {
        invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )
    };
    let (first, last) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(bad)?;
    let digits = |t: &str| -> S3Result<u64> {
        if t.is_empty() || !t.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        t.parse().map_err(|_| bad())
    };
    let (first, last) = (digits(first)?, digits(last)?);
    if first > last {
        return Err(bad());
    }
    if last >= size {
        let message = format!("Range specified is not valid for source object of size: {size}");
        return Err(S3Error::with_message(S3ErrorCode::InvalidRange, message));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_of_copies_are_exact() {
        assert_eq!(copy_range(None, 7).unwrap(), 0..7);
        assert_eq!(copy_range(Some("bytes=0-6"), 7).unwrap(), 0..7);
        assert_eq!(copy_range(Some("bytes=3-3"), 7).unwrap(), 3..4);
        for bad in [
            "0-6",
            "bytes=0",
            "bytes=-5",
            "bytes=5-",
            "bytes=4-3",
            "bytes=+1-2",
            "bytes=0-1,2-3",
            "bytes=a-b",
        ] {
            assert_eq!(copy_range(Some(bad), 7).unwrap_err().code().as_str(), "InvalidArgument", "{bad}");
        }
        assert_eq!(copy_range(Some("bytes=0-7"), 7).unwrap_err().code().as_str(), "InvalidRange");
    }

    proptest! {
        #[test]
        fn ranges_do_not_panic(text in "(bytes=)?\\PC{0,30}", size: u64) {
            if let Ok(range) = copy_range(Some(&text), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
