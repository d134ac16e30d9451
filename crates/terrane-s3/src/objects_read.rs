//! GetObject, HeadObject, GetObjectAttributes.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{Range as HttpRange, *};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{
    BucketInfo, ObjectAttrs, ObjectError, ObjectHandle, ObjectInfo, PartInfo, VersionId,
};

use crate::access::Caller;
use crate::acl::Right;
use crate::api::{Api, parse_version, version_text};
use crate::attrs::{DEFAULT_CONTENT_TYPE, REDIRECT, parse_date};
use crate::body::outgoing;
use crate::conditions::ReadConditions;
use crate::errors::{access_denied, from_store, invalid_argument, with_header};

/// The part of an object that an answer carries.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    range: Range<u64>,
    /// Whether it is answered by 206.
    partial: bool,
    /// Number of parts, if one was asked for by number.
    parts_count: Option<i32>,
    /// The part itself.
    part: Option<usize>,
}

impl Api {
    /// Opens an object. Whoever may not list the bucket does not learn that a key is missing.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> S3Result<Arc<dyn ObjectHandle>> {
        match self.store.get_object(bucket, key, version).await {
            Ok(handle) => Ok(handle),
            Err(
                error @ (ObjectError::NoSuchKey
                | ObjectError::NoSuchVersion
                | ObjectError::CurrentIsDeleteMarker(_)
                | ObjectError::VersionIsDeleteMarker(_)),
            ) => {
                let listing = self.may_bucket(caller, "s3:ListBucket", bucket, Some(Right::Read)).await;
                Err(if listing.is_ok() { from_store(error) } else { access_denied() })
            }
            Err(error) => Err(from_store(error)),
        }
    }

    pub(crate) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        refuse_sse(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
        refuse_anonymous_overrides(&caller, &input)?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let info = handle.info();
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        self.may_object(&caller, action, &bucket, info, Some(Right::Read)).await?;
        ReadConditions::new(
            input.if_match,
            input.if_none_match,
            input.if_modified_since,
            input.if_unmodified_since,
        )
        .check(&info.attrs.etag, info.modified)?;
        let selection = select(info, input.range, input.part_number)?;
        let with_sums = input.checksum_mode.as_ref().is_some_and(|m| m.as_str() == ChecksumMode::ENABLED);
        let head = describe(&bucket, info, &selection, with_sums);
        let tag_count = i32::try_from(info.attrs.tags.len()).ok().filter(|n| *n > 0);
        let body = outgoing(handle.as_ref(), selection.range, &self.metrics).await?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: head.accept_ranges,
            body: Some(body),
            cache_control: head.cache_control,
            checksum_crc32: head.checksum_crc32,
            checksum_crc32c: head.checksum_crc32c,
            checksum_crc64nvme: head.checksum_crc64nvme,
            checksum_sha1: head.checksum_sha1,
            checksum_sha256: head.checksum_sha256,
            checksum_type: head.checksum_type,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            content_length: head.content_length,
            content_range: head.content_range,
            content_type: head.content_type,
            e_tag: head.e_tag,
            expires: head.expires,
            last_modified: head.last_modified,
            metadata: head.metadata,
            parts_count: head.parts_count,
            tag_count,
            version_id: head.version_id,
            website_redirect_location: head.website_redirect_location,
            ..Default::default()
        }))
    }

    pub(crate) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        refuse_sse(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let info = handle.info();
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        self.may_object(&caller, action, &bucket, info, Some(Right::Read)).await?;
        ReadConditions::new(
            input.if_match,
            input.if_none_match,
            input.if_modified_since,
            input.if_unmodified_since,
        )
        .check(&info.attrs.etag, info.modified)?;
        let selection = select(info, input.range, input.part_number)?;
        let with_sums = input.checksum_mode.as_ref().is_some_and(|m| m.as_str() == ChecksumMode::ENABLED);
        let mut response = S3Response::new(describe(&bucket, info, &selection, with_sums));
        if !info.attrs.tags.is_empty() {
            let count = http::HeaderValue::from(info.attrs.tags.len());
            response.headers.insert(s3s::header::X_AMZ_TAGGING_COUNT, count);
        }
        Ok(response)
    }

    pub(crate) async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        refuse_sse(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let info = handle.info();
        let action =
            if version.is_some() { "s3:GetObjectVersionAttributes" } else { "s3:GetObjectAttributes" };
        self.may_object(&caller, action, &bucket, info, Some(Right::Read)).await?;
        let wanted: Vec<&str> =
            input.object_attributes.iter().flat_map(|a| a.as_str().split(',')).map(str::trim).collect();
        check_wanted(&wanted)?;
        let wants = |name: &str| wanted.contains(&name);
        let object_parts = if wants(ObjectAttributes::OBJECT_PARTS) && !info.parts.is_empty() {
            Some(parts_page(info, input.part_number_marker, input.max_parts)?)
        } else {
            None
        };
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: if wants(ObjectAttributes::CHECKSUM) { checksum_dto(&info.attrs) } else { None },
            e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(info.attrs.etag.clone())),
            last_modified: Some(Timestamp::from(info.modified)),
            object_parts,
            object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| signed(info.size)),
            storage_class: wants(ObjectAttributes::STORAGE_CLASS)
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            version_id: version_text(&bucket, &info.version),
            ..Default::default()
        }))
    }
}

