//! Sources: S3 API reference, "Examples: Signature Calculations" (sig-v4-header-based-auth), "Authenticating
//! Requests: Using Query Parameters" (sigv4-query-string-auth); IAM user guide, "Create a signed AWS API
//! request"; aws-sig-v4-test-suite `get-vanilla`, `get-vanilla-query-order-key-case`.

use sha2::{Digest as _, Sha256};

use super::*;

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={EXAMPLE_ID}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    )
}

fn s3_example(method: &str, path: &str, signed: &str, signature: &str, headers: &[(&str, &str)]) {
    let authorization = authorization(signed, signature);
    let mut all = vec![
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", &authorization),
    ];
    all.extend_from_slice(headers);
    let request = request(method, path, &all);
    verify_at(&request, &secret(), "s3", example_time(), None).unwrap();
    let wrong = Secret::new(EXAMPLE_SECRET.to_lowercase());
    let refused = verify_at(&request, &wrong, "s3", example_time(), None).unwrap_err();
    assert_eq!(refused, SigError::Mismatch);
}

#[test]
fn s3_get_object() {
    s3_example(
        "GET",
        "/test.txt",
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        &[("range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY_SHA256)],
    );
}

#[test]
fn s3_put_object() {
    s3_example(
        "PUT",
        "/test$file.text",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        &[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ],
    );
}

#[test]
fn s3_get_bucket_lifecycle() {
    s3_example(
        "GET",
        "/?lifecycle",
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        &[("x-amz-content-sha256", EMPTY_SHA256)],
    );
}

#[test]
fn s3_list_objects() {
    s3_example(
        "GET",
        "/?max-keys=2&prefix=J",
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        &[("x-amz-content-sha256", EMPTY_SHA256)],
    );
}

const PRESIGNED: &str = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn s3_presigned_url() {
    let host = [("host", "examplebucket.s3.amazonaws.com")];
    let request =
        request("GET", PRESIGNED.trim_start_matches("https://examplebucket.s3.amazonaws.com"), &host);
    verify_at(&request, &secret(), "s3", example_time(), None).unwrap();
    let last = example_time() + Duration::from_secs(86_400);
    verify_at(&request, &secret(), "s3", last, None).unwrap();
    let late = verify_at(&request, &secret(), "s3", last + Duration::from_secs(1), None).unwrap_err();
    assert_eq!((&late, late.code(), late.status()), (&SigError::Expired, "AccessDenied", 403));
}

#[test]
fn http2_takes_the_host_from_the_target() {
    verify_at(&request("GET", PRESIGNED, &[]), &secret(), "s3", example_time(), None).unwrap();
}

#[test]
fn our_presigned_url_is_the_published_one() {
    let signer = Signer::new(example_id(), secret(), terrane_types::Region::us_east_1(), "s3");
    let url = "https://examplebucket.s3.amazonaws.com/test.txt".parse().unwrap();
    let signed = signer.presign(&http::Method::GET, &url, Duration::from_secs(86_400), example_time());
    assert_eq!(signed.unwrap().to_string(), PRESIGNED);
}

const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn other_service(url: &str, service: &'static str, signed: &str, signature: &str, headers: &[(&str, &str)]) {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE000000/20150830/us-east-1/{service}/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    );
    let mut all = vec![("x-amz-date", "20150830T123600Z"), ("authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    let request = request("GET", url, &all);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
    let body: [u8; 32] = Sha256::digest(b"").into();
    let secret = Secret::new(SUITE_SECRET.into());
    verify_at(&request, &secret, service, now, Some(&body)).unwrap();
    let unread = verify_at(&request, &secret, service, now, None).unwrap_err();
    assert_eq!(unread, SigError::BadContentSha256, "the body must be read first");
}

#[test]
fn iam_list_users() {
    other_service(
        "/?Action=ListUsers&Version=2010-05-08",
        "iam",
        "content-type;host;x-amz-date",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        &[
            ("host", "iam.amazonaws.com"),
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ],
    );
}

#[test]
fn suite_get_vanilla() {
    let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    other_service("/", "service", "host;x-amz-date", signature, &[("host", "example.amazonaws.com")]);
}

#[test]
fn suite_query_order() {
    let signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
    let host = [("host", "example.amazonaws.com")];
    other_service("/?Param2=value2&Param1=value1", "service", "host;x-amz-date", signature, &host);
}
