//! The region and its zones.

use std::borrow::Cow;

use terrane_types::Zone;

use super::Context;
use crate::dto::{
    AvailabilityZone, AvailabilityZoneOptInStatus, AvailabilityZoneState, DescribeAvailabilityZonesRequest,
    DescribeAvailabilityZonesResult, DescribeRegionsRequest, DescribeRegionsResult, Region,
};
use crate::error::{Ec2Error, shortened};
use crate::filter::{Filtered, Filters};
use crate::service::{ZoneRecord, ZoneState};

const OPT_IN: AvailabilityZoneOptInStatus = AvailabilityZoneOptInStatus::OptInNotRequired;

/// A zone that is named.
pub(super) async fn zone_of_name(cx: &Context<'_>, name: &str) -> Result<Zone, Ec2Error> {
    let zones = cx.service.zones().await?;
    let found = zones.into_iter().find(|zone| zone.name.as_str() == name);
    found.map(|zone| zone.name).ok_or_else(|| no_such_zone(name))
}

/// The name of a zone, by its identifier.
pub(super) async fn zone_of_id(cx: &Context<'_>, id: &str) -> Result<Zone, Ec2Error> {
    let zones = cx.service.zones().await?;
    let found = zones.into_iter().find(|zone| zone.id == id);
    found.map(|zone| zone.name).ok_or_else(|| no_such_zone(id))
}

fn no_such_zone(text: &str) -> Ec2Error {
    Ec2Error::new("InvalidZone.NotFound", format!("The zone '{}' does not exist.", shortened(text)))
}

/// A zone within its region.
struct Place<'a> {
    region: &'a str,
    zone: &'a ZoneRecord,
}

pub(super) async fn describe_zones(
    cx: &Context<'_>,
    request: DescribeAvailabilityZonesRequest,
) -> Result<DescribeAvailabilityZonesResult, Ec2Error> {
    let filters = Filters::of::<DescribeAvailabilityZonesRequest>(request.filters.clone())?;
    let zones = cx.service.zones().await?;
    all_known("availability zone", &request.zone_names, |name| {
        zones.iter().any(|z| z.name.as_str() == name)
    })?;
    all_known("availability zone id", &request.zone_ids, |id| zones.iter().any(|z| z.id == id))?;
    cx.dry_run(&request)?;
    let named = |zone: &&ZoneRecord| {
        (request.zone_names.is_empty() || request.zone_names.iter().any(|name| zone.name.as_str() == name))
            && (request.zone_ids.is_empty() || request.zone_ids.contains(&zone.id))
    };
    let region = cx.config.region.as_str();
    let places = zones.iter().filter(named).map(|zone| Place { region, zone });
    let shown = places.filter(|place| filters.pass(place)).map(|place| shown(&place)).collect();
    Ok(DescribeAvailabilityZonesResult { availability_zones: Some(shown) })
}

fn all_known(kind: &str, names: &[String], known: impl Fn(&str) -> bool) -> Result<(), Ec2Error> {
    match names.iter().find(|name| !known(name)) {
        Some(name) => Err(Ec2Error::invalid(format!("Invalid {kind}: [{}]", shortened(name)))),
        None => Ok(()),
    }
}

fn shown(place: &Place<'_>) -> AvailabilityZone {
    AvailabilityZone {
        group_name: Some(place.region.to_owned()),
        messages: Some(Vec::new()),
        network_border_group: Some(place.region.to_owned()),
        opt_in_status: Some(OPT_IN),
        region_name: Some(place.region.to_owned()),
        state: Some(state(place.zone.state)),
        zone_id: Some(place.zone.id.clone()),
        zone_name: Some(place.zone.name.to_string()),
        zone_type: Some("availability-zone".to_owned()),
        ..AvailabilityZone::default()
    }
}

fn state(state: ZoneState) -> AvailabilityZoneState {
    match state {
        ZoneState::Available => AvailabilityZoneState::Available,
        ZoneState::Unavailable => AvailabilityZoneState::Unavailable,
    }
}

impl Filtered for Place<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "group-name" | "region-name" => vec![self.region.into()],
            "opt-in-status" => vec![OPT_IN.as_str().into()],
            "state" => vec![state(self.zone.state).as_str().into()],
            "zone-id" => vec![self.zone.id.as_str().into()],
            "zone-name" => vec![self.zone.name.as_str().into()],
            "zone-type" => vec!["availability-zone".into()],
            _ => Vec::new(),
        }
    }
}

/// The one region.
struct OneRegion<'a> {
    name: &'a str,
    endpoint: &'a str,
}

pub(super) async fn describe_regions(
    cx: &Context<'_>,
    request: DescribeRegionsRequest,
) -> Result<DescribeRegionsResult, Ec2Error> {
    let filters = Filters::of::<DescribeRegionsRequest>(request.filters.clone())?;
    let region = OneRegion { name: cx.config.region.as_str(), endpoint: &cx.config.endpoint };
    all_known("region names", &request.region_names, |name| name == region.name)?;
    cx.dry_run(&request)?;
    let shown = || Region {
        endpoint: Some(region.endpoint.to_owned()),
        opt_in_status: Some(OPT_IN.as_str().to_owned()),
        region_name: Some(region.name.to_owned()),
        ..Region::default()
    };
    let regions = filters.pass(&region).then(shown).into_iter().collect();
    Ok(DescribeRegionsResult { regions: Some(regions) })
}

impl Filtered for OneRegion<'_> {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "endpoint" => vec![self.endpoint.into()],
            "opt-in-status" => vec![OPT_IN.as_str().into()],
            "region-name" => vec![self.name.into()],
            _ => Vec::new(),
        }
    }
}
