//! The own object store, in process: a bucket that no client can name, of an account that nobody belongs to.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use terrane_objects::service::{
    BucketInfo, Condition, DeleteObject, ExplicitMode, ListEntry, ListKind, ListRequest, ListStart,
    ModeRequest, ObjectAttrs, ObjectService, PutObject,
};
use terrane_snapshot::ChunkHash;
use terrane_snapshot::objects::{Listed, ObjectError, ObjectStore};
use terrane_types::AccountId;
use tokio::sync::OnceCell;

/// The bucket. S3's names begin with no underscore, so that no client can name it.
pub const BUCKET: &str = "_terrane-snapshots";
/// Its owner: a number that accounts never get, so that nobody acts for it and no listing shows its buckets.
pub const SYSTEM_ACCOUNT: &str = "000000000000";
/// Names of one page of a listing.
const PAGE: usize = 1000;

/// The own object store. Cheap to clone.
#[derive(Clone)]
pub struct OwnObjects {
    service: Arc<dyn ObjectService>,
    bucket: Arc<OnceCell<Arc<BucketInfo>>>,
}

type ServiceError = terrane_objects::service::ObjectError;

fn failed(name: &str, error: ServiceError) -> ObjectError {
    let (name, why) = (name.to_owned(), error.to_string());
    match error {
        ServiceError::NoSuchKey
        | ServiceError::NoSuchVersion
        | ServiceError::CurrentIsDeleteMarker(_)
        | ServiceError::VersionIsDeleteMarker(_) => ObjectError::NotFound { name },
        ServiceError::Refused(_) | ServiceError::Corrupt(_) | ServiceError::TooManyBuckets { .. } => {
            ObjectError::Refused { name, why }
        }
        _ => ObjectError::Unavailable { name, why },
    }
}

/// The keymap holds it before it is acknowledged: collections list what there is.
const MODE: ModeRequest = ModeRequest { explicit: Some(ExplicitMode::Sync), priority: None };

impl OwnObjects {
    /// In this object store; the bucket is made when it is first needed.
    pub fn new(service: Arc<dyn ObjectService>) -> Self {
        Self { service, bucket: Arc::default() }
    }

    async fn bucket(&self, name: &str) -> Result<&Arc<BucketInfo>, ObjectError> {
        let open = || async {
            match self.service.bucket(BUCKET).await {
                Err(ServiceError::NoSuchBucket(_)) => {}
                found => return found,
            }
            let owner = AccountId::parse(SYSTEM_ACCOUNT).expect("twelve digits");
            match self.service.create_bucket(BUCKET, &owner, None).await {
                Err(ServiceError::BucketExists { ours: true, .. }) => self.service.bucket(BUCKET).await,
                made => made,
            }
        };
        self.bucket.get_or_try_init(open).await.map_err(|error| failed(name, error))
    }
}

#[async_trait]
impl ObjectStore for OwnObjects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let bucket = self.bucket(name).await?;
        let failed = |error| failed(name, error);
        let length = bytes.len() as u64;
        let etag = hex_of(&ChunkHash::of(&bytes));
        let body = stream::iter([Ok(bytes)]).boxed();
        let staged = self.service.stage_in(bucket, body, Some(length)).await.map_err(failed)?;
        let put = PutObject {
            bucket: bucket.clone(),
            key: name.to_owned(),
            staged,
            attrs: ObjectAttrs { etag, ..ObjectAttrs::default() },
            condition: Condition::default(),
            mode: MODE,
        };
        self.service.put_object(put).await.map_err(failed)?;
        Ok(())
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let bucket = self.bucket(name).await?;
        let handle =
            self.service.get_object(bucket, name, None).await.map_err(|error| failed(name, error))?;
        if range.end > handle.info().size || range.start > range.end {
            return Err(ObjectError::NotFound { name: name.to_owned() });
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut body = handle.read(range);
        let mut out = BytesMut::with_capacity(length);
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| failed(name, error.into()))?;
            out.extend_from_slice(&part);
        }
        if out.len() != length {
            let why = format!("{} bytes of {length} came", out.len());
            return Err(ObjectError::Unavailable { name: name.to_owned(), why });
        }
        Ok(out.freeze())
    }

    async fn head(&self, name: &str) -> Result<u64, ObjectError> {
        let bucket = self.bucket(name).await?;
        let handle = self.service.get_object(bucket, name, None).await;
        Ok(handle.map_err(|error| failed(name, error))?.info().size)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, ObjectError> {
        let bucket = self.bucket(prefix).await?;
        let mut start = after.map_or(ListStart::Beginning, |after| ListStart::AfterKey(after.to_owned()));
        let mut found = Vec::new();
        loop {
            let request = ListRequest {
                bucket: bucket.clone(),
                kind: ListKind::Current,
                prefix: prefix.to_owned(),
                delimiter: None,
                start,
                max_keys: PAGE.min(limit - found.len()),
            };
            let page = self.service.list(request).await.map_err(|error| failed(prefix, error))?;
            found.extend(page.entries.into_iter().filter_map(|entry| match entry {
                ListEntry::Object { key, size, .. } => Some(Listed { name: key, len: size }),
                _ => None,
            }));
            match page.next {
                Some(token) if found.len() < limit => start = ListStart::Token(token),
                _ => return Ok(found),
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let bucket = self.bucket(name).await?.clone();
        let delete = DeleteObject {
            bucket,
            key: name.to_owned(),
            version: None,
            condition: Condition::default(),
            mode: MODE,
        };
        match self.service.delete_object(delete).await {
            Ok(_) | Err(ServiceError::NoSuchKey) => Ok(()),
            Err(error) => Err(failed(name, error)),
        }
    }
}

fn hex_of(hash: &ChunkHash) -> String {
    hex::encode(&hash.0[..16])
}

impl std::fmt::Debug for OwnObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnObjects").finish_non_exhaustive()
    }
}
