//! The object service in memory and in the plainest words possible: one mutex, ordered maps.
//!
//! It defines what the real store must answer. Property tests run random requests against both and compare;
//! front ends use it where they test themselves and not storage. Nothing is ever pending here, though a
//! write that asks to be asynchronous is told so.

mod buckets;
mod list;
mod objects;
mod uploads;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use terrane_types::AccountId;

use crate::service::*;

/// Buckets that one account may own.
const BUCKETS_MAX: usize = 1000;
/// Completions kept; the oldest leave first.
const COMPLETIONS_MAX: usize = 100_000;

/// An [`ObjectService`] that forgets everything when dropped.
#[derive(Default)]
pub struct ModelStore {
    state: Mutex<State>,
    news: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    lsn: u64,
    completions: Vec<(AccountId, Completion)>,
    paused: BTreeSet<String>,
}

struct Bucket {
    info: Arc<BucketInfo>,
    /// Versions by key, newest first; a key without versions is absent.
    keys: BTreeMap<String, Vec<Version>>,
    /// Uploads by key and age.
    uploads: BTreeMap<(String, u64), Upload>,
}

#[derive(Clone)]
struct Version {
    id: VersionId,
    /// When this version came to be, as a sequence number.
    born: u64,
    modified: SystemTime,
    /// `None`: a delete marker.
    object: Option<Object>,
}

impl Version {
    /// Bytes of the object; a delete marker has none.
    fn size(&self) -> u64 {
        self.object.as_ref().map_or(0, |object| object.bytes.len() as u64)
    }
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    attrs: ObjectAttrs,
    parts: Arc<[PartInfo]>,
    /// The upload that made it.
    upload: Option<UploadId>,
}

struct Upload {
    attrs: Arc<ObjectAttrs>,
    initiated: SystemTime,
    parts: BTreeMap<u32, (PartInfo, Bytes)>,
}

struct ModelHandle {
    info: ObjectInfo,
    bytes: Bytes,
}

impl ObjectHandle for ModelHandle {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&self, range: Range<u64>) -> ByteStream {
        let end = range.end.min(self.bytes.len() as u64) as usize;
        let bytes = self.bytes.slice((range.start as usize).min(end)..end);
        stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ModelStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.lsn += 1;
        self.lsn
    }

    /// The bucket in the life that the caller saw.
    fn bucket(&mut self, seen: &BucketInfo) -> Result<&mut Bucket> {
        self.buckets
            .get_mut(&seen.name)
            .filter(|b| b.info.incarnation == seen.incarnation)
            .ok_or_else(|| ObjectError::NoSuchBucket(seen.name.clone()))
    }

    fn written(&mut self, bucket: &BucketInfo, change: &Change<'_>, mode: ModeRequest) -> Written {
        let operation = OperationId(format!("{:016x}", change.lsn));
        self.completions.push((
            bucket.owner.clone(),
            Completion {
                cursor: change.lsn,
                operation: operation.clone(),
                event: change.event.into(),
                bucket: bucket.name.clone(),
                key: change.key.into(),
                version: match &change.version {
                    VersionId::Null => None,
                    id => Some(id.to_string()),
                },
                etag: change.etag.clone(),
                size: change.size,
                superseded: false,
            },
        ));
        if self.completions.len() > COMPLETIONS_MAX {
            self.completions.remove(0);
        }
        let pending = match mode.explicit {
            Some(explicit) => explicit != ExplicitMode::Sync,
            None => matches!(bucket.default_mode, Some(WriteMode::Async(_))),
        };
        Written {
            version: change.version.clone(),
            delete_marker: change.delete_marker,
            modified: change.modified,
            keymap: if pending { KeymapState::Pending } else { KeymapState::Applied },
            operation: Some(operation),
        }
    }
}

/// What a write did, for its answer and its completion.
struct Change<'a> {
    lsn: u64,
    event: &'static str,
    key: &'a str,
    version: VersionId,
    delete_marker: bool,
    modified: SystemTime,
    etag: Option<String>,
    size: Option<u64>,
}

#[async_trait]
impl ObjectService for ModelStore {
    async fn create_bucket(
        &self,
        name: &str,
        owner: &AccountId,
        region: Option<String>,
    ) -> Result<Arc<BucketInfo>> {
        self.state.lock().create_bucket(name, owner, region)
    }

    async fn delete_bucket(&self, bucket: &BucketInfo) -> Result<()> {
        self.state.lock().delete_bucket(bucket)
    }

