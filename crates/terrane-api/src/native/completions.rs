//! How writes stand, and the stream of completions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream::{self, Stream};
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_objects::service::{self, OperationId, OperationStatus};
use terrane_types::AccountId;
use utoipa::{IntoParams, ToSchema};

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// Most completions of one answer.
const MAX: usize = 1000;
/// Longest time that a long poll waits.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/operations/{operation}", get(operation))
        .route("/_terrane/v1/completions", get(completions))
}

/// How a write stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// The ID that `x-terrane-operation` answered.
    pub operation: String,
    /// `applied` or `pending`.
    pub state: String,
    /// Queue class, where pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Latest time of application, where delayed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
}

impl From<OperationStatus> for Operation {
    fn from(status: OperationStatus) -> Self {
        let state = match status.state {
            service::KeymapState::Applied => "applied",
            service::KeymapState::Pending => "pending",
        };
        let OperationStatus { operation, class, due, .. } = status;
        Self { operation: operation.0, state: state.to_owned(), class, due }
    }
}

/// A write of which bytes are stored and the keymap is up to date. Announced at least once; `operation` is the
/// idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Completion {
    /// Position in the stream; grows, with gaps.
    pub cursor: u64,
    /// The write.
    pub operation: String,
    /// S3's event name without prefix: `ObjectCreated:Put`, …
    pub event: String,
    /// Bucket.
    pub bucket: String,
    /// Key.
    pub key: String,
    /// Version, in versioned buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// ETag, for created objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Size in bytes, for created objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether a later write to the same row was applied in its place.
    pub superseded: bool,
}

impl From<service::Completion> for Completion {
    fn from(completion: service::Completion) -> Self {
        let service::Completion { cursor, operation, event, bucket, key, version, etag, size, superseded } =
            completion;
        Self { cursor, operation: operation.0, event, bucket, key, version, etag, size, superseded }
    }
}

/// Where to begin and how long to wait.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CompletionsQuery {
    /// Completions after this cursor; 0: from the oldest kept. For event streams `Last-Event-ID` goes before.
    #[serde(default)]
    pub(super) after: u64,
    /// At most so many, 1 to 1000; default 100.
    pub(super) max: Option<usize>,
    /// Seconds to wait for the first, 0 to 60; default 0.
    #[serde(default)]
    pub(super) wait_seconds: u64,
}

/// How a write stands.
#[utoipa::path(get, path = "/_terrane/v1/operations/{operation}", tag = "operations",
    params(("operation" = String, Path, description = "From `x-terrane-operation`")), responses(
    (status = 200, description = "How it stands", body = Operation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn operation(
    State(app): State<Arc<App>>,
    call: Call,
    Path(id): Path<String>,
) -> Result<Json<Operation>, Problem> {
    call.allow(&app.auth, "terrane:GetOperation", call.account(), Target::Account).await?;
    let status = app.objects.operation(call.account(), &OperationId(id.clone())).await?;
    status.map(|status| Json(status.into())).ok_or_else(|| Problem::not_found("operation", &id))
}

/// Completed writes of the caller's account: as JSON, by long poll; or as a stream of server-sent events, if
/// `Accept` asks for `text/event-stream`.
#[utoipa::path(get, path = "/_terrane/v1/completions", tag = "operations", params(CompletionsQuery), responses(
    (status = 200, description = "Completions by cursor", content(
        (Vec<Completion> = "application/json"), (String = "text/event-stream"))),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn completions(
    State(app): State<Arc<App>>,
    call: Call,
    headers: HeaderMap,
    Query(query): Query<CompletionsQuery>,
) -> Result<Response, Problem> {
    call.allow(&app.auth, "terrane:ReadEvents", call.account(), Target::Account).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream")) {
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
        let events = events(app, call.account().clone(), last.unwrap_or(query.after));
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    let max = query.max.unwrap_or(100).clamp(1, MAX);
    let wait = Duration::from_secs(query.wait_seconds).min(WAIT_MAX);
    let found = app.objects.completions(call.account(), query.after, max, wait);
    let found = app.closing.run_until_cancelled(found).await.transpose()?.unwrap_or_default();
    Ok(Json(found.into_iter().map(Completion::from).collect::<Vec<_>>()).into_response())
}

/// One event per completion, for as long as the client listens. The store's failure and the server's end end the
/// stream; the client comes back with `Last-Event-ID`.
fn events(
    app: Arc<App>,
    account: AccountId,
    after: u64,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let batches = stream::unfold((app, account, after), |(app, account, after)| async move {
        loop {
            let found = app.objects.completions(&account, after, 100, WAIT_MAX);
            let found = app.closing.run_until_cancelled(found).await?;
            let found = found.inspect_err(|error| tracing::warn!(%error, "event stream ended")).ok()?;
            if let Some(last) = found.last().map(|completion| completion.cursor) {
                return Some((stream::iter(found), (app, account, last)));
            }
        }
    });
    futures::StreamExt::flat_map(batches, |batch| {
        futures::StreamExt::filter_map(batch, |completion| async move {
            let cursor = completion.cursor.to_string();
            let event = Event::default().id(cursor).event("completion");
            event.json_data(Completion::from(completion)).ok().map(Ok)
        })
    })
}
