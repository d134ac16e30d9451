//! Buckets: create, head, list, delete, location, versioning.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use terrane_objects::service::{BucketChange, BucketInfo, ObjectError, Versioning};
use terrane_types::Region;

use crate::access::{Caller, unavailable};
use crate::acl::{Acl, GrantHeaders, Right};
use crate::api::{ACL, Api, owner_dto};
use crate::errors::{access_denied, from_store, invalid_argument};
use crate::gate::Question;
use crate::settings::{BucketSettings, check_ownership};

impl Api {
    pub(crate) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let caller = Caller::of(&request);
        let account = caller.signed()?.account.clone();
        let input = request.input;
        self.may_account(&caller, "s3:CreateBucket", Some(&input.bucket)).await?;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(crate::errors::not_implemented("Object lock"));
        }
        check_name(&input.bucket)?;
        let region = self.location_constraint(input.create_bucket_configuration.as_ref())?;
        let acl = bucket_acl(&account, input.acl.as_ref(), GrantHeaders::of(&request.headers))?;
        let ownership = input.object_ownership.as_ref().map(check_ownership).transpose()?;
        if ownership == Some(ObjectOwnership::BUCKET_OWNER_ENFORCED) && acl.is_some() {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidBucketAclWithObjectOwnership,
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        if let Some(acl) = &acl {
            self.check_grantees(acl).await?;
        }
        let location = Some(format!("/{}", input.bucket));
        match self.store.create_bucket(&input.bucket, &account, region.clone()).await {
            Ok(bucket) => {
                if let Some(acl) = acl {
                    self.set(&bucket, ACL, Some(acl.to_stored())).await?;
                }
                if let Some(ownership) = ownership {
                    self.set_ownership(&bucket, ownership).await?;
                }
            }
            Err(ObjectError::BucketExists { ours: true, .. }) => {
                let bucket = self.store.bucket(&input.bucket).await.map_err(from_store)?;
                self.recreate(&bucket, region.as_deref(), acl.as_ref())?;
            }
            Err(error) => return Err(from_store(error)),
        }
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    /// In us-east-1, creating a bucket again that one owns succeeds and changes nothing; elsewhere, and with
    /// other settings, it is a conflict.
    fn recreate(&self, bucket: &BucketInfo, region: Option<&str>, acl: Option<&Acl>) -> S3Result<()> {
        let conflict = |code| {
            S3Error::with_message(
                code,
                "Your previous request to create the named bucket succeeded and you already own it.",
            )
        };
        let wanted = acl.cloned().unwrap_or_else(|| Acl::private(&bucket.owner));
        if wanted != BucketSettings(bucket).acl() {
            return Err(conflict(S3ErrorCode::BucketAlreadyExists));
        }
        let default = self.config.region.as_str();
        let same = region.unwrap_or(default) == bucket.region.as_deref().unwrap_or(default);
        if same && region.unwrap_or(default) == Region::us_east_1().as_str() {
            return Ok(());
        }
        Err(conflict(S3ErrorCode::BucketAlreadyOwnedByYou))
    }

    fn location_constraint(&self, given: Option<&CreateBucketConfiguration>) -> S3Result<Option<String>> {
        let Some(constraint) = given.and_then(|c| c.location_constraint.as_ref()) else { return Ok(None) };
        let invalid = || {
            let message = "The specified location-constraint is not valid";
            S3Error::with_message(S3ErrorCode::InvalidLocationConstraint, message)
        };
        if constraint.as_str().is_empty() {
            return Ok(None);
        }
        let region = Region::parse(constraint.as_str()).map_err(|_| invalid())?;
        match &self.config.regions {
            Some(regions) if !regions.contains(&region) => Err(invalid()),
            _ => Ok((region != self.config.region).then(|| region.to_string())),
        }
    }

    /// Whether the caller may do something with their own account, such as make a bucket.
    async fn may_account(&self, caller: &Caller, action: &str, bucket: Option<&str>) -> S3Result<()> {
        let question = Question {
            principal: &caller.principal,
            action,
            bucket,
            key: None,
            owner: &caller.signed()?.account,
            granted: false,
            origin: caller.origin,
        };
        match self.gate.allows(question).await.map_err(unavailable)? {
            true => Ok(()),
            false => Err(access_denied()),
        }
    }

    pub(crate) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        let caller = Caller::of(&request);
        self.may_bucket(&caller, "s3:ListBucket", &bucket, Some(Right::Read)).await?;
        let region = bucket.region.clone().unwrap_or_else(|| self.config.region.to_string());
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(region), ..Default::default() }))
    }

    pub(crate) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:DeleteBucket", &bucket, None).await?;
        self.store.delete_bucket(&bucket).await.map_err(from_store)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(crate) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let caller = Caller::of(&request);
        let account = &caller.signed()?.account;
        self.may_account(&caller, "s3:ListAllMyBuckets", None).await?;
        let input = request.input;
        let max = match input.max_buckets {
            None => usize::MAX,
            Some(max @ 1..=10_000) => max as usize,
            Some(_) => return Err(invalid_argument("max-buckets is between 1 and 10000")),
        };
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = input.continuation_token.as_deref().unwrap_or_default();
        let all = self.store.list_buckets(account).await.map_err(from_store)?;
        let mut matching = all.iter().filter(|b| b.name.starts_with(prefix) && b.name.as_str() > after);
        let buckets: Vec<Bucket> = matching.by_ref().take(max).map(|b| self.bucket_dto(b)).collect();
        let more = matching.next().is_some();
        let last = buckets.last().and_then(|b| b.name.clone());
        Ok(S3Response::new(ListBucketsOutput {
            continuation_token: if more { last } else { None },
            buckets: Some(buckets),
            owner: Some(owner_dto(account)),
            prefix: input.prefix,
        }))
    }

    fn bucket_dto(&self, bucket: &BucketInfo) -> Bucket {
        Bucket {
            bucket_region: Some(bucket.region.clone().unwrap_or_else(|| self.config.region.to_string())),
            creation_date: Some(Timestamp::from(bucket.created)),
            name: Some(bucket.name.clone()),
        }
    }

    pub(crate) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:GetBucketLocation", &bucket, None).await?;
        let region = bucket.region.clone().unwrap_or_else(|| self.config.region.to_string());
        // An empty constraint means us-east-1.
        let constraint = if region == Region::us_east_1().as_str() { String::new() } else { region };
        let location_constraint = Some(BucketLocationConstraint::from(constraint));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    pub(crate) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:GetBucketVersioning", &bucket, None).await?;
        let status = match bucket.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
            Versioning::Suspended => {
                Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED))
            }
        };
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    pub(crate) async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:PutBucketVersioning", &bucket, None).await?;
        let configuration = &request.input.versioning_configuration;
        if configuration.mfa_delete.as_ref().is_some_and(|m| m.as_str() == MFADelete::ENABLED) {
            return Err(crate::errors::not_implemented("MFA delete"));
        }
        let versioning = match configuration.status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => {
                return Err(S3Error::with_message(
                    S3ErrorCode::IllegalVersioningConfigurationException,
                    "The Versioning element must be specified",
                ));
            }
        };
        let change = BucketChange::Versioning(versioning);
        self.store.change_bucket(&bucket, change).await.map_err(from_store)?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }
}

/// Rules for new names beyond those that s3s holds every name to: labels are DNS labels, and some affixes are
/// S3's own (S3 User Guide, "General purpose buckets naming rules").
fn check_name(name: &str) -> S3Result<()> {
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|p| name.starts_with(p))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|s| name.ends_with(s));
    if reserved || !name.split('.').all(label) {
        let message = "The specified bucket is not valid.";
        return Err(S3Error::with_message(S3ErrorCode::InvalidBucketName, message));
    }
    Ok(())
}

/// The ACL that a request gives a bucket by name or by headers.
pub(crate) fn bucket_acl(
    owner: &terrane_types::AccountId,
    canned: Option<&BucketCannedACL>,
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
            let known = Acl::canned(name.as_str(), owner, owner);
            known.map(Some).ok_or_else(|| invalid_argument("Unknown canned ACL"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_new_buckets() {
        for good in ["abc", "a.b-c.d", "1st-bucket"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["a-.b", "a.-b", "a..b", "xn--abc", "x-s3alias", "x--x-s3", "sthree-x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
