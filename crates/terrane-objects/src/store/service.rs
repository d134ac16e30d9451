//! The service's trait, call by call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use terrane_types::AccountId;

use super::ObjectStore;
use crate::service::*;

#[async_trait]
impl ObjectService for ObjectStore {
    async fn create_bucket(
        &self,
        name: &str,
        owner: &AccountId,
        region: Option<String>,
    ) -> Result<Arc<BucketInfo>> {
        self.store.create_bucket(name, owner, region).await
    }

    async fn delete_bucket(&self, bucket: &BucketInfo) -> Result<()> {
        self.store.delete_bucket(bucket).await
    }

    async fn bucket(&self, name: &str) -> Result<Arc<BucketInfo>> {
        self.store.bucket(name)
    }

    async fn list_buckets(&self, owner: &AccountId) -> Result<Vec<Arc<BucketInfo>>> {
        Ok(self.store.list_buckets(owner))
    }

    async fn change_bucket(&self, bucket: &BucketInfo, change: BucketChange) -> Result<Arc<BucketInfo>> {
        self.store.change_bucket(bucket, change).await
    }

    async fn stage(&self, body: ByteStream, size_hint: Option<u64>) -> Result<Staged> {
        self.store.stage(self.store.default_redundancy(), body, size_hint).await
    }

    async fn stage_in(
        &self,
        bucket: &BucketInfo,
        body: ByteStream,
        size_hint: Option<u64>,
    ) -> Result<Staged> {
        self.store.stage(self.store.redundancy(bucket), body, size_hint).await
    }

    async fn put_object(&self, put: PutObject) -> Result<Written> {
        self.store.put_object(put).await
    }

    async fn copy_object(&self, copy: CopyObject) -> Result<Written> {
        self.store.copy_object(copy).await
    }

    async fn get_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<dyn ObjectHandle>> {
        self.store.get_object(bucket, key, version).await
    }

    async fn delete_object(&self, delete: DeleteObject) -> Result<Written> {
        self.store.delete_object(delete).await
    }

    async fn change_object(
        &self,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
        change: AttrChange,
        mode: ModeRequest,
    ) -> Result<Written> {
        self.store.change_object(bucket, key, version, change, mode).await
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        self.store.list(request).await
    }

    async fn create_upload(&self, bucket: &BucketInfo, key: &str, attrs: ObjectAttrs) -> Result<UploadId> {
        self.store.create_upload(bucket, key, attrs).await
    }

    async fn upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<UploadInfo> {
        self.store.upload(bucket, key, upload).await
    }

    async fn put_part(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        staged: Staged,
        part: PartInfo,
    ) -> Result<()> {
        self.store.put_part(bucket, key, upload, staged, part).await
    }

    async fn list_parts(
        &self,
        bucket: &BucketInfo,
        key: &str,
        upload: &UploadId,
        after: u32,
        max: usize,
    ) -> Result<(Vec<PartInfo>, bool)> {
        self.store.list_parts(bucket, key, upload, after, max).await
    }

    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Written> {
        self.store.complete_upload(complete).await
    }

    async fn abort_upload(&self, bucket: &BucketInfo, key: &str, upload: &UploadId) -> Result<()> {
        self.store.abort_upload(bucket, key, upload).await
    }

    async fn operation(&self, account: &AccountId, id: &OperationId) -> Result<Option<OperationStatus>> {
        self.store.operation(account, id).await
    }

    async fn completions(
        &self,
        account: &AccountId,
        after: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Completion>> {
        self.store.completions(account, after, max, wait).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.store.queues().await
    }

    async fn pause_queue(&self, class: Option<&str>, paused: bool) -> Result<()> {
        self.store.pause_queue(class, paused).await
    }

    async fn drain_queue(&self, class: Option<&str>) -> Result<()> {
        self.store.drain_queue(class).await
    }

    async fn drives(&self) -> Result<DrivesStatus> {
        Ok(self.store.drives_status())
    }

    async fn scrub(&self) -> Result<()> {
        self.store.scrubber.ask();
        Ok(())
    }

    async fn replace_drive(&self, path: &str) -> Result<()> {
        self.store.replace_drive(path).await
    }
}
