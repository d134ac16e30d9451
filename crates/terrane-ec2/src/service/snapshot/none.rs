//! No snapshots.

use async_trait::async_trait;
use bytes::Bytes;
use terrane_types::{SnapshotId, VolumeId};

use super::{
    BlockEntry, BlockList, BlockPage, ChangedBlock, Completion, LockWish, NewSnapshot, PermissionChange,
    PutBlock, Scope, Snapshot, SnapshotError, SnapshotResult, SnapshotService, SnapshotState, StartSnapshot,
};
use crate::service::{Caller, Select, TagRemoval, Tags};

/// Where snapshots are not offered: there are none, and none can be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSnapshots;

const NOT_OFFERED: &str = "Snapshots are not offered.";

fn none<T>(id: &SnapshotId) -> SnapshotResult<T> {
    Err(SnapshotError::NotFound(vec![id.clone()]))
}

fn only_named(select: Select<'_, SnapshotId>) -> SnapshotResult<Vec<Snapshot>> {
    match select {
        Select::Ids(ids) if !ids.is_empty() => Err(SnapshotError::NotFound(ids.to_vec())),
        _ => Ok(Vec::new()),
    }
}

#[async_trait]
impl SnapshotService for NoSnapshots {
    async fn snapshots(
        &self,
        _: &Caller,
        _: Scope,
        select: Select<'_, SnapshotId>,
    ) -> SnapshotResult<Vec<Snapshot>> {
        only_named(select)
    }
    async fn recycled(&self, _: &Caller, select: Select<'_, SnapshotId>) -> SnapshotResult<Vec<Snapshot>> {
        only_named(select)
    }
    async fn create_snapshots(
        &self,
        _: &Caller,
        _: &[VolumeId],
        _: &NewSnapshot,
    ) -> SnapshotResult<Vec<Snapshot>> {
        Err(SnapshotError::Unsupported(NOT_OFFERED.into()))
    }
    async fn delete_snapshot(&self, _: &Caller, id: &SnapshotId) -> SnapshotResult<()> {
        none(id)
    }
    async fn copy_snapshot(&self, _: &Caller, id: &SnapshotId, _: &NewSnapshot) -> SnapshotResult<Snapshot> {
        none(id)
    }
    async fn change_permissions(
        &self,
        _: &Caller,
        id: &SnapshotId,
        _: &PermissionChange,
    ) -> SnapshotResult<()> {
        none(id)
    }
    async fn lock_snapshot(&self, _: &Caller, id: &SnapshotId, _: LockWish) -> SnapshotResult<Snapshot> {
        none(id)
    }
    async fn unlock_snapshot(&self, _: &Caller, id: &SnapshotId) -> SnapshotResult<()> {
        none(id)
    }
    async fn restore_snapshot(&self, _: &Caller, id: &SnapshotId) -> SnapshotResult<Snapshot> {
        none(id)
    }
    async fn tag_snapshots(&self, _: &Caller, ids: &[SnapshotId], _: &Tags) -> SnapshotResult<()> {
        only_named(Select::Ids(ids)).map(|_| ())
    }
    async fn untag_snapshots(&self, _: &Caller, ids: &[SnapshotId], _: &[TagRemoval]) -> SnapshotResult<()> {
        only_named(Select::Ids(ids)).map(|_| ())
    }
    async fn start_snapshot(&self, _: &Caller, _: StartSnapshot) -> SnapshotResult<Snapshot> {
        Err(SnapshotError::Unsupported(NOT_OFFERED.into()))
    }
    async fn put_block(&self, _: &Caller, id: &SnapshotId, _: PutBlock) -> SnapshotResult<()> {
        none(id)
    }
    async fn complete_snapshot(
        &self,
        _: &Caller,
        id: &SnapshotId,
        _: Completion,
    ) -> SnapshotResult<SnapshotState> {
        none(id)
    }
    async fn list_blocks(
        &self,
        _: &Caller,
        id: &SnapshotId,
        _: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<BlockEntry>> {
        none(id)
    }
    async fn list_changed_blocks(
        &self,
        _: &Caller,
        _: &SnapshotId,
        second: &SnapshotId,
        _: BlockPage<'_>,
    ) -> SnapshotResult<BlockList<ChangedBlock>> {
        none(second)
    }
    async fn block(&self, _: &Caller, id: &SnapshotId, _: u64, _: &str) -> SnapshotResult<Bytes> {
        none(id)
    }
}
