//! Whether volumes can be relied on, and their odd attributes.

use std::borrow::Cow;

use super::Context;
use super::volumes::{Listing, existing};
use super::words::volume_id;
use crate::dto::{
    AttributeBooleanValue, DescribeVolumeAttributeRequest, DescribeVolumeAttributeResult,
    DescribeVolumeStatusRequest, DescribeVolumeStatusResult, EnableVolumeIORequest,
    ModifyVolumeAttributeRequest, VolumeAttributeName, VolumeStatusDetails, VolumeStatusInfo,
    VolumeStatusInfoStatus, VolumeStatusItem, VolumeStatusName,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters};
use crate::service::{Tags, Volume, VolumeHealth};
use crate::xml::Done;

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeVolumeStatusRequest,
) -> Result<DescribeVolumeStatusResult, Ec2Error> {
    let listing = Listing {
        ids: &request.volume_ids,
        token: request.next_token.as_deref(),
        results: request.max_results,
    };
    let filters = Filters::of::<DescribeVolumeStatusRequest>(request.filters.clone())?;
    let query = listing.check()?;
    cx.dry_run(&request)?;
    let (volumes, next_token) = query.run(cx, |volume| filters.pass(&Status(volume))).await?;
    let volume_statuses = Some(volumes.iter().map(shown).collect());
    Ok(DescribeVolumeStatusResult { volume_statuses, next_token })
}

/// A volume, as the filters of its status see it.
struct Status<'a>(&'a Volume);

impl Filtered for Status<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        let [io_enabled, io_performance] = details(self.0.health);
        match name {
            "availability-zone" => vec![self.0.zone.as_str().into()],
            "volume-status.status" => vec![status(self.0.health).as_str().into()],
            "volume-status.details-name" => {
                vec![io_enabled.0.as_str().into(), io_performance.0.as_str().into()]
            }
            "volume-status.details-status" => vec![io_enabled.1.into(), io_performance.1.into()],
            // There are no events and nothing to be done about them.
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}

fn shown(volume: &Volume) -> VolumeStatusItem {
    let detail = |(name, status): (VolumeStatusName, &str)| VolumeStatusDetails {
        name: Some(name),
        status: Some(status.to_owned()),
    };
    VolumeStatusItem {
        actions: Some(Vec::new()),
        availability_zone: Some(volume.zone.to_string()),
        events: Some(Vec::new()),
        volume_id: Some(volume.id.to_string()),
        volume_status: Some(VolumeStatusInfo {
            details: Some(details(volume.health).map(detail).into()),
            status: Some(status(volume.health)),
        }),
        ..VolumeStatusItem::default()
    }
}

fn status(health: VolumeHealth) -> VolumeStatusInfoStatus {
    match health {
        VolumeHealth::Ok => VolumeStatusInfoStatus::Ok,
        VolumeHealth::Impaired => VolumeStatusInfoStatus::Impaired,
        VolumeHealth::InsufficientData => VolumeStatusInfoStatus::InsufficientData,
    }
}

fn details(health: VolumeHealth) -> [(VolumeStatusName, &'static str); 2] {
    let io_enabled = match health {
        VolumeHealth::Ok => "passed",
        VolumeHealth::Impaired => "failed",
        VolumeHealth::InsufficientData => "insufficient-data",
    };
    [(VolumeStatusName::IoEnabled, io_enabled), (VolumeStatusName::IoPerformance, "not-applicable")]
}

pub(super) async fn describe_attribute(
    cx: &Context<'_>,
    request: DescribeVolumeAttributeRequest,
) -> Result<DescribeVolumeAttributeResult, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    cx.dry_run(&request)?;
    let volume = existing(cx, &id).await?;
    let volume_id = Some(volume.id.to_string());
    Ok(match request.attribute {
        VolumeAttributeName::AutoEnableIO => DescribeVolumeAttributeResult {
            auto_enable_io: Some(AttributeBooleanValue { value: Some(false) }),
            volume_id,
            ..DescribeVolumeAttributeResult::default()
        },
        VolumeAttributeName::ProductCodes => DescribeVolumeAttributeResult {
            product_codes: Some(Vec::new()),
            volume_id,
            ..DescribeVolumeAttributeResult::default()
        },
    })
}

/// I/O to a volume is never held back for a doubt about its data, so that there is nothing to be enabled.
pub(super) async fn modify_attribute(
    cx: &Context<'_>,
    request: ModifyVolumeAttributeRequest,
) -> Result<Done, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    let Some(AttributeBooleanValue { value: Some(wanted) }) = request.auto_enable_io else {
        return Err(Ec2Error::missing("AutoEnableIO.Value"));
    };
    if wanted {
        return Err(Ec2Error::unsupported("AutoEnableIO is not offered: I/O is never disabled."));
    }
    cx.dry_run(&request)?;
    existing(cx, &id).await.map(|_| Done)
}

pub(super) async fn enable_io(cx: &Context<'_>, request: EnableVolumeIORequest) -> Result<Done, Ec2Error> {
    let id = volume_id(&request.volume_id)?;
    cx.dry_run(&request)?;
    existing(cx, &id).await?;
    Err(Ec2Error::unsupported("EnableVolumeIO is not offered: I/O is never disabled."))
}
