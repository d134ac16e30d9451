//! Get and put ACLs, and the ACL that comes with a new object.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{AttrChange, BucketInfo, ObjectAttrs};
use terrane_types::AccountId;

use crate::access::{Caller, unavailable};
use crate::acl::{Acl, GrantHeaders, Right};
use crate::api::{ACL, Api, OWNER, object_acl, object_owner, owner_dto, parse_version};
use crate::buckets::bucket_acl;
use crate::errors::{from_store, invalid_argument};
use crate::modes;
use crate::settings::BucketSettings;

impl Api {
    pub(crate) async fn get_bucket_acl(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:GetBucketAcl", &bucket, Some(Right::ReadAcp)).await?;
        let acl = BucketSettings(&bucket).acl();
        let owner = Some(owner_dto(&acl.owner));
        Ok(S3Response::new(GetBucketAclOutput { grants: Some(acl.to_grants()), owner }))
    }

    pub(crate) async fn put_bucket_acl(
        &self,
        request: S3Request<PutBucketAclInput>,
    ) -> S3Result<S3Response<PutBucketAclOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:PutBucketAcl", &bucket, Some(Right::WriteAcp)).await?;
        let input = request.input;
        let named = bucket_acl(&bucket.owner, input.acl.as_ref(), GrantHeaders::of(&request.headers))?;
        let acl = replacement(&bucket.owner, named, input.access_control_policy)?;
        BucketSettings(&bucket).check_new_acl(&acl)?;
        self.check_grantees(&acl).await?;
        self.set(&bucket, ACL, Some(acl.to_stored())).await?;
        Ok(S3Response::new(PutBucketAclOutput::default()))
    }

    pub(crate) async fn get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        let version = parse_version(request.input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &request.input.key, version.as_ref()).await?;
        let action = if version.is_some() { "s3:GetObjectVersionAcl" } else { "s3:GetObjectAcl" };
        self.may_object(&caller, action, &bucket, handle.info(), Some(Right::ReadAcp)).await?;
        let owner = object_owner(&bucket, handle.info());
        let acl = object_acl(&owner, handle.info());
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(acl.to_grants()),
            owner: Some(owner_dto(&owner)),
            request_charged: None,
        }))
    }

    pub(crate) async fn put_object_acl(
        &self,
        request: S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let mode = modes::requested(&request.headers)?;
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        let input = request.input;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let action = if version.is_some() { "s3:PutObjectVersionAcl" } else { "s3:PutObjectAcl" };
        self.may_object(&caller, action, &bucket, handle.info(), Some(Right::WriteAcp)).await?;
        let owner = object_owner(&bucket, handle.info());
        let named =
            object_acl_named(&owner, &bucket.owner, input.acl.as_ref(), GrantHeaders::of(&request.headers))?;
        let acl = replacement(&owner, named, input.access_control_policy)?;
        BucketSettings(&bucket).check_new_acl(&acl)?;
        self.check_grantees(&acl).await?;
        let change = AttrChange::Extra(ACL.to_owned(), Some(acl.to_stored()));
        let version = Some(handle.info().version.clone());
        let written = self.store.change_object(&bucket, &input.key, version.as_ref(), change, mode).await;
        let written = written.map_err(from_store)?;
        Ok(S3Response::with_headers(PutObjectAclOutput::default(), modes::answered(&written)))
    }

    /// Notes owner and ACL of a new object among its attributes, as far as they are not the default.
    pub(crate) async fn own(
        &self,
        caller: &Caller,
        bucket: &BucketInfo,
        canned: Option<&ObjectCannedACL>,
        grants: GrantHeaders<'_>,
        attrs: &mut ObjectAttrs,
    ) -> S3Result<()> {
        let settings = BucketSettings(bucket);
        let cedes = canned.is_some_and(|c| c.as_str() == ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL)
            && settings.ownership() == ObjectOwnership::BUCKET_OWNER_PREFERRED;
        // Whoever writes owns; an unsigned writer leaves the object to the bucket's owner.
        let owner = match caller.account() {
            Some(account) if settings.acls_enabled() && !cedes => account.clone(),
            _ => bucket.owner.clone(),
        };
        if owner != bucket.owner {
            attrs.extra.insert(OWNER.to_owned(), owner.to_string());
        }
        let Some(acl) = object_acl_named(&owner, &bucket.owner, canned, grants)? else { return Ok(()) };
        if !settings.acls_enabled() {
            // `bucket-owner-full-control` states what is the case anyway.
            let stated = canned.is_some_and(|c| c.as_str() == ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL);
            return if stated { Ok(()) } else { settings.check_new_acl(&acl) };
        }
        settings.check_new_acl(&acl)?;
        self.check_grantees(&acl).await?;
        if acl != Acl::private(&owner) {
            attrs.extra.insert(ACL.to_owned(), acl.to_stored());
        }
        Ok(())
    }

    /// 400 if the list names an account that does not exist.
    pub(crate) async fn check_grantees(&self, acl: &Acl) -> S3Result<()> {
        for account in acl.accounts().filter(|a| **a != acl.owner) {
            if !self.gate.account_exists(account).await.map_err(unavailable)? {
                return Err(invalid_argument("Invalid id"));
            }
        }
        Ok(())
    }
}

/// The ACL that a request gives an object by name or by headers.
fn object_acl_named(
    owner: &AccountId,
    bucket_owner: &AccountId,
    canned: Option<&ObjectCannedACL>,
    grants: GrantHeaders<'_>,
) -> S3Result<Option<Acl>> {
    let granted = Acl::from_headers(owner, &grants)?;
    match (canned, granted) {
        (Some(_), Some(_)) => Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "Specify a canned ACL or grants, not both",
        )),
        (None, granted) => Ok(granted),
        (Some(name), None) => {
            let known = Acl::canned(name.as_str(), owner, bucket_owner);
            known.map(Some).ok_or_else(|| invalid_argument("Unknown canned ACL"))
        }
    }
}

/// The list that Put…Acl sets: by name or headers, else by document.
fn replacement(
    owner: &AccountId,
    named: Option<Acl>,
    document: Option<AccessControlPolicy>,
) -> S3Result<Acl> {
    match (named, document) {
        (Some(acl), _) => Ok(acl),
        (None, Some(document)) => Acl::from_document(owner, document),
        (None, None) => {
            let message = "Your request was missing a required header or document";
            Err(S3Error::with_message(S3ErrorCode::MissingSecurityHeader, message))
        }
    }
}
