//! Dispatch, request IDs, virtual hosts, audit.

use std::collections::HashSet;

use http::Method;

use crate::fixture::{Answer, DOMAIN, Fixture};

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let door = Fixture::new().await;
    let mut ids = HashSet::new();
    for path in ["/", "/bucket/key", "/_terrane/health", "/_terrane/v1/queues", "/_terrane/nothing"] {
        let answer = door.plain(Method::GET, path).await;
        let id = answer.header("x-amz-request-id").to_owned();
        assert!(
            id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
            "{id}"
        );
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn the_scopes_service_decides_who_answers() {
    let door = Fixture::new().await;
    let s3 = door.signed(&door.signer("s3"), Method::GET, "/", b"").await;
    assert_eq!(s3.status, 200, "{s3:?}");
    assert!(s3.text.contains("ListAllMyBucketsResult"), "{s3:?}");
    let ec2 = door.signed(&door.signer("ec2"), Method::POST, "/", b"Action=DescribeVolumes").await;
    assert_eq!(ec2.status, 200, "{ec2:?}");
    assert!(ec2.text.contains("<DescribeVolumesResponse"), "{ec2:?}");
    assert!(ec2.text.contains(ec2.header("x-amz-request-id")), "{ec2:?}");
    let ebs = door.signed(&door.signer("ebs"), Method::GET, "/snapshots/snap-1/blocks", b"").await;
    assert_eq!((ebs.status, ebs.header("x-amzn-errortype")), (400, "ValidationException"));
    let sqs = door.signed(&door.signer("sqs"), Method::POST, "/", b"Action=ListQueues").await;
    assert_eq!(sqs.status, 403);
    assert!(sqs.text.contains("sqs"), "{sqs:?}");
    let glass = door.plain(Method::GET, "/.well-known/looking-glass/v1/routers").await;
    assert_eq!(glass.status, 404);
}

#[tokio::test]
async fn buckets_have_hosts_of_their_own() {
    let door = Fixture::new().await;
    let s3 = door.signer("s3");
    assert_eq!(door.signed(&s3, Method::PUT, "/first", b"").await.status, 200);
    // Under a bucket's host even our own path is a key.
    let host = format!("first.{DOMAIN}:{}", door.address().port());
    let request = http::Request::put(door.url("/_terrane/health")).header("host", &host).body(()).unwrap();
    let (mut parts, ()) = request.into_parts();
    let body = terrane_auth::sigv4::Body::Bytes(b"mine");
    s3.sign(&mut parts, body, std::time::SystemTime::now()).unwrap();
    let request: reqwest::Request = http::Request::from_parts(parts, "mine").try_into().unwrap();
    let put = Answer::of(door.http.execute(request).await.unwrap()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let got = door.signed(&s3, Method::GET, "/first/_terrane/health", b"").await;
    assert_eq!((got.status, &*got.text), (200, "mine"));
}

#[tokio::test]
async fn mutating_calls_are_audited_and_no_others() {
    let door = Fixture::new().await;
    let s3 = door.signer("s3");
    door.signed(&s3, Method::PUT, "/bucket", b"").await;
    let put = door.signed(&s3, Method::PUT, "/bucket/a%20key", b"secret body").await;
    door.signed(&s3, Method::GET, "/bucket/a%20key", b"").await;
    door.plain(Method::PUT, "/bucket/other").await;
    door.native(Method::POST, "/_terrane/v1/accounts", Some(serde_json::json!({ "name": "lab" }))).await;
    door.native(Method::GET, "/_terrane/v1/accounts", None).await;
    let wrong = serde_json::json!({ "class": "urgent" });
    door.native(Method::POST, "/_terrane/v1/queues/pause", Some(wrong)).await;
    let lines = door.audit_lines();
    let said: Vec<_> =
        lines.iter().map(|line| (line["action"].as_str().unwrap(), line["status"].as_u64())).collect();
    assert_eq!(
        said,
        [
            ("s3:CreateBucket", Some(200)),
            ("s3:PutObject", Some(200)),
            ("s3:PutObject", Some(403)),
            ("terrane:CreateAccount", Some(201)),
            ("terrane:ControlQueues", Some(400)),
        ],
        "{lines:#?}"
    );
    assert_eq!(lines[1]["resource"], "bucket/a key");
    assert_eq!(lines[1]["request_id"], put.header("x-amz-request-id"));
    assert_eq!(lines[1]["account"], "000000000001");
    assert_eq!(lines[1]["source"], "127.0.0.1");
    assert!(lines[2]["account"].is_null());
    assert_eq!(lines[3]["principal"], door.root.key.id.as_str());
    assert_eq!(lines[4]["error"], "bad-request");
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains(door.root.secret.expose()) && !text.contains("secret body"));
}
