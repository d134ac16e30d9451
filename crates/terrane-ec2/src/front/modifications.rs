//! Changing volumes in use, and what became of it.

use std::borrow::Cow;

use super::Context;
use super::volumes::Listing;
use super::words::{int, kind, kind_of, modification_state, unsigned, volume_id};
use crate::dto::{
    DescribeVolumesModificationsRequest, DescribeVolumesModificationsResult, ModifyVolumeRequest,
    ModifyVolumeResult, VolumeModification,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters, time};
use crate::service::limits::resolve_change;
use crate::service::{self, VolumeChange};

pub(super) async fn modify(
    cx: &Context<'_>,
    request: ModifyVolumeRequest,
) -> Result<ModifyVolumeResult, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    let change = VolumeChange {
        size_gib: unsigned("Size", request.size)?,
        kind: request.volume_type.map(kind_of).transpose()?,
        iops: unsigned("Iops", request.iops)?,
        throughput: unsigned("Throughput", request.throughput)?,
        multi_attach: request.multi_attach_enabled,
    };
    if change == VolumeChange::default() {
        return Err(Ec2Error::missing("Size, VolumeType, Iops, Throughput or MultiAttachEnabled"));
    }
    if request.dry_run == Some(true) {
        // Who asks for a rehearsal wants to know what the volume's type allows.
        let volume = super::volumes::existing(cx, &id).await?;
        resolve_change(&volume.settings, &change)?;
    }
    cx.dry_run(&request)?;
    let modification = cx.service.modify_volume(cx.caller, &id, change).await?;
    Ok(ModifyVolumeResult { volume_modification: Some(shown(&modification)) })
}

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeVolumesModificationsRequest,
) -> Result<DescribeVolumesModificationsResult, Ec2Error> {
    let listing = Listing {
        ids: &request.volume_ids,
        token: request.next_token.as_deref(),
        results: request.max_results,
    };
    let filters = Filters::of::<DescribeVolumesModificationsRequest>(request.filters.clone())?;
    let query = listing.check()?;
    cx.dry_run(&request)?;
    // Of volumes that are named, each must have one; else those that have none are left out.
    let named = !request.volume_ids.is_empty();
    let passes = |volume: &service::Volume| match &volume.modification {
        Some(modification) => filters.pass(modification),
        None => named,
    };
    let (volumes, next_token) = query.run(cx, passes).await?;
    let shown = volumes.iter().map(|volume| match &volume.modification {
        Some(modification) => Ok(shown(modification)),
        None => {
            let text = format!("Modification for volume '{}' does not exist.", volume.id);
            Err(Ec2Error::new("InvalidVolumeModification.NotFound", text))
        }
    });
    let shown = shown.collect::<Result<Vec<_>, _>>()?;
    Ok(DescribeVolumesModificationsResult { volumes_modifications: Some(shown), next_token })
}

/// A modification in EC2's words.
fn shown(modification: &service::VolumeModification) -> VolumeModification {
    let (original, target) = (&modification.original, &modification.target);
    VolumeModification {
        end_time: modification.ended,
        modification_state: Some(modification_state(modification.state)),
        original_iops: original.iops.map(int),
        original_multi_attach_enabled: Some(original.multi_attach),
        original_size: Some(int(original.size_gib)),
        original_throughput: original.throughput.map(int),
        original_volume_type: Some(kind(original.kind)),
        progress: Some(i64::from(modification.progress)),
        start_time: Some(modification.started),
        status_message: modification.message.clone(),
        target_iops: target.iops.map(int),
        target_multi_attach_enabled: Some(target.multi_attach),
        target_size: Some(int(target.size_gib)),
        target_throughput: target.throughput.map(int),
        target_volume_type: Some(kind(target.kind)),
        volume_id: Some(modification.volume.to_string()),
        ..VolumeModification::default()
    }
}

impl Filtered for service::VolumeModification {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        let number = |value: Option<u32>| value.iter().map(|n| n.to_string().into()).collect();
        match name {
            "modification-state" => vec![modification_state(self.state).as_str().into()],
            "original-iops" => number(self.original.iops),
            "original-size" => number(Some(self.original.size_gib)),
            "original-volume-type" => vec![self.original.kind.as_str().into()],
            "originalMultiAttachEnabled" => vec![self.original.multi_attach.to_string().into()],
            "start-time" => vec![time(self.started).into()],
            "target-iops" => number(self.target.iops),
            "target-size" => number(Some(self.target.size_gib)),
            "target-volume-type" => vec![self.target.kind.as_str().into()],
            "targetMultiAttachEnabled" => vec![self.target.multi_attach.to_string().into()],
            "volume-id" => vec![self.volume.as_str().into()],
            _ => Vec::new(),
        }
    }
}
