//! ListObjects (1 and 2), ListObjectVersions, ListMultipartUploads.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};
use terrane_objects::service::{
    BucketInfo, ListEntry, ListKind, ListPage, ListRequest, ListStart, ObjectAttrs, UploadId, VersionId,
};
use terrane_types::AccountId;

use crate::access::Caller;
use crate::acl::Right;
use crate::api::{Api, OWNER, owner_dto};
use crate::errors::{from_store, invalid_argument};
use crate::multipart::CHECKSUM_ALGORITHM;
use crate::objects_read::signed;

/// Most entries of a page.
const PAGE_MAX: i32 = 1000;

/// What `encoding-type=url` leaves as it is. A space becomes `%20`, which every client decodes.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// How keys are written in an answer.
#[derive(Clone, Copy, Debug)]
struct Encoding {
    url: bool,
}

impl Encoding {
    fn new(given: Option<&EncodingType>) -> S3Result<Self> {
        match given.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(_) => Err(invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    /// XML 1.0 has no way to write most control characters: a page with such a key needs `encoding-type=url`.
    fn encode(self, text: String) -> S3Result<String> {
        if self.url {
            let encoded = utf8_percent_encode(&text, KEPT);
            return Ok(Cow::<str>::from(encoded).into_owned());
        }
        if text.chars().all(is_xml_char) {
            return Ok(text);
        }
        Err(invalid_argument(
            "A key contains characters that XML 1.0 cannot represent; list with encoding-type=url",
        ))
    }

    fn optional(self, text: Option<String>) -> S3Result<Option<String>> {
        text.map(|t| self.encode(t)).transpose()
    }
}

/// The production `Char` of XML 1.0.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn page_size(given: Option<i32>, name: &str) -> S3Result<i32> {
    match given {
        None => Ok(PAGE_MAX),
        Some(n) if n < 0 => {
            Err(invalid_argument(format!("Argument {name} must be an integer between 0 and 2147483647")))
        }
        Some(n) => Ok(n.min(PAGE_MAX)),
    }
}

/// A listing of current objects, encoded.
struct Objects {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    /// Key or prefix of the last entry, not encoded.
    last: Option<String>,
    next: Option<String>,
}

/// What all four listings ask the store for.
struct Wanted {
    kind: ListKind,
    prefix: Option<String>,
    delimiter: Option<String>,
    start: ListStart,
    max: i32,
}

impl Api {
    async fn page(&self, bucket: &Arc<BucketInfo>, wanted: Wanted) -> S3Result<ListPage> {
        let request = ListRequest {
            bucket: Arc::clone(bucket),
            kind: wanted.kind,
            prefix: wanted.prefix.unwrap_or_default(),
            delimiter: wanted.delimiter,
            start: wanted.start,
            max_keys: usize::try_from(wanted.max).unwrap_or(0),
        };
        self.store.list(request).await.map_err(from_store)
    }

    async fn objects(
        &self,
        bucket: &Arc<BucketInfo>,
        wanted: Wanted,
        encoding: Encoding,
        owner: Option<&AccountId>,
    ) -> S3Result<Objects> {
        let page = self.page(bucket, wanted).await?;
        let owner = owner.map(owner_dto);
        let mut objects = Objects {
            contents: Vec::with_capacity(page.entries.len()),
            prefixes: Vec::new(),
            last: page.entries.last().map(|e| entry_key(e).to_owned()),
            next: page.next,
        };
        for entry in page.entries {
            match entry {
                ListEntry::CommonPrefix(prefix) => {
                    objects.prefixes.push(CommonPrefix { prefix: Some(encoding.encode(prefix)?) });
                }
                ListEntry::Object {
                    key, size, etag, modified, checksum_algorithms, checksum_type, ..
                } => objects.contents.push(Object {
                    checksum_algorithm: algorithms(checksum_algorithms),
                    checksum_type: checksum_type.map(ChecksumType::from),
                    e_tag: Some(ETag::Strong(etag)),
                    key: Some(encoding.encode(key)?),
                    last_modified: Some(Timestamp::from(modified)),
                    owner: owner.clone(),
                    restore_status: None,
                    size: Some(signed(size)),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                }),
                ListEntry::DeleteMarker { .. } | ListEntry::Upload { .. } => {}
            }
        }
        Ok(objects)
    }

