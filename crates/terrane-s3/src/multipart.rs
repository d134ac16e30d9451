//! Multipart uploads: create, part, list parts, complete, abort.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use s3s::dto::{CompletedPart as NamedPart, *};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{
    BucketInfo, CompleteUpload, CompletedPart, ObjectAttrs, ObjectError, PartInfo, UploadId, UploadInfo,
};

use crate::access::Caller;
use crate::acl::{GrantHeaders, Right};
use crate::api::{Api, owner_dto};
use crate::assemble::{Assembly, assemble, part_etag};
use crate::attrs::described;
use crate::body::Upload;
use crate::checksums::{Algorithm, Expected};
use crate::conditions::on_write;
use crate::errors::{from_store, invalid_argument};
use crate::listing::{initiator, upload_algorithm, upload_owner};
use crate::modes;
use crate::objects_read::{checksum_type, refuse_sse, signed, sum};
use crate::objects_write::{declared, new_version};

/// Name of the upload attribute that holds the checksum algorithm it was begun with.
pub(crate) const CHECKSUM_ALGORITHM: &str = "checksum-algorithm";

/// Parts of an upload.
const PARTS_MAX: i32 = 10_000;
/// Parts read at a time.
const PARTS_PAGE: usize = 1000;

/// A part number between 1 and 10,000.
pub(crate) fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|n| (1..=PARTS_MAX as u32).contains(n))
        .ok_or_else(|| invalid_argument("Part number must be an integer between 1 and 10000, inclusive"))
}

/// The checksum to compute of every part of an upload.
pub(crate) fn upload_checksum(attrs: &ObjectAttrs) -> Option<Algorithm> {
    attrs.extra.get(CHECKSUM_ALGORITHM).and_then(|name| Algorithm::parse(name))
}

/// The checksum type of an upload: hashes can only be composed, CRC64NVME only be combined.
fn upload_checksum_type(
    algorithm: Option<Algorithm>,
    asked: Option<&ChecksumType>,
) -> S3Result<Option<String>> {
    let invalid = |message: String| S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    let Some(algorithm) = algorithm else {
        return match asked {
            None => Ok(None),
            Some(_) => Err(invalid(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
                    .into(),
            )),
        };
    };
    let default = match algorithm {
        Algorithm::Crc64Nvme => ChecksumType::FULL_OBJECT,
        _ => ChecksumType::COMPOSITE,
    };
    let kind = asked.map_or(default, |k| k.as_str());
    let possible = match kind {
        ChecksumType::FULL_OBJECT => algorithm.is_linear(),
        ChecksumType::COMPOSITE => algorithm != Algorithm::Crc64Nvme,
        _ => return Err(invalid("Value for x-amz-checksum-type header is invalid.".into())),
    };
    if !possible {
        let name = algorithm.as_str().to_ascii_lowercase();
        return Err(invalid(format!(
            "The {kind} checksum type cannot be used with the {name} checksum algorithm."
        )));
    }
    Ok(Some(kind.to_owned()))
}

