//! Block servers: what they have, taking copies off them; and volumes made anew from what they report.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use terrane_volumes::admin;
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/servers", get(list))
        .route("/_terrane/v1/servers/{server}", get(show))
        .route("/_terrane/v1/servers/{server}/drain", post(drain))
        .route("/_terrane/v1/servers/{server}/undrain", post(undrain))
        .route("/_terrane/v1/store/rebuild-volumes", post(rebuild))
}

/// A block server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockServer {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Where it takes data connections.
    pub address: String,
    /// `up`, `down`, `draining`, `drained`.
    pub state: String,
    /// Copies that it has or shall have.
    pub copies: u64,
    /// Of these, those that are primaries.
    pub primaries: u64,
    /// Its pools.
    pub pools: Vec<Pool>,
}

/// Drives of one kind at a block server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its identifier.
    pub id: String,
    /// `ssd` or `hdd`.
    pub media: String,
    /// Bytes declared.
    pub capacity: u64,
    /// Bytes of data.
    pub used: u64,
    /// Bytes free on the host's file system.
    pub host_free: u64,
    /// Bytes promised to volumes.
    pub promised: u64,
    /// IOPS declared.
    pub iops: u32,
    /// IOPS reserved.
    pub iops_reserved: u64,
    /// Bytes per second declared.
    pub throughput: u64,
    /// Bytes per second reserved.
    pub throughput_reserved: u64,
    /// Pools of the same device count together.
    pub device: u64,
    /// Why it takes no new copies, if so.
    pub trouble: Option<String>,
}

impl From<admin::ServerDetail> for BlockServer {
    fn from(detail: admin::ServerDetail) -> Self {
        let admin::ServerDetail { id, name, zone, address, state, copies, primaries, pools } = detail;
        let pools = pools.into_iter().map(Pool::from).collect();
        Self { id, name, zone, address, state, copies, primaries, pools }
    }
}

impl From<admin::PoolDetail> for Pool {
    fn from(detail: admin::PoolDetail) -> Self {
        let admin::PoolDetail { id, media, capacity, used, host_free, promised, .. } = detail;
        let admin::PoolDetail {
            iops, iops_reserved, throughput, throughput_reserved, device, trouble, ..
        } = detail;
        Self {
            id,
            media,
            capacity,
            used,
            host_free,
            promised,
            iops,
            iops_reserved,
            throughput,
            throughput_reserved,
            device,
            trouble,
        }
    }
}

/// What was made anew from the reports of block servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rebuild {
    /// Servers that reported.
    pub servers: usize,
    /// Volumes that were made anew.
    pub volumes: Vec<String>,
    /// Volumes that were known already.
    pub known: usize,
    /// What could not be made, and why.
    pub failed: Vec<String>,
}

impl From<admin::RebuildReport> for Rebuild {
    fn from(report: admin::RebuildReport) -> Self {
        let admin::RebuildReport { servers, volumes, known, failed } = report;
        Self { servers, volumes, known, failed }
    }
}

/// The server of a name or identifier.
async fn find(app: &App, server: &str) -> Result<admin::ServerDetail, Problem> {
    let servers = app.volumes()?.admin.servers().await?;
    let found = servers.into_iter().find(|one| one.name == server || one.id == server);
    found.ok_or_else(|| Problem::not_found("block server", server))
}

/// All block servers.
#[utoipa::path(get, path = "/_terrane/v1/servers", tag = "servers", responses(
    (status = 200, description = "The servers", body = Vec<BlockServer>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Vec<BlockServer>>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListServers").await?;
    let servers = app.volumes()?.admin.servers().await?;
    Ok(Json(servers.into_iter().map(BlockServer::from).collect()))
}

/// A block server.
#[utoipa::path(get, path = "/_terrane/v1/servers/{server}", tag = "servers",
    params(("server" = String, Path, description = "Name or identifier")), responses(
    (status = 200, description = "The server", body = BlockServer),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(server): Path<String>,
) -> Result<Json<BlockServer>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListServers").await?;
    Ok(Json(find(&app, &server).await?.into()))
}

/// Moves all copies off a server, in the background, and puts no new ones there. `GET` shows the progress.
#[utoipa::path(post, path = "/_terrane/v1/servers/{server}/drain", tag = "servers",
    params(("server" = String, Path, description = "Name or identifier")), responses(
    (status = 200, description = "Draining, or drained", body = BlockServer),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    call: Call,
    Path(server): Path<String>,
) -> Result<Json<BlockServer>, Problem> {
    call.allow_installation(&app.auth, "terrane:ControlServers").await?;
    call.resource(format!("drain server {server}"));
    let found = find(&app, &server).await?;
    Ok(Json(app.volumes()?.admin.drain(&found.id).await?.into()))
}

/// Lets a server have copies again.
#[utoipa::path(post, path = "/_terrane/v1/servers/{server}/undrain", tag = "servers",
    params(("server" = String, Path, description = "Name or identifier")), responses(
    (status = 200, description = "In use again", body = BlockServer),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn undrain(
    State(app): State<Arc<App>>,
    call: Call,
    Path(server): Path<String>,
) -> Result<Json<BlockServer>, Problem> {
    call.allow_installation(&app.auth, "terrane:ControlServers").await?;
    call.resource(format!("undrain server {server}"));
    let found = find(&app, &server).await?;
    Ok(Json(app.volumes()?.admin.undrain(&found.id).await?.into()))
}

/// Makes volumes anew from what the connected servers' copies say of themselves, for a store that was lost. Volumes
/// that are known stay as they are.
#[utoipa::path(post, path = "/_terrane/v1/store/rebuild-volumes", tag = "store", responses(
    (status = 200, description = "What was made", body = Rebuild),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn rebuild(State(app): State<Arc<App>>, call: Call) -> Result<Json<Rebuild>, Problem> {
    call.allow_installation(&app.auth, "terrane:DeclareLost").await?;
    call.resource("rebuild volumes");
    Ok(Json(app.volumes()?.admin.rebuild().await?.into()))
}