    pub(crate) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:ListBucket", &bucket, Some(Right::Read)).await?;
        let mut input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        input.delimiter = input.delimiter.filter(|d| !d.is_empty());
        let max = page_size(input.max_keys, "maxKeys")?;
        let start = match input.marker.as_deref() {
            None | Some("") => ListStart::Beginning,
            Some(marker) => ListStart::AfterKey(marker.to_owned()),
        };
        let wanted = Wanted {
            kind: ListKind::Current,
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            start,
            max,
        };
        let objects = self.objects(&bucket, wanted, encoding, Some(&bucket.owner)).await?;
        let is_truncated = objects.next.is_some();
        let next_marker = if is_truncated && input.delimiter.is_some() { objects.last } else { None };
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.encode(input.prefix.unwrap_or_default())?),
            marker: Some(encoding.encode(input.marker.unwrap_or_default())?),
            max_keys: Some(max),
            is_truncated: Some(is_truncated),
            contents: Some(objects.contents),
            common_prefixes: Some(objects.prefixes),
            delimiter: encoding.optional(input.delimiter)?,
            next_marker: encoding.optional(next_marker)?,
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    pub(crate) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:ListBucket", &bucket, Some(Right::Read)).await?;
        let mut input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        input.delimiter = input.delimiter.filter(|d| !d.is_empty());
        let max = page_size(input.max_keys, "maxKeys")?;
        let start = match (input.continuation_token.as_deref(), input.start_after.as_deref()) {
            (Some(token), _) if !token.is_empty() => ListStart::Token(token.to_owned()),
            (_, Some(key)) if !key.is_empty() => ListStart::AfterKey(key.to_owned()),
            _ => ListStart::Beginning,
        };
        let wanted = Wanted {
            kind: ListKind::Current,
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            start,
            max,
        };
        let owner = input.fetch_owner.unwrap_or(false).then_some(&bucket.owner);
        let objects = self.objects(&bucket, wanted, encoding, owner).await?;
        let key_count = objects.contents.len() + objects.prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.encode(input.prefix.unwrap_or_default())?),
            max_keys: Some(max),
            key_count: i32::try_from(key_count).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(objects.next.is_some()),
            next_continuation_token: objects.next,
            contents: Some(objects.contents),
            common_prefixes: Some(objects.prefixes),
            delimiter: encoding.optional(input.delimiter)?,
            encoding_type: input.encoding_type,
            start_after: encoding.optional(input.start_after)?,
            request_charged: None,
        }))
    }

    pub(crate) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:ListBucketVersions", &bucket, Some(Right::Read)).await?;
        let mut input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        input.delimiter = input.delimiter.filter(|d| !d.is_empty());
        let max = page_size(input.max_keys, "maxKeys")?;
        let start = version_start(input.key_marker.as_deref(), input.version_id_marker.as_deref())?;
        let wanted = Wanted {
            kind: ListKind::Versions,
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            start,
            max,
        };
        let page = self.page(&bucket, wanted).await?;
        let is_truncated = page.next.is_some();
        let last = page.entries.last().filter(|_| is_truncated);
        let next_key = last.map(|e| entry_key(e).to_owned());
        let next_version = last.and_then(|e| match e {
            ListEntry::Object { version, .. } | ListEntry::DeleteMarker { version, .. } => {
                Some(version.to_string())
            }
            _ => None,
        });
        let (versions, delete_markers, common_prefixes) = versions_dto(page, encoding, &bucket.owner)?;
        Ok(S3Response::new(ListObjectVersionsOutput {
            common_prefixes: Some(common_prefixes),
            delete_markers: Some(delete_markers),
            delimiter: encoding.optional(input.delimiter)?,
            encoding_type: input.encoding_type,
            is_truncated: Some(is_truncated),
            key_marker: Some(encoding.encode(input.key_marker.unwrap_or_default())?),
            max_keys: Some(max),
            name: Some(input.bucket),
            next_key_marker: encoding.optional(next_key)?,
            next_version_id_marker: next_version,
            prefix: Some(encoding.encode(input.prefix.unwrap_or_default())?),
            request_charged: None,
            version_id_marker: input.version_id_marker,
            versions: Some(versions),
        }))
    }

    pub(crate) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:ListBucketMultipartUploads", &bucket, Some(Right::Read)).await?;
        let mut input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        input.delimiter = input.delimiter.filter(|d| !d.is_empty());
        let max = page_size(input.max_uploads, "maxUploads")?;
        let start = match (input.key_marker.as_deref(), input.upload_id_marker.as_deref()) {
            (None | Some(""), _) => ListStart::Beginning,
            (Some(key), None | Some("")) => ListStart::AfterKey(key.to_owned()),
            (Some(key), Some(id)) => ListStart::AfterUpload(key.to_owned(), UploadId(id.to_owned())),
        };
        let wanted = Wanted {
            kind: ListKind::Uploads,
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            start,
            max,
        };
        let page = self.page(&bucket, wanted).await?;
        let is_truncated = page.next.is_some();
        let last = page.entries.last().filter(|_| is_truncated);
        let next_key_marker = encoding.optional(last.map(|e| entry_key(e).to_owned()))?;
        let next_upload_id_marker = last.and_then(|e| match e {
            ListEntry::Upload { upload, .. } => Some(upload.0.clone()),
            _ => None,
        });
        let (uploads, prefixes) = uploads_dto(page, encoding, &bucket.owner)?;
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            common_prefixes: Some(prefixes),
            delimiter: encoding.optional(input.delimiter)?,
            encoding_type: input.encoding_type,
            is_truncated: Some(is_truncated),
            key_marker: Some(encoding.encode(input.key_marker.unwrap_or_default())?),
            max_uploads: Some(max),
            next_key_marker,
            next_upload_id_marker,
            prefix: Some(encoding.encode(input.prefix.unwrap_or_default())?),
            request_charged: None,
            upload_id_marker: input.upload_id_marker,
            uploads: Some(uploads),
        }))
    }
}

