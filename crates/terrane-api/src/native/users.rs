//! Users of an account.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_auth::{Auth, Identity, ManagedPolicy, Secret, UserName};
use terrane_types::AccountId;
use utoipa::ToSchema;

use super::accounts::{Page, parse_account, parse_status, status_text};
use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/accounts/{account}/users", get(list).post(create))
        .route("/_terrane/v1/accounts/{account}/users/{user}", get(show).patch(change).delete(delete))
}

/// A user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Whose user.
    pub account: String,
    /// Unique within the account.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// Ready-made policies attached: `full-access`, `read-only`.
    pub managed_policies: Vec<String>,
    /// Whether a console password is set.
    pub has_password: bool,
}

impl From<terrane_auth::User> for User {
    fn from(user: terrane_auth::User) -> Self {
        Self {
            account: user.account.to_string(),
            name: user.name.to_string(),
            created: user.created.to_string(),
            status: status_text(user.status),
            managed_policies: user.managed_policies.into_iter().map(managed_text).collect(),
            has_password: user.has_password,
        }
    }
}

fn managed_text(policy: ManagedPolicy) -> String {
    match policy {
        ManagedPolicy::FullAccess => "full-access".to_owned(),
        ManagedPolicy::ReadOnly => "read-only".to_owned(),
    }
}

fn parse_managed(text: &str) -> Result<ManagedPolicy, Problem> {
    match text {
        "full-access" => Ok(ManagedPolicy::FullAccess),
        "read-only" => Ok(ManagedPolicy::ReadOnly),
        _ => Err(Problem::bad_request(format!("{text:?} is not a managed policy: full-access or read-only"))),
    }
}

/// A user to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 64 of `A-Z a-z 0-9 + = , . @ _ -`.
    pub name: String,
    /// Ready-made policies to attach: `full-access`, `read-only`. Without any, policies of the account decide.
    #[serde(default)]
    pub managed_policies: Vec<String>,
}

/// A change of a user; what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The ready-made policies that shall be attached; others are detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_policies: Option<Vec<String>>,
    /// A new console password; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub password: Option<String>,
}

impl UserPatch {
    fn is_empty(&self) -> bool {
        self.status.is_none() && self.managed_policies.is_none() && self.password.is_none()
    }
}

pub(super) fn parse_user(text: &str) -> Result<UserName, Problem> {
    UserName::parse(text).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Users of an account by name.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/users", tag = "users",
    params(("account" = String, Path, description = "Number, or `me`"), Page), responses(
    (status = 200, description = "Users by name", body = Vec<User>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<User>>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:ListUsers", &account, Target::Account).await?;
    let after = page.after.as_deref().map(parse_user).transpose()?;
    let users = app.auth.users(&account, after.as_ref(), page.limit()).await?;
    Ok(Json(users.into_iter().map(User::from).collect()))
}

/// Makes a user. It has no keys yet.
#[utoipa::path(post, path = "/_terrane/v1/accounts/{account}/users", tag = "users", request_body = NewUser,
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 201, description = "Made", body = User),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, Json<User>), Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:CreateUser", &account, Target::Account).await?;
    if !new.managed_policies.is_empty() {
        call.allow(&app.auth, "terrane:AttachPolicy", &account, Target::Account).await?;
    }
    let name = parse_user(&new.name)?;
    call.resource(format!("user {account}/{name}"));
    let managed: Vec<_> =
        new.managed_policies.iter().map(|text| parse_managed(text)).collect::<Result<_, _>>()?;
    let mut user = app.auth.create_user(&account, &name).await?;
    for policy in managed {
        user = app.auth.attach_managed_policy(&account, &name, policy).await?;
    }
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// A user.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/users/{user}", tag = "users",
    params(("account" = String, Path, description = "Number, or `me`"), ("user" = String, Path, description = "Name")),
    responses(
    (status = 200, description = "The user", body = User),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, user)): Path<(String, String)>,
) -> Result<Json<User>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:ListUsers", &account, Target::Account).await?;
    Ok(Json(app.auth.user(&account, &parse_user(&user)?).await?.into()))
}

/// Changes a user.
#[utoipa::path(patch, path = "/_terrane/v1/accounts/{account}/users/{user}", tag = "users", request_body = UserPatch,
    params(("account" = String, Path, description = "Number, or `me`"), ("user" = String, Path, description = "Name")),
    responses(
    (status = 200, description = "The user", body = User),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, user)): Path<(String, String)>,
    Json(patch): Json<UserPatch>,
) -> Result<Json<User>, Problem> {
    let account = parse_account(&call, &account)?;
    for (changed, action) in [
        (patch.status.is_some(), "terrane:UpdateUser"),
        (patch.managed_policies.is_some(), "terrane:AttachPolicy"),
        (patch.password.is_some(), "terrane:SetPassword"),
    ] {
        if changed {
            call.allow(&app.auth, action, &account, Target::Account).await?;
        }
    }
    let name = parse_user(&user)?;
    if patch.is_empty() {
        return Err(Problem::bad_request("nothing to change was named"));
    }
    call.resource(format!("user {account}/{name}"));
    let status = patch.status.as_deref().map(parse_status).transpose()?;
    if let Some(wanted) = patch.managed_policies {
        set_managed(&app.auth, &account, &name, &wanted).await?;
    }
    if let Some(password) = patch.password {
        let owner = Identity::user(account.clone(), name.clone());
        match password.is_empty() {
            true => app.auth.clear_password(&owner).await?,
            false => app.auth.set_password(&owner, &Secret::new(password)).await?,
        }
    }
    if let Some(status) = status {
        app.auth.set_user_status(&account, &name, status).await?;
    }
    Ok(Json(app.auth.user(&account, &name).await?.into()))
}

async fn set_managed(
    auth: &Auth,
    account: &AccountId,
    name: &UserName,
    wanted: &[String],
) -> Result<(), Problem> {
    let wanted: Vec<_> = wanted.iter().map(|text| parse_managed(text)).collect::<Result<_, _>>()?;
    let attached = auth.user(account, name).await?.managed_policies;
    for policy in attached.iter().filter(|policy| !wanted.contains(policy)) {
        auth.detach_managed_policy(account, name, *policy).await?;
    }
    for policy in wanted.into_iter().filter(|policy| !attached.contains(policy)) {
        auth.attach_managed_policy(account, name, policy).await?;
    }
    Ok(())
}

/// Deletes a user with its keys and tokens.
#[utoipa::path(delete, path = "/_terrane/v1/accounts/{account}/users/{user}", tag = "users",
    params(("account" = String, Path, description = "Number, or `me`"), ("user" = String, Path, description = "Name")),
    responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:DeleteUser", &account, Target::Account).await?;
    let name = parse_user(&user)?;
    call.resource(format!("user {account}/{name}"));
    app.auth.delete_user(&account, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
