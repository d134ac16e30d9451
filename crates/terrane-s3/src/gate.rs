//! Who asks, and may they: what this front end needs of `terrane-auth`, as one trait.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use terrane_auth::{Credential, Principal, Throttled};
use terrane_types::AccountId;

/// One question to the policy engine.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// `s3:GetObject`, …
    pub action: &'a str,
    /// The bucket, unless the action concerns none.
    pub bucket: Option<&'a str>,
    /// The key, for actions on objects.
    pub key: Option<&'a str>,
    /// Who owns the resource, or would own it.
    pub owner: &'a AccountId,
    /// Whether the resource's ACL grants it to this principal.
    pub granted: bool,
    /// Where the request came from.
    pub origin: Origin,
}

/// How a request reached the listener, which puts it into the request's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The client's address.
    pub source: Option<IpAddr>,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// Why the gate could not answer.
#[derive(Debug, thiserror::Error)]
#[error("identities are unavailable: {0}")]
pub struct GateError(pub String);

/// Identities, policy and admission.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Looks an enabled, unexpired access key up.
    async fn credential(&self, access_key: &str) -> Result<Option<Arc<Credential>>, GateError>;
    /// Whether the principal may do it.
    async fn allows(&self, question: Question<'_>) -> Result<bool, GateError>;
    /// Takes one request from the account's budget.
    fn admit(&self, account: &AccountId) -> Result<(), Throttled>;
    /// Whether there is such an account, as a grantee of an ACL.
    async fn account_exists(&self, account: &AccountId) -> Result<bool, GateError>;
}
