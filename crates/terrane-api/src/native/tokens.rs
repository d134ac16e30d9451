//! Bearer tokens of an account.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete as delete_, get};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_auth::policy::Target;
use terrane_auth::{NewToken as MadeToken, TokenId};
use utoipa::{IntoParams, ToSchema};

use super::accounts::parse_account;
use super::app::App;
use super::call::Call;
use super::keys::{from_now, owner};
use crate::extract::{Json, Path, Query};
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/accounts/{account}/tokens", get(list).post(create))
        .route("/_terrane/v1/accounts/{account}/tokens/{token}", delete_(delete))
}

/// A bearer token without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its public identity.
    pub id: String,
    /// Whose account.
    pub account: String,
    /// Who it speaks for; `null`: the account's root.
    pub user: Option<String>,
    /// A note for people.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// From when on it is refused (RFC 3339); `null`: never.
    pub expires: Option<String>,
}

impl From<terrane_auth::Token> for Token {
    fn from(token: terrane_auth::Token) -> Self {
        Self {
            id: token.id.to_string(),
            account: token.owner.account.to_string(),
            user: token.owner.user.map(|user| user.to_string()),
            name: token.name,
            created: token.created.to_string(),
            expires: token.expires.map(|expires| expires.to_string()),
        }
    }
}

/// A bearer token with its text, which is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenWithText {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What goes behind `Authorization: Bearer `.
    pub text: String,
}

impl From<MadeToken> for TokenWithText {
    fn from(made: MadeToken) -> Self {
        Self { text: made.text.expose().to_owned(), token: made.token.into() }
    }
}

/// A token to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// A note for people, up to 128 characters.
    pub name: String,
    /// For this user; absent: the account's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Refused after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
}

/// Whose tokens.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensQuery {
    /// Of this user; absent: of the account's root.
    pub(super) user: Option<String>,
}

/// Bearer tokens of an account's root or of one of its users.
#[utoipa::path(get, path = "/_terrane/v1/accounts/{account}/tokens", tag = "tokens",
    params(("account" = String, Path, description = "Number, or `me`"), TokensQuery), responses(
    (status = 200, description = "Tokens", body = Vec<Token>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Query(query): Query<TokensQuery>,
) -> Result<Json<Vec<Token>>, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:ListTokens", &account, Target::Account).await?;
    let tokens = app.auth.tokens(&owner(&account, query.user.as_deref())?).await?;
    Ok(Json(tokens.into_iter().map(Token::from).collect()))
}

/// Makes a bearer token for native calls. Its text is shown this once.
#[utoipa::path(post, path = "/_terrane/v1/accounts/{account}/tokens", tag = "tokens", request_body = NewToken,
    params(("account" = String, Path, description = "Number, or `me`")), responses(
    (status = 201, description = "Made", body = TokenWithText),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Path(account): Path<String>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<TokenWithText>), Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:CreateToken", &account, Target::Account).await?;
    let owner = owner(&account, new.user.as_deref())?;
    let expires = new.expires_seconds.map(from_now).transpose()?;
    let made = app.auth.create_token(&owner, &new.name, expires).await?;
    call.resource(format!("token {}", made.token.id));
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Deletes a token.
#[utoipa::path(delete, path = "/_terrane/v1/accounts/{account}/tokens/{token}", tag = "tokens",
    params(("account" = String, Path, description = "Number, or `me`"), ("token" = String, Path, description = "ID")),
    responses(
    (status = 204, description = "Deleted"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    call: Call,
    Path((account, token)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let account = parse_account(&call, &account)?;
    call.allow(&app.auth, "terrane:DeleteToken", &account, Target::Account).await?;
    let id = TokenId::parse(&token).map_err(|error| Problem::bad_request(error.to_string()))?;
    call.resource(format!("token {id}"));
    app.auth.delete_token(&account, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
