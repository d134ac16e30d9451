//! Policies of an account, checked before they are taken and explained when asked.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::{self, Why};
use terrane_auth::policy::{Resource, Target};
use terrane_auth::{PolicyName, Principal};
use terrane_types::AccountId;
use utoipa::ToSchema;

use super::accounts::parse_account;
use super::app::App;
use super::call::Call;
use super::keys::owner;
use crate::extract::{Json, Path};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/policies/validate", post(validate))
        .route("/_terrane/v1/policies/why", post(why))
        .route("/_terrane/v1/accounts/{account}/policies", get(list))
        .route("/_terrane/v1/accounts/{account}/policies/{policy}", get(show).put(put).delete(delete))
}

/// A policy of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Whose users it applies to.
    pub account: String,
    /// Unique within the account.
    pub name: String,
    /// Cedar text: `permit` and `forbid` statements.
    pub text: String,
    /// When it was last changed (RFC 3339).
    pub updated: String,
}

impl From<terrane_auth::Policy> for Policy {
    fn from(policy: terrane_auth::Policy) -> Self {
        Self {
            account: policy.account.to_string(),
            name: policy.name.to_string(),
            text: policy.text,
            updated: policy.updated.to_string(),
        }
    }
}

/// A policy's text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Cedar text.
    pub text: String,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    /// Whether it would be taken.
    pub valid: bool,
    /// Why not.
    pub errors: Vec<String>,
}

/// May somebody do something?
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// Whose; default: the caller's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which user; absent: the account's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What: `s3:PutObject`, …
    pub action: String,
    /// With which bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// With which key of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With which volume, snapshot or instance: `vol-…`, `snap-…`, `i-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The answer, with what decided.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhyAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// In words.
    pub reason: String,
    /// The built-in rule or the policies that decided.
    pub decided_by: Vec<String>,
}

fn parse_name(text: &str) -> Result<PolicyName, Problem> {
    PolicyName::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Checks a policy's text without keeping it. Needs no permission.
#[utoipa::path(post, path = "/_terrane/v1/policies/validate", tag = "policies", request_body = PolicyText, responses(
    (status = 200, description = "What is wrong with it", body = Validation),
))]
pub(super) async fn validate(_: Call, Json(policy): Json<PolicyText>) -> Json<Validation> {
    let errors = policy::validate(&policy.text).err().unwrap_or_default();
    Json(Validation { valid: errors.is_empty(), errors })
}

/// May somebody of the account do something, and what decides it?
#[utoipa::path(post, path = "/_terrane/v1/policies/why", tag = "policies", request_body = WhyRequest, responses(
    (status = 200, description = "The decision", body = WhyAnswer),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn why(
    State(app): State<Arc<App>>,
    call: Call,
    Json(request): Json<WhyRequest>,
) -> Result<Json<WhyAnswer>, Problem> {
    let account = parse_account(&call, request.account.as_deref().unwrap_or("me"))?;
    call.allow(&app.auth, "terrane:ListPolicies", &account, Target::Account).await?;
    let principal = Principal::Known(owner(&account, request.user.as_deref())?);
    let owner = resource_owner(&app, &account, &request).await?;
    let target = match (&request.bucket, &request.key) {
        (None, None) if let Some(id) = &request.id => Target::of_id(id)
            .ok_or_else(|| Problem::bad_request(format!("{id:?} names no volume, snapshot or instance")))?,
        (Some(bucket), Some(key)) => Target::Object { bucket, key },
        (Some(bucket), None) => Target::Bucket(bucket),
        (None, Some(_)) => return Err(Problem::bad_request("a key needs its bucket")),
        (None, None) if owner == AccountId::root() && account != owner => Target::Installation,
        (None, None) => Target::Account,
    };
    let resource = Resource::new(&owner, target);
    let decision = app.auth.authorize(&principal, &request.action, &resource, &call.context()).await?;
    let (reason, decided_by) = match decision.why {
        Why::Rule(rule) => (format!("built-in rule {rule}"), vec![rule.to_owned()]),
        Why::Policies(policies) => (format!("policies {}", policies.join(", ")), policies),
        Why::NothingAllows => ("no policy of the account allows it".to_owned(), Vec::new()),
    };
    Ok(Json(WhyAnswer { allowed: decision.allowed, reason, decided_by }))
}

/// An existing bucket of somebody else is not the asking account's; whether it exists is not told.
async fn resource_owner(app: &App, account: &AccountId, request: &WhyRequest) -> Result<AccountId, Problem> {
    let Some(bucket) = &request.bucket else { return Ok(account.clone()) };
    match app.objects.bucket(bucket).await {
        Ok(bucket) => Ok(bucket.owner.clone()),
        Err(terrane_objects::service::ObjectError::NoSuchBucket(_)) => Ok(account.clone()),
        Err(error) => Err(error.into()),
    }
}

/// Policies of an account.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/policies", tag = "policies",
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 200, description = "Policies by name", body = Vec<Policy>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
) -> Result<Json<Vec<Policy>>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:ListPolicies", &account, Target::Account).await?;
    let policies = app.auth.policies(&account).await?;
    Ok(Json(policies.into_iter().map(Policy::from).collect()))
}

/// A policy.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/policies/{policy}", tag = "policies",
    params(("account" = String, Path, description = "Number, or `me`"), ("policy" = String, Path, description = "Name")),
    responses(
    (status = 200, description = "The policy", body = Policy),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, name)): Path<(String, String)>,
) -> Result<Json<Policy>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:GetPolicy", &account, Target::Account).await?;
    Ok(Json(app.auth.policy(&account, &parse_name(&name)?).await?.into()))
}

/// Makes or replaces a policy, after checking it.
#[utoipa::path(put, path = "/_terrane/v1/accounts/{account}/policies/{policy}", tag = "policies",
    request_body = PolicyText,
    params(("account" = String, Path, description = "Number, or `me`"), ("policy" = String, Path, description = "Name")),
    responses(
    (status = 200, description = "Taken", body = Policy),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, name)): Path<(String, String)>,
    Json(policy): Json<PolicyText>,
) -> Result<Json<Policy>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:PutPolicy", &account, Target::Account).await?;
    let name = parse_name(&name)?;
    call.resource(format!("policy {account}/{name}"));
    Ok(Json(app.auth.put_policy(&account, &name, &policy.text).await?.into()))
}

/// Deletes a policy.
#[utoipa::path(delete, path = "/_terrane/v1/accounts/{account}/policies/{policy}", tag = "policies",
    params(("account" = String, Path, description = "Number, or `me`"), ("policy" = String, Path, description = "Name")),
    responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:DeletePolicy", &account, Target::Account).await?;
    let name = parse_name(&name)?;
    call.resource(format!("policy {account}/{name}"));
    app.auth.delete_policy(&account, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
