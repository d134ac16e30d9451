//! The handle that front ends hold: who asks, may they, and how often.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use jiff::Timestamp;
use moka::sync::Cache;
use subtle::ConstantTimeEq as _;
use terrane_store::{Store, Tx};
use terrane_types::{AccessKeyId, AccountId};
use tokio::sync::Semaphore;

use crate::directory::rows::{ACCESS_KEYS, ACCOUNTS, POLICIES, TOKENS, TokenRow, USERS, is_active, user_key};
use crate::directory::{POLICIES_MAX, access_key_purpose, parse_token};
use crate::error::AuthError;
use crate::keys::KeyService;
use crate::limits::{RateLimit, RateLimits, Throttled};
use crate::metrics::{AuthMetrics, Refusal};
use crate::model::{Credential, Identity, ManagedPolicy, PolicyName, Principal, TokenId, UserName};
use crate::policy::{self, AccountPolicies, Decision, RequestContext, Resource, UserPolicies, Why};
use crate::secret::Secret;
use crate::sigv4::{self, Claim, SigningKey, SigningKeys};

/// Settings of [`Auth`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Regions accepted in signatures, and the clock skew.
    pub rules: sigv4::Rules,
    /// How long another process's change of a key, user, policy or limit may go unseen. Changes made through
    /// this handle are seen by the next call.
    pub staleness_max: Duration,
    /// Credentials, tokens, users and policy sets kept in memory, each.
    pub cache_entries_max: u64,
    /// Rate limit of accounts that have no own; `None`: unlimited.
    pub default_rate_limit: Option<RateLimit>,
    /// Accounts whose request rate is tracked at a time.
    pub rate_limited_accounts_max: u64,
    /// Counters, registered by who has the registry.
    pub metrics: AuthMetrics,
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
            metrics: AuthMetrics::default(),
        }
    }
}

/// Password attempts of one user: so many at once, then one per second.
const ATTEMPTS: RateLimit = RateLimit { per_second: 1, burst: 10 };
/// Password hashes computed at a time: each takes 19 MiB and a core.
const HASHES_AT_ONCE: usize = 2;

/// Accounts, keys, policies and limits of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    store: Store,
    keys: KeyService,
    rules: sigv4::Rules,
    /// Grows with every change through this handle. A cached value that was loaded before is not used.
    generation: AtomicU64,
    credentials: Cache<AccessKeyId, Loaded<Credential>>,
    tokens: Cache<TokenId, Loaded<TokenRow>>,
    users: Cache<(AccountId, UserName), Loaded<UserGrants>>,
    /// Parsed policies by the random number in the account's row that changes with them.
    policies: Cache<(AccountId, u64), Arc<AccountPolicies>>,
    signing_keys: SigningKeys,
    limits: RateLimits<AccountId>,
    attempts: RateLimits<Identity>,
    hashing: Semaphore,
    metrics: AuthMetrics,
}

/// A cached value with the generation that was current *before* it was read.
struct Loaded<T> {
    generation: u64,
    value: Arc<T>,
}

impl<T> Clone for Loaded<T> {
    fn clone(&self) -> Self {
        Self { generation: self.generation, value: self.value.clone() }
    }
}

/// What a user may do.
struct UserGrants {
    managed: BTreeSet<ManagedPolicy>,
    policies: Arc<AccountPolicies>,
}

/// A request whose sender is known.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who sent it.
    pub principal: Principal,
    /// For signed requests: the verified claim and its key, to verify the body with ([`Claim::payload`],
    /// [`sigv4::chunked::Decoder`]).
    pub signature: Option<(Claim, SigningKey)>,
}

impl Auth {
    /// The accounts in `store`, whose secrets are sealed by `keys`.
    pub fn new(store: Store, keys: KeyService, config: AuthConfig) -> Self {
        let cache = config.cache_entries_max;
        let stale = config.staleness_max;
        Self(Arc::new(Inner {
            store,
            keys,
            rules: config.rules,
            generation: AtomicU64::new(0),
            credentials: Cache::builder().max_capacity(cache).time_to_live(stale).build(),
            tokens: Cache::builder().max_capacity(cache).time_to_live(stale).build(),
            users: Cache::builder().max_capacity(cache).time_to_live(stale).build(),
            policies: Cache::new(cache),
            signing_keys: SigningKeys::new(cache),
            limits: RateLimits::new(config.default_rate_limit, config.rate_limited_accounts_max),
            attempts: RateLimits::new(Some(ATTEMPTS), cache),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            metrics: config.metrics,
        }))
    }

    /// The secret and owner of an access key. `None` if there is no such key, if it is disabled or expired, or
    /// if its user or account is disabled. From memory, at most [`AuthConfig::staleness_max`] old.
    ///
    /// # Errors
    /// The store's, the key service's: it is not known whether there is such a key.
    pub async fn lookup(&self, id: &AccessKeyId) -> Result<Option<Arc<Credential>>, AuthError> {
        let load = self.load_credential(id);
        let Some(credential) = self.cached(&self.0.credentials, id, load).await? else { return Ok(None) };
        let expired = credential.expires.is_some_and(|expires| Timestamp::now() >= expires);
        Ok((!expired).then_some(credential))
    }

