//! Tags.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use terrane_types::{InstanceId, SnapshotId, VolumeId};

use super::Context;
use crate::dto::{
    CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult, Tag, TagDescription,
    TagSpecification,
};
use crate::error::{Ec2Error, shortened};
use crate::filter::{Filtered, Filters};
use crate::page::{IDS_MAX, Page, RESULTS_MAX, Source};
use crate::service::{ResourceId, Scope, Select, ServiceError, SnapshotError, TAGS_MAX, TagRemoval, Tags};
use crate::xml::Done;

const KEY_CHARS_MAX: usize = 127;
const VALUE_CHARS_MAX: usize = 255;

/// The tags that something new of this type shall have.
pub(super) fn of_new(specifications: &[TagSpecification], kind: &str) -> Result<Tags, Ec2Error> {
    let mut tags = Tags::new();
    for specification in specifications {
        let Some(given) = &specification.resource_type else {
            return Err(Ec2Error::missing("TagSpecification.ResourceType"));
        };
        if given != kind {
            let given = shortened(given);
            let text = format!("'{given}' is not a valid taggable resource type for this operation.");
            return Err(Ec2Error::invalid(text));
        }
        if specification.tags.is_empty() {
            return Err(Ec2Error::invalid("Tag specification must have at least one tag"));
        }
        add(&mut tags, &specification.tags)?;
    }
    if tags.len() > TAGS_MAX {
        let text = format!("A resource may have {TAGS_MAX} tags.");
        return Err(Ec2Error::new("TagLimitExceeded", text));
    }
    Ok(tags)
}

