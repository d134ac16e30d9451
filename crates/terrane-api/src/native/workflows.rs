//! Workflows: long changes of several steps, for operators.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::Deserialize;
use terrane_volumes::admin::WorkflowOrder;
use utoipa::IntoParams;

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

pub use terrane_volumes::admin::{WorkflowDetail as Workflow, WorkflowStep};

/// Workflows in one answer, at most.
const PAGE_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/workflows", get(list))
        .route("/_terrane/v1/workflows/{workflow}", get(show))
        .route("/_terrane/v1/workflows/{workflow}/pause", post(pause))
        .route("/_terrane/v1/workflows/{workflow}/resume", post(resume))
        .route("/_terrane/v1/workflows/{workflow}/cancel", post(cancel))
}

/// Which workflows to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Those behind this one, in the order of names.
    after: Option<String>,
    /// How many at most: 1 to 1000.
    limit: Option<usize>,
}

/// All workflows that are remembered, by name.
#[utoipa::path(get, path = "/_terrane/v1/workflows", tag = "workflows", params(Page), responses(
    (status = 200, description = "Workflows", body = Vec<Workflow>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Workflow>>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListWorkflows").await?;
    let limit = page.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be from 1 to {PAGE_MAX}")));
    }
    Ok(Json(app.volumes()?.admin.workflows(page.after.as_deref(), limit).await?))
}

/// A workflow with its steps.
#[utoipa::path(get, path = "/_terrane/v1/workflows/{workflow}", tag = "workflows",
    params(("workflow" = String, Path, description = "Name")), responses(
    (status = 200, description = "The workflow", body = Workflow),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(workflow): Path<String>,
) -> Result<Json<Workflow>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListWorkflows").await?;
    Ok(Json(find(&app, &workflow).await?))
}

async fn find(app: &App, name: &str) -> Result<Workflow, Problem> {
    let found = app.volumes()?.admin.workflow(name).await?;
    found.ok_or_else(|| Problem::not_found("workflow", name))
}

async fn order(app: &App, call: &Call, name: &str, order: WorkflowOrder) -> Result<Json<Workflow>, Problem> {
    call.allow_installation(&app.auth, "terrane:ControlWorkflows").await?;
    call.resource(format!("{order:?} {name}").to_lowercase());
    find(app, name).await?;
    Ok(Json(app.volumes()?.admin.order_workflow(name, order).await?))
}

/// Lets a workflow rest.
#[utoipa::path(post, path = "/_terrane/v1/workflows/{workflow}/pause", tag = "workflows",
    params(("workflow" = String, Path, description = "Name")), responses(
    (status = 200, description = "Pausing, or paused", body = Workflow),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    call: Call,
    Path(workflow): Path<String>,
) -> Result<Json<Workflow>, Problem> {
    order(&app, &call, &workflow, WorkflowOrder::Pause).await
}

/// Lets a workflow go on; one that is stuck tries again.
#[utoipa::path(post, path = "/_terrane/v1/workflows/{workflow}/resume", tag = "workflows",
    params(("workflow" = String, Path, description = "Name")), responses(
    (status = 200, description = "Going on", body = Workflow),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    call: Call,
    Path(workflow): Path<String>,
) -> Result<Json<Workflow>, Problem> {
    order(&app, &call, &workflow, WorkflowOrder::Resume).await
}

/// Undoes a workflow that has not passed its point of no return.
#[utoipa::path(post, path = "/_terrane/v1/workflows/{workflow}/cancel", tag = "workflows",
    params(("workflow" = String, Path, description = "Name")), responses(
    (status = 200, description = "Being undone", body = Workflow),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    call: Call,
    Path(workflow): Path<String>,
) -> Result<Json<Workflow>, Problem> {
    order(&app, &call, &workflow, WorkflowOrder::Cancel).await
}
