//! Bounds on requests as such.

use terrane_s3::{Limits, RequestId, S3Config};

use crate::server::Server;

#[test]
fn headers_are_bounded() {
    let server = Server::with_bucket();
    let call = server.call("GET", "/bucket").unsigned("x-long", &"a".repeat(20_000));
    call.send().expect_error(400, "RequestHeaderSectionTooLarge");
    let mut call = server.call("GET", "/bucket");
    for n in 0..99 {
        call = call.unsigned(&format!("x-{n}"), "a");
    }
    let reply = call.send();
    // hyper itself refuses the 101st header before the request exists.
    assert!(reply.status == 431 || reply.element("Code").as_deref() == Some("RequestHeaderSectionTooLarge"));
    let limits = Limits { headers: 20, ..Limits::default() };
    let server = Server::with(S3Config { limits, ..S3Config::default() });
    let mut call = server.call("GET", "/");
    for n in 0..20 {
        call = call.unsigned(&format!("x-{n}"), "a");
    }
    call.send().expect_error(400, "RequestHeaderSectionTooLarge");
}

#[test]
fn metadata_is_bounded() {
    let server = Server::with_bucket();
    let put = |bytes: usize| {
        let call = server.call("PUT", "/bucket/key").header("x-amz-meta-k", &"v".repeat(bytes - 1));
        call.body(b"x").send()
    };
    put(2049).expect_error(400, "MetadataTooLarge");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    put(2048).expect(200);
}

#[test]
fn tags_are_bounded() {
    let server = Server::with_bucket();
    let put = |tags: &str| server.call("PUT", "/bucket/key").header("x-amz-tagging", tags).body(b"x").send();
    let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
    put(&many(11)).expect_error(400, "InvalidTag");
    put(&format!("{}=v", "k".repeat(129))).expect_error(400, "InvalidTag");
    put(&format!("k={}", "v".repeat(257))).expect_error(400, "InvalidTag");
    put("k=1&k=2").expect_error(400, "InvalidTag");
    put("k=%ff").expect_error(400, "InvalidArgument");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    put(&many(10)).expect(200);
    assert_eq!(server.get("/bucket/key?tagging").elements("Key").len(), 10);
}

#[test]
fn what_is_not_offered_says_so() {
    let server = Server::with_bucket();
    for (method, target) in [
        ("PUT", "/bucket?policy"),
        ("GET", "/bucket?lifecycle"),
        ("GET", "/bucket?website"),
        ("GET", "/bucket/key?torrent"),
    ] {
        let reply = server.call(method, target).body(b"").send();
        assert_eq!(reply.element("Code").as_deref(), Some("NotImplemented"), "{target}: {}", reply.text());
        assert_eq!(reply.status, 501);
    }
    let sse = server.call("PUT", "/bucket/key").header("x-amz-server-side-encryption", "AES256").body(b"x");
    sse.send().expect_error(501, "NotImplemented");
    let cold = server.call("PUT", "/bucket/key").header("x-amz-storage-class", "GLACIER").body(b"x");
    cold.send().expect_error(400, "InvalidStorageClass");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
}

#[test]
fn preflights_without_rules() {
    let server = Server::with_bucket();
    let options = server.call("OPTIONS", "/bucket/key").anonymous();
    options.clone().send().expect_error(400, "InvalidRequest");
    let options = options.unsigned("origin", "http://a.b").unsigned("access-control-request-method", "GET");
    options.send().expect_error(403, "AccessForbidden");
}

#[test]
fn every_answer_names_its_request() {
    let server = Server::with_bucket();
    let ids: Vec<String> =
        (0..3).map(|_| server.get("/bucket").header("x-amz-request-id").unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| id.len() == 16) && ids[0] != ids[1]);
    assert_ne!(RequestId::random(), RequestId::random());
}
