//! Instances: what volumes attach to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_ec2::service::{self, InstanceState, Select};
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use super::volumes::caller;
use crate::extract::Json;
use crate::problem::Problem;

/// Instances in one answer, at most.
const LISTED_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/_terrane/v1/instances", get(list))
}

/// A machine that volumes attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down`, `terminated`.
    pub state: String,
    /// Its type; `terrane.host` is a machine that registered itself.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its zone.
    pub zone: String,
    /// Its name in the network, if it is known.
    pub host_name: Option<String>,
    /// Since when it runs (RFC 3339).
    pub launched: String,
    /// Volumes attached to it by device name.
    pub volumes: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl From<service::Instance> for Instance {
    fn from(instance: service::Instance) -> Self {
        let state = match instance.state {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
        };
        let volumes = instance.volumes.into_iter().map(|volume| (volume.device, volume.volume.into()));
        Self {
            id: instance.id.into(),
            state: state.to_owned(),
            kind: instance.kind,
            zone: instance.zone.into(),
            host_name: instance.host_name,
            launched: instance.launched.to_string(),
            volumes: volumes.collect(),
            tags: instance.tags,
        }
    }
}

/// The account's instances by identifier, the first thousand.
#[utoipa::path(get, path = "/_terrane/v1/instances", tag = "instances", responses(
    (status = 200, description = "Instances", body = Vec<Instance>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Vec<Instance>>, Problem> {
    call.allow(&app.auth, "ec2:DescribeInstances", call.account(), Target::Account).await?;
    let all = Select::Page { after: None, limit: LISTED_MAX };
    let found = app.volumes()?.service.instances(&caller(&call), all).await?;
    Ok(Json(found.into_iter().map(Instance::from).collect()))
}
