use terrane_auth::sigv4::{Body, Signer};
use terrane_auth::{AuthError, NewAccessKey, Principal, RateLimit, Secret, Status};
use terrane_types::{AccessKeyId, Region};

use super::*;

fn signed(key: &NewAccessKey, now: SystemTime) -> http::Request<()> {
    let signer = Signer::new(key.key.id.clone(), key.secret.clone(), Region::us_east_1(), "terrane");
    let request =
        http::Request::post("http://localhost:7070/_terrane/v1/queues/high:pause").body(()).unwrap();
    let (mut parts, ()) = request.into_parts();
    signer.sign(&mut parts, Body::Bytes(b"{}"), now).unwrap();
    http::Request::from_parts(parts, ())
}

async fn who(auth: &Auth, request: &http::Request<()>) -> Result<Principal, AuthError> {
    let authenticated = auth.authenticate(request.into(), "terrane", None, SystemTime::now()).await;
    authenticated.map(|authenticated| authenticated.principal)
}

fn bearer(value: &str) -> http::Request<()> {
    http::Request::get("/_terrane/v1/status").header("authorization", value).body(()).unwrap()
}

#[tokio::test]
async fn signed_requests_are_their_owners() {
    let auth = fresh().await;
    let owner = user(&auth, &account(&auth).await, "alice").await;
    let key = auth.create_access_key(&owner, None).await.unwrap();
    let request = signed(&key, SystemTime::now());
    for _ in 0..2 {
        assert_eq!(who(&auth, &request).await.unwrap(), Principal::Known(owner.clone()));
    }
    let late = signed(&key, SystemTime::now() - HOUR);
    assert_eq!(who(&auth, &late).await.unwrap_err().code(), "RequestTimeTooSkewed");
    let forged = NewAccessKey { secret: Secret::new("x".repeat(40)), ..key };
    let refused = who(&auth, &signed(&forged, SystemTime::now())).await.unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("SignatureDoesNotMatch", 403));
    let other = auth.authenticate((&request).into(), "ec2", None, SystemTime::now()).await.unwrap_err();
    assert_eq!(other.code(), "AuthorizationHeaderMalformed");
}

#[tokio::test]
async fn requests_without_a_signature() {
    let auth = fresh().await;
    let anonymous = http::Request::get("/").body(()).unwrap();
    assert_eq!(who(&auth, &anonymous).await.unwrap(), Principal::Anonymous);
    for (value, code) in
        [("Basic dTpw", "InvalidRequest"), ("Bearer", "InvalidRequest"), ("Bearer x", "InvalidToken")]
    {
        assert_eq!(who(&auth, &bearer(value)).await.unwrap_err().code(), code, "{value}");
    }
}

