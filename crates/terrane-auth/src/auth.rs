//! The handle that front ends hold: who asks, may they, and how often.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use terrane_store::Store;
use terrane_types::{AccessKeyId, AccountId};

use crate::error::AuthError;
use crate::keys::KeyService;
use crate::limits::{RateLimit, Throttled};
use crate::model::*;
use crate::policy::{Decision, RequestContext, Resource};
use crate::sigv4::{self, Claim, SigningKey};

/// Settings of [`Auth`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Regions accepted in signatures, and the clock skew.
    pub rules: sigv4::Rules,
    /// How long another process's change of a key, user, policy or limit may go unseen. Changes made through
    /// this handle are seen by the next call.
    pub staleness_max: Duration,
    /// Credentials, tokens and policy sets kept in memory, each.
    pub cache_entries_max: u64,
    /// Rate limit of accounts that have no own; `None`: unlimited.
    pub default_rate_limit: Option<RateLimit>,
    /// Accounts whose request rate is tracked at a time.
    pub rate_limited_accounts_max: u64,
}

impl Default for AuthConfig {
    /// Any region, 15 minutes of skew, 1 s of staleness, 10,000 cache entries, no rate limit.
    fn default() -> Self {
        Self {
            rules: sigv4::Rules::default(),
            staleness_max: Duration::from_secs(1),
            cache_entries_max: 10_000,
            default_rate_limit: None,
            rate_limited_accounts_max: 10_000,
        }
    }
}

/// Accounts, keys, policies and limits of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<()>);

/// A request whose sender is known.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who sent it.
    pub principal: Principal,
    /// The access key that signed it, if one did.
    pub access_key: Option<AccessKeyId>,
    /// For signed requests: the verified claim and the key, to verify the body with
    /// ([`Claim::payload`], [`sigv4::chunked::Decoder`]).
    pub signature: Option<(Claim, SigningKey)>,
}

impl Auth {
    /// Opens the accounts in `store`, whose secrets are wrapped by `keys`.
    pub async fn open(store: Store, keys: KeyService, config: AuthConfig) -> Result<Self, AuthError>;

    // ---- authentication

    /// The secret and owner of an access key. `None` if there is no such key, or it, its user or its account
    /// is disabled, or it has expired. From memory, at most [`AuthConfig::staleness_max`] old.
    pub async fn lookup(&self, id: &AccessKeyId) -> Result<Option<Arc<Credential>>, AuthError>;

    /// Who a bearer token speaks for. `None` as in [`Auth::lookup`].
    pub async fn lookup_token(&self, text: &str) -> Result<Option<Identity>, AuthError>;

    /// Authenticates a native, EC2, … request (not S3's, which s3s verifies): version 4 in header or query,
    /// or `Authorization: Bearer`; without either it is anonymous. `service` is the one that received it;
    /// `body_sha256` as in [`Claim::verify`]: native calls of our own client always declare it in
    /// `x-amz-content-sha256`, so `None` is fine before the body was read.
    pub async fn authenticate(&self, request: sigv4::Request<'_>, service: &'static str, body_sha256: Option<&[u8; 32]>, now: SystemTime) -> Result<Authenticated, AuthError>;

    // ---- authorisation and admission

