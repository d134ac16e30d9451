//! Who is let in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use terrane_s3::S3Config;
use terrane_types::Region;

use crate::server::Server;
use crate::signer::{self, Key};

#[test]
fn keys_and_signatures() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"data");
    let mut wrong = Key::of(1);
    wrong.secret = "wrong".into();
    server.call("GET", "/bucket/key").key(wrong).send().expect_error(403, "SignatureDoesNotMatch");
    let mut unknown = Key::of(1);
    unknown.id = "TESTACCESSKEY0009".into();
    server.call("GET", "/bucket/key").key(unknown).send().expect_error(403, "InvalidAccessKeyId");
    server.call("GET", "/bucket/key").anonymous().send().expect_error(403, "AccessDenied");
    server.call("GET", "/bucket/key").key(Key::of(2)).send().expect_error(403, "AccessDenied");
    server.call("GET", "/bucket/key").send().expect(200);
}

#[test]
fn malformed_signatures() {
    let server = Server::with_bucket();
    for (authorization, status, code) in [
        ("", 403, "AccessDenied"),
        ("AWS4-HMAC-SHA256 nonsense", 400, "AuthorizationHeaderMalformed"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
            400,
            "AuthorizationHeaderMalformed",
        ),
        ("AWS nonsense", 400, "InvalidArgument"),
        ("Bearer token", 400, "InvalidArgument"),
    ] {
        let reply = server.call("GET", "/bucket").anonymous().unsigned("authorization", authorization).send();
        reply.expect_error(status, code);
    }
}

#[test]
fn clocks_may_differ_by_fifteen_minutes() {
    let server = Server::with_bucket();
    for skew in [-890, 890] {
        server.call("GET", "/bucket").skew(skew).send().expect(200);
    }
    for skew in [-910, 910, -86_400 * 400, 86_400 * 400] {
        server.call("GET", "/bucket").skew(skew).send().expect_error(403, "RequestTimeTooSkewed");
    }
}

#[test]
fn regions_outside_the_list_are_refused() {
    Server::with_bucket().call("GET", "/bucket").region("mars-1").send().expect(200);
    let config = S3Config { regions: Some(vec![Region::us_east_1()]), ..S3Config::default() };
    let server = Server::with(config);
    server.call("PUT", "/bucket").send().expect(200);
    let reply = server.call("GET", "/bucket").region("mars-1").send();
    reply.expect_error(400, "AuthorizationHeaderMalformed");
}

#[test]
fn unsigned_amz_headers_are_refused() {
    let server = Server::with_bucket();
    let call = server.call("PUT", "/bucket/key").body(b"x").unsigned("x-amz-acl", "public-read");
    call.send().expect_error(403, "AccessDenied");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
}

#[test]
fn a_signed_date_header_will_do() {
    let server = Server::with_bucket();
    let (date, amz) = (signer::http_date(0), signer::amz_date(0));
    let headers = vec![
        ("date".to_owned(), date.clone()),
        ("host".to_owned(), server.address.to_string()),
        ("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()),
    ];
    let (key, region) = (Key::of(1), "us-east-1");
    let string = signer::string_v4(("GET", "/bucket", ""), &headers, "UNSIGNED-PAYLOAD", &amz, region);
    let signature = signer::sign_v4(&key, &amz, region, &string);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders=date;host;x-amz-content-sha256, Signature={signature}",
        key.id,
        signer::scope(&amz, region)
    );
    let call = server.call("GET", "/bucket").anonymous().unsigned("authorization", &authorization);
    let call = call.unsigned("date", &date).unsigned("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    call.send().expect(200);
}

fn presigned(server: &Server, path: &str, expires: i64, age: i64) -> String {
    let (key, region, date) = (Key::of(1), "us-east-1", signer::amz_date(-age));
    let scope = signer::scope(&date, region).replace('/', "%2F");
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F{scope}&X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host",
        key.id
    );
    let headers = vec![("host".to_owned(), server.address.to_string())];
    let string = signer::string_v4(("GET", path, &query), &headers, "UNSIGNED-PAYLOAD", &date, region);
    format!("{path}?{query}&X-Amz-Signature={}", signer::sign_v4(&key, &date, region, &string))
}

#[test]
fn presigned_urls() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"data");
    let get = |target: &str| server.call("GET", target).anonymous().send();
    assert_eq!(get(&presigned(&server, "/bucket/key", 604_800, 0)).body, b"data");
    assert_eq!(get(&presigned(&server, "/bucket/key", 100, 50)).body, b"data");
    get(&presigned(&server, "/bucket/key", 100, 150)).expect_error(403, "AccessDenied");
    for expires in [604_801, -1] {
        let reply = get(&presigned(&server, "/bucket/key", expires, 0));
        reply.expect_error(403, "AuthorizationQueryParametersError");
    }
    let tampered = presigned(&server, "/bucket/key", 100, 0).replace("/bucket/key", "/bucket/kex");
    get(&tampered).expect_error(403, "SignatureDoesNotMatch");
}

fn v2(key: &Key, string: &str) -> String {
    BASE64.encode(signer::hmac_sha1(key.secret.as_bytes(), string.as_bytes()))
}

#[test]
fn version_2_in_headers() {
    let server = Server::with_bucket();
    let key = Key::of(1);
    let get = |target: &str, signed: &str, skew: i64| {
        let date = signer::http_date(skew);
        let signature = v2(&key, &format!("GET\n\n\n{date}\n{signed}"));
        let authorization = format!("AWS {}:{signature}", key.id);
        let call = server.call("GET", target).anonymous().unsigned("authorization", &authorization);
        call.unsigned("date", &date).send()
    };
    // Both spellings of a bucket's resource occur in the wild.
    get("/bucket", "/bucket", 0).expect(200);
    get("/bucket", "/bucket/", 0).expect(200);
    get("/bucket", "/other", 0).expect_error(403, "SignatureDoesNotMatch");
    get("/bucket", "/bucket", 1000).expect_error(403, "RequestTimeTooSkewed");
}

#[test]
fn version_2_in_urls() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"data");
    let key = Key::of(1);
    let get = |expires: i64| {
        let expires = time::OffsetDateTime::now_utc().unix_timestamp() + expires;
        let signature = v2(&key, &format!("GET\n\n\n{expires}\n/bucket/key"));
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let target = format!("/bucket/key?AWSAccessKeyId={}&Expires={expires}&Signature={signature}", key.id);
        server.call("GET", &target).anonymous().send()
    };
    assert_eq!(get(60).body, b"data");
    get(-60).expect_error(403, "AccessDenied");
}

#[test]
fn an_exhausted_rate_limit_says_when_to_come_back() {
    let reply = Server::start().call("GET", "/").key(Key::of(3)).send();
    reply.expect_error(503, "SlowDown");
    assert_eq!(reply.header("retry-after"), Some("2"));
}