fn add(tags: &mut Tags, given: &[Tag]) -> Result<(), Ec2Error> {
    for tag in given {
        let key = key(tag)?;
        let value = tag.value.clone().unwrap_or_default();
        if value.chars().count() > VALUE_CHARS_MAX {
            let text = format!("Tag value exceeds the maximum length of {VALUE_CHARS_MAX} characters.");
            return Err(Ec2Error::invalid(text));
        }
        if tags.insert(key.to_owned(), value).is_some() {
            return Err(Ec2Error::invalid(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    Ok(())
}

fn key(tag: &Tag) -> Result<&str, Ec2Error> {
    let key = tag.key.as_deref().unwrap_or_default();
    match key.chars().count() {
        0 => Err(Ec2Error::invalid("Tag key cannot be empty.")),
        1..=KEY_CHARS_MAX if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) => {
            Err(Ec2Error::invalid("Tag keys starting with 'aws:' are reserved for internal use"))
        }
        1..=KEY_CHARS_MAX => Ok(key),
        _ => Err(Ec2Error::invalid(format!(
            "Tag key exceeds the maximum length of {KEY_CHARS_MAX} characters."
        ))),
    }
}

/// What the tags are of, each once.
fn resources(texts: &[String]) -> Result<Vec<ResourceId>, Ec2Error> {
    if texts.len() > IDS_MAX {
        return Err(Ec2Error::invalid(format!("A request may name {IDS_MAX} resources.")));
    }
    let parse = |text: &String| {
        let id = if let Ok(id) = VolumeId::parse(text) {
            ResourceId::Volume(id)
        } else if let Ok(id) = InstanceId::parse(text) {
            ResourceId::Instance(id)
        } else if let Ok(id) = SnapshotId::parse(text) {
            ResourceId::Snapshot(id)
        } else {
            return Err(Ec2Error::new("InvalidID", format!("The ID '{}' is not valid", shortened(text))));
        };
        Ok(id)
    };
    let mut ids = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}

pub(super) async fn create(cx: &Context<'_>, request: CreateTagsRequest) -> Result<Done, Ec2Error> {
    let ids = resources(&request.resources)?;
    let mut tags = Tags::new();
    add(&mut tags, &request.tags)?;
    cx.dry_run(&request)?;
    let (snapshots, others) = apart(cx, ids).await?;
    if !others.is_empty() {
        cx.service.add_tags(cx.caller, &others, &tags).await?;
    }
    if !snapshots.is_empty() {
        cx.snapshots.tag_snapshots(cx.caller, &snapshots, &tags).await?;
    }
    Ok(Done)
}

/// Snapshots have a keeper of their own. These must be there before anything is done to the others; only a snapshot
/// that is deleted in the meantime can fail a call that was half done.
async fn apart(
    cx: &Context<'_>,
    ids: Vec<ResourceId>,
) -> Result<(Vec<SnapshotId>, Vec<ResourceId>), Ec2Error> {
    let mut snapshots = Vec::new();
    let mut others = Vec::new();
    for id in ids {
        match id {
            ResourceId::Snapshot(id) => snapshots.push(id),
            other => others.push(other),
        }
    }
    if !snapshots.is_empty() {
        cx.snapshots.snapshots(cx.caller, Scope::Own, Select::Ids(&snapshots)).await?;
    }
    Ok((snapshots, others))
}

pub(super) async fn delete(cx: &Context<'_>, request: DeleteTagsRequest) -> Result<Done, Ec2Error> {
    let ids = resources(&request.resources)?;
    let removal = |tag: &Tag| Ok(TagRemoval { key: key(tag)?.to_owned(), value: tag.value.clone() });
    let removals = request.tags.iter().map(removal).collect::<Result<Vec<_>, Ec2Error>>()?;
    cx.dry_run(&request)?;
    let (snapshots, others) = apart(cx, ids).await?;
    if !others.is_empty() {
        cx.service.remove_tags(cx.caller, &others, &removals).await?;
    }
    if !snapshots.is_empty() {
        cx.snapshots.untag_snapshots(cx.caller, &snapshots, &removals).await?;
    }
    Ok(Done)
}

/// A tag of something, in the order of listings: by resource, then by key.
struct Tagged {
    at: Place,
    value: String,
}

/// Where a tag is.
#[derive(Clone)]
struct Place {
    resource: ResourceId,
    key: String,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (id, key) = text.split_once(' ')?;
        let resource = if let Ok(id) = InstanceId::parse(id) {
            ResourceId::Instance(id)
        } else if let Ok(id) = SnapshotId::parse(id) {
            ResourceId::Snapshot(id)
        } else {
            ResourceId::Volume(VolumeId::parse(id).ok()?)
        };
        Some(Self { resource, key: key.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, self.key)
    }
}

pub(super) async fn describe(
    cx: &Context<'_>,
    request: DescribeTagsRequest,
) -> Result<DescribeTagsResult, Ec2Error> {
    let filters = Filters::of::<DescribeTagsRequest>(request.filters.clone())?;
    let page = Page::of(request.next_token.as_deref(), request.max_results, Place::parse)?;
    cx.dry_run(&request)?;
    let (found, next_token) = page.fill(&AllTags(cx), |tag| filters.pass(tag)).await?;
    let shown = |tag: Tagged| TagDescription {
        resource_type: Some(tag.resource_type().to_owned()),
        resource_id: Some(tag.at.resource.to_string()),
        key: Some(tag.at.key),
        value: Some(tag.value),
    };
    Ok(DescribeTagsResult { tags: Some(found.into_iter().map(shown).collect()), next_token })
}

/// The account's tags.
struct AllTags<'a>(&'a Context<'a>);

#[async_trait]
impl Source for AllTags<'_> {
    type Id = Place;
    type Item = Tagged;

    async fn fetch(&self, after: Option<&Place>, limit: usize) -> Result<Vec<Tagged>, ServiceError> {
        tags_after(self.0, after, limit).await
    }

    fn id(&self, tag: &Tagged) -> Place {
        tag.at.clone()
    }
}

/// The account's tags after a place, at most `limit`; fewer mean that there are no more.
async fn tags_after(
    cx: &Context<'_>,
    after: Option<&Place>,
    limit: usize,
) -> Result<Vec<Tagged>, ServiceError> {
    let mut found = Vec::new();
    let mut last = after.map(|place| place.resource.clone());
    if let Some(place) = after {
        // What is left of the resource in the middle of which the last page ended.
        let rest = the_one(cx, &place.resource).await?.into_iter().filter(|(key, _)| *key > place.key);
        collect(&mut found, &place.resource, rest);
    }
    while found.len() < limit {
        let batch = resources_after(cx, last.as_ref()).await?;
        let Some((resource, _)) = batch.last() else { break };
        last = Some(resource.clone());
        for (resource, tags) in batch {
            collect(&mut found, &resource, tags.into_iter());
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn collect(found: &mut Vec<Tagged>, resource: &ResourceId, tags: impl Iterator<Item = (String, String)>) {
    let tagged = |(key, value)| Tagged { at: Place { resource: resource.clone(), key }, value };
    found.extend(tags.map(tagged));
}

/// The next resources with their tags: first instances, then snapshots, then volumes, as their identifiers are ordered.
async fn resources_after(
    cx: &Context<'_>,
    after: Option<&ResourceId>,
) -> Result<Vec<(ResourceId, Tags)>, ServiceError> {
    let limit = RESULTS_MAX;
    let (instance, snapshot, volume) = match after {
        None => (Some(None), Some(None), None),
        Some(ResourceId::Instance(id)) => (Some(Some(id)), Some(None), None),
        Some(ResourceId::Snapshot(id)) => (None, Some(Some(id)), None),
        Some(ResourceId::Volume(id)) => (None, None, Some(id)),
    };
    if let Some(after) = instance {
        let batch = cx.service.instances(cx.caller, Select::Page { after, limit }).await?;
        if !batch.is_empty() {
            return Ok(batch.into_iter().map(|i| (ResourceId::Instance(i.id), i.tags)).collect());
        }
    }
    if let Some(after) = snapshot {
        let select = Select::Page { after, limit };
        let batch = cx.snapshots.snapshots(cx.caller, Scope::Own, select).await.map_err(paged)?;
        if !batch.is_empty() {
            return Ok(batch.into_iter().map(|s| (ResourceId::Snapshot(s.id), s.tags)).collect());
        }
    }
    let batch = cx.service.volumes(cx.caller, Select::Page { after: volume, limit }).await?;
    Ok(batch.into_iter().map(|volume| (ResourceId::Volume(volume.id), volume.tags)).collect())
}

/// What can happen to a listing of snapshots that names none: nothing but trouble.
pub(super) fn paged(error: SnapshotError) -> ServiceError {
    match error {
        SnapshotError::Unavailable(text) => ServiceError::Unavailable(text),
        error => ServiceError::Internal(error.to_string()),
    }
}

/// The tags of one resource; none if it is gone.
async fn the_one(cx: &Context<'_>, id: &ResourceId) -> Result<Tags, ServiceError> {
    let tags = match id {
        ResourceId::Instance(id) => {
            let found = cx.service.instances(cx.caller, Select::Ids(std::slice::from_ref(id))).await;
            found.map(|found| found.into_iter().next().map(|instance| instance.tags))
        }
        ResourceId::Volume(id) => {
            let found = cx.service.volumes(cx.caller, Select::Ids(std::slice::from_ref(id))).await;
            found.map(|found| found.into_iter().next().map(|volume| volume.tags))
        }
        ResourceId::Snapshot(id) => {
            let select = Select::Ids(std::slice::from_ref(id));
            match cx.snapshots.snapshots(cx.caller, Scope::Own, select).await {
                Ok(found) => Ok(found.into_iter().next().map(|snapshot| snapshot.tags)),
                Err(SnapshotError::NotFound(_)) => Ok(None),
                Err(error) => Err(paged(error)),
            }
        }
    };
    match tags {
        Ok(tags) => Ok(tags.unwrap_or_default()),
        Err(ServiceError::VolumeNotFound(_) | ServiceError::InstanceNotFound(_)) => Ok(Tags::new()),
        Err(error) => Err(error),
    }
}

impl Tagged {
    fn resource_type(&self) -> &'static str {
        match self.at.resource {
            ResourceId::Instance(_) => "instance",
            ResourceId::Snapshot(_) => "snapshot",
            ResourceId::Volume(_) => "volume",
        }
    }
}

impl Filtered for Tagged {
    fn attribute(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "key" => vec![self.at.key.as_str().into()],
            "resource-id" => vec![self.at.resource.as_str().into()],
            "resource-type" => vec![self.resource_type().into()],
            "value" => vec![self.value.as_str().into()],
            // `tag:KEY`: the tag itself, not another one of its resource.
            name => match name.strip_prefix("tag:") {
                Some(key) if key == self.at.key => vec![self.value.as_str().into()],
                _ => Vec::new(),
            },
        }
    }
}