fn version_start(key: Option<&str>, version: Option<&str>) -> S3Result<ListStart> {
    match (key, version) {
        (None | Some(""), None | Some("")) => Ok(ListStart::Beginning),
        (None | Some(""), Some(_)) => {
            Err(invalid_argument("A version-id marker cannot be specified without a key marker."))
        }
        (Some(key), None | Some("")) => Ok(ListStart::AfterKey(key.to_owned())),
        (Some(key), Some(version)) => {
            let version =
                VersionId::parse(version).ok_or_else(|| invalid_argument("Invalid version id specified"))?;
            Ok(ListStart::AfterVersion(key.to_owned(), version))
        }
    }
}

fn entry_key(entry: &ListEntry) -> &str {
    match entry {
        ListEntry::Object { key, .. }
        | ListEntry::DeleteMarker { key, .. }
        | ListEntry::Upload { key, .. }
        | ListEntry::CommonPrefix(key) => key,
    }
}

fn algorithms(names: Vec<String>) -> Option<Vec<ChecksumAlgorithm>> {
    (!names.is_empty()).then(|| names.into_iter().map(ChecksumAlgorithm::from).collect())
}

type Versions = (Vec<ObjectVersion>, Vec<DeleteMarkerEntry>, Vec<CommonPrefix>);

