//! Instances, as far as attachments need them.

use std::borrow::Cow;

use async_trait::async_trait;
use terrane_types::InstanceId;

use super::Context;
use super::words::{attachment_status, instance_id, instance_ids, instance_state, tag_list};
use crate::dto::{
    AttributeBooleanValue, AttributeValue, DescribeInstanceAttributeRequest, DescribeInstanceStatusRequest,
    DescribeInstanceStatusResult, DescribeInstancesRequest, DescribeInstancesResult, EbsInstanceBlockDevice,
    Instance, InstanceAttribute, InstanceAttributeName, InstanceBlockDeviceMapping, InstanceStatus,
    InstanceStatusDetails, InstanceStatusSummary, Monitoring, MonitoringState, Placement, Reservation,
    StatusName, StatusType, SummaryStatus, Tenancy,
};
use crate::error::Ec2Error;
use crate::filter::{Filtered, Filters, time};
use crate::page::{Page, Source, not_with_ids};
use crate::service::{self, InstanceState, Select, ServiceError, Tags};

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeInstancesRequest,
) -> Result<DescribeInstancesResult, Ec2Error> {
    let filters = Filters::of::<DescribeInstancesRequest>(request.filters.clone())?;
    let query = Query::check(&request.instance_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    let (found, next_token) = query.run(cx, |instance| filters.pass(&Host(cx, instance))).await?;
    let reservations = found.iter().map(|instance| Reservation {
        groups: Some(Vec::new()),
        instances: Some(vec![shown(instance)]),
        owner_id: Some(cx.caller.account.to_string()),
        reservation_id: Some(reservation_id(instance)),
        ..Reservation::default()
    });
    Ok(DescribeInstancesResult { reservations: Some(reservations.collect()), next_token })
}

/// A listing of instances, checked.
enum Query {
    These(Vec<InstanceId>),
    Page(Page<InstanceId>),
}

impl Query {
    fn check(ids: &[String], token: Option<&str>, results: Option<i32>) -> Result<Self, Ec2Error> {
        not_with_ids(ids, "InstanceId", token, results)?;
        if !ids.is_empty() {
            return Ok(Self::These(instance_ids(ids)?));
        }
        Page::of(token, results, |text| InstanceId::parse(text).ok()).map(Self::Page)
    }

    /// The instances that pass, and the token of the next page.
    async fn run(
        self,
        cx: &Context<'_>,
        passes: impl Fn(&service::Instance) -> bool,
    ) -> Result<(Vec<service::Instance>, Option<String>), Ec2Error> {
        match self {
            Self::These(ids) => {
                let mut found = cx.service.instances(cx.caller, Select::Ids(&ids)).await?;
                found.retain(passes);
                Ok((found, None))
            }
            Self::Page(page) => page.fill(&Instances(cx), passes).await,
        }
    }
}

/// The caller's instances.
struct Instances<'a>(&'a Context<'a>);

#[async_trait]
impl Source for Instances<'_> {
    type Id = InstanceId;
    type Item = service::Instance;

    async fn fetch(
        &self,
        after: Option<&InstanceId>,
        limit: usize,
    ) -> Result<Vec<service::Instance>, ServiceError> {
        self.0.service.instances(self.0.caller, Select::Page { after, limit }).await
    }

    fn id(&self, instance: &service::Instance) -> InstanceId {
        instance.id.clone()
    }
}

/// Each instance was registered by itself.
fn reservation_id(instance: &service::Instance) -> String {
    instance.id.as_str().replacen(InstanceId::PREFIX, "r-", 1)
}

fn shown(instance: &service::Instance) -> Instance {
    Instance {
        ami_launch_index: Some(0),
        block_device_mappings: Some(block_devices(instance)),
        ebs_optimized: Some(false),
        instance_id: Some(instance.id.to_string()),
        instance_type: Some(instance.kind.clone()),
        launch_time: Some(instance.launched),
        monitoring: Some(Monitoring { state: Some(MonitoringState::Disabled), ..Monitoring::default() }),
        placement: Some(Placement {
            availability_zone: Some(instance.zone.to_string()),
            group_name: Some(String::new()),
            tenancy: Some(Tenancy::Default),
            ..Placement::default()
        }),
        private_dns_name: Some(instance.host_name.clone().unwrap_or_default()),
        private_ip_address: instance.private_ip.map(|address| address.to_string()),
        public_dns_name: Some(String::new()),
        security_groups: Some(Vec::new()),
        state: Some(instance_state(instance.state)),
        state_transition_reason: Some(String::new()),
        tags: tag_list(&instance.tags),
        ..Instance::default()
    }
}

fn block_devices(instance: &service::Instance) -> Vec<InstanceBlockDeviceMapping> {
    let mapping = |volume: &service::InstanceVolume| InstanceBlockDeviceMapping {
        device_name: Some(volume.device.clone()),
        ebs: Some(EbsInstanceBlockDevice {
            attach_time: Some(volume.attached),
            delete_on_termination: Some(false),
            status: Some(attachment_status(volume.state)),
            volume_id: Some(volume.volume.to_string()),
            ..EbsInstanceBlockDevice::default()
        }),
    };
    instance.volumes.iter().map(mapping).collect()
}

/// An instance, as filters see it.
struct Host<'a>(&'a Context<'a>, &'a service::Instance);

