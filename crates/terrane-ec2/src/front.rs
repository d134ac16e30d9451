//! The front end: which action, by whose word, with what answer.

mod account;
mod attachments;
mod instance_types;
mod instances;
mod modifications;
mod places;
mod snapshots;
mod status;
mod tags;
mod volumes;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use terrane_types::Region;

use crate::dto::*;
use crate::error::{Ec2Error, shortened};
use crate::form::{Form, FromForm};
use crate::operation::Operation;
use crate::service::{Caller, NoSnapshots, SnapshotService, VolumeService};
use crate::xml::Xml;

/// What the front end says of the installation.
#[derive(Clone, Debug)]
pub struct Ec2Config {
    /// The one region that there is.
    pub region: Region,
    /// Host (and port) at which clients reach it, for `DescribeRegions`.
    pub endpoint: String,
    /// Volumes that an instance can have, for `DescribeInstanceTypes`.
    pub attachments_max: u16,
}

/// The EC2 front end over a keeper of volumes. Cheap to clone.
#[derive(Clone)]
pub struct Ec2 {
    service: Arc<dyn VolumeService>,
    snapshots: Arc<dyn SnapshotService>,
    config: Arc<Ec2Config>,
}

/// A request that has been read: its action is one of EC2's.
#[derive(Debug)]
pub struct Call {
    action: &'static str,
    form: Form,
}

/// What a handler has.
pub(crate) struct Context<'a> {
    pub(crate) service: &'a dyn VolumeService,
    pub(crate) snapshots: &'a dyn SnapshotService,
    pub(crate) config: &'a Ec2Config,
    pub(crate) caller: &'a Caller,
}

impl Call {
    /// Reads a request's query and body. What signatures add to it is passed over.
    ///
    /// # Errors
    /// What is no request, `MissingAction`, `InvalidAction`.
    pub fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, Ec2Error> {
        let form = Form::parse(query, body)?;
        match action(&form.action) {
            Some(action) => Ok(Self { action, form }),
            None => {
                let action = shortened(&form.action);
                let text = format!("The action {action} is not valid for this web service.");
                Err(Ec2Error::new("InvalidAction", text))
            }
        }
    }

    /// The action, as policies know it after `ec2:`.
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The identifiers of resources that the call names, as they were sent: what policies are asked about.
    pub fn resources(&self) -> Vec<&str> {
        self.form.parameters.identifiers()
    }

    /// Whether the call could change anything, going by its name.
    pub fn mutates(&self) -> bool {
        !["Describe", "Get", "List", "Search"].iter().any(|reading| self.action.starts_with(reading))
    }
}

impl Ec2 {
    /// Over this keeper of volumes, without snapshots.
    pub fn new(service: Arc<dyn VolumeService>, config: Ec2Config) -> Self {
        Self { service, snapshots: Arc::new(NoSnapshots), config: Arc::new(config) }
    }

    /// Over this keeper of snapshots as well.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Arc<dyn SnapshotService>) -> Self {
        Self { snapshots, ..self }
    }

    /// Answers a call of a caller who has been authenticated and may make it.
    pub async fn handle(&self, caller: &Caller, call: Call) -> Response<Bytes> {
        let (service, snapshots) = (&*self.service, &*self.snapshots);
        let cx = Context { service, snapshots, config: &self.config, caller };
        match dispatch(&cx, call).await {
            Ok(document) => respond(StatusCode::OK, document),
            Err(error) => Self::refuse(&error, &caller.request_id),
        }
    }

    /// The answer that says why not: also for errors from before there was a call. The error itself is among the
    /// answer's extensions, for whoever keeps records.
    pub fn refuse(error: &Ec2Error, request_id: &str) -> Response<Bytes> {
        let mut response = respond(error.status(), Xml::refusal(error, request_id));
        response.extensions_mut().insert(error.clone());
        response
    }
}

impl std::fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ec2").field("config", &self.config).finish_non_exhaustive()
    }
}