    /// Who a bearer token speaks for. `None` as for [`Auth::lookup`].
    ///
    /// # Errors
    /// The store's.
    pub async fn lookup_token(&self, text: &str) -> Result<Option<Identity>, AuthError> {
        let Some((id, sha256)) = parse_token(text) else { return Ok(None) };
        let load = self.load_token(&id);
        let Some(row) = self.cached(&self.0.tokens, &id, load).await? else { return Ok(None) };
        let expired = row.expires.is_some_and(|expires| Timestamp::now() >= expires);
        let right = bool::from(row.sha256.ct_eq(&sha256));
        Ok((right && !expired).then(|| row.owner.clone()))
    }

    /// Finds out who sent a request to `service` (`terrane`, `ec2`, …; S3's are verified by its own front
    /// end): signed with version 4 in header or query, or `Authorization: Bearer`, or anonymous.
    ///
    /// `body_sha256` as in [`Claim::verify`]; our own client always declares it in a header, so that it need
    /// not be known for native calls.
    ///
    /// # Errors
    /// [`AuthError::Signature`], [`AuthError::InvalidAccessKey`], [`AuthError::InvalidToken`],
    /// [`AuthError::UnknownScheme`]; the store's.
    pub async fn authenticate(
        &self,
        request: sigv4::Request<'_>,
        service: &'static str,
        body_sha256: Option<&[u8; 32]>,
        now: SystemTime,
    ) -> Result<Authenticated, AuthError> {
        let result = self.find_sender(request, service, body_sha256, now).await;
        if let Err(error) = &result {
            self.0.metrics.refused.get_or_create(&Refusal { code: error.code() }).inc();
        }
        result
    }

    async fn find_sender(
        &self,
        request: sigv4::Request<'_>,
        service: &'static str,
        body_sha256: Option<&[u8; 32]>,
        now: SystemTime,
    ) -> Result<Authenticated, AuthError> {
        let Some(claim) = Claim::parse(request)? else {
            let principal = self.authenticate_unsigned(request).await?;
            return Ok(Authenticated { principal, signature: None });
        };
        let id = &claim.access_key;
        let credential = self.lookup(id).await?.ok_or_else(|| AuthError::InvalidAccessKey(id.clone()))?;
        let key = self.0.signing_keys.key(id, &credential.secret, &claim.scope);
        claim.verify(request, &key, &self.0.rules, service, now, body_sha256)?;
        self.0.signing_keys.keep(id, &claim.scope, &key);
        let principal = credential.identity.clone().into();
        Ok(Authenticated { principal, signature: Some((claim, key)) })
    }

