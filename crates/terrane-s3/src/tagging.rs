//! Tags of objects and buckets: get, put, delete.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use serde::{Deserialize, Serialize};
use terrane_objects::service::AttrChange;

use crate::access::Caller;
use crate::api::{Api, parse_version, version_text};
use crate::errors::from_store;
use crate::modes;
use crate::tags::{self, BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, Tags};

const TAGGING: &str = "tagging";

/// Stored form of a bucket's tags.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredTags {
    /// Version of the stored form.
    v: u8,
    tags: Tags,
}

impl Api {
    pub(crate) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let caller = Caller::of(&request);
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let action = if version.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        self.may_object(&caller, action, &bucket, handle.info(), None).await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: tags::to_document(&handle.info().attrs.tags),
            version_id: version_text(&bucket, &handle.info().version),
        }))
    }

    pub(crate) async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let mode = modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let tags = tags::from_document(input.tagging.tag_set, OBJECT_TAGS_MAX)?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let action = if version.is_some() { "s3:PutObjectVersionTagging" } else { "s3:PutObjectTagging" };
        self.may_object(&caller, action, &bucket, handle.info(), None).await?;
        // The version that was looked at is the one that is changed.
        let at = handle.info().version.clone();
        let change = AttrChange::Tags(tags);
        let written = self.store.change_object(&bucket, &input.key, Some(&at), change, mode).await;
        let written = written.map_err(from_store)?;
        let output = PutObjectTaggingOutput { version_id: version_text(&bucket, &at) };
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    pub(crate) async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let mode = modes::requested(&request.headers)?;
        let caller = Caller::of(&request);
        let input = request.input;
        let bucket = self.bucket(&input.bucket, &request.headers).await?;
        let version = parse_version(input.version_id.as_deref())?;
        let handle = self.open(&caller, &bucket, &input.key, version.as_ref()).await?;
        let action =
            if version.is_some() { "s3:DeleteObjectVersionTagging" } else { "s3:DeleteObjectTagging" };
        self.may_object(&caller, action, &bucket, handle.info(), None).await?;
        let at = handle.info().version.clone();
        let change = AttrChange::Tags(Tags::new());
        let written = self.store.change_object(&bucket, &input.key, Some(&at), change, mode).await;
        let written = written.map_err(from_store)?;
        let output = DeleteObjectTaggingOutput { version_id: version_text(&bucket, &at) };
        Ok(S3Response::with_headers(output, modes::answered(&written)))
    }

    pub(crate) async fn get_bucket_tagging(
        &self,
        request: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:GetBucketTagging", &bucket, None).await?;
        let stored = bucket.settings.get(TAGGING);
        let stored = stored.and_then(|bytes| serde_json::from_slice::<StoredTags>(bytes).ok());
        let Some(stored) = stored else {
            return Err(S3Error::with_message(S3ErrorCode::NoSuchTagSet, "The TagSet does not exist"));
        };
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: tags::to_document(&stored.tags) }))
    }

    pub(crate) async fn put_bucket_tagging(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:PutBucketTagging", &bucket, None).await?;
        let tags = tags::from_document(request.input.tagging.tag_set, BUCKET_TAGS_MAX)?;
        let stored = serde_json::to_string(&StoredTags { v: 1, tags }).expect("plain values serialise");
        self.set(&bucket, TAGGING, Some(stored)).await?;
        Ok(S3Response::new(PutBucketTaggingOutput::default()))
    }

    pub(crate) async fn delete_bucket_tagging(
        &self,
        request: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        let bucket = self.bucket(&request.input.bucket, &request.headers).await?;
        self.may_bucket(&Caller::of(&request), "s3:PutBucketTagging", &bucket, None).await?;
        self.set(&bucket, TAGGING, None).await?;
        Ok(S3Response::new(DeleteBucketTaggingOutput::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_pinned() {
        let stored = StoredTags { v: 1, tags: vec![("a".into(), "b".into())] };
        assert_eq!(serde_json::to_string(&stored).unwrap(), r#"{"v":1,"tags":[["a","b"]]}"#);
    }
}