fn respond(status: StatusCode, document: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(document));
    *response.status_mut() = status;
    let xml = HeaderValue::from_static("text/xml;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, xml);
    response
}

impl Context<'_> {
    /// Goes no further if the caller only wants to know. To be asked when all that the request alone decides
    /// has been decided.
    pub(crate) fn dry_run<O: Operation>(&self, request: &O) -> Result<(), Ec2Error> {
        if request.dry_run() { Err(Ec2Error::dry_run()) } else { Ok(()) }
    }
}

/// A table of actions: reads the request, has it handled, writes the answer.
macro_rules! table {
    ($cx:ident, $call:ident: $($request:ty => $handler:path,)*) => {
        match $call.action {
            $(<$request as Operation>::NAME => {
                let request = <$request>::from_node($call.form.parameters)?;
                let answer: <$request as Operation>::Answer = $handler($cx, request).await?;
                Ok(Xml::answer($call.action, &$cx.caller.request_id, &answer))
            })*
            action => Err(Ec2Error::unsupported(format!("{action} is not offered."))),
        }
    };
}

async fn dispatch(cx: &Context<'_>, call: Call) -> Result<String, Ec2Error> {
    table! { cx, call:
        CreateVolumeRequest => volumes::create,
        DeleteVolumeRequest => volumes::delete,
        DescribeVolumesRequest => volumes::describe,
        CopyVolumesRequest => volumes::copy,
        ListVolumesInRecycleBinRequest => volumes::list_recycled,
        RestoreVolumeFromRecycleBinRequest => volumes::restore_recycled,
        AttachVolumeRequest => attachments::attach,
        DetachVolumeRequest => attachments::detach,
        ModifyVolumeRequest => modifications::modify,
        DescribeVolumesModificationsRequest => modifications::describe,
        DescribeVolumeStatusRequest => status::describe,
        DescribeVolumeAttributeRequest => status::describe_attribute,
        ModifyVolumeAttributeRequest => status::modify_attribute,
        EnableVolumeIORequest => status::enable_io,
        CreateSnapshotRequest => snapshots::create,
        CreateSnapshotsRequest => snapshots::create_many,
        DeleteSnapshotRequest => snapshots::delete,
        CopySnapshotRequest => snapshots::copy,
        DescribeSnapshotsRequest => snapshots::describe,
        DescribeSnapshotAttributeRequest => snapshots::describe_attribute,
        ModifySnapshotAttributeRequest => snapshots::modify_attribute,
        ResetSnapshotAttributeRequest => snapshots::reset_attribute,
        DescribeSnapshotTierStatusRequest => snapshots::describe_tiers,
        ModifySnapshotTierRequest => snapshots::modify_tier,
        RestoreSnapshotTierRequest => snapshots::restore_tier,
        DescribeFastSnapshotRestoresRequest => snapshots::describe_fast_restores,
        LockSnapshotRequest => snapshots::lock,
        UnlockSnapshotRequest => snapshots::unlock,
        DescribeLockedSnapshotsRequest => snapshots::describe_locks,
        ListSnapshotsInRecycleBinRequest => snapshots::list_recycled,
        RestoreSnapshotFromRecycleBinRequest => snapshots::restore_recycled,
        GetEbsEncryptionByDefaultRequest => account::encryption_by_default,
        DisableEbsEncryptionByDefaultRequest => account::disable_encryption_by_default,
        DescribeAccountAttributesRequest => account::describe_attributes,
        CreateTagsRequest => tags::create,
        DeleteTagsRequest => tags::delete,
        DescribeTagsRequest => tags::describe,
        DescribeAvailabilityZonesRequest => places::describe_zones,
        DescribeRegionsRequest => places::describe_regions,
        DescribeInstancesRequest => instances::describe,
        DescribeInstanceStatusRequest => instances::describe_status,
        DescribeInstanceAttributeRequest => instances::describe_attribute,
        DescribeInstanceTypesRequest => instance_types::describe,
        DescribeInstanceTypeOfferingsRequest => instance_types::describe_offerings,
    }
}
