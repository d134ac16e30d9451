//! Types of instances: there is one, a registered host.

use std::borrow::Cow;

use super::Context;
use crate::dto::{
    AttachmentLimitType, DescribeInstanceTypeOfferingsRequest, DescribeInstanceTypeOfferingsResult,
    DescribeInstanceTypesRequest, DescribeInstanceTypesResult, EbsEncryptionSupport, EbsInfo,
    EbsOptimizedSupport, InstanceTypeInfo, InstanceTypeOffering, LocationType,
};
use crate::error::{Ec2Error, shortened};
use crate::filter::{Filtered, Filters};
use crate::page::{Page, not_with_ids};
use crate::service::HOST;

/// The type, as filters see it.
struct Host<'a>(&'a Context<'a>);

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeInstanceTypesRequest,
) -> Result<DescribeInstanceTypesResult, Ec2Error> {
    let filters = Filters::of::<DescribeInstanceTypesRequest>(request.filters.clone())?;
    let (types, token) = (&request.instance_types, request.next_token.as_deref());
    not_with_ids(types, "InstanceType", token, request.max_results)?;
    no_page(token, request.max_results)?;
    if let Some(unknown) = types.iter().find(|name| *name != HOST) {
        let text = format!("The following supplied instance types do not exist: [{}]", shortened(unknown));
        return Err(Ec2Error::new("InvalidInstanceType", text));
    }
    cx.dry_run(&request)?;
    let shown = || InstanceTypeInfo {
        bare_metal: Some(true),
        current_generation: Some(true),
        ebs_info: Some(EbsInfo {
            attachment_limit_type: Some(AttachmentLimitType::Dedicated),
            ebs_optimized_support: Some(EbsOptimizedSupport::Default),
            encryption_support: Some(EbsEncryptionSupport::Unsupported),
            maximum_ebs_attachments: Some(i32::from(cx.config.attachments_max)),
            ..EbsInfo::default()
        }),
        instance_type: Some(HOST.to_owned()),
        ..InstanceTypeInfo::default()
    };
    let types = filters.pass(&Host(cx)).then(shown).into_iter().collect();
    Ok(DescribeInstanceTypesResult { instance_types: Some(types), next_token: None })
}

/// One type needs no second page, so that no token was ever given out.
fn no_page(token: Option<&str>, results: Option<i32>) -> Result<(), Ec2Error> {
    Page::<String>::of(token, results, |_| None).map(|_| ())
}

impl Filtered for Host<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "bare-metal" | "current-generation" => vec!["true".into()],
            "ebs-info.attachment-limit-type" => vec![AttachmentLimitType::Dedicated.as_str().into()],
            "ebs-info.ebs-optimized-support" => vec![EbsOptimizedSupport::Default.as_str().into()],
            "ebs-info.encryption-support" => vec![EbsEncryptionSupport::Unsupported.as_str().into()],
            "ebs-info.maximum-ebs-attachments" => vec![self.0.config.attachments_max.to_string().into()],
            "instance-type" => vec![HOST.into()],
            _ => Vec::new(),
        }
    }
}

/// A place where the type is to be had.
struct Offering(InstanceTypeOffering);

pub(super) async fn describe_offerings(
    cx: &Context<'_>,
    request: DescribeInstanceTypeOfferingsRequest,
) -> Result<DescribeInstanceTypeOfferingsResult, Ec2Error> {
    let filters = Filters::of::<DescribeInstanceTypeOfferingsRequest>(request.filters.clone())?;
    no_page(request.next_token.as_deref(), request.max_results)?;
    let location_type = request.location_type.unwrap_or(LocationType::Region);
    cx.dry_run(&request)?;
    let locations: Vec<String> = match location_type {
        LocationType::Region => vec![cx.config.region.to_string()],
        LocationType::AvailabilityZone => {
            cx.service.zones().await?.into_iter().map(|zone| zone.name.to_string()).collect()
        }
        LocationType::AvailabilityZoneId => {
            cx.service.zones().await?.into_iter().map(|zone| zone.id).collect()
        }
        LocationType::Outpost => Vec::new(),
    };
    let offering = |location| {
        Offering(InstanceTypeOffering {
            instance_type: Some(HOST.to_owned()),
            location: Some(location),
            location_type: Some(location_type),
        })
    };
    let offerings = locations.into_iter().map(offering).filter(|offering| filters.pass(offering));
    Ok(DescribeInstanceTypeOfferingsResult {
        instance_type_offerings: Some(offerings.map(|offering| offering.0).collect()),
        next_token: None,
    })
}

impl Filtered for Offering {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "instance-type" => vec![HOST.into()],
            "location" => self.0.location.iter().map(|location| location.as_str().into()).collect(),
            _ => Vec::new(),
        }
    }
}
