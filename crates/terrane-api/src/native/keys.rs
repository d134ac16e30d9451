//! Access keys of an account.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, patch, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_auth::{Identity, NewAccessKey};
use terrane_types::{AccessKeyId, AccountId};
use utoipa::ToSchema;

use super::accounts::{parse_account, parse_status, status_text};
use super::app::App;
use super::call::Call;
use super::users::parse_user;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/accounts/{account}/keys", get(list).post(create))
        .route("/_terrane/v1/accounts/{account}/keys/{key}", patch(change).delete(delete))
        .route("/_terrane/v1/accounts/{account}/keys/{key}/rotate", post(rotate))
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessKey {
    /// The public half.
    pub id: String,
    /// Whose account.
    pub account: String,
    /// Who signs with it; `null`: the account's root.
    pub user: Option<String>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// From when on it is refused (RFC 3339); `null`: never.
    pub expires: Option<String>,
    /// `enabled` or `disabled`.
    pub status: String,
}

impl From<terrane_auth::AccessKey> for AccessKey {
    fn from(key: terrane_auth::AccessKey) -> Self {
        Self {
            id: key.id.to_string(),
            account: key.owner.account.to_string(),
            user: key.owner.user.map(|user| user.to_string()),
            created: key.created.to_string(),
            expires: key.expires.map(|expires| expires.to_string()),
            status: status_text(key.status),
        }
    }
}

/// An access key with its secret, which is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessKeyWithSecret {
    /// The key.
    #[serde(flatten)]
    pub key: AccessKey,
    /// The secret half.
    pub secret: String,
}

impl From<NewAccessKey> for AccessKeyWithSecret {
    fn from(new: NewAccessKey) -> Self {
        Self { secret: new.secret.expose().to_owned(), key: new.key.into() }
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// For this user; absent: the account's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Refused after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
}

/// A change of a key; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPatch {
    /// `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Refused after so many seconds from now; 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
}

/// How to rotate a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The old key stays valid for so many seconds; default 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// A time so many seconds from now.
pub(super) fn from_now(seconds: u64) -> Result<SystemTime, Problem> {
    // Ten years are enough for everybody and far from every calendar's end.
    const SECONDS_MAX: u64 = 10 * 366 * 86_400;
    if seconds > SECONDS_MAX {
        return Err(Problem::bad_request(format!("{seconds} s is more than {SECONDS_MAX} s")));
    }
    Ok(SystemTime::now() + Duration::from_secs(seconds))
}

/// The root or a user of an account.
pub(super) fn owner(account: &AccountId, user: Option<&str>) -> Result<Identity, Problem> {
    Ok(match user {
        Some(user) => Identity::user(account.clone(), parse_user(user)?),
        None => Identity::root(account.clone()),
    })
}

fn parse_key(text: &str) -> Result<AccessKeyId, Problem> {
    AccessKeyId::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Access keys of an account.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/keys", tag = "keys",
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 200, description = "Keys", body = Vec<AccessKey>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
) -> Result<Json<Vec<AccessKey>>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:ListAccessKeys", &account, Target::Account).await?;
    let keys = app.auth.access_keys(&account).await?;
    Ok(Json(keys.into_iter().map(AccessKey::from).collect()))
}

/// Makes an access key. Its secret is shown this once.
#[utoipa::path(post, path = "/_terrane/v1/accounts/{account}/keys", tag = "keys", request_body = NewKey,
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 201, description = "Made", body = AccessKeyWithSecret),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Json<AccessKeyWithSecret>), Problem> {
    let account = parse_account(&call, &account)?;
    if account == *call.account() {
        call.allow(&app.auth, "terrane:CreateAccessKey", &account, Target::Account).await?;
    } else {
        // An account begins without keys: who may make it hands it the first one.
        call.allow_installation(&app.auth, "terrane:CreateAccount").await?;
    }
    let owner = owner(&account, new.user.as_deref())?;
    let expires = new.expires_seconds.map(from_now).transpose()?;
    let made = app.auth.create_access_key(&owner, expires).await?;
    call.resource(format!("key {}", made.key.id));
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Enables, disables or limits a key.
#[utoipa::path(patch, path = "/_terrane/v1/accounts/{account}/keys/{key}", tag = "keys", request_body = KeyPatch,
    params(("account" = String, Path, description = "Number, or `me`"), ("key" = String, Path, description = "ID")),
    responses(
    (status = 200, description = "The key", body = AccessKey),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, key)): Path<(String, String)>,
    Json(patch): Json<KeyPatch>,
) -> Result<Json<AccessKey>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:UpdateAccessKey", &account, Target::Account).await?;
    let id = parse_key(&key)?;
    call.resource(format!("key {id}"));
    let status = patch.status.as_deref().map(parse_status).transpose()?;
    let mut changed = None;
    if let Some(seconds) = patch.expires_seconds {
        let expires = if seconds == 0 { None } else { Some(from_now(seconds)?) };
        changed = Some(app.auth.set_access_key_expiry(&account, &id, expires).await?);
    }
    if let Some(status) = status {
        changed = Some(app.auth.set_access_key_status(&account, &id, status).await?);
    }
    let changed = changed.ok_or_else(|| Problem::bad_request("nothing to change was named"))?;
    Ok(Json(changed.into()))
}

/// Deletes a key.
#[utoipa::path(delete, path = "/_terrane/v1/accounts/{account}/keys/{key}", tag = "keys",
    params(("account" = String, Path, description = "Number, or `me`"), ("key" = String, Path, description = "ID")),
    responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:DeleteAccessKey", &account, Target::Account).await?;
    let id = parse_key(&key)?;
    call.resource(format!("key {id}"));
    app.auth.delete_access_key(&account, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new key for the same owner; the old one expires after a grace period.
#[utoipa::path(post, path = "/_terrane/v1/accounts/{account}/keys/{key}/rotate", tag = "keys", request_body = Rotation,
    params(("account" = String, Path, description = "Number, or `me`"), ("key" = String, Path, description = "ID")),
    responses(
    (status = 201, description = "Made", body = AccessKeyWithSecret),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, key)): Path<(String, String)>,
    Json(rotation): Json<Rotation>,
) -> Result<(StatusCode, Json<AccessKeyWithSecret>), Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:CreateAccessKey", &account, Target::Account).await?;
    let id = parse_key(&key)?;
    call.resource(format!("key {id}"));
    let seconds = rotation.grace_seconds.unwrap_or(86_400);
    from_now(seconds)?;
    let made = app.auth.rotate_access_key(&account, &id, Duration::from_secs(seconds)).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}