    async fn bucket(&self, name: &str) -> Result<Arc<BucketInfo>> {
        let state = self.state.lock();
        let bucket = state.buckets.get(name).ok_or_else(|| ObjectError::NoSuchBucket(name.into()))?;
        Ok(bucket.info.clone())
    }

    async fn list_buckets(&self, owner: &AccountId) -> Result<Vec<Arc<BucketInfo>>> {
        let state = self.state.lock();
        Ok(state.buckets.values().map(|b| b.info.clone()).filter(|b| b.owner == *owner).collect())
    }

    async fn change_bucket(&self, bucket: &BucketInfo, change: BucketChange) -> Result<Arc<BucketInfo>> {
        self.state.lock().change_bucket(bucket, change)
    }

    async fn stage(&self, mut body: ByteStream, _size_hint: Option<u64>) -> Result<Staged> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(Staged { size: bytes.len() as u64, inner: Box::new(bytes.freeze()) })
    }

    async fn put_object(&self, put: PutObject) -> Result<Written> {
        let written = self.state.lock().put_object(put);
        self.news.notify_waiters();
        written
    }

    async fn copy_object(&self, copy: CopyObject) -> Result<Written> {
        let written = self.state.lock().copy_object(copy);
        self.news.notify_waiters();
        written
    }

    async fn get_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<dyn ObjectHandle>> {
        self.state.lock().get_object(bucket, key, version)
    }

    async fn delete_object(&self, delete: DeleteObject) -> Result<Written> {
        let written = self.state.lock().delete_object(delete);
        self.news.notify_waiters();
        written
    }

    async fn change_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
        change: AttrChange,
        mode: ModeRequest,
    ) -> Result<Written> {
        let written = self.state.lock().change_object(bucket, key, version, change, mode);
        self.news.notify_waiters();
        written
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.state.lock().list(&request)
    }

    async fn create_upload(&self, bucket: &BucketInfo, key: &str, attrs: ObjectAttrs) -> Result<UploadId> {
        self.state.lock().create_upload(bucket, key, attrs)
    }

    async fn upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<UploadInfo> {
        self.state.lock().upload(bucket, key, upload)
    }

    async fn put_part(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        staged: Staged,
        part: PartInfo,
    ) -> Result<()> {
        self.state.lock().put_part(bucket, key, upload, staged, part)
    }

    async fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        after: u32,
        max: usize,
    ) -> Result<(Vec<PartInfo>, bool)> {
        self.state.lock().list_parts(bucket, key, upload, after, max)
    }

    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Written> {
        let written = self.state.lock().complete_upload(complete);
        self.news.notify_waiters();
        written
    }

    async fn abort_upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<()> {
        self.state.lock().abort_upload(bucket, key, upload)
    }

    async fn operation(&self, account: &AccountId, id: &OperationId) -> Result<Option<OperationStatus>> {
        let state = self.state.lock();
        let known = state.completions.iter().any(|(owner, c)| owner == account && c.operation == *id);
        Ok(known.then(|| OperationStatus {
            operation: id.clone(),
            state: KeymapState::Applied,
            class: None,
            due: None,
        }))
    }

    async fn completions(
        &self,
        account: &AccountId,
        after: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Completion>> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let news = self.news.notified();
            let found: Vec<Completion> = {
                let state = self.state.lock();
                let ours = state.completions.iter().filter(|(owner, c)| owner == account && c.cursor > after);
                ours.map(|(_, c)| c.clone()).take(max).collect()
            };
            if !found.is_empty() || tokio::time::timeout_at(deadline, news).await.is_err() {
                return Ok(found);
            }
        }
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>> {
        let state = self.state.lock();
        Ok(QUEUE_CLASSES
            .iter()
            .map(|class| QueueStatus {
                class: (*class).into(),
                depth: 0,
                bytes: 0,
                spilled: 0,
                oldest_age_ms: 0,
                rate: 0.0,
                workers: 0,
                paused: state.paused.contains(*class),
            })
            .collect())
    }

    async fn pause_queue(&self, class: Option<&str>, paused: bool) -> Result<()> {
        let mut state = self.state.lock();
        for name in QUEUE_CLASSES.iter().filter(|name| class.is_none_or(|c| c == **name)) {
            if paused {
                state.paused.insert((*name).into());
            } else {
                state.paused.remove(*name);
            }
        }
        Ok(())
    }

    async fn drain_queue(&self, _class: Option<&str>) -> Result<()> {
        Ok(())
    }
}
