//! Snapshots: what there is; copying, sharing and deleting them. They are built by the EBS direct APIs.

mod documents;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use terrane_auth::policy::Target;
use terrane_ec2::service::{
    DESCRIPTION_CHARS_MAX, NewSnapshot, PermissionChange, Permissions, Scope, Select, SnapshotError,
    SnapshotService, TAGS_MAX,
};
use terrane_types::{AccountId, SnapshotId};
use utoipa::IntoParams;

use super::app::App;
use super::call::Call;
use super::volumes::caller;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

pub use documents::{Snapshot, SnapshotCopy, SnapshotPatch};

/// Snapshots in one answer, at most.
const PAGE_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/snapshots", get(list))
        .route("/_terrane/v1/snapshots/{snapshot}", get(show).patch(change).delete(delete))
        .route("/_terrane/v1/snapshots/{snapshot}/copy", axum::routing::post(copy))
        .route("/_terrane/v1/snapshots/{snapshot}/restore", axum::routing::post(restore))
}

/// Which snapshots to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Those behind this one, in the order of identifiers.
    after: Option<String>,
    /// How many at most: 1 to 1000.
    limit: Option<usize>,
    /// Also those that others share with the account, and public ones.
    #[serde(default)]
    shared: bool,
    /// Those in the recycle bin instead.
    #[serde(default)]
    deleted: bool,
}

fn service(app: &App) -> Result<&dyn SnapshotService, Problem> {
    app.snapshots.as_deref().ok_or_else(|| {
        let text = "this installation keeps no snapshots";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "not-offered", text)
    })
}

fn parse(text: &str) -> Result<SnapshotId, Problem> {
    SnapshotId::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

async fn find(app: &App, call: &Call, id: &SnapshotId) -> Result<Snapshot, Problem> {
    let select = Select::Ids(std::slice::from_ref(id));
    let mut found = service(app)?.snapshots(&caller(call), Scope::Usable, select).await?;
    match found.pop() {
        Some(snapshot) => Ok(snapshot.into()),
        None => Err(SnapshotError::NotFound(vec![id.clone()]).into()),
    }
}

/// The account's snapshots by identifier.
#[utoipa::path(get, path = "/_terrane/v1/snapshots", tag = "snapshots", params(Page), responses(
    (status = 200, description = "Snapshots", body = Vec<Snapshot>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Snapshot>>, Problem> {
    call.allow(&app.auth, "ec2:DescribeSnapshots", call.account(), Target::Account).await?;
    let limit = page.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be from 1 to {PAGE_MAX}")));
    }
    let after = page.after.as_deref().map(parse).transpose()?;
    let select = Select::Page { after: after.as_ref(), limit };
    let scope = if page.shared { Scope::Usable } else { Scope::Own };
    let found = match page.deleted {
        true => service(&app)?.recycled(&caller(&call), select).await?,
        false => service(&app)?.snapshots(&caller(&call), scope, select).await?,
    };
    Ok(Json(found.into_iter().map(Snapshot::from).collect()))
}

/// A snapshot.
#[utoipa::path(get, path = "/_terrane/v1/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "The snapshot", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(snapshot): Path<String>,
) -> Result<Json<Snapshot>, Problem> {
    call.allow(&app.auth, "ec2:DescribeSnapshots", call.account(), Target::Account).await?;
    Ok(Json(find(&app, &call, &parse(&snapshot)?).await?))
}

/// Changes who may make volumes of a snapshot.
#[utoipa::path(patch, path = "/_terrane/v1/snapshots/{snapshot}", tag = "snapshots", request_body = SnapshotPatch,
    params(("snapshot" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "The snapshot as it is now", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    call: Call,
    Path(snapshot): Path<String>,
    Json(patch): Json<SnapshotPatch>,
) -> Result<Json<Snapshot>, Problem> {
    let id = parse(&snapshot)?;
    let target = Target::Snapshot(id.as_str());
    call.allow(&app.auth, "ec2:ModifySnapshotAttribute", call.account(), target).await?;
    let accounts = |texts: &[String]| {
        let parse =
            |text: &String| AccountId::parse(text).map_err(|error| Problem::bad_request(error.to_string()));
        texts.iter().map(parse).collect::<Result<_, _>>()
    };
    let change = PermissionChange {
        add: Permissions { accounts: accounts(&patch.share)?, public: patch.public == Some(true) },
        remove: Permissions { accounts: accounts(&patch.unshare)?, public: patch.public == Some(false) },
        reset: false,
    };
    if change == PermissionChange::default() {
        return Err(Problem::bad_request("nothing is to be changed"));
    }
    service(&app)?.change_permissions(&caller(&call), &id, &change).await?;
    Ok(Json(find(&app, &call, &id).await?))
}

/// Deletes a snapshot, or puts it into the recycle bin.
#[utoipa::path(delete, path = "/_terrane/v1/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Identifier")), responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path(snapshot): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse(&snapshot)?;
    call.allow(&app.auth, "ec2:DeleteSnapshot", call.account(), Target::Snapshot(id.as_str())).await?;
    service(&app)?.delete_snapshot(&caller(&call), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the account's own copy of a snapshot that it may use.
#[utoipa::path(post, path = "/_terrane/v1/snapshots/{snapshot}/copy", tag = "snapshots", request_body = SnapshotCopy,
    params(("snapshot" = String, Path, description = "Identifier")), responses(
    (status = 202, description = "Being copied, or copied", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn copy(
    State(app): State<Arc<App>>,
    call: Call,
    Path(snapshot): Path<String>,
    Json(wish): Json<SnapshotCopy>,
) -> Result<(StatusCode, Json<Snapshot>), Problem> {
    let id = parse(&snapshot)?;
    call.allow(&app.auth, "ec2:CopySnapshot", call.account(), Target::Snapshot(id.as_str())).await?;
    let legal = |(key, value): (&String, &String)| {
        (1..=127).contains(&key.chars().count()) && value.chars().count() <= 255 && !key.starts_with("aws:")
    };
    if wish.tags.len() > TAGS_MAX || !wish.tags.iter().all(legal) {
        let text =
            format!("at most {TAGS_MAX} tags, with keys of 1 to 127 characters and values of up to 255");
        return Err(Problem::bad_request(text));
    }
    let description = wish.description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "a description has up to {DESCRIPTION_CHARS_MAX} characters"
        )));
    }
    let new = NewSnapshot { description, tags: wish.tags, copy_volume_tags: false };
    let copy = service(&app)?.copy_snapshot(&caller(&call), &id, &new).await?;
    call.resource(format!("{id} {}", copy.id));
    Ok((StatusCode::ACCEPTED, Json(copy.into())))
}

/// Takes a snapshot out of the recycle bin.
#[utoipa::path(post, path = "/_terrane/v1/snapshots/{snapshot}/restore", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Identifier")), responses(
    (status = 200, description = "The snapshot", body = Snapshot),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    call: Call,
    Path(snapshot): Path<String>,
) -> Result<Json<Snapshot>, Problem> {
    let id = parse(&snapshot)?;
    let target = Target::Snapshot(id.as_str());
    call.allow(&app.auth, "ec2:RestoreSnapshotFromRecycleBin", call.account(), target).await?;
    Ok(Json(service(&app)?.restore_snapshot(&caller(&call), &id).await?.into()))
}
