//! Accounts: made and removed by the root account, seen by themselves.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_auth::{RateLimit, Status};
use terrane_types::AccountId;
use utoipa::{IntoParams, ToSchema};

use super::app::App;
use super::call::Call;
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

/// Most items of one page.
pub(super) const PAGE_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/accounts", get(list).post(create))
        .route("/_terrane/v1/accounts/{account}", get(show).patch(change).delete(delete))
        .route("/_terrane/v1/whoami", get(whoami))
}

/// Parses the account in a path; `me` is the caller's.
pub(super) fn parse_account(call: &Call, text: &str) -> Result<AccountId, Problem> {
    match text {
        "me" => Ok(call.account().clone()),
        text => AccountId::parse(text).map_err(|error| Problem::bad_request(error.to_string())),
    }
}

/// Text of a status.
pub(super) fn status_text(status: Status) -> String {
    match status {
        Status::Enabled => "enabled".to_owned(),
        Status::Disabled => "disabled".to_owned(),
    }
}

/// Reads `enabled` or `disabled`.
pub(super) fn parse_status(text: &str) -> Result<Status, Problem> {
    match text {
        "enabled" => Ok(Status::Enabled),
        "disabled" => Ok(Status::Disabled),
        _ => Err(Problem::bad_request(format!("status {text:?} is not enabled or disabled"))),
    }
}

/// Request rate limit of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRate {
    /// Sustained requests per second, at least 1.
    pub per_second: u32,
    /// Requests that may come at once after a pause, at least 1.
    pub burst: u32,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// A text for people.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// Its own request rate limit; `null`: the installation's default.
    pub rate_limit: Option<RequestRate>,
}

impl From<terrane_auth::Account> for Account {
    fn from(account: terrane_auth::Account) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name,
            created: account.created.to_string(),
            status: status_text(account.status),
            rate_limit: account
                .rate_limit
                .map(|limit| RequestRate { per_second: limit.per_second, burst: limit.burst }),
        }
    }
}

/// An account to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// A text for people, up to 128 characters.
    pub name: String,
}

/// A change of an account; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// New limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RequestRate>,
    /// Go back to the installation's default limit.
    #[serde(default)]
    pub default_rate_limit: bool,
}

/// Which page.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only items after this one.
    pub(super) after: Option<String>,
    /// At most so many, 1 to 1000; default 1000.
    pub(super) limit: Option<usize>,
}

impl Page {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
    }
}

/// Who is asking.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// Account number.
    pub account: String,
    /// User; `null` for the account's root.
    pub user: Option<String>,
    /// ARN, as STS's `GetCallerIdentity` answers.
    pub arn: String,
}

/// Who is asking. Needs no permission.
#[utoipa::path(get, path = "/_terrane/v1/whoami", tag = "accounts", responses(
    (status = 200, description = "The caller", body = Whoami),
))]
pub(super) async fn whoami(call: Call) -> Json<Whoami> {
    Json(Whoami {
        account: call.account().to_string(),
        user: call.identity.user.as_ref().map(ToString::to_string),
        arn: call.identity.to_string(),
    })
}

/// All accounts by number.
#[utoipa::path(get, path = "/_terrane/v1/accounts", tag = "accounts", params(Page), responses(
    (status = 200, description = "Accounts by number", body = Vec<Account>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Account>>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListAccounts").await?;
    let after = page.after.as_deref().map(|text| parse_account(&call, text)).transpose()?;
    let accounts = app.auth.accounts(after.as_ref(), page.limit()).await?;
    Ok(Json(accounts.into_iter().map(Account::from).collect()))
}

/// Makes an account. It has no keys yet.
#[utoipa::path(post, path = "/_terrane/v1/accounts", tag = "accounts", request_body = NewAccount, responses(
    (status = 201, description = "Made", body = Account),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Json(new): Json<NewAccount>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    call.allow_installation(&app.auth, "terrane:CreateAccount").await?;
    let account = app.auth.create_account(&new.name).await?;
    call.resource(format!("account {}", account.id));
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// An account.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 200, description = "The account", body = Account),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
) -> Result<Json<Account>, Problem> {
    let id = parse_account(&call, &account)?;
    if id == *call.account() {
        call.allow(&app.auth, "terrane:GetAccount", &id, Target::Account).await?;
    } else {
        call.allow_installation(&app.auth, "terrane:ListAccounts").await?;
    }
    Ok(Json(app.auth.account(&id).await?.into()))
}

/// Changes an account.
#[utoipa::path(patch, path = "/_terrane/v1/accounts/{account}", tag = "accounts", request_body = AccountPatch,
    params(("account" = String, Path, description = "Number")), responses(
    (status = 200, description = "The account", body = Account),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Json(patch): Json<AccountPatch>,
) -> Result<Json<Account>, Problem> {
    call.allow_installation(&app.auth, "terrane:UpdateAccount").await?;
    let id = parse_account(&call, &account)?;
    call.resource(format!("account {id}"));
    let status = patch.status.as_deref().map(parse_status).transpose()?;
    let limit = match (patch.rate_limit, patch.default_rate_limit) {
        (Some(_), true) => {
            return Err(Problem::bad_request("rate_limit and default_rate_limit exclude each other"));
        }
        (Some(RequestRate { per_second, burst }), false) => Some(Some(RateLimit { per_second, burst })),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let mut found = app.auth.account(&id).await?;
    if let Some(name) = patch.name {
        found = app.auth.rename_account(&id, &name).await?;
    }
    if let Some(limit) = limit {
        found = app.auth.set_rate_limit(&id, limit).await?;
    }
    if let Some(status) = status {
        found = app.auth.set_account_status(&id, status).await?;
    }
    Ok(Json(found.into()))
}

/// Deletes an account that owns no buckets, with its users, keys, tokens and policies.
#[utoipa::path(delete, path = "/_terrane/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Number")), responses(
    (status = 204, description = "Deleted"),
    (status = 409, description = "It owns buckets", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
) -> Result<StatusCode, Problem> {
    call.allow_installation(&app.auth, "terrane:DeleteAccount").await?;
    let id = parse_account(&call, &account)?;
    call.resource(format!("account {id}"));
    // Nobody of this account makes a bucket between the look and the deletion.
    app.auth.set_account_status(&id, Status::Disabled).await?;
    let buckets = app.objects.list_buckets(&id).await?.len();
    if buckets > 0 {
        app.auth.set_account_status(&id, Status::Enabled).await?;
        let detail = format!("account {id} owns {buckets} buckets; delete these first");
        return Err(Problem::new(StatusCode::CONFLICT, "account-not-empty", detail));
    }
    app.auth.delete_account(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