fn versions_dto(page: ListPage, encoding: Encoding, owner: &AccountId) -> S3Result<Versions> {
    let (mut versions, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            ListEntry::CommonPrefix(prefix) => {
                prefixes.push(CommonPrefix { prefix: Some(encoding.encode(prefix)?) });
            }
            ListEntry::DeleteMarker { key, version, is_latest, modified } => {
                markers.push(DeleteMarkerEntry {
                    is_latest: Some(is_latest),
                    key: Some(encoding.encode(key)?),
                    last_modified: Some(Timestamp::from(modified)),
                    owner: Some(owner_dto(owner)),
                    version_id: Some(version.to_string()),
                });
            }
            ListEntry::Object {
                key,
                version,
                is_latest,
                size,
                etag,
                modified,
                checksum_algorithms,
                checksum_type,
                ..
            } => versions.push(ObjectVersion {
                checksum_algorithm: algorithms(checksum_algorithms),
                checksum_type: checksum_type.map(ChecksumType::from),
                e_tag: Some(ETag::Strong(etag)),
                is_latest: Some(is_latest),
                key: Some(encoding.encode(key)?),
                last_modified: Some(Timestamp::from(modified)),
                owner: Some(owner_dto(owner)),
                restore_status: None,
                size: Some(signed(size)),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                version_id: Some(version.to_string()),
            }),
            ListEntry::Upload { .. } => {}
        }
    }
    Ok((versions, markers, prefixes))
}

fn uploads_dto(
    page: ListPage,
    encoding: Encoding,
    owner: &AccountId,
) -> S3Result<(Vec<MultipartUpload>, Vec<CommonPrefix>)> {
    let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            ListEntry::CommonPrefix(prefix) => {
                prefixes.push(CommonPrefix { prefix: Some(encoding.encode(prefix)?) });
            }
            ListEntry::Upload { key, upload, initiated, attrs } => uploads.push(MultipartUpload {
                checksum_algorithm: upload_algorithm(&attrs),
                checksum_type: attrs.checksum_type.clone().map(ChecksumType::from),
                initiated: Some(Timestamp::from(initiated)),
                initiator: Some(initiator(&upload_owner(&attrs, owner))),
                key: Some(encoding.encode(key)?),
                owner: Some(owner_dto(&upload_owner(&attrs, owner))),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                upload_id: Some(upload.0),
            }),
            ListEntry::Object { .. } | ListEntry::DeleteMarker { .. } => {}
        }
    }
    Ok((uploads, prefixes))
}

/// Who began an upload, and will own the object.
pub(crate) fn upload_owner(attrs: &ObjectAttrs, bucket_owner: &AccountId) -> AccountId {
    let stored = attrs.extra.get(OWNER).and_then(|o| AccountId::parse(o).ok());
    stored.unwrap_or_else(|| bucket_owner.clone())
}

/// S3's presentation of who began an upload.
pub(crate) fn initiator(owner: &AccountId) -> Initiator {
    Initiator { display_name: Some(owner.to_string()), id: Some(owner.to_string()) }
}

/// The checksum algorithm that an upload was begun with.
pub(crate) fn upload_algorithm(attrs: &ObjectAttrs) -> Option<ChecksumAlgorithm> {
    attrs.extra.get(CHECKSUM_ALGORITHM).cloned().map(ChecksumAlgorithm::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_encoding_is_what_clients_decode() {
        let url = Encoding { url: true };
        assert_eq!(url.encode("a b+c/ä\u{1}.txt".into()).unwrap(), "a%20b%2Bc/%C3%A4%01.txt");
    }

    #[test]
    fn plain_pages_hold_only_what_xml_can() {
        let plain = Encoding { url: false };
        assert_eq!(plain.encode("a<&>\tä\u{1F600}".into()).unwrap(), "a<&>\tä\u{1F600}");
        for bad in ["\u{0}", "a\u{1}", "\u{b}", "\u{fffe}"] {
            assert!(plain.encode(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn page_sizes() {
        assert_eq!(page_size(None, "n").unwrap(), 1000);
        assert_eq!(page_size(Some(0), "n").unwrap(), 0);
        assert_eq!(page_size(Some(5000), "n").unwrap(), 1000);
        assert!(page_size(Some(-1), "n").is_err());
    }
}
