//! Native calls: who may what, and problem documents.

use http::Method;
use serde_json::json;
use terrane_auth::{Identity, UserName};

use crate::fixture::{Answer, Fixture, signer};

#[tokio::test]
async fn errors_are_problem_documents() {
    let door = Fixture::new().await;
    let none = None;
    for (method, path, body, status, code) in [
        (Method::GET, "/_terrane", none.clone(), 404, "not-found"),
        (Method::GET, "/_terrane/v1/nothing", none.clone(), 404, "not-found"),
        (Method::DELETE, "/_terrane/v1/queues", none.clone(), 405, "method-not-allowed"),
        (Method::GET, "/_terrane/v1/buckets/nowhere", none.clone(), 404, "not-found"),
        (Method::GET, "/_terrane/v1/operations/nonsense", none.clone(), 404, "not-found"),
        (Method::GET, "/_terrane/v1/accounts/12", none.clone(), 400, "bad-request"),
        (Method::GET, "/_terrane/v1/accounts/123456789012", none.clone(), 404, "no-such-account"),
        (Method::GET, "/_terrane/v1/metrics/history?points=many", none.clone(), 400, "bad-request"),
        (Method::GET, "/_terrane/v1/metrics/history?point=1", none, 400, "bad-request"),
        (Method::POST, "/_terrane/v1/accounts", Some(json!({ "nome": "x" })), 422, "unprocessable-entity"),
        (Method::POST, "/_terrane/v1/buckets", Some(json!({ "name": "A_B" })), 400, "bad-request"),
    ] {
        let answer = door.native(method.clone(), path, body).await;
        assert_eq!((answer.status, &*answer.problem()), (status, code), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_comes_in_without_a_key_or_token() {
    let door = Fixture::new().await;
    let anonymous = door.plain(Method::GET, "/_terrane/v1/queues").await;
    assert_eq!((anonymous.status, &*anonymous.problem()), (401, "unauthenticated"));
    assert!(anonymous.header("www-authenticate").contains("Bearer"));
    let mut key = door.root.clone();
    key.secret = terrane_auth::Secret::new("x".repeat(40));
    let wrong = door.signed(&signer(&key, "terrane"), Method::GET, "/_terrane/v1/queues", b"").await;
    assert_eq!((wrong.status, &*wrong.problem()), (403, "signature-does-not-match"));
    let forged = door.http.get(door.url("/_terrane/v1/queues")).bearer_auth("terrane.x.y");
    assert_eq!(Answer::of(forged.send().await.unwrap()).await.status, 401);
    // Signed for another service of ours.
    let sts = door.signed(&door.signer("sts"), Method::GET, "/_terrane/v1/queues", b"").await;
    assert_eq!(sts.status, 400, "{sts:?}");
    // S3 clients sign everything for s3.
    let s3 = door.signed(&door.signer("s3"), Method::GET, "/_terrane/v1/queues", b"").await;
    assert_eq!(s3.status, 200, "{s3:?}");
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_refused() {
    let door = Fixture::new().await;
    let request = http::Request::post(door.url("/_terrane/v1/accounts")).body(()).unwrap();
    for body in
        [terrane_auth::sigv4::Body::Bytes(b"{\"name\":\"mine\"}"), terrane_auth::sigv4::Body::Unsigned]
    {
        let (mut parts, ()) = request.clone().into_parts();
        door.signer("s3").sign(&mut parts, body, std::time::SystemTime::now()).unwrap();
        let forged: reqwest::Request =
            http::Request::from_parts(parts, "{\"name\":\"thine\"}").try_into().unwrap();
        let answer = Answer::of(door.http.execute(forged).await.unwrap()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let accounts = door.native(Method::GET, "/_terrane/v1/accounts", None).await.json();
    assert_eq!(accounts.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_and_keys_live_and_die() {
    let door = Fixture::new().await;
    let made =
        door.native(Method::POST, "/_terrane/v1/accounts/me/tokens", Some(json!({ "name": "ci" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, text) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["text"].as_str().unwrap().to_owned());
    let whoami = async || {
        let request = door.http.get(door.url("/_terrane/v1/whoami")).bearer_auth(&text);
        Answer::of(request.send().await.unwrap()).await
    };
    let answer = whoami().await;
    assert_eq!(answer.json()["arn"], "arn:aws:iam::000000000001:root", "{answer:?}");
    let listed = door.native(Method::GET, "/_terrane/v1/accounts/me/tokens", None).await;
    assert!(!listed.text.contains(&text), "{listed:?}");
    let path = format!("/_terrane/v1/accounts/me/tokens/{id}");
    assert_eq!(door.native(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(whoami().await.status, 401);

    let made = door.native(Method::POST, "/_terrane/v1/accounts/me/keys", Some(json!({}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, secret) = (made.json()["id"].as_str().unwrap().to_owned(), made.json()["secret"].clone());
    let mut key = door.root.clone();
    key.key.id = id.parse().unwrap();
    key.secret = terrane_auth::Secret::new(secret.as_str().unwrap().to_owned());
    let with_key =
        async || door.signed(&signer(&key, "terrane"), Method::GET, "/_terrane/v1/whoami", b"").await;
    assert_eq!(with_key().await.status, 200);
    let path = format!("/_terrane/v1/accounts/me/keys/{id}");
    let disabled = door.native(Method::PATCH, &path, Some(json!({ "status": "disabled" }))).await;
    assert_eq!(disabled.json()["status"], "disabled", "{disabled:?}");
    assert_eq!(with_key().await.status, 403);
    door.native(Method::PATCH, &path, Some(json!({ "status": "enabled" }))).await;
    assert_eq!(with_key().await.status, 200);
    let rotated =
        door.native(Method::POST, &format!("{path}/rotate"), Some(json!({ "grace_seconds": 3600 }))).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert_eq!(door.native(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(with_key().await.status, 403);
}

#[tokio::test]
async fn accounts_see_only_what_is_theirs() {
    let door = Fixture::new().await;
    door.native(Method::POST, "/_terrane/v1/buckets", Some(json!({ "name": "roots" }))).await;
    let account =
        door.native(Method::POST, "/_terrane/v1/accounts", Some(json!({ "name": "lab" }))).await.json();
    let account = account["id"].as_str().unwrap().to_owned();
    let id = account.parse().unwrap();
    let key = door.auth.create_access_key(&Identity::root(id), None).await.unwrap();
    let lab = signer(&key, "terrane");
    for (method, path, body, status) in [
        (Method::GET, "/_terrane/v1/buckets", "", 200),
        (Method::GET, "/_terrane/v1/buckets/roots", "", 404),
        (Method::PATCH, "/_terrane/v1/buckets/roots", "{\"write_mode\":\"low\"}", 404),
        (Method::DELETE, "/_terrane/v1/buckets/roots", "", 404),
        (Method::GET, "/_terrane/v1/accounts", "", 403),
        (Method::GET, "/_terrane/v1/accounts/me", "", 200),
        (Method::GET, "/_terrane/v1/accounts/000000000001", "", 403),
        (Method::GET, "/_terrane/v1/accounts/000000000001/keys", "", 403),
        (Method::GET, "/_terrane/v1/accounts/000000000001/users", "", 403),
        (Method::POST, "/_terrane/v1/accounts/000000000001/keys", "{}", 403),
        (Method::GET, "/_terrane/v1/queues", "", 403),
        (Method::POST, "/_terrane/v1/queues/pause", "{}", 403),
        (Method::GET, "/_terrane/v1/status", "", 403),
        (Method::GET, "/_terrane/v1/metrics/history", "", 403),
    ] {
        let answer = door.signed(&lab, method.clone(), path, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let buckets = door.signed(&lab, Method::GET, "/_terrane/v1/buckets", b"").await;
    assert_eq!(buckets.json(), json!([]));
    // The account cannot be deleted while it owns something.
    assert_eq!(door.signed(&signer(&key, "s3"), Method::PUT, "/labs", b"").await.status, 200);
    let path = format!("/_terrane/v1/accounts/{account}");
    assert_eq!(door.native(Method::DELETE, &path, None).await.problem(), "account-not-empty");
    assert_eq!(door.signed(&lab, Method::DELETE, "/_terrane/v1/buckets/labs", b"").await.status, 204);
    assert_eq!(door.native(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(door.signed(&lab, Method::GET, "/_terrane/v1/whoami", b"").await.status, 403);
}

#[tokio::test]
async fn users_do_what_policies_say_and_why() {
    let door = Fixture::new().await;
    let users = "/_terrane/v1/accounts/me/users";
    let made = door.native(Method::POST, users, Some(json!({ "name": "alice" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let owner = Identity::user(door.root.key.owner.account.clone(), UserName::parse("alice").unwrap());
    let key = door.auth.create_access_key(&owner, None).await.unwrap();
    let alice = signer(&key, "terrane");
    let list = async || door.signed(&alice, Method::GET, "/_terrane/v1/buckets", b"").await.status;
    assert_eq!(list().await, 403);
    let ask = json!({ "user": "alice", "action": "s3:ListAllMyBuckets" });
    let why = async || door.native(Method::POST, "/_terrane/v1/policies/why", Some(ask.clone())).await.json();
    assert_eq!(why().await["allowed"], false);

    let text = "permit(principal, action == Action::\"s3:ListAllMyBuckets\", resource);";
    let policy = "/_terrane/v1/accounts/me/policies/listing";
    let put = door.native(Method::PUT, policy, Some(json!({ "text": text }))).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(list().await, 200);
    let answer = why().await;
    assert_eq!(answer["allowed"], true);
    assert!(answer["decided_by"][0].as_str().unwrap().starts_with("listing"), "{answer}");

    let bad = json!({ "text": "permit(principal, action, resourse);" });
    let validated =
        door.native(Method::POST, "/_terrane/v1/policies/validate", Some(bad.clone())).await.json();
    assert_eq!(validated["valid"], false);
    assert_eq!(door.native(Method::PUT, policy, Some(bad)).await.problem(), "invalid-policy");
    assert_eq!(door.native(Method::DELETE, policy, None).await.status, 204);
    assert_eq!(list().await, 403);

    let full = json!({ "managed_policies": ["full-access"] });
    let changed = door.native(Method::PATCH, &format!("{users}/alice"), Some(full)).await;
    assert_eq!(changed.json()["managed_policies"], json!(["full-access"]), "{changed:?}");
    assert_eq!(list().await, 200);
    assert_eq!(door.native(Method::DELETE, &format!("{users}/alice"), None).await.status, 204);
    assert_eq!(list().await, 403);
}

#[tokio::test]
async fn buckets_have_a_default_mode() {
    let door = Fixture::new().await;
    let new = json!({ "name": "logs", "write_mode": "time=1h" });
    let made = door.native(Method::POST, "/_terrane/v1/buckets", Some(new)).await;
    assert_eq!((made.status, &made.json()["write_mode"]), (201, &json!("time=1h")));
    let put = door.signed(&door.signer("s3"), Method::PUT, "/logs/x", b"y").await;
    assert_eq!(put.status, 200);
    let patch = async |patch| door.native(Method::PATCH, "/_terrane/v1/buckets/logs", Some(patch)).await;
    assert_eq!(patch(json!({ "write_mode": "auto" })).await.json()["write_mode"], json!(null));
    assert_eq!(patch(json!({ "versioning": "enabled" })).await.json()["versioning"], "enabled");
    assert_eq!(patch(json!({ "write_mode": "time=5w" })).await.status, 400);
    assert_eq!(patch(json!({})).await.status, 400);
    let delete = door.native(Method::DELETE, "/_terrane/v1/buckets/logs", None).await;
    assert_eq!(delete.problem(), "bucket-not-empty");
}

#[tokio::test]
async fn webhooks_are_set_without_showing_their_secret() {
    let door = Fixture::new().await;
    door.native(Method::POST, "/_terrane/v1/buckets", Some(json!({ "name": "hooked" }))).await;
    let path = "/_terrane/v1/buckets/hooked/webhook";
    assert_eq!(door.native(Method::GET, path, None).await.status, 404);
    let hook = |url: &str, secret: &str| Some(json!({ "url": url, "secret": secret, "prefix": "in/" }));
    let (url, secret) = ("https://hooks.example/x", "0123456789abcdef");
    assert_eq!(door.native(Method::PUT, path, hook(url, "short")).await.status, 400);
    assert_eq!(door.native(Method::PUT, path, hook("file:///etc/passwd", secret)).await.status, 400);
    for method in [Method::PUT, Method::GET] {
        let body = (method == Method::PUT).then(|| hook(url, secret)).flatten();
        let answer = door.native(method, path, body).await;
        assert_eq!(answer.json(), json!({ "url": url, "events": [], "prefix": "in/", "suffix": "" }));
    }
    let shown = door.native(Method::GET, "/_terrane/v1/buckets/hooked", None).await;
    assert!(!shown.text.contains(secret));
    assert_eq!(door.native(Method::DELETE, path, None).await.status, 204);
    assert_eq!(door.native(Method::GET, path, None).await.status, 404);
}

#[tokio::test]
async fn queues_are_listed_paused_and_drained() {
    let door = Fixture::new().await;
    let queues = door.native(Method::GET, "/_terrane/v1/queues", None).await.json();
    let classes: Vec<_> = queues.as_array().unwrap().iter().map(|queue| queue["class"].clone()).collect();
    assert_eq!(classes, ["sync", "high", "low", "delay"]);
    let paused =
        door.native(Method::POST, "/_terrane/v1/queues/pause", Some(json!({ "class": "low" }))).await;
    assert_eq!(paused.json()[2]["paused"], true, "{paused:?}");
    let resumed = door.native(Method::POST, "/_terrane/v1/queues/resume", Some(json!({}))).await;
    assert!(resumed.json().as_array().unwrap().iter().all(|queue| queue["paused"] == false), "{resumed:?}");
    let drain = json!({ "wait_seconds": 10 });
    let drained = door.native(Method::POST, "/_terrane/v1/queues/drain", Some(drain)).await;
    assert_eq!((drained.status, &drained.json()["done"]), (200, &json!(true)));
}

#[tokio::test]
async fn health_metrics_and_history_tell_the_same_story() {
    let door = Fixture::new().await;
    let part = door.health.component("objects");
    part.degraded("paused queues: low");
    let health = door.plain(Method::GET, "/_terrane/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
    part.failed("its log cannot be written");
    let health = door.plain(Method::GET, "/_terrane/health").await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["components"]["objects"]["cause"], "its log cannot be written");

    let metrics = door.plain(Method::GET, "/_terrane/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(
        metrics.text.contains("terrane_front_answers_total{protocol=\"native\",class=\"2\"}"),
        "{metrics:?}"
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    door.history.sample(now - 15, &door.metrics).unwrap();
    door.history.sample(now, &door.metrics).unwrap();
    let path = "/_terrane/v1/metrics/history?prefix=terrane_front_connections&seconds=60";
    let history = door.native(Method::GET, path, None).await.json();
    assert_eq!(history[0]["series"], "terrane_front_connections");
    assert_eq!(history[0]["points"].as_array().unwrap().len(), 2);
    let status = door.native(Method::GET, "/_terrane/v1/status", None).await.json();
    assert_eq!(status["health"]["status"], "failed");
}
