//! Buckets, and what S3 has no call for: how a bucket's writes are applied.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_objects::Redundancy;
use terrane_objects::service::{BucketChange, BucketInfo, Class, REDUNDANCY_SETTING, Versioning, WriteMode};
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/buckets", get(list).post(create))
        .route("/_terrane/v1/buckets/{bucket}", get(show).patch(change).delete(delete))
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The owning account.
    pub owner: String,
    /// When it was created (RFC 3339).
    pub created: String,
    /// Which life of the name this is.
    pub incarnation: String,
    /// `off`, `enabled` or `suspended`.
    pub versioning: String,
    /// How writes are applied that do not say so themselves: `sync`, `high`, `low`, `time=1h`, …;
    /// `null`: the load decides.
    pub write_mode: Option<String>,
    /// How its bulk bytes are laid over drives: `single`, `mirror:N`, `rs:K+M`; `null`: as the store does where nothing is
    /// said, `mirror:2` on several drives.
    pub redundancy: Option<String>,
    /// Names of S3 subresources that are set: `acl`, `cors`, `policy`, …
    pub settings: Vec<String>,
}

impl From<&BucketInfo> for Bucket {
    fn from(bucket: &BucketInfo) -> Self {
        Self {
            name: bucket.name.clone(),
            owner: bucket.owner.to_string(),
            created: jiff::Timestamp::try_from(bucket.created).unwrap_or_default().to_string(),
            incarnation: bucket.incarnation.to_string(),
            versioning: versioning_text(bucket.versioning).to_owned(),
            write_mode: bucket.default_mode.map(mode_text),
            redundancy: bucket
                .settings
                .get(REDUNDANCY_SETTING)
                .map(|text| String::from_utf8_lossy(text).into_owned()),
            settings: bucket.settings.keys().filter(|name| *name != REDUNDANCY_SETTING).cloned().collect(),
        }
    }
}

fn versioning_text(versioning: Versioning) -> &'static str {
    match versioning {
        Versioning::Off => "off",
        Versioning::Enabled => "enabled",
        Versioning::Suspended => "suspended",
    }
}

fn parse_versioning(text: &str) -> Result<Versioning, Problem> {
    match text {
        "enabled" => Ok(Versioning::Enabled),
        "suspended" => Ok(Versioning::Suspended),
        _ => Err(Problem::bad_request(format!("versioning {text:?} is not enabled or suspended"))),
    }
}

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// Longest delay: four weeks.
const DELAY_SECONDS_MAX: u64 = 4 * 604_800;

/// Text of a mode, in the words of `x-terrane-async` and `x-terrane-priority`.
pub(crate) fn mode_text(mode: WriteMode) -> String {
    match mode {
        WriteMode::Sync => "sync".to_owned(),
        WriteMode::Async(Class::High) => "high".to_owned(),
        WriteMode::Async(Class::Low) => "low".to_owned(),
        WriteMode::Async(Class::Delay(delay)) => {
            let seconds = delay.as_secs();
            let (unit, size) =
                UNITS.into_iter().find(|(_, size)| seconds.is_multiple_of(*size)).unwrap_or(('s', 1));
            format!("time={}{unit}", seconds / size)
        }
    }
}

/// Reads what [`mode_text`] writes.
pub(crate) fn parse_mode(text: &str) -> Result<WriteMode, Problem> {
    let bad = || {
        Problem::bad_request(format!(
            "{text:?} is not a write mode: sync, high, low or time=D with D such as 30s, 15m, 1h, 2d, 4w (at most 4w)"
        ))
    };
    match text {
        "sync" => return Ok(WriteMode::Sync),
        "high" => return Ok(WriteMode::Async(Class::High)),
        "low" => return Ok(WriteMode::Async(Class::Low)),
        _ => {}
    }
    let delay = text.strip_prefix("time=").ok_or_else(bad)?;
    let seconds = UNITS.into_iter().find_map(|(unit, size)| {
        let digits = delay.strip_suffix(unit)?;
        let plain = digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse::<u64>().ok()?.checked_mul(size) } else { None }
    });
    match seconds {
        Some(seconds @ 1..=DELAY_SECONDS_MAX) => {
            Ok(WriteMode::Async(Class::Delay(Duration::from_secs(seconds))))
        }
        _ => Err(bad()),
    }
}

