//! Bucket settings that the store keeps for this front end: ACL, ownership controls, public access block.

use bytes::Bytes;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use serde::{Deserialize, Serialize};
use terrane_objects::service::{BucketChange, BucketInfo};

use crate::access::Caller;
use crate::acl::Acl;
use crate::api::{ACL, Api};
use crate::errors::{from_store, invalid_argument};

const OWNERSHIP: &str = "ownership";
const PUBLIC_ACCESS: &str = "public-access-block";

/// The settings of a bucket, read.
pub(crate) struct BucketSettings<'a>(pub(crate) &'a BucketInfo);

/// Stored form of the public access block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PublicAccess {
    /// Version of the stored form.
    v: u8,
    block_acls: bool,
    ignore_acls: bool,
    block_policy: bool,
    restrict: bool,
}

impl BucketSettings<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.settings.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The bucket's ACL; private where none was given.
    pub(crate) fn acl(&self) -> Acl {
        self.text(ACL).and_then(Acl::from_stored).unwrap_or_else(|| Acl::private(&self.0.owner))
    }

    /// `ObjectWriter` unless set otherwise.
    pub(crate) fn ownership(&self) -> &str {
        self.text(OWNERSHIP).unwrap_or(ObjectOwnership::OBJECT_WRITER)
    }

    /// Whether ACLs count at all.
    pub(crate) fn acls_enabled(&self) -> bool {
        self.ownership() != ObjectOwnership::BUCKET_OWNER_ENFORCED
    }

    fn public_access(&self) -> Option<PublicAccess> {
        self.text(PUBLIC_ACCESS).and_then(|text| serde_json::from_str(text).ok())
    }

    /// Whether public grants have no effect.
    pub(crate) fn ignores_public_acls(&self) -> bool {
        self.public_access().is_some_and(|p| p.ignore_acls)
    }

    /// 403 if a new ACL is public and such are blocked; 400 if ACLs are off.
    pub(crate) fn check_new_acl(&self, acl: &Acl) -> S3Result<()> {
        if !self.acls_enabled() && *acl != Acl::private(&self.0.owner) {
            let message = "The bucket does not allow ACLs";
            return Err(S3Error::with_message(S3ErrorCode::AccessControlListNotSupported, message));
        }
        if acl.is_public() && self.public_access().is_some_and(|p| p.block_acls) {
            return Err(crate::errors::access_denied());
        }
        Ok(())
    }
}

/// 400 unless it is one of the three.
pub(crate) fn check_ownership(ownership: &ObjectOwnership) -> S3Result<&'static str> {
    [
        ObjectOwnership::BUCKET_OWNER_ENFORCED,
        ObjectOwnership::BUCKET_OWNER_PREFERRED,
        ObjectOwnership::OBJECT_WRITER,
    ]
    .into_iter()
    .find(|known| *known == ownership.as_str())
    .ok_or_else(|| invalid_argument("Invalid x-amz-object-ownership header"))
}

impl Api {
    /// Changes a setting of a bucket.
    pub(crate) async fn set(&self, bucket: &BucketInfo, name: &str, value: Option<String>) -> S3Result<()> {
        let change = BucketChange::Setting(name.to_owned(), value.map(Bytes::from));
        self.store.change_bucket(bucket, change).await.map_err(from_store)?;
        Ok(())
    }

    /// Sets who owns objects of a bucket.
    pub(crate) async fn set_ownership(&self, bucket: &BucketInfo, ownership: &str) -> S3Result<()> {
        self.set(bucket, OWNERSHIP, Some(ownership.to_owned())).await
    }

    pub(crate) async fn get_bucket_ownership_controls(
        &self,
        request: S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:GetBucketOwnershipControls", &bucket, None).await?;
        if !bucket.settings.contains_key(OWNERSHIP) {
            return Err(S3Error::with_message(
                S3ErrorCode::OwnershipControlsNotFoundError,
                "The bucket ownership controls were not found",
            ));
        }
        let ownership = ObjectOwnership::from(BucketSettings(&bucket).ownership().to_owned());
        let rules = vec![OwnershipControlsRule { object_ownership: ownership }];
        let ownership_controls = Some(OwnershipControls { rules });
        Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls }))
    }

    pub(crate) async fn put_bucket_ownership_controls(
        &self,
        request: S3Request<PutBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:PutBucketOwnershipControls", &bucket, None).await?;
        let [rule] = &request.input.ownership_controls.rules[..] else {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "There is exactly one rule"));
        };
        let ownership = check_ownership(&rule.object_ownership)
            .map_err(|_| S3Error::with_message(S3ErrorCode::MalformedXML, "Unknown ObjectOwnership"))?;
        let enforced = ownership == ObjectOwnership::BUCKET_OWNER_ENFORCED;
        if enforced && BucketSettings(&bucket).acl() != Acl::private(&bucket.owner) {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidBucketAclWithObjectOwnership,
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        self.set_ownership(&bucket, ownership).await?;
        Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
    }

    pub(crate) async fn delete_bucket_ownership_controls(
        &self,
        request: S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:PutBucketOwnershipControls", &bucket, None).await?;
        self.set(&bucket, OWNERSHIP, None).await?;
        Ok(S3Response::new(DeleteBucketOwnershipControlsOutput::default()))
    }

    pub(crate) async fn get_public_access_block(
        &self,
        request: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:GetBucketPublicAccessBlock", &bucket, None).await?;
        let stored = BucketSettings(&bucket).public_access().ok_or_else(|| {
            crate::errors::custom(
                "NoSuchPublicAccessBlockConfiguration",
                http::StatusCode::NOT_FOUND,
                "The public access block configuration was not found",
            )
        })?;
        let configuration = PublicAccessBlockConfiguration {
            block_public_acls: Some(stored.block_acls),
            block_public_policy: Some(stored.block_policy),
            ignore_public_acls: Some(stored.ignore_acls),
            restrict_public_buckets: Some(stored.restrict),
        };
        let public_access_block_configuration = Some(configuration);
        Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration }))
    }

    pub(crate) async fn put_public_access_block(
        &self,
        request: S3Request<PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:PutBucketPublicAccessBlock", &bucket, None).await?;
        let given = request.input.public_access_block_configuration;
        let stored = PublicAccess {
            v: 1,
            block_acls: given.block_public_acls.unwrap_or(false),
            ignore_acls: given.ignore_public_acls.unwrap_or(false),
            block_policy: given.block_public_policy.unwrap_or(false),
            restrict: given.restrict_public_buckets.unwrap_or(false),
        };
        let text = serde_json::to_string(&stored).expect("plain values serialise");
        self.set(&bucket, PUBLIC_ACCESS, Some(text)).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
    }

    pub(crate) async fn delete_public_access_block(
        &self,
        request: S3Request<DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:PutBucketPublicAccessBlock", &bucket, None).await?;
        self.set(&bucket, PUBLIC_ACCESS, None).await?;
        Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_pinned() {
        let stored = PublicAccess { v: 1, block_acls: true, ..PublicAccess::default() };
        assert_eq!(
            serde_json::to_string(&stored).unwrap(),
            r#"{"v":1,"block_acls":true,"ignore_acls":false,"block_policy":false,"restrict":false}"#
        );
    }
}