/// `response-*` parameters change what a browser does with an object: only whoever signed may set them.
fn refuse_anonymous_overrides(caller: &Caller, input: &GetObjectInput) -> S3Result<()> {
    let overrides = input.response_cache_control.is_some()
        || input.response_content_disposition.is_some()
        || input.response_content_encoding.is_some()
        || input.response_content_language.is_some()
        || input.response_content_type.is_some()
        || input.response_expires.is_some();
    if overrides && caller.account().is_none() {
        let message = "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

pub(crate) fn refuse_sse(asked: bool) -> S3Result<()> {
    if asked { Err(crate::errors::not_implemented("Server-side encryption")) } else { Ok(()) }
}

fn check_wanted(wanted: &[&str]) -> S3Result<()> {
    let known = [
        ObjectAttributes::CHECKSUM,
        ObjectAttributes::ETAG,
        ObjectAttributes::OBJECT_PARTS,
        ObjectAttributes::OBJECT_SIZE,
        ObjectAttributes::STORAGE_CLASS,
    ];
    match wanted.iter().find(|name| !known.contains(name)) {
        Some(_) => Err(invalid_argument("Invalid attribute name specified.")),
        None if wanted.is_empty() => Err(invalid_argument("x-amz-object-attributes is empty")),
        None => Ok(()),
    }
}

/// What a range or part number selects. A whole object of a part number is one part.
fn select(info: &ObjectInfo, range: Option<HttpRange>, part: Option<i32>) -> S3Result<Selection> {
    if let Some(number) = part {
        if range.is_some() {
            let message = "Cannot specify both Range header and partNumber query parameter.";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        return select_part(info, number);
    }
    let whole = Selection { range: 0..info.size, partial: false, parts_count: None, part: None };
    match range {
        None => Ok(whole),
        Some(range) => match range.check(info.size) {
            Ok(range) => Ok(Selection { range, partial: true, ..whole }),
            Err(_) => {
                let message = "The requested range is not satisfiable";
                let error = S3Error::with_message(S3ErrorCode::InvalidRange, message);
                let value = http::HeaderValue::from_str(&format!("bytes */{}", info.size));
                Err(match value {
                    Ok(value) => with_header(error, http::header::CONTENT_RANGE, value),
                    Err(_) => error,
                })
            }
        },
    }
}

fn select_part(info: &ObjectInfo, number: i32) -> S3Result<Selection> {
    if !(1..=10_000).contains(&number) {
        return Err(invalid_argument("Part number must be an integer between 1 and 10000, inclusive"));
    }
    let missing = || {
        let message = "The requested partnumber is not satisfiable";
        S3Error::with_message(S3ErrorCode::InvalidPart, message)
    };
    if info.parts.is_empty() {
        if number != 1 {
            return Err(missing());
        }
        return Ok(Selection { range: 0..info.size, partial: info.size > 0, parts_count: None, part: None });
    }
    let mut start = 0;
    for (at, part) in info.parts.iter().enumerate() {
        let end = start + part.size;
        // Parts are asked for by their place among those that the object was made of.
        if at + 1 == number as usize {
            let count = i32::try_from(info.parts.len()).ok();
            return Ok(Selection { range: start..end, partial: true, parts_count: count, part: Some(at) });
        }
        start = end;
    }
    Err(missing())
}

/// Headers of HEAD, and of GET.
fn describe(
    bucket: &BucketInfo,
    info: &ObjectInfo,
    selection: &Selection,
    with_sums: bool,
) -> HeadObjectOutput {
    let header = |name: &str| info.attrs.headers.get(name).cloned();
    let range = &selection.range;
    let content_range = (selection.partial && range.start < range.end)
        .then(|| format!("bytes {}-{}/{}", range.start, range.end - 1, info.size));
    let mut head = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: header("cache-control"),
        content_disposition: header("content-disposition"),
        content_encoding: header("content-encoding"),
        content_language: header("content-language"),
        content_length: Some(signed(range.end - range.start)),
        content_range,
        content_type: Some(header("content-type").unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())),
        e_tag: Some(ETag::Strong(info.attrs.etag.clone())),
        expires: parse_date(info.attrs.headers.get("expires")),
        last_modified: Some(Timestamp::from(info.modified)),
        metadata: metadata_dto(&info.attrs),
        parts_count: selection.parts_count,
        version_id: version_text(bucket, &info.version),
        website_redirect_location: header(REDIRECT),
        ..Default::default()
    };
    let part_sums = selection.part.and_then(|at| info.parts.get(at)).map(|p| &p.checksums[..]);
    let whole = range.end - range.start == info.size;
    if with_sums && (whole || part_sums.is_some()) {
        let sums = if whole { &info.attrs.checksums[..] } else { part_sums.unwrap_or_default() };
        head.checksum_crc32 = sum(sums, "CRC32");
        head.checksum_crc32c = sum(sums, "CRC32C");
        head.checksum_crc64nvme = sum(sums, "CRC64NVME");
        head.checksum_sha1 = sum(sums, "SHA1");
        head.checksum_sha256 = sum(sums, "SHA256");
        head.checksum_type = checksum_type(&info.attrs);
    }
    head
}

fn metadata_dto(attrs: &ObjectAttrs) -> Option<Metadata> {
    (!attrs.user_metadata.is_empty())
        .then(|| attrs.user_metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// A stored checksum by algorithm.
pub(crate) fn sum(sums: &[(String, String)], algorithm: &str) -> Option<String> {
    sums.iter().find(|(a, _)| a == algorithm).map(|(_, value)| value.clone())
}

/// How the stored checksum was made; of one piece unless said otherwise.
pub(crate) fn checksum_type(attrs: &ObjectAttrs) -> Option<ChecksumType> {
    if attrs.checksums.is_empty() {
        return None;
    }
    let text = attrs.checksum_type.clone().unwrap_or_else(|| ChecksumType::FULL_OBJECT.to_owned());
    Some(ChecksumType::from(text))
}

fn checksum_dto(attrs: &ObjectAttrs) -> Option<Checksum> {
    let sums = &attrs.checksums;
    (!sums.is_empty()).then(|| Checksum {
        checksum_crc32: sum(sums, "CRC32"),
        checksum_crc32c: sum(sums, "CRC32C"),
        checksum_crc64nvme: sum(sums, "CRC64NVME"),
        checksum_sha1: sum(sums, "SHA1"),
        checksum_sha256: sum(sums, "SHA256"),
        checksum_type: checksum_type(attrs),
    })
}

fn parts_page(info: &ObjectInfo, after: Option<i32>, max: Option<i32>) -> S3Result<GetObjectAttributesParts> {
    let max = max.unwrap_or(1000);
    let after = after.unwrap_or(0);
    let (Ok(limit), Ok(marker)) = (usize::try_from(max), u32::try_from(after)) else {
        return Err(invalid_argument("max-parts and part-number-marker are not negative"));
    };
    let mut rest = info.parts.iter().filter(|p| p.number > marker);
    let page: Vec<&PartInfo> = rest.by_ref().take(limit.min(1000)).collect();
    let is_truncated = rest.next().is_some();
    let next = page.last().and_then(|p| i32::try_from(p.number).ok());
    // Parts are listed only where each has a checksum of its own.
    let listed = info.attrs.checksum_type.as_deref() == Some(ChecksumType::COMPOSITE)
        || page.iter().any(|p| !p.checksums.is_empty());
    Ok(GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: Some(max.min(1000)),
        next_part_number_marker: next,
        part_number_marker: Some(after),
        parts: listed.then(|| page.into_iter().map(part_dto).collect()),
        total_parts_count: i32::try_from(info.parts.len()).ok(),
    })
}

fn part_dto(part: &PartInfo) -> ObjectPart {
    ObjectPart {
        checksum_crc32: sum(&part.checksums, "CRC32"),
        checksum_crc32c: sum(&part.checksums, "CRC32C"),
        checksum_crc64nvme: sum(&part.checksums, "CRC64NVME"),
        checksum_sha1: sum(&part.checksums, "SHA1"),
        checksum_sha256: sum(&part.checksums, "SHA256"),
        part_number: i32::try_from(part.number).ok(),
        size: Some(signed(part.size)),
    }
}

/// S3's lengths are signed.
pub(crate) fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
