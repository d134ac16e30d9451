//! Where a bucket's completions are posted.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_objects::notify;
use terrane_objects::service::{BucketChange, BucketInfo};
use utoipa::ToSchema;

use super::app::App;
use super::buckets::find;
use super::call::Call;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/_terrane/v1/buckets/{bucket}/webhook", get(show).put(put).delete(delete))
}

/// A webhook without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Where completions are posted: `http` or `https`.
    pub url: String,
    /// S3's event names with or without `s3:`, `*` at the end matches all; none: all events.
    #[serde(default)]
    pub events: Vec<String>,
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only keys that end so.
    #[serde(default)]
    pub suffix: String,
}

/// A webhook to be set.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewWebhook {
    /// What is posted, and where.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// Key of the signature (HMAC-SHA-256), at least 16 characters.
    #[schema(format = Password)]
    pub secret: String,
}

fn read(bucket: &BucketInfo) -> Option<Webhook> {
    serde_json::from_slice(bucket.settings.get(notify::WEBHOOK_SETTING)?).ok()
}

async fn set(app: &App, bucket: &BucketInfo, setting: Option<Bytes>) -> Result<Arc<BucketInfo>, Problem> {
    let change = BucketChange::Setting(notify::WEBHOOK_SETTING.to_owned(), setting);
    Ok(app.objects.change_bucket(bucket, change).await?)
}

/// A bucket's webhook, without its secret.
#[utoipa::path(get, path = "/_terrane/v1/buckets/{bucket}/webhook", tag = "webhooks",
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 200, description = "The webhook", body = Webhook),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    let bucket = find(&app, &call, &name, "s3:GetBucketNotification").await?;
    read(&bucket).map(Json).ok_or_else(|| Problem::not_found("webhook of bucket", &name))
}

/// Posts a bucket's completions to a URL: signed, at least once, with backoff.
#[utoipa::path(put, path = "/_terrane/v1/buckets/{bucket}/webhook", tag = "webhooks", request_body = NewWebhook,
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 200, description = "The webhook", body = Webhook),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
    Json(new): Json<NewWebhook>,
) -> Result<Json<Webhook>, Problem> {
    let bucket = find(&app, &call, &name, "s3:PutBucketNotification").await?;
    let setting = serde_json::to_vec(&new).map_err(|error| Problem::bad_request(error.to_string()))?;
    notify::Webhook::parse(&setting).map_err(|error| Problem::bad_request(error.to_string()))?;
    let bucket = set(&app, &bucket, Some(setting.into())).await?;
    read(&bucket).map(Json).ok_or_else(|| Problem::not_found("webhook of bucket", &name))
}

/// Removes a bucket's webhook.
#[utoipa::path(delete, path = "/_terrane/v1/buckets/{bucket}/webhook", tag = "webhooks",
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 204, description = "Removed"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let bucket = find(&app, &call, &name, "s3:PutBucketNotification").await?;
    set(&app, &bucket, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