impl Api {
    pub(crate) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let mut attrs = described!(input).into_attrs(self.config.limits.metadata_bytes)?;
        self.own(&caller, &bucket, input.acl.as_ref(), GrantHeaders::of(&request.headers), &mut attrs)
            .await?;
        let algorithm = match &input.checksum_algorithm {
            None => None,
            Some(name) => Some(Algorithm::parse(name.as_str()).ok_or_else(|| {
                let message = "Checksum algorithm provided is unsupported.";
                S3Error::with_message(S3ErrorCode::InvalidRequest, message)
            })?),
        };
        attrs.checksum_type = upload_checksum_type(algorithm, input.checksum_type.as_ref())?;
        if let Some(algorithm) = algorithm {
            attrs.extra.insert(CHECKSUM_ALGORITHM.to_owned(), algorithm.as_str().to_owned());
        }
        let checksum_type = attrs.checksum_type.clone().map(ChecksumType::from);
        let id = self.store.create_upload(&bucket, &input.key, attrs).await.map_err(from_store)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type,
            key: Some(input.key),
            upload_id: Some(id.0),
            ..Default::default()
        }))
    }

    pub(crate) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        modes::requested(&request.headers)?;
        let expected = Expected::from_headers(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        refuse_sse(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
        let number = part_number(input.part_number)?;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let id = UploadId(input.upload_id);
        let upload = self.store.upload(&bucket, &input.key, &id).await.map_err(from_store)?;
        let algorithm = upload_checksum(&upload.attrs);
        check_algorithm(algorithm, expected.algorithm())?;
        let staging = Upload {
            blob: input.body.take(),
            declared: declared(&request.headers, input.content_length),
            expected,
            algorithm,
            trailers: request.trailing_headers,
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
        let output = UploadPartOutput {
            checksum_crc32: sum(&part.checksums, "CRC32"),
            checksum_crc32c: sum(&part.checksums, "CRC32C"),
            checksum_crc64nvme: sum(&part.checksums, "CRC64NVME"),
            checksum_sha1: sum(&part.checksums, "SHA1"),
            checksum_sha256: sum(&part.checksums, "SHA256"),
            e_tag: Some(ETag::Strong(part.etag.clone())),
            ..Default::default()
        };
        self.store.put_part(&bucket, &input.key, &id, staged, part).await.map_err(from_store)?;
        Ok(S3Response::new(output))
    }

    pub(crate) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:ListMultipartUploadParts", &bucket, Some(&input.key), None).await?;
        let id = UploadId(input.upload_id.clone());
        let upload = self.store.upload(&bucket, &input.key, &id).await.map_err(from_store)?;
        let (after, max) = (input.part_number_marker.unwrap_or(0), input.max_parts.unwrap_or(1000));
        let (Ok(marker), Ok(limit)) = (u32::try_from(after), usize::try_from(max)) else {
            return Err(invalid_argument("max-parts and part-number-marker are not negative"));
        };
        let limit = limit.min(PARTS_PAGE);
        let page = self.store.list_parts(&bucket, &input.key, &id, marker, limit).await;
        let (parts, more) = page.map_err(from_store)?;
        let next = parts.last().and_then(|p| i32::try_from(p.number).ok());
        let owner = upload_owner(&upload.attrs, &bucket.owner);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: upload_algorithm(&upload.attrs),
            checksum_type: upload.attrs.checksum_type.map(ChecksumType::from),
            initiator: Some(initiator(&owner)),
            is_truncated: Some(more),
            key: Some(input.key),
            max_parts: i32::try_from(limit).ok(),
            next_part_number_marker: next,
            owner: Some(owner_dto(&owner)),
            part_number_marker: Some(after),
            parts: Some(parts.into_iter().map(part_dto).collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(input.upload_id),
            ..Default::default()
        }))
    }

    pub(crate) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let action = "s3:AbortMultipartUpload";
        self.may_key(&caller, action, &bucket, Some(&input.key), Some(Right::Write)).await?;
        let id = UploadId(input.upload_id);
        self.store.abort_upload(&bucket, &input.key, &id).await.map_err(from_store)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(crate) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let mode = modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let mut input = request.input;
        refuse_sse(input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some())?;
        let condition = on_write(input.if_match.take(), input.if_none_match.take());
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        self.may_key(&caller, "s3:PutObject", &bucket, Some(&input.key), Some(Right::Write)).await?;
        let named = named_parts(input.multipart_upload.take())?;
        let id = UploadId(input.upload_id.clone());
        let (attrs, repeated) = match self.store.upload(&bucket, &input.key, &id).await {
            Ok(upload) => (self.assembled(&bucket, &input, upload, &named).await?, false),
            // Perhaps completed by an earlier request whose answer was lost: the store knows.
            Err(ObjectError::NoSuchUpload) => {
                let tags = named.iter().map(part_tag);
                (ObjectAttrs { etag: part_etag(tags), ..ObjectAttrs::default() }, true)
            }
            Err(error) => return Err(from_store(error)),
        };
        let parts = named.iter().map(completed).collect::<S3Result<Vec<_>>>()?;
        let mut output = completed_output(&input, &attrs);
        let complete = CompleteUpload {
            bucket: Arc::clone(&bucket),
            key: input.key.clone(),
            upload: id,
            parts,
            attrs,
            condition,
            mode,
        };
        let written = self.store.complete_upload(complete).await.map_err(from_store)?;
        if repeated {
            let object = self.store.get_object(&bucket, &input.key, Some(&written.version)).await;
            output = completed_output(&input, &object.map_err(from_store)?.info().attrs);
        }
        output.version_id = new_version(&bucket, &written);
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    /// The attributes of the object to be: the upload's, with ETag and checksum made from its parts.
    async fn assembled(
        &self,
        bucket: &BucketInfo,
        input: &CompleteMultipartUploadInput,
        upload: UploadInfo,
        named: &[NamedPart],
    ) -> S3Result<ObjectAttrs> {
        let mut stored = BTreeMap::new();
        let (mut after, mut more) = (0, true);
        let id = UploadId(input.upload_id.clone());
        while more {
            let page = self.store.list_parts(bucket, &input.key, &id, after, PARTS_PAGE).await;
            let (parts, rest) = page.map_err(from_store)?;
            more = rest && !parts.is_empty();
            after = parts.last().map_or(after, |p| p.number);
            stored.extend(parts.into_iter().map(|p| (p.number, p)));
        }
        let Assembly { etag, checksum, size } = assemble(&stored, named, &upload.attrs)?;
        if size > self.config.limits.object_bytes {
            return Err(crate::body::too_large());
        }
        if input.mpu_object_size.is_some_and(|s| u64::try_from(s) != Ok(size)) {
            let message =
                format!("The provided 'x-amz-mp-object-size' header does not match the size {size}");
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        let mut attrs = upload.attrs;
        attrs.extra.remove(CHECKSUM_ALGORITHM);
        check_whole(input, checksum.as_ref(), &attrs)?;
        attrs.etag = etag;
        attrs.checksums = checksum.into_iter().collect();
        Ok(attrs)
    }
}