/// A bucket to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBucket {
    /// Its name: 3 to 63 of `a-z 0-9 - .`, beginning and ending with a letter or digit.
    pub name: String,
    /// See [`Bucket::write_mode`].
    #[serde(default)]
    pub write_mode: Option<String>,
    /// See [`Bucket::redundancy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redundancy: Option<String>,
}

/// A change of a bucket; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketPatch {
    /// `enabled` or `suspended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<String>,
    /// `sync`, `high`, `low`, `time=D`; or `auto`: the load decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_mode: Option<String>,
    /// `mirror:N`, `rs:K+M`, `single` on a store of one drive; or `default`. Holds for objects written from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redundancy: Option<String>,
}

/// The change of a bucket's redundancy that a text asks for. What the store's drives allow is the store's business.
fn redundancy_change(text: &str) -> BucketChange {
    let value = (text != "default").then(|| Bytes::copy_from_slice(text.as_bytes()));
    BucketChange::Setting(REDUNDANCY_SETTING.to_owned(), value)
}

/// Refuses what is no redundancy at all, before anything is changed.
fn check_redundancy(text: Option<&str>) -> Result<(), Problem> {
    match text {
        None | Some("default") => Ok(()),
        Some(text) => match text.parse::<Redundancy>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::bad_request(error.to_string())),
        },
    }
}

/// The caller's buckets by name.
#[utoipa::path(get, path = "/_terrane/v1/buckets", tag = "buckets", responses(
    (status = 200, description = "Buckets by name", body = Vec<Bucket>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Vec<Bucket>>, Problem> {
    call.allow(&app.auth, "s3:ListAllMyBuckets", call.account(), Target::Account).await?;
    let buckets = app.objects.list_buckets(call.account()).await?;
    Ok(Json(buckets.iter().map(|bucket| Bucket::from(&**bucket)).collect()))
}

/// Makes a bucket.
#[utoipa::path(post, path = "/_terrane/v1/buckets", tag = "buckets", request_body = NewBucket, responses(
    (status = 201, description = "Made", body = Bucket),
    (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Json(new): Json<NewBucket>,
) -> Result<(StatusCode, Json<Bucket>), Problem> {
    let target = Target::Bucket(&new.name);
    call.allow(&app.auth, "s3:CreateBucket", call.account(), target).await?;
    if new.write_mode.is_some() || new.redundancy.is_some() {
        call.allow(&app.auth, "terrane:PutBucketMode", call.account(), target).await?;
    }
    let mode = new.write_mode.as_deref().map(parse_mode).transpose()?;
    check_redundancy(new.redundancy.as_deref())?;
    if !s3s::path::check_bucket_name(&new.name) {
        return Err(Problem::bad_request(format!("{:?} is not a bucket name", new.name)));
    }
    let mut bucket = app.objects.create_bucket(&new.name, call.account(), None).await?;
    if mode.is_some() {
        bucket = app.objects.change_bucket(&bucket, BucketChange::DefaultMode(mode)).await?;
    }
    if let Some(redundancy) = &new.redundancy {
        bucket = match app.objects.change_bucket(&bucket, redundancy_change(redundancy)).await {
            Ok(bucket) => bucket,
            Err(refused) => {
                // The bucket was to be made so or not at all; it is empty, unless somebody was quicker.
                if let Err(error) = app.objects.delete_bucket(&bucket).await {
                    tracing::warn!(%error, bucket = new.name, "a bucket stays whose redundancy was refused");
                }
                return Err(refused.into());
            }
        };
    }
    Ok((StatusCode::CREATED, Json(Bucket::from(&*bucket))))
}

/// Finds a bucket and goes on if policy allows the action. Another account's bucket answers as one that does
/// not exist.
pub(super) async fn find(
    app: &App,
    call: &Call,
    name: &str,
    action: &'static str,
) -> Result<Arc<BucketInfo>, Problem> {
    let bucket = match app.objects.bucket(name).await {
        Ok(bucket) if bucket.owner == *call.account() => Some(bucket),
        Ok(_) | Err(terrane_objects::service::ObjectError::NoSuchBucket(_)) => None,
        Err(error) => return Err(error.into()),
    };
    call.allow(&app.auth, action, call.account(), Target::Bucket(name)).await?;
    bucket.ok_or_else(|| Problem::not_found("bucket", name))
}

/// A bucket of the caller's account.
#[utoipa::path(get, path = "/_terrane/v1/buckets/{bucket}", tag = "buckets",
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 200, description = "The bucket", body = Bucket),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
) -> Result<Json<Bucket>, Problem> {
    let bucket = find(&app, &call, &name, "terrane:GetBucketMode").await?;
    Ok(Json(Bucket::from(&*bucket)))
}