    async fn authenticate_unsigned(&self, request: sigv4::Request<'_>) -> Result<Principal, AuthError> {
        let mut values = request.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), more) = (values.next(), values.next()) else { return Ok(Principal::Anonymous) };
        let text = value.to_str().ok().and_then(|text| text.split_once(' '));
        match (text, more) {
            (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => {
                let identity = self.lookup_token(token.trim()).await?;
                identity.map(Principal::from).ok_or(AuthError::InvalidToken)
            }
            _ => Err(AuthError::UnknownScheme),
        }
    }

    /// May `principal` do `action` (`s3:PutObject`, `terrane:ListAccounts`, …) with `resource`?
    ///
    /// # Errors
    /// It could not be decided (store unreachable): never to be taken for a yes.
    pub async fn authorize(
        &self,
        principal: &Principal,
        action: &str,
        resource: &Resource<'_>,
        context: &RequestContext,
    ) -> Result<Decision, AuthError> {
        if let Some(decision) = policy::decide_at_once(principal, resource) {
            return Ok(decision);
        }
        let nothing = Decision { allowed: false, why: Why::NothingAllows };
        let Principal::Known(Identity { account, user: Some(user) }) = principal else { return Ok(nothing) };
        let key = (account.clone(), user.clone());
        let load = self.load_grants(&key);
        let Some(grants) = self.cached(&self.0.users, &key, load).await? else { return Ok(nothing) };
        let who = UserPolicies { account, user, managed: &grants.managed, policies: &grants.policies };
        Ok(policy::decide_for_user(&who, action, resource, context))
    }

    /// Takes `cost` requests out of the account's rate limit.
    ///
    /// # Errors
    /// [`Throttled`] with the time to wait.
    pub fn admit(&self, account: &AccountId, cost: u32) -> Result<(), Throttled> {
        self.0.limits.admit(account, cost).inspect_err(|_| _ = self.0.metrics.throttled.inc())
    }

    /// What signatures must keep to: for front ends that verify themselves.
    pub fn rules(&self) -> &sigv4::Rules {
        &self.0.rules
    }

    /// The key service, to rotate keys and to seal other secrets of accounts.
    pub fn keys(&self) -> &KeyService {
        &self.0.keys
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Makes all that is cached unusable.
    pub(crate) fn forget(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn configure_limit(&self, account: &AccountId, own: Option<RateLimit>) {
        self.0.limits.configure(account, own);
    }

    pub(crate) fn admit_attempt(&self, owner: &Identity) -> Result<(), Throttled> {
        self.0.attempts.admit(owner, 1)
    }

    /// Runs a password hash off the async threads, few at a time.
    pub(crate) async fn hash_in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let _permit = self.0.hashing.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(AuthError::Damaged("password hash")))
    }

    /// A value from memory, unless something was changed since it was read; else as `load` reads it.
    async fn cached<K: Clone + Eq + Hash + Send + Sync + 'static, V: Send + Sync + 'static>(
        &self,
        cache: &Cache<K, Loaded<V>>,
        key: &K,
        load: impl Future<Output = Result<Option<V>, AuthError>>,
    ) -> Result<Option<Arc<V>>, AuthError> {
        let generation = self.0.generation.load(Ordering::SeqCst);
        if let Some(found) = cache.get(key).filter(|found| found.generation == generation) {
            self.0.metrics.cached.inc();
            return Ok(Some(found.value));
        }
        self.0.metrics.loaded.inc();
        let Some(value) = load.await? else { return Ok(None) };
        let value = Arc::new(value);
        cache.insert(key.clone(), Loaded { generation, value: value.clone() });
        Ok(Some(value))
    }

    async fn load_credential(&self, id: &AccessKeyId) -> Result<Option<Credential>, AuthError> {
        let load = |tx: Tx| async move {
            let Some(row) = ACCESS_KEYS.get(&tx, id).await? else { return Ok(None) };
            let account = is_active(&tx, &row.owner).await?;
            Ok::<_, AuthError>(account.map(|account| (row, account.rate_limit)))
        };
        let Some((row, own_limit)) = self.0.store.read(load).await? else { return Ok(None) };
        if !row.is_usable(Timestamp::now()) {
            return Ok(None);
        }
        self.0.limits.configure(&row.owner.account, own_limit);
        let purpose = access_key_purpose(id);
        let opened = self.0.keys.open_sealed(&row.owner.account, purpose, &row.secret).await?;
        Ok(Some(Credential {
            id: id.clone(),
            identity: row.owner,
            secret: secret_text(&opened)?,
            expires: row.expires,
        }))
    }

    async fn load_token(&self, id: &TokenId) -> Result<Option<TokenRow>, AuthError> {
        let key = &id.to_string();
        let load = |tx: Tx| async move {
            let Some(row) = TOKENS.get(&tx, key).await? else { return Ok(None) };
            let account = is_active(&tx, &row.owner).await?;
            Ok::<_, AuthError>(account.map(|account| (row, account.rate_limit)))
        };
        let Some((row, own_limit)) = self.0.store.read(load).await? else { return Ok(None) };
        self.0.limits.configure(&row.owner.account, own_limit);
        Ok(Some(row))
    }

    async fn load_grants(
        &self,
        (account, user): &(AccountId, UserName),
    ) -> Result<Option<UserGrants>, AuthError> {
        let load = |tx: Tx| async move {
            let row = ACCOUNTS.get(&tx, account).await?;
            let user = USERS.get(&tx, &user_key(account, user)).await?;
            let (Some(row), Some(user)) = (row, user) else { return Ok(None) };
            let version = (account.clone(), row.policies);
            if let Some(policies) = self.0.policies.get(&version) {
                return Ok(Some((user, version, policies)));
            }
            let stored = POLICIES.scan_prefix(&tx, account, None, POLICIES_MAX).await?;
            let texts = stored.iter().map(|((_, name), row)| (name.as_str(), row.text.as_str()));
            Ok::<_, AuthError>(Some((user, version, Arc::new(parse_policies(texts)?))))
        };
        let Some((user, version, policies)) = self.0.store.read(load).await? else { return Ok(None) };
        self.0.policies.insert(version, policies.clone());
        Ok(Some(UserGrants { managed: user.managed_policies, policies }))
    }
}

fn parse_policies<'a>(
    stored: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<AccountPolicies, AuthError> {
    let named = stored.map(|(name, text)| Ok((PolicyName::parse(name)?, text)));
    let named = named.collect::<Result<Vec<_>, AuthError>>()?;
    AccountPolicies::parse(named.iter().map(|(name, text)| (name, *text)))
        .map_err(|problem| AuthError::InvalidPolicy(vec![problem.to_string()]))
}

/// A sealed secret access key as text.
pub(crate) fn secret_text(opened: &[u8]) -> Result<Secret, AuthError> {
    let text = std::str::from_utf8(opened).map_err(|_| AuthError::Damaged("secret access key"))?;
    Ok(Secret::new(text.to_owned()))
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("rules", &self.0.rules).finish_non_exhaustive()
    }
}
