//! The operations that are offered, and what they have in common: finding the bucket and asking the gate.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};
use terrane_objects::service::{BucketInfo, ObjectInfo, ObjectService, VersionId, Versioning};
use terrane_types::AccountId;

use crate::access::{Caller, unavailable};
use crate::acl::{Acl, Right};
use crate::config::S3Config;
use crate::errors::{access_denied, from_store, invalid_argument};
use crate::gate::{Gate, Question};
use crate::metrics::Metrics;
use crate::settings::BucketSettings;

/// Name of the object attribute that holds its ACL.
pub(crate) const ACL: &str = "acl";
/// Name of the object attribute that holds its owner, where that is not the bucket's.
pub(crate) const OWNER: &str = "owner";

/// S3 over an object service.
pub(crate) struct Api {
    pub(crate) store: Arc<dyn ObjectService>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) config: Arc<S3Config>,
    pub(crate) metrics: Metrics,
}

impl Api {
    pub(crate) fn new(
        store: Arc<dyn ObjectService>,
        gate: Arc<dyn Gate>,
        config: Arc<S3Config>,
        metrics: Metrics,
    ) -> Self {
        Self { store, gate, config, metrics }
    }

    /// Looks a bucket up and checks that it belongs to whom the request expects.
    pub(crate) async fn bucket(&self, name: &str, headers: &HeaderMap) -> S3Result<Arc<BucketInfo>> {
        let bucket = self.store.bucket(name).await.map_err(from_store)?;
        expect_owner(&bucket, headers, &s3s::header::X_AMZ_EXPECTED_BUCKET_OWNER)?;
        Ok(bucket)
    }

    /// Whether the caller may do `action` with the bucket itself; `right` is what its ACL may grant.
    pub(crate) async fn may_bucket(
        &self,
        caller: &Caller,
        action: &str,
        bucket: &BucketInfo,
        right: Option<Right>,
    ) -> S3Result<()> {
        self.may_key(caller, action, bucket, None, right).await
    }

    /// Whether the caller may do `action` with a key of the bucket, as far as the bucket decides it.
    pub(crate) async fn may_key(
        &self,
        caller: &Caller,
        action: &str,
        bucket: &BucketInfo,
        key: Option<&str>,
        right: Option<Right>,
    ) -> S3Result<()> {
        let granted = caller.account() != Some(&bucket.owner)
            && right.is_some_and(|right| {
                let settings = BucketSettings(bucket);
                settings.acls_enabled()
                    && settings.acl().grants(caller.account(), right, settings.ignores_public_acls())
            });
        self.ask(caller, action, bucket, key, &bucket.owner, granted).await
    }

    /// Whether the caller may do `action` with an object that exists.
    pub(crate) async fn may_object(
        &self,
        caller: &Caller,
        action: &str,
        bucket: &BucketInfo,
        object: &ObjectInfo,
        right: Option<Right>,
    ) -> S3Result<()> {
        let owner = object_owner(bucket, object);
        let granted = caller.account() != Some(&owner)
            && right.is_some_and(|right| {
                let settings = BucketSettings(bucket);
                settings.acls_enabled()
                    && object_acl(&owner, object).grants(
                        caller.account(),
                        right,
                        settings.ignores_public_acls(),
                    )
            });
        self.ask(caller, action, bucket, Some(&object.key), &owner, granted).await
    }

    async fn ask(
        &self,
        caller: &Caller,
        action: &str,
        bucket: &BucketInfo,
        key: Option<&str>,
        owner: &AccountId,
        granted: bool,
    ) -> S3Result<()> {
        let question = Question {
            principal: &caller.principal,
            action,
            bucket: Some(&bucket.name),
            key,
            owner,
            granted,
            origin: caller.origin,
        };
        match self.gate.allows(question).await.map_err(unavailable)? {
            true => Ok(()),
            false => Err(access_denied()),
        }
    }
}

/// 403 if the named header expects another owner.
pub(crate) fn expect_owner(
    bucket: &BucketInfo,
    headers: &HeaderMap,
    name: &http::HeaderName,
) -> S3Result<()> {
    match headers.get(name) {
        Some(expected) if expected.as_bytes() != bucket.owner.as_str().as_bytes() => Err(access_denied()),
        _ => Ok(()),
    }
}

/// Who owns an object: its writer, where that is not the bucket's owner.
pub(crate) fn object_owner(bucket: &BucketInfo, object: &ObjectInfo) -> AccountId {
    let stored = object.attrs.extra.get(OWNER).and_then(|o| AccountId::parse(o).ok());
    if BucketSettings(bucket).acls_enabled() { stored } else { None }.unwrap_or_else(|| bucket.owner.clone())
}

/// An object's ACL; private where none was given.
pub(crate) fn object_acl(owner: &AccountId, object: &ObjectInfo) -> Acl {
    let stored = object.attrs.extra.get(ACL).and_then(|stored| Acl::from_stored(stored));
    stored.unwrap_or_else(|| Acl::private(owner))
}

/// The version that a request names.
pub(crate) fn parse_version(text: Option<&str>) -> S3Result<Option<VersionId>> {
    match text {
        None => Ok(None),
        Some(text) => match VersionId::parse(text) {
            Some(version) => Ok(Some(version)),
            None => Err(invalid_argument("Invalid version id specified")),
        },
    }
}

/// The version as answers name it: not at all in buckets that never had versions.
pub(crate) fn version_text(bucket: &BucketInfo, version: &VersionId) -> Option<String> {
    (bucket.versioning != Versioning::Off).then(|| version.to_string())
}

/// S3's presentation of an account.
pub(crate) fn owner_dto(account: &AccountId) -> Owner {
    Owner { display_name: Some(account.to_string()), id: Some(account.to_string()) }
}

/// Every operation that is offered is a method of [`Api`] of the same name, in the module of its family;
/// all others answer `NotImplemented` from s3s.
macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident,)*) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                Api::$name(self, request).await
            })*
        }
    };
}

operations! {
    // buckets.rs
    create_bucket: CreateBucketInput => CreateBucketOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    delete_bucket: DeleteBucketInput => DeleteBucketOutput,
    list_buckets: ListBucketsInput => ListBucketsOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput,
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput,
    // settings.rs
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput,
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput,
    delete_bucket_ownership_controls:
        DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput,
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput,
    put_public_access_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput,
    delete_public_access_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput,
    // grants.rs
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput,
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput,
    get_object_acl: GetObjectAclInput => GetObjectAclOutput,
    put_object_acl: PutObjectAclInput => PutObjectAclOutput,
    // objects_read.rs
    get_object: GetObjectInput => GetObjectOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput,
    // objects_write.rs
    put_object: PutObjectInput => PutObjectOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    // forms.rs
    post_object: PostObjectInput => PostObjectOutput,
    // copy.rs
    copy_object: CopyObjectInput => CopyObjectOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
    // listing.rs
    list_objects: ListObjectsInput => ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    // multipart.rs
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    list_parts: ListPartsInput => ListPartsOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    // tagging.rs
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput,
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput,
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput,
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput,
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput,
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput,
}
