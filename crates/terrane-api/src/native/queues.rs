//! The keymap's queues: how they stand, and holding them up.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_objects::service::QueueStatus;
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use crate::extract::Json;
use crate::problem::Problem;

/// Longest time that a call waits for a queue to drain; the drain goes on.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest time that a call waits until a pause shows.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/queues", get(list))
        .route("/_terrane/v1/queues/pause", post(pause))
        .route("/_terrane/v1/queues/resume", post(resume))
        .route("/_terrane/v1/queues/drain", post(drain))
}

/// State of one queue class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// `sync`, `high`, `low` or `delay`.
    pub class: String,
    /// Pending entries.
    pub depth: u64,
    /// Bytes that they hold in memory.
    pub bytes: u64,
    /// Entries in spill runs.
    pub spilled: u64,
    /// Age of the oldest pending entry in milliseconds.
    pub oldest_age_ms: u64,
    /// Applied per second, smoothed.
    pub rate: f64,
    /// Workers busy with this class now.
    pub workers: u32,
    /// Whether application is paused.
    pub paused: bool,
}

impl From<QueueStatus> for Queue {
    fn from(queue: QueueStatus) -> Self {
        let QueueStatus { class, depth, bytes, spilled, oldest_age_ms, rate, workers, paused } = queue;
        Self { class, depth, bytes, spilled, oldest_age_ms, rate, workers, paused }
    }
}

/// Which queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSelection {
    /// `sync`, `high`, `low` or `delay`; all if absent.
    #[serde(default)]
    pub class: Option<String>,
}

/// Which queue to drain, and how long to wait for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// `sync`, `high`, `low` or `delay`; all if absent.
    #[serde(default)]
    pub class: Option<String>,
    /// Seconds to wait, at most 60; the drain goes on afterwards.
    #[serde(default)]
    pub wait_seconds: u64,
}

/// How a drain stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrainStatus {
    /// Whether everything that was pending when it began is applied.
    pub done: bool,
    /// The queues now.
    pub queues: Vec<Queue>,
}

const CLASSES: [&str; 4] = ["sync", "high", "low", "delay"];

fn check(class: Option<&str>) -> Result<(), Problem> {
    match class {
        Some(class) if !CLASSES.contains(&class) => {
            Err(Problem::bad_request(format!("{class:?} is not a queue class: sync, high, low or delay")))
        }
        _ => Ok(()),
    }
}

/// All queues now.
pub(super) async fn all(app: &App) -> Result<Vec<Queue>, Problem> {
    Ok(app.objects.queues().await?.into_iter().map(Queue::from).collect())
}

/// The queues of the keymap.
#[utoipa::path(get, path = "/_terrane/v1/queues", tag = "queues", responses(
    (status = 200, description = "All queue classes", body = Vec<Queue>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Vec<Queue>>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListQueues").await?;
    all(&app).await.map(Json)
}

/// Pauses application. Writes go on and become pending; readers see them.
#[utoipa::path(post, path = "/_terrane/v1/queues/pause", tag = "queues", request_body = QueueSelection, responses(
    (status = 200, description = "All queue classes", body = Vec<Queue>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    call: Call,
    Json(selection): Json<QueueSelection>,
) -> Result<Json<Vec<Queue>>, Problem> {
    set_paused(&app, &call, "pause", selection, true).await
}

/// Resumes application.
#[utoipa::path(post, path = "/_terrane/v1/queues/resume", tag = "queues", request_body = QueueSelection, responses(
    (status = 200, description = "All queue classes", body = Vec<Queue>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    call: Call,
    Json(selection): Json<QueueSelection>,
) -> Result<Json<Vec<Queue>>, Problem> {
    set_paused(&app, &call, "resume", selection, false).await
}

async fn set_paused(
    app: &App,
    call: &Call,
    what: &'static str,
    selection: QueueSelection,
    paused: bool,
) -> Result<Json<Vec<Queue>>, Problem> {
    call.allow_installation(&app.auth, "terrane:ControlQueues").await?;
    let class = selection.class.as_deref();
    check(class)?;
    call.resource(format!("{what} queue {}", class.unwrap_or("*")));
    app.objects.pause_queue(class, paused).await?;
    // The change takes its turn among the shard's events: answer what the caller will see from now on.
    let shown = async {
        loop {
            let queues = all(app).await?;
            let ours = |queue: &&Queue| class.is_none_or(|class| class == queue.class);
            if queues.iter().filter(ours).all(|queue| queue.paused == paused) {
                return Ok(Json(queues));
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PAUSE_WAIT_MAX, shown).await {
        Ok(queues) => queues,
        Err(_) => all(app).await.map(Json),
    }
}

/// Applies everything pending now, whatever its due time, also in paused queues.
#[utoipa::path(post, path = "/_terrane/v1/queues/drain", tag = "queues", request_body = DrainRequest, responses(
    (status = 200, description = "Drained", body = DrainStatus),
    (status = 202, description = "Draining goes on", body = DrainStatus),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    call: Call,
    Json(request): Json<DrainRequest>,
) -> Result<(StatusCode, Json<DrainStatus>), Problem> {
    call.allow_installation(&app.auth, "terrane:ControlQueues").await?;
    check(request.class.as_deref())?;
    call.resource(format!("drain queue {}", request.class.as_deref().unwrap_or("*")));
    let objects = app.objects.clone();
    // A task of its own: it goes on when the caller has gone.
    let drained = tokio::spawn(async move { objects.drain_queue(request.class.as_deref()).await });
    let wait = Duration::from_secs(request.wait_seconds).min(DRAIN_WAIT_MAX);
    let drained = tokio::time::timeout(wait, drained);
    let done = match app.closing.run_until_cancelled(drained).await {
        Some(Ok(Ok(result))) => {
            result?;
            true
        }
        Some(Ok(Err(panicked))) => return Err(Problem::internal("draining failed", &panicked)),
        Some(Err(_)) | None => false,
    };
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(DrainStatus { done, queues: all(&app).await? })))
}
