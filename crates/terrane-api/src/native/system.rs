//! Health, metrics, the OpenAPI document, and what runs here.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use terrane_telemetry::health::{Status, Summary};
use terrane_telemetry::{METRICS_CONTENT_TYPE, history};
use utoipa::{IntoParams, ToSchema};

use super::app::App;
use super::call::Call;
use super::queues::Queue;
use crate::extract::{Json, Query};
use crate::problem::Problem;

const OPEN: [&str; 3] = ["/_terrane/health", "/_terrane/metrics", "/_terrane/openapi.json"];

/// Whether a path is open to everybody.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

pub(super) fn open_routes() -> Router<Arc<App>> {
    Router::new().route(OPEN[0], get(health)).route(OPEN[1], get(metrics)).route(OPEN[2], get(openapi))
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/status", get(status))
        .route("/_terrane/v1/metrics/history", get(metrics_history))
}

/// State of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComponentHealth {
    /// `ok`, `degraded` or `failed`.
    pub status: String,
    /// Why it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Since when (RFC 3339).
    pub since: String,
}

/// State of the process: the worst of its components, and each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` or `failed`.
    pub status: String,
    /// By component.
    pub components: std::collections::BTreeMap<String, ComponentHealth>,
}

impl From<Summary> for Health {
    fn from(summary: Summary) -> Self {
        let components = summary.components.into_iter().map(|(name, report)| {
            let status = text(report.status).to_owned();
            (name, ComponentHealth { status, cause: report.cause, since: report.since })
        });
        Self { status: text(summary.status).to_owned(), components: components.collect() }
    }
}

fn text(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Degraded => "degraded",
        Status::Failed => "failed",
    }
}

/// Whether all is well: 200, or 503 if a component has failed.
#[utoipa::path(get, path = "/_terrane/health", tag = "system", security(()), responses(
    (status = 200, description = "Everything works, perhaps degraded", body = Health),
    (status = 503, description = "A component has failed", body = Health),
))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let summary = app.health.summary();
    let status = match summary.status {
        Status::Failed => StatusCode::SERVICE_UNAVAILABLE,
        Status::Ok | Status::Degraded => StatusCode::OK,
    };
    (status, Json(Health::from(summary))).into_response()
}

/// All metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/_terrane/metrics", tag = "system", security(()), responses(
    (status = 200, description = "Metrics", body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], app.metrics.render())
}

/// This API, described.
#[utoipa::path(get, path = "/_terrane/openapi.json", tag = "system", security(()), responses(
    (status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value),
))]
pub(super) async fn openapi() -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi::document())
}

/// What runs here.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// Version of the server.
    pub version: String,
    /// Region.
    pub region: String,
    /// Roles of the process that answered.
    pub roles: Vec<String>,
    /// Seconds since it began to serve.
    pub uptime_seconds: u64,
    /// Health.
    pub health: Health,
    /// Queues of the keymap.
    pub queues: Vec<Queue>,
}

/// What runs here and how it is.
#[utoipa::path(get, path = "/_terrane/v1/status", tag = "system", responses(
    (status = 200, description = "Status", body = ServerStatus),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn status(State(app): State<Arc<App>>, call: Call) -> Result<Json<ServerStatus>, Problem> {
    call.allow_installation(&app.auth, "terrane:GetStatus").await?;
    let installation = &app.installation;
    Ok(Json(ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        region: installation.region.clone(),
        roles: installation.roles.clone(),
        uptime_seconds: installation.started.elapsed().as_secs(),
        health: app.health.summary().into(),
        queues: super::queues::all(&app).await?,
    }))
}

/// Which part of the history.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Only series whose name begins so.
    #[serde(default)]
    pub(super) prefix: String,
    /// Only samples of the last so many seconds; default and most: 86400.
    pub(super) seconds: Option<u64>,
    /// At most about so many points per series, neighbours averaged; default 240, most 5760.
    pub(super) points: Option<usize>,
}

/// One series of the history.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HistorySeries {
    /// Name with labels.
    pub series: String,
    /// Whether values are rates per second.
    pub per_second: bool,
    /// Unix time in seconds and value; `null` where there was no sample.
    pub points: Vec<(u64, Option<f32>)>,
}

/// A day of metrics, kept by the server itself.
#[utoipa::path(get, path = "/_terrane/v1/metrics/history", tag = "system", params(HistoryQuery), responses(
    (status = 200, description = "Series by name", body = Vec<HistorySeries>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn metrics_history(
    State(app): State<Arc<App>>,
    call: Call,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<HistorySeries>>, Problem> {
    call.allow_installation(&app.auth, "terrane:GetMetrics").await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let series = app.history.query(&history::Query {
        prefix: query.prefix,
        since: now.saturating_sub(query.seconds.unwrap_or(86_400)),
        points_max: query.points.unwrap_or(240).clamp(1, 5760),
    });
    let series = series.into_iter().map(|series| HistorySeries {
        series: series.series,
        per_second: series.per_second,
        points: series.points,
    });
    Ok(Json(series.collect()))
}