/// Changes a bucket.
#[utoipa::path(patch, path = "/_terrane/v1/buckets/{bucket}", tag = "buckets", request_body = BucketPatch,
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 200, description = "The bucket", body = Bucket),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
    Json(patch): Json<BucketPatch>,
) -> Result<Json<Bucket>, Problem> {
    let versioning = patch.versioning.as_deref().map(parse_versioning).transpose()?;
    let mode = match patch.write_mode.as_deref() {
        None => None,
        Some("auto") => Some(None),
        Some(text) => Some(Some(parse_mode(text)?)),
    };
    check_redundancy(patch.redundancy.as_deref())?;
    let action = match (mode.is_some() || patch.redundancy.is_some(), &versioning) {
        (true, _) => "terrane:PutBucketMode",
        (false, Some(_)) => "s3:PutBucketVersioning",
        (false, None) => return Err(Problem::bad_request("nothing to change was named")),
    };
    let mut bucket = find(&app, &call, &name, action).await?;
    if let Some(redundancy) = &patch.redundancy {
        bucket = app.objects.change_bucket(&bucket, redundancy_change(redundancy)).await?;
    }
    if let Some(versioning) = versioning {
        call.allow(&app.auth, "s3:PutBucketVersioning", call.account(), Target::Bucket(&name)).await?;
        bucket = app.objects.change_bucket(&bucket, BucketChange::Versioning(versioning)).await?;
    }
    if let Some(mode) = mode {
        bucket = app.objects.change_bucket(&bucket, BucketChange::DefaultMode(mode)).await?;
    }
    Ok(Json(Bucket::from(&*bucket)))
}

/// Deletes an empty bucket.
#[utoipa::path(delete, path = "/_terrane/v1/buckets/{bucket}", tag = "buckets",
    params(("bucket" = String, Path, description = "Name")), responses(
    (status = 204, description = "Deleted"),
    (status = 409, description = "It is not empty", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let bucket = find(&app, &call, &name, "s3:DeleteBucket").await?;
    app.objects.delete_bucket(&bucket).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_one_text() {
        for text in
            ["sync", "high", "low", "time=1s", "time=90s", "time=15m", "time=1h", "time=3d", "time=4w"]
        {
            assert_eq!(parse_mode(text).map(mode_text).ok().as_deref(), Some(text));
        }
        assert_eq!(parse_mode("time=7d").map(mode_text).ok().as_deref(), Some("time=1w"));
        for bad in
            ["", "true", "time=", "time=0s", "time=5w", "time=29d", "time=1.5h", "time=-1h", "time=1y", "1h"]
        {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