impl Filtered for Host<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        let Self(cx, instance) = self;
        let of_each = |value: fn(&service::InstanceVolume) -> Cow<'_, str>| {
            instance.volumes.iter().map(value).collect()
        };
        let state = instance_state(instance.state);
        match name {
            "availability-zone" => vec![instance.zone.as_str().into()],
            "block-device-mapping.attach-time" => of_each(|volume| time(volume.attached).into()),
            "block-device-mapping.delete-on-termination" => of_each(|_| "false".into()),
            "block-device-mapping.device-name" => of_each(|volume| volume.device.as_str().into()),
            "block-device-mapping.status" => {
                of_each(|volume| attachment_status(volume.state).as_str().into())
            }
            "block-device-mapping.volume-id" => of_each(|volume| volume.volume.as_str().into()),
            "ebs-optimized" | "operator.managed" => vec!["false".into()],
            "instance-id" => vec![instance.id.as_str().into()],
            "instance-state-code" => state.code.iter().map(|code| code.to_string().into()).collect(),
            "instance-state-name" => state.name.iter().map(|name| name.as_str().into()).collect(),
            "instance-type" => vec![instance.kind.as_str().into()],
            "launch-index" => vec!["0".into()],
            "launch-time" => vec![time(instance.launched).into()],
            "monitoring-state" => vec![MonitoringState::Disabled.as_str().into()],
            "owner-id" => vec![cx.caller.account.as_str().into()],
            "private-dns-name" => instance.host_name.iter().map(|name| name.as_str().into()).collect(),
            "private-ip-address" => {
                instance.private_ip.iter().map(|address| address.to_string().into()).collect()
            }
            "reservation-id" => vec![reservation_id(instance).into()],
            "tenancy" => vec![Tenancy::Default.as_str().into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.1.tags)
    }
}

pub(super) async fn describe_status(
    cx: &Context<'_>,
    request: DescribeInstanceStatusRequest,
) -> Result<DescribeInstanceStatusResult, Ec2Error> {
    let filters = Filters::of::<DescribeInstanceStatusRequest>(request.filters.clone())?;
    let query = Query::check(&request.instance_ids, request.next_token.as_deref(), request.max_results)?;
    cx.dry_run(&request)?;
    let all = request.include_all_instances.unwrap_or_default();
    let passes = |instance: &service::Instance| {
        (all || instance.state == InstanceState::Running) && filters.pass(&Status(instance))
    };
    let (found, next_token) = query.run(cx, passes).await?;
    let statuses = found.iter().map(|instance| InstanceStatus {
        availability_zone: Some(instance.zone.to_string()),
        events: Some(Vec::new()),
        instance_id: Some(instance.id.to_string()),
        instance_state: Some(instance_state(instance.state)),
        instance_status: Some(summary(instance)),
        system_status: Some(summary(instance)),
        ..InstanceStatus::default()
    });
    Ok(DescribeInstanceStatusResult { instance_statuses: Some(statuses.collect()), next_token })
}

/// Whether an instance can be reached is known of those that run: they report.
fn health(instance: &service::Instance) -> (SummaryStatus, Option<StatusType>) {
    match instance.state {
        InstanceState::Running => (SummaryStatus::Ok, Some(StatusType::Passed)),
        InstanceState::Pending => (SummaryStatus::Initializing, Some(StatusType::Initializing)),
        _ => (SummaryStatus::NotApplicable, None),
    }
}

fn summary(instance: &service::Instance) -> InstanceStatusSummary {
    let (status, reachability) = health(instance);
    let detail = |status| InstanceStatusDetails {
        name: Some(StatusName::Reachability),
        status: Some(status),
        ..InstanceStatusDetails::default()
    };
    InstanceStatusSummary {
        details: Some(reachability.into_iter().map(detail).collect()),
        status: Some(status),
    }
}

/// An instance, as the filters of its status see it.
struct Status<'a>(&'a service::Instance);

impl Filtered for Status<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        let (status, reachability) = health(self.0);
        let state = instance_state(self.0.state);
        match name {
            "availability-zone" => vec![self.0.zone.as_str().into()],
            "instance-state-code" => state.code.iter().map(|code| code.to_string().into()).collect(),
            "instance-state-name" => state.name.iter().map(|name| name.as_str().into()).collect(),
            "instance-status.reachability" | "system-status.reachability" => {
                reachability.iter().map(|status| status.as_str().into()).collect()
            }
            "instance-status.status" | "system-status.status" => vec![status.as_str().into()],
            "operator.managed" => vec!["false".into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.0.tags)
    }
}

pub(super) async fn describe_attribute(
    cx: &Context<'_>,
    request: DescribeInstanceAttributeRequest,
) -> Result<InstanceAttribute, Ec2Error> {
    let id = instance_id(&request.instance_id)?;
    cx.dry_run(&request)?;
    let found = cx.service.instances(cx.caller, Select::Ids(std::slice::from_ref(&id))).await?;
    let not_found = || ServiceError::InstanceNotFound(vec![id.clone()]);
    let instance = found.into_iter().next().ok_or_else(not_found)?;
    let no = || Some(AttributeBooleanValue { value: Some(false) });
    let mut answer = InstanceAttribute { instance_id: Some(id.to_string()), ..InstanceAttribute::default() };
    match request.attribute {
        InstanceAttributeName::BlockDeviceMapping => {
            answer.block_device_mappings = Some(block_devices(&instance));
        }
        InstanceAttributeName::InstanceType => {
            answer.instance_type = Some(AttributeValue { value: Some(instance.kind) });
        }
        InstanceAttributeName::DisableApiTermination => answer.disable_api_termination = no(),
        InstanceAttributeName::DisableApiStop => answer.disable_api_stop = no(),
        InstanceAttributeName::EbsOptimized => answer.ebs_optimized = no(),
        InstanceAttributeName::ProductCodes => answer.product_codes = Some(Vec::new()),
        InstanceAttributeName::GroupSet => answer.groups = Some(Vec::new()),
        other => {
            let text =
                format!("The attribute {} is not offered: instances are registered hosts.", other.as_str());
            return Err(Ec2Error::unsupported(text));
        }
    }
    Ok(answer)
}
