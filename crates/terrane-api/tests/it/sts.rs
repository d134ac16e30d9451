//! `GetCallerIdentity`, as awscli and SDKs send it.

use http::Method;
use terrane_auth::{Identity, UserName};

use crate::fixture::{Fixture, signer};

const CALL: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";

#[tokio::test]
async fn callers_learn_who_they_are() {
    let door = Fixture::new().await;
    let root = door.signed(&door.signer("sts"), Method::POST, "/", CALL).await;
    assert_eq!(root.status, 200, "{root:?}");
    assert!(root.header("content-type").starts_with("text/xml"));
    assert!(root.text.contains("<Arn>arn:aws:iam::000000000001:root</Arn>"), "{root:?}");
    assert!(root.text.contains("<Account>000000000001</Account>"), "{root:?}");
    assert!(root.text.contains(&format!("<RequestId>{}</RequestId>", root.header("x-amz-request-id"))));

    let account = door.auth.create_account("lab").await.unwrap().id;
    let name = UserName::parse("alice").unwrap();
    door.auth.create_user(&account, &name).await.unwrap();
    let key = door.auth.create_access_key(&Identity::user(account.clone(), name), None).await.unwrap();
    let alice = door.signed(&signer(&key, "sts"), Method::POST, "/", CALL).await;
    assert!(alice.text.contains(&format!("<Arn>arn:aws:iam::{account}:user/alice</Arn>")), "{alice:?}");
}

#[tokio::test]
async fn presigned_calls_are_accepted() {
    let door = Fixture::new().await;
    let uri = door.url("/?Action=GetCallerIdentity&Version=2011-06-15").parse().unwrap();
    let expires = std::time::Duration::from_secs(60);
    let now = std::time::SystemTime::now();
    let presigned = door.signer("sts").presign(&Method::GET, &uri, expires, now).unwrap();
    let response = door.http.get(presigned.to_string()).send().await.unwrap();
    // What a presigned URL says of its body differs between services; either way the caller is told.
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn refusals_use_the_protocols_codes() {
    let door = Fixture::new().await;
    let unknown = door.signed(&door.signer("sts"), Method::POST, "/", b"Action=AssumeRole").await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text.contains("<Code>InvalidAction</Code>"), "{unknown:?}");
    let mut other = door.root.clone();
    other.secret = terrane_auth::Secret::new("x".repeat(40));
    let wrong = door.signed(&signer(&other, "sts"), Method::POST, "/", CALL).await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text.contains("<Code>SignatureDoesNotMatch</Code>"), "{wrong:?}");
    other.key.id = "AKIAAAAAAAAAAAAAAAAA".parse().unwrap();
    let nobody = door.signed(&signer(&other, "sts"), Method::POST, "/", CALL).await;
    assert_eq!(nobody.status, 403);
    assert!(nobody.text.contains("<Code>InvalidClientTokenId</Code>"), "{nobody:?}");
}