/// The parts that a completion names.
fn named_parts(document: Option<CompletedMultipartUpload>) -> S3Result<Vec<NamedPart>> {
    let parts = document.and_then(|d| d.parts).unwrap_or_default();
    if parts.is_empty() || parts.len() > PARTS_MAX as usize {
        let message =
            "The XML you provided was not well-formed or did not validate against our published schema";
        return Err(S3Error::with_message(S3ErrorCode::MalformedXML, message));
    }
    Ok(parts)
}

/// The ETag by which a completion names a part.
pub(crate) fn part_tag(part: &NamedPart) -> &str {
    part.e_tag.as_ref().map_or("", ETag::value)
}

fn completed(part: &NamedPart) -> S3Result<CompletedPart> {
    let number = part_number(part.part_number.unwrap_or(0))?;
    Ok(CompletedPart { number, etag: part_tag(part).to_owned() })
}

/// 400 if a part brings another checksum than its upload was begun with.
fn check_algorithm(upload: Option<Algorithm>, part: Option<Algorithm>) -> S3Result<()> {
    match (upload, part) {
        (Some(upload), Some(part)) if upload != part => {
            let message = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                upload.as_str().to_ascii_lowercase(),
                part.as_str().to_ascii_lowercase()
            );
            Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message))
        }
        _ => Ok(()),
    }
}

/// Compares the checksum of the whole with what the completion declares.
fn check_whole(
    input: &CompleteMultipartUploadInput,
    checksum: Option<&(String, String)>,
    attrs: &ObjectAttrs,
) -> S3Result<()> {
    let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
    if kind.is_some() && kind != attrs.checksum_type.as_deref() {
        let message = "The checksum type does not match the one that the upload was created with";
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
    }
    let declared = [
        ("CRC32", &input.checksum_crc32),
        ("CRC32C", &input.checksum_crc32c),
        ("CRC64NVME", &input.checksum_crc64nvme),
        ("SHA1", &input.checksum_sha1),
        ("SHA256", &input.checksum_sha256),
    ];
    for (name, value) in declared {
        let Some(value) = value else { continue };
        let found = checksum.filter(|(algorithm, _)| algorithm == name).map(|(_, found)| found.as_str());
        // A composite checksum may be given with or without the number of parts.
        let bare = found.and_then(|f| f.split_once('-')).map(|(bare, _)| bare);
        if found != Some(value.as_str()) && bare != Some(value.as_str()) {
            let message = format!("The {name} you specified did not match the calculated checksum.");
            return Err(S3Error::with_message(S3ErrorCode::BadDigest, message));
        }
    }
    Ok(())
}

fn completed_output(
    input: &CompleteMultipartUploadInput,
    attrs: &ObjectAttrs,
) -> CompleteMultipartUploadOutput {
    let sums = &attrs.checksums;
    CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        checksum_crc32: sum(sums, "CRC32"),
        checksum_crc32c: sum(sums, "CRC32C"),
        checksum_crc64nvme: sum(sums, "CRC64NVME"),
        checksum_sha1: sum(sums, "SHA1"),
        checksum_sha256: sum(sums, "SHA256"),
        checksum_type: checksum_type(attrs),
        e_tag: Some(ETag::Strong(attrs.etag.clone())),
        key: Some(input.key.clone()),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        ..Default::default()
    }
}

fn part_dto(part: PartInfo) -> Part {
    Part {
        checksum_crc32: sum(&part.checksums, "CRC32"),
        checksum_crc32c: sum(&part.checksums, "CRC32C"),
        checksum_crc64nvme: sum(&part.checksums, "CRC64NVME"),
        checksum_sha1: sum(&part.checksums, "SHA1"),
        checksum_sha256: sum(&part.checksums, "SHA256"),
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(Timestamp::from(part.modified)),
        part_number: i32::try_from(part.number).ok(),
        size: Some(signed(part.size)),
    }
}