    /// May `principal` do `action` (`s3:PutObject`, `terrane:ListAccounts`, …) with `resource`?
    /// An error means that it could not be decided (store unreachable), never "no".
    pub async fn authorize(&self, principal: &Principal, action: &str, resource: &Resource<'_>, context: &RequestContext) -> Result<Decision, AuthError>;

    /// Takes `cost` requests out of the account's rate limit.
    pub fn admit(&self, account: &AccountId, cost: u32) -> Result<(), Throttled>;

    // ---- root

    /// Makes the root account `000000000001` with one access key at first start; afterwards finds its oldest
    /// usable key. The caller writes it to `DIR/run/credentials`.
    pub async fn ensure_root(&self) -> Result<RootAccess, AuthError>;
    /// Offline reset by the owner of the data directory: deletes all keys and tokens and the password of the
    /// root account's root, enables it, and makes a new key.
    pub async fn reset_root(&self) -> Result<NewAccessKey, AuthError>;

    // ---- accounts (list calls: ordered by key, starting behind `after`, at most `limit` ≤ 1000 items)

    pub async fn create_account(&self, name: &str) -> Result<Account, AuthError>;
    pub async fn account(&self, id: &AccountId) -> Result<Account, AuthError>;
    pub async fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>, AuthError>;
    pub async fn set_account_status(&self, id: &AccountId, status: Status) -> Result<Account, AuthError>;
    pub async fn rename_account(&self, id: &AccountId, name: &str) -> Result<Account, AuthError>;
    pub async fn set_rate_limit(&self, id: &AccountId, limit: Option<RateLimit>) -> Result<Account, AuthError>;
    /// Deletes an account with all users, keys, tokens and policies. The caller has made sure that no service
    /// holds resources of it.
    pub async fn delete_account(&self, id: &AccountId) -> Result<(), AuthError>;

    // ---- users
    pub async fn create_user(&self, account: &AccountId, name: &UserName) -> Result<User, AuthError>;
    pub async fn user(&self, account: &AccountId, name: &UserName) -> Result<User, AuthError>;
    pub async fn users(&self, account: &AccountId, after: Option<&UserName>, limit: usize) -> Result<Vec<User>, AuthError>;
    pub async fn set_user_status(&self, account: &AccountId, name: &UserName, status: Status) -> Result<User, AuthError>;
    pub async fn attach_managed_policy(&self, account: &AccountId, name: &UserName, policy: ManagedPolicy) -> Result<User, AuthError>;
    pub async fn detach_managed_policy(&self, account: &AccountId, name: &UserName, policy: ManagedPolicy) -> Result<User, AuthError>;
    pub async fn delete_user(&self, account: &AccountId, name: &UserName) -> Result<(), AuthError>;

    // ---- access keys
    pub async fn create_access_key(&self, owner: &Identity, expires: Option<SystemTime>) -> Result<NewAccessKey, AuthError>;
    pub async fn access_keys(&self, account: &AccountId) -> Result<Vec<AccessKey>, AuthError>;
    pub async fn set_access_key_status(&self, account: &AccountId, id: &AccessKeyId, status: Status) -> Result<AccessKey, AuthError>;
    pub async fn set_access_key_expiry(&self, account: &AccountId, id: &AccessKeyId, expires: Option<SystemTime>) -> Result<AccessKey, AuthError>;
    pub async fn delete_access_key(&self, account: &AccountId, id: &AccessKeyId) -> Result<(), AuthError>;
    /// New key for the same owner; the old one expires after `grace`.
    pub async fn rotate_access_key(&self, account: &AccountId, id: &AccessKeyId, grace: Duration) -> Result<NewAccessKey, AuthError>;

    // ---- bearer tokens
    pub async fn create_token(&self, owner: &Identity, name: &str, expires: Option<SystemTime>) -> Result<NewToken, AuthError>;
    pub async fn tokens(&self, account: &AccountId) -> Result<Vec<Token>, AuthError>;
    pub async fn delete_token(&self, account: &AccountId, id: &TokenId) -> Result<(), AuthError>;

    // ---- console passwords
    pub async fn set_password(&self, owner: &Identity, password: &Secret) -> Result<(), AuthError>;
    pub async fn clear_password(&self, owner: &Identity) -> Result<(), AuthError>;
    /// Ok if it is the password; else WrongPassword (also for unknown users, in the same time) or Throttled.
    pub async fn verify_password(&self, owner: &Identity, password: &Secret) -> Result<(), AuthError>;

    // ---- policies
    /// Makes or replaces a policy after validating it against the schema.
    pub async fn put_policy(&self, account: &AccountId, name: &PolicyName, text: &str) -> Result<Policy, AuthError>;
    pub async fn policy(&self, account: &AccountId, name: &PolicyName) -> Result<Policy, AuthError>;
    pub async fn policies(&self, account: &AccountId) -> Result<Vec<Policy>, AuthError>;
    pub async fn delete_policy(&self, account: &AccountId, name: &PolicyName) -> Result<(), AuthError>;
}