#[tokio::test]
async fn unknown_disabled_and_expired_keys_are_all_alike() {
    let auth = fresh().await;
    let account = account(&auth).await;
    let owner = user(&auth, &account, "alice").await;
    let name = owner.user.clone().unwrap();
    let key = auth.create_access_key(&owner, None).await.unwrap();
    let id = &key.key.id;
    let stranger = AccessKeyId::parse("AKIAAAAAAAAAAAAAAAAA").unwrap();
    assert!(auth.lookup(&stranger).await.unwrap().is_none());
    let found = auth.lookup(id).await.unwrap().unwrap();
    assert!(found.secret == key.secret && found.identity == owner);

    auth.set_access_key_status(&account, id, Status::Disabled).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_none());
    assert_eq!(who(&auth, &signed(&key, SystemTime::now())).await.unwrap_err().code(), "InvalidAccessKeyId");
    auth.set_access_key_status(&account, id, Status::Enabled).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_some());

    auth.set_user_status(&account, &name, Status::Disabled).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_none());
    auth.set_user_status(&account, &name, Status::Enabled).await.unwrap();
    auth.set_account_status(&account, Status::Disabled).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_none());
    auth.set_account_status(&account, Status::Enabled).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_some());

    auth.set_access_key_expiry(&account, id, Some(SystemTime::now() - HOUR)).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_none());
    auth.set_access_key_expiry(&account, id, Some(SystemTime::now() + HOUR)).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_some());
    auth.delete_user(&account, &name).await.unwrap();
    assert!(auth.lookup(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_key_expires_while_it_is_cached() {
    let installation = Installation::new().await;
    let auth = installation.auth(AuthConfig { staleness_max: HOUR, ..AuthConfig::default() });
    let owner = Identity::root(account(&auth).await);
    let soon = SystemTime::now() + Duration::from_millis(300);
    let key = auth.create_access_key(&owner, Some(soon)).await.unwrap();
    let token = auth.create_token(&owner, "t", Some(soon)).await.unwrap();
    assert!(auth.lookup(&key.key.id).await.unwrap().is_some());
    assert!(auth.lookup_token(token.text.expose()).await.unwrap().is_some());
    while SystemTime::now() < soon {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(auth.lookup(&key.key.id).await.unwrap().is_none());
    assert!(auth.lookup_token(token.text.expose()).await.unwrap().is_none());
}

#[tokio::test]
async fn another_process_sees_changes_within_the_staleness_bound() {
    let installation = Installation::new().await;
    let here = installation.auth(AuthConfig::default());
    let there =
        installation.auth(AuthConfig { staleness_max: Duration::from_millis(50), ..AuthConfig::default() });
    let frozen = installation.auth(AuthConfig { staleness_max: HOUR, ..AuthConfig::default() });
    let account = account(&here).await;
    let key = here.create_access_key(&Identity::root(account.clone()), None).await.unwrap();
    for other in [&there, &frozen] {
        assert!(other.lookup(&key.key.id).await.unwrap().is_some());
    }
    here.set_access_key_status(&account, &key.key.id, Status::Disabled).await.unwrap();
    assert!(frozen.lookup(&key.key.id).await.unwrap().is_some(), "it was cached");
    while there.lookup(&key.key.id).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn bearer_tokens_speak_for_their_owner() {
    let auth = fresh().await;
    let account = account(&auth).await;
    let owner = user(&auth, &account, "alice").await;
    let token = auth.create_token(&owner, "laptop", None).await.unwrap();
    let text = token.text.expose();
    for scheme in ["Bearer", "bearer"] {
        let request = bearer(&format!("{scheme} {text}"));
        assert_eq!(who(&auth, &request).await.unwrap(), Principal::Known(owner.clone()));
    }
    let (id, secret) = text.split_once('.').unwrap();
    let last = if secret.ends_with('A') { 'B' } else { 'A' };
    let wrong = format!("{id}.{}{last}", &secret[..secret.len() - 1]);
    assert!(auth.lookup_token(&wrong).await.unwrap().is_none());
    assert!(!format!("{token:?}").contains(secret));
    assert_eq!(auth.tokens(&owner).await.unwrap(), std::slice::from_ref(&token.token));

    let name = owner.user.clone().unwrap();
    auth.set_user_status(&account, &name, Status::Disabled).await.unwrap();
    assert!(auth.lookup_token(text).await.unwrap().is_none());
    auth.set_user_status(&account, &name, Status::Enabled).await.unwrap();
    assert!(auth.lookup_token(text).await.unwrap().is_some());
    let stranger = super::account(&auth).await;
    let refused = auth.delete_token(&stranger, &token.token.id).await.unwrap_err();
    assert_eq!(refused.code(), "NoSuchToken");
    auth.delete_token(&account, &token.token.id).await.unwrap();
    assert!(auth.lookup_token(text).await.unwrap().is_none());
}

#[tokio::test]
async fn passwords_are_verified_and_attempts_limited() {
    let auth = fresh().await;
    let account = account(&auth).await;
    let (alice, root) = (user(&auth, &account, "alice").await, Identity::root(account.clone()));
    let password = |text: &str| Secret::new(text.to_owned());
    let good = password("correct horse battery");
    for short in ["", "12345678901", &"x".repeat(1025)] {
        assert_eq!(auth.set_password(&alice, &password(short)).await.unwrap_err().code(), "InvalidArgument");
    }
    assert_eq!(auth.verify_password(&alice, &good).await.unwrap_err().code(), "WrongPassword", "none is set");
    auth.set_password(&alice, &good).await.unwrap();
    auth.set_password(&root, &password("another long password")).await.unwrap();
    auth.verify_password(&alice, &good).await.unwrap();
    assert!(auth.user(&account, alice.user.as_ref().unwrap()).await.unwrap().has_password);
    assert_eq!(auth.verify_password(&root, &good).await.unwrap_err().code(), "WrongPassword");
    auth.set_user_status(&account, alice.user.as_ref().unwrap(), Status::Disabled).await.unwrap();
    assert_eq!(auth.verify_password(&alice, &good).await.unwrap_err().code(), "WrongPassword");
    auth.clear_password(&root).await.unwrap();
    let wrong = password("another long password");
    assert_eq!(auth.verify_password(&root, &wrong).await.unwrap_err().code(), "WrongPassword");

    let nobody = Identity::user(account, UserName::parse("nobody").unwrap());
    let attempts = (0..40).map(|_| auth.verify_password(&nobody, &good));
    let results = futures::future::join_all(attempts).await;
    let throttled = results.iter().filter(|r| matches!(r, Err(AuthError::Throttled(_)))).count();
    assert!(throttled > 0 && throttled < 40, "{throttled}");
}

#[tokio::test]
async fn each_account_has_its_own_rate_limit() {
    let installation = Installation::new().await;
    let limit = RateLimit { per_second: 1, burst: 3 };
    let auth = installation.auth(AuthConfig { default_rate_limit: Some(limit), ..AuthConfig::default() });
    let (a, b) = (account(&auth).await, account(&auth).await);
    auth.admit(&a, 3).unwrap();
    assert!(auth.admit(&a, 1).unwrap_err().retry_after > Duration::ZERO);
    auth.admit(&b, 3).unwrap();
    let more = RateLimit { per_second: 1000, burst: 1_000_000 };
    auth.set_rate_limit(&a, Some(more)).await.unwrap();
    auth.admit(&a, 500_000).unwrap();
    let zero = RateLimit { per_second: 0, burst: 1 };
    assert_eq!(auth.set_rate_limit(&a, Some(zero)).await.unwrap_err().code(), "InvalidArgument");
    // Another process learns of it with the account's next request.
    let there = installation.auth(AuthConfig { default_rate_limit: Some(limit), ..AuthConfig::default() });
    let key = auth.create_access_key(&Identity::root(a.clone()), None).await.unwrap();
    there.lookup(&key.key.id).await.unwrap().unwrap();
    there.admit(&a, 500_000).unwrap();
}
