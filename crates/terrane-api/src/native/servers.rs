//! Block servers: what they have, taking copies off them; and volumes made anew from what they report.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub use terrane_volumes::admin::{PoolDetail as Pool, RebuildReport as Rebuild, ServerDetail as BlockServer};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/servers", get(list))
        .route("/_terrane/v1/servers/{server}", get(show))
        .route("/_terrane/v1/servers/{server}/drain", post(drain))
        .route("/_terrane/v1/servers/{server}/undrain", post(undrain))
        .route("/_terrane/v1/store/rebuild-volumes", post(rebuild))
}

/// The server of a name or identifier.
async fn find(app: &App, server: &str) -> Result<BlockServer, Problem> {
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
    Ok(Json(app.volumes()?.admin.servers().await?))
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
    Ok(Json(find(&app, &server).await?))
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
    Ok(Json(app.volumes()?.admin.drain(&found.id).await?))
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
    Ok(Json(app.volumes()?.admin.undrain(&found.id).await?))
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
    Ok(Json(app.volumes()?.admin.rebuild().await?))
}
