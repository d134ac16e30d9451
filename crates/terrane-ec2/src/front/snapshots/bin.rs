//! The recycle bin.

use super::{Query, Shelf, rehearse, state, volume_of};
use crate::dto::{
    ListSnapshotsInRecycleBinRequest, ListSnapshotsInRecycleBinResult, RestoreSnapshotFromRecycleBinRequest,
    RestoreSnapshotFromRecycleBinResult, SnapshotRecycleBinInfo,
};
use crate::error::Ec2Error;
use crate::front::Context;
use crate::front::words::{int, snapshot_id};
use crate::service::Snapshot;

pub(in crate::front) async fn list_recycled(
    cx: &Context<'_>,
    request: ListSnapshotsInRecycleBinRequest,
) -> Result<ListSnapshotsInRecycleBinResult, Ec2Error> {
    let query = Query::of(&request.snapshot_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    let (found, next_token) = query.run(cx, Shelf::Bin, |_| true).await?;
    let info = |snapshot: &Snapshot| SnapshotRecycleBinInfo {
        description: Some(snapshot.description.clone()),
        recycle_bin_enter_time: snapshot.recycled.map(|(enter, _)| enter),
        recycle_bin_exit_time: snapshot.recycled.map(|(_, exit)| exit),
        snapshot_id: Some(snapshot.id.to_string()),
        volume_id: Some(volume_of(snapshot)),
    };
    let snapshots = Some(found.iter().map(info).collect());
    Ok(ListSnapshotsInRecycleBinResult { snapshots, next_token })
}

pub(in crate::front) async fn restore_recycled(
    cx: &Context<'_>,
    request: RestoreSnapshotFromRecycleBinRequest,
) -> Result<RestoreSnapshotFromRecycleBinResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    rehearse(cx, &request, Shelf::Bin, &id).await?;
    let snapshot = cx.snapshots.restore_snapshot(cx.caller, &id).await?;
    Ok(RestoreSnapshotFromRecycleBinResult {
        description: Some(snapshot.description.clone()),
        encrypted: Some(false),
        owner_id: Some(snapshot.owner.to_string()),
        progress: Some(format!("{}%", snapshot.progress)),
        snapshot_id: Some(snapshot.id.to_string()),
        start_time: Some(snapshot.started),
        state: Some(state(snapshot.state)),
        volume_id: Some(volume_of(&snapshot)),
        volume_size: Some(int(snapshot.size_gib)),
        ..RestoreSnapshotFromRecycleBinResult::default()
    })
}
