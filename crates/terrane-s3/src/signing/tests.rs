use proptest::prelude::*;
use terrane_types::Region;

use super::*;

const SIGNATURE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn v4(scope: &str, signed: &str) -> HeaderMap {
    let value = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={SIGNATURE}");
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, value.parse().unwrap());
    headers.insert(&X_AMZ_DATE, "20261120T064500Z".parse().unwrap());
    headers
}

fn code(config: &S3Config, headers: &HeaderMap, query: &str) -> Option<String> {
    check(config, headers, Some(query), now()).err().map(|e| e.code().as_str().to_owned())
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn plain(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
    headers
}

#[test]
fn shapes_of_authorization() {
    let config = S3Config::default();
    let good = v4("KEY/20261120/us-east-1/s3/aws4_request", "host;x-amz-date");
    assert_eq!(code(&config, &good, ""), None);
    let slashed = v4("K/E/Y/20261120/us-east-1/s3/aws4_request", "host");
    assert_eq!(code(&config, &slashed, ""), None);
    for (bad, expected) in [
        ("", "AccessDenied"),
        ("Basic abc", "InvalidArgument"),
        ("AWS HAHAHA", "InvalidArgument"),
        ("AWS :sig", "InvalidArgument"),
        ("AWS4-HMAC-SHA256 Credential=a", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
    ] {
        assert_eq!(code(&config, &plain(bad), "").as_deref(), Some(expected), "{bad}");
    }
    for scope in ["KEY/2026/us-east-1/s3/aws4_request", "KEY/20261120/us-east-1/ec2/aws4_request", "KEY", ""]
    {
        let headers = v4(scope, "host");
        assert_eq!(code(&config, &headers, "").as_deref(), Some("AuthorizationHeaderMalformed"), "{scope}");
    }
    let headers = v4("KEY/20261120/us-east-1/s3/aws4_request", "x-amz-date");
    assert_eq!(code(&config, &headers, "").as_deref(), Some("AuthorizationHeaderMalformed"));
}

#[test]
fn regions_matter_only_where_listed() {
    let scope = "KEY/20261120/mars-1/s3/aws4_request";
    let any = S3Config::default();
    assert_eq!(code(&any, &v4(scope, "host"), ""), None);
    let listed = S3Config { regions: Some(vec![Region::us_east_1()]), ..S3Config::default() };
    assert_eq!(code(&listed, &v4(scope, "host"), "").as_deref(), Some("AuthorizationHeaderMalformed"));
    let query = format!(
        "X-Amz-Credential={}&X-Amz-Expires=5&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}",
        scope.replace('/', "%2F")
    );
    assert_eq!(code(&any, &HeaderMap::new(), &query), None);
    assert_eq!(
        code(&listed, &HeaderMap::new(), &query).as_deref(),
        Some("AuthorizationQueryParametersError")
    );
}

#[test]
fn amz_headers_must_be_signed() {
    let config = S3Config::default();
    let mut headers = v4("KEY/20261120/us-east-1/s3/aws4_request", "host;x-amz-date");
    headers.insert("x-amz-acl", "public-read".parse().unwrap());
    assert_eq!(code(&config, &headers, "").as_deref(), Some("AccessDenied"));
    let mut headers = v4("KEY/20261120/us-east-1/s3/aws4_request", "host;x-amz-acl;x-amz-date");
    headers.insert("x-amz-acl", "public-read".parse().unwrap());
    headers.insert("x-amz-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
    assert_eq!(code(&config, &headers, ""), None);
}

#[test]
fn presigned_urls_live_a_week_at_most() {
    let config = S3Config::default();
    let url = |expires: &str| {
        format!(
            "X-Amz-Credential=K/20261120/r/s3/aws4_request&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}"
        )
    };
    for good in ["0", "1", "604800"] {
        assert_eq!(code(&config, &HeaderMap::new(), &url(good)), None, "{good}");
    }
    for bad in ["604801", "-1", "", "1e3", "99999999999999999999"] {
        let got = code(&config, &HeaderMap::new(), &url(bad));
        assert_eq!(got.as_deref(), Some("AuthorizationQueryParametersError"), "{bad}");
    }
}

#[test]
fn dates_of_version_2() {
    let config = S3Config::default();
    let mut headers = plain("AWS KEY:c2ln");
    assert_eq!(code(&config, &headers, "").as_deref(), Some("AccessDenied"));
    for (date, expected) in [
        ("Fri, 15 Jan 2027 08:00:00 GMT", None),
        ("Fri, 15 Jan 2027 08:14:59 GMT", None),
        ("Fri, 15 Jan 2027 08:15:01 GMT", Some("RequestTimeTooSkewed")),
        ("Tue, 07 Jul 9999 21:53:04 GMT", Some("RequestTimeTooSkewed")),
        ("Tue, 07 Jul 1950 21:53:04 GMT", Some("AccessDenied")),
        ("Bad Date", Some("AccessDenied")),
        ("", Some("AccessDenied")),
    ] {
        headers.insert(&X_AMZ_DATE, date.parse().unwrap());
        assert_eq!(code(&config, &headers, "").as_deref(), expected, "{date}");
    }
}

#[test]
fn a_signed_date_becomes_amz_date() {
    let config = S3Config::default();
    let mut headers = v4("KEY/20270115/us-east-1/s3/aws4_request", "date;host");
    headers.remove(&X_AMZ_DATE);
    headers.insert(header::DATE, "Fri, 15 Jan 2027 08:00:00 GMT".parse().unwrap());
    let added = check(&config, &headers, None, now()).unwrap();
    assert_eq!(added.unwrap(), "20270115T080000Z");
}

proptest! {
    #[test]
    fn nothing_panics(authorization in "\\PC{0,200}", query in "\\PC{0,200}", date in "\\PC{0,40}") {
        let mut headers = HeaderMap::new();
        for (name, text) in [(header::AUTHORIZATION, authorization), (header::DATE, date)] {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.insert(name, value);
            }
        }
        let _ = check(&S3Config::default(), &headers, Some(&query), now());
        let _ = parse_http_date(&query);
    }
}
