//! What is malformed, too old, too new or not covered must be refused, with the code that S3 gives it.

use proptest::prelude::*;
use terrane_types::Region;

use super::*;

fn signer(service: &'static str) -> Signer {
    Signer::new(example_id(), secret(), Region::us_east_1(), service)
}

fn signed(url: &str, headers: &[(&str, &str)], service: &'static str) -> HttpRequest<()> {
    let (mut parts, ()) = request("PUT", url, headers).into_parts();
    signer(service).sign(&mut parts, Body::Bytes(b"body"), example_time()).unwrap();
    HttpRequest::from_parts(parts, ())
}

fn check(request: &HttpRequest<()>) -> Result<Claim, SigError> {
    verify_at(request, &secret(), "s3", example_time(), None)
}

const URL: &str = "http://localhost:7070/b/k?x=1&y=%20";

#[test]
fn what_we_sign_verifies_and_changes_are_noticed() {
    let good = signed(URL, &[("x-amz-meta-a", " two  words ")], "s3");
    check(&good).unwrap();
    let mut changed = good.clone();
    *changed.uri_mut() = "http://localhost:7070/b/k?x=2&y=%20".parse().unwrap();
    assert_eq!(check(&changed).unwrap_err(), SigError::Mismatch);
    let mut changed = good.clone();
    *changed.method_mut() = http::Method::DELETE;
    assert_eq!(check(&changed).unwrap_err(), SigError::Mismatch);
    let mut changed = good.clone();
    changed.headers_mut().insert("x-amz-meta-a", "three words".parse().unwrap());
    assert_eq!(check(&changed).unwrap_err(), SigError::Mismatch);
    let mut changed = good.clone();
    changed.headers_mut().append("x-amz-meta-a", "more".parse().unwrap());
    assert_eq!(check(&changed).unwrap_err(), SigError::Mismatch);
    let mut changed = good;
    changed.headers_mut().remove("x-amz-meta-a");
    let refused = check(&changed).unwrap_err();
    assert_eq!(refused, SigError::MissingSignedHeader("x-amz-meta-a".into()));
}

#[test]
fn a_declared_body_digest_is_compared_when_the_body_is_known() {
    let good = signed(URL, &[], "s3");
    let digest = |bytes: &[u8]| -> [u8; 32] {
        sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), bytes))
            .into()
    };
    verify_at(&good, &secret(), "s3", example_time(), Some(&digest(b"body"))).unwrap();
    let refused = verify_at(&good, &secret(), "s3", example_time(), Some(&digest(b"other"))).unwrap_err();
    assert_eq!(refused.code(), "XAmzContentSHA256Mismatch");
}

#[test]
fn headers_that_must_be_signed() {
    let mut extra = signed(URL, &[], "s3");
    extra.headers_mut().insert("x-amz-acl", "public-read".parse().unwrap());
    let refused = check(&extra).unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("AccessDenied", 403));
    extra.headers_mut().remove("x-amz-acl");
    extra.headers_mut().insert("x-unrelated", "1".parse().unwrap());
    check(&extra).unwrap();
    let without_host = edit(&signed(URL, &[], "s3"), "host;x-amz-content-sha256", "x-amz-content-sha256");
    assert_eq!(check(&without_host).unwrap_err(), SigError::UnsignedHeader("host".into()));
}

/// The same request with a change in its `Authorization` header.
fn edit(request: &HttpRequest<()>, from: &str, to: &str) -> HttpRequest<()> {
    let mut request = request.clone();
    let old = request.headers()["authorization"].to_str().unwrap();
    assert!(old.contains(from), "{old}");
    let new = old.replacen(from, to, 1).parse().unwrap();
    request.headers_mut().insert("authorization", new);
    request
}

#[test]
fn malformed_authorization_headers() {
    let good = signed(URL, &[], "s3");
    for (from, to) in [
        ("Credential=", "Kredential="),
        ("Credential=", ""),
        (", Signature=", ", Signatur="),
        (", SignedHeaders=", ", Signature=00, SignedHeaders="),
        ("/s3/aws4_request", "/s3/aws3_request"),
        ("/s3/aws4_request", "/s3"),
        ("/us-east-1/", "/"),
        ("/us-east-1/", "//"),
        ("/20130524/", "/2013-05-24/"),
        ("/20130524/", "/20130532/"),
        ("SignedHeaders=host;x-amz-content-sha256", "SignedHeaders=x-amz-content-sha256;host"),
        ("SignedHeaders=host;", "SignedHeaders=host;host;"),
        ("SignedHeaders=host;", "SignedHeaders=Host;"),
        ("SignedHeaders=host;", "SignedHeaders=host;;"),
        ("SignedHeaders=host;", "SignedHeaders=;"),
        ("Signature=", "Signature=0"),
        ("Signature=", "Signature=G"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
    ] {
        let refused = check(&edit(&good, from, to)).unwrap_err();
        assert_eq!(refused.code(), "AuthorizationHeaderMalformed", "{from} → {to}: {refused}");
        assert_eq!(refused.status(), 400);
    }
    let refused = check(&edit(&good, EXAMPLE_ID, "short")).unwrap_err();
    assert_eq!(refused.code(), "InvalidAccessKeyId");
    let upper = good.headers()["authorization"].to_str().unwrap().rsplit('=').next().unwrap().to_owned();
    let refused = check(&edit(&good, &upper, &upper.to_uppercase())).unwrap_err();
    assert_eq!(refused.code(), "AuthorizationHeaderMalformed");
    let mut twice = good.clone();
    let value = twice.headers()["authorization"].clone();
    twice.headers_mut().append("authorization", value);
    assert_eq!(check(&twice).unwrap_err().code(), "AuthorizationHeaderMalformed");
}

#[test]
fn other_schemes_are_not_version_4() {
    for value in ["Bearer abc", "AWS AKIAIOSFODNN7EXAMPLE:c2ln", "Basic dTpw", ""] {
        let request = request("GET", "/", &[("authorization", value)]);
        assert!(Claim::parse((&request).into()).unwrap().is_none());
        assert_eq!(service_of((&request).into()), None);
    }
    let v2 = request("GET", "/b/k?AWSAccessKeyId=A&Signature=b&Expires=1", &[]);
    assert!(Claim::parse((&v2).into()).unwrap().is_none());
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let good = signed(URL, &[], "s3");
    let skew = Duration::from_secs(900);
    for now in [example_time() + skew, example_time() - skew] {
        verify_at(&good, &secret(), "s3", now, None).unwrap();
    }
    let second = Duration::from_secs(1);
    for now in [example_time() + skew + second, example_time() - skew - second, SystemTime::UNIX_EPOCH] {
        let refused = verify_at(&good, &secret(), "s3", now, None).unwrap_err();
        assert_eq!((refused.code(), refused.status()), ("RequestTimeTooSkewed", 403));
    }
}

#[test]
fn dates_that_are_missing_or_differ() {
    let mut without = signed(URL, &[], "s3");
    without.headers_mut().remove("x-amz-date");
    assert_eq!(check(&without).unwrap_err(), SigError::MissingDate);
    without.headers_mut().insert("date", "Fri, 24 May 2013 00:00:00 GMT".parse().unwrap());
    let refused = check(&without).unwrap_err();
    assert_eq!(refused, SigError::MissingSignedHeader("x-amz-date".into()), "the date was understood");
    without.headers_mut().insert("x-amz-date", "today".parse().unwrap());
    assert_eq!(check(&without).unwrap_err(), SigError::MissingDate);
    let other_day = edit(&signed(URL, &[], "s3"), "/20130524/", "/20130523/");
    assert_eq!(check(&other_day).unwrap_err(), SigError::DateMismatch);
}

#[test]
fn regions_and_services_are_held_to_their_lists() {
    let good = signed(URL, &[], "s3");
    let claim = Claim::parse((&good).into()).unwrap().unwrap();
    let key = SigningKey::derive(&secret(), &claim.scope);
    let verify = |regions: &[&str], service| {
        let regions = regions.iter().map(|r| Region::parse(r).unwrap()).collect();
        let rules = Rules { regions, ..Rules::default() };
        claim.verify((&good).into(), &key, &rules, service, example_time(), None)
    };
    assert_eq!(verify(&[], "s3"), Ok(()));
    assert_eq!(verify(&["eu-west-1", "us-east-1"], "s3"), Ok(()));
    let refused = verify(&["eu-west-1"], "s3").unwrap_err();
    assert_eq!(refused.code(), "AuthorizationHeaderMalformed");
    assert!(refused.to_string().contains("expecting \"eu-west-1\""));
    assert_eq!(verify(&[], "ec2").unwrap_err().code(), "AuthorizationHeaderMalformed");
}

#[test]
fn the_payload_must_be_declared_to_s3() {
    let mut good = signed(URL, &[], "s3");
    good.headers_mut().insert("x-amz-content-sha256", "nonsense".parse().unwrap());
    assert_eq!(check(&good).unwrap_err(), SigError::BadContentSha256);
    good.headers_mut().remove("x-amz-content-sha256");
    assert_eq!(check(&good).unwrap_err(), SigError::BadContentSha256);
}

#[test]
fn presigned_urls_live_one_second_to_seven_days() {
    let url: Uri = URL.parse().unwrap();
    let sign =
        |seconds| signer("s3").presign(&Method::GET, &url, Duration::from_secs(seconds), example_time());
    for seconds in [0, 604_801] {
        assert_eq!(sign(seconds).unwrap_err(), SigError::BadExpires);
    }
    for seconds in [1, 604_800] {
        let signed = sign(seconds).unwrap().to_string();
        check(&request("GET", &signed, &[])).unwrap();
        for bad in ["0", "604801", "-1", "1.5", "", "9999999999999999999", "+1"] {
            let changed = signed.replace(&format!("Expires={seconds}&"), &format!("Expires={bad}&"));
            let refused = check(&request("GET", &changed, &[])).unwrap_err();
            assert_eq!(refused, SigError::BadExpires, "{bad}");
        }
    }
    let early = request("GET", &sign(600).unwrap().to_string(), &[]);
    let now = example_time() - Duration::from_secs(901);
    let refused = verify_at(&early, &secret(), "s3", now, None).unwrap_err();
    assert_eq!(refused, SigError::NotYetValid);
}

#[test]
fn malformed_presigned_urls() {
    let url: Uri = URL.parse().unwrap();
    let good = signer("s3").presign(&Method::GET, &url, Duration::from_secs(60), example_time()).unwrap();
    for (from, to) in [
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4"),
        ("X-Amz-Credential=", "X-Amz-Kredential="),
        ("X-Amz-Date=", "X-Amz-Date=0"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=HOST"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
        ("%2Fs3%2F", "%FF"),
    ] {
        let changed = good.to_string().replace(from, to);
        let refused = check(&request("GET", &changed, &[])).unwrap_err();
        assert_eq!(refused.code(), "AuthorizationQueryParametersError", "{from} → {to}: {refused}");
    }
    let both = request("GET", &good.to_string(), &[("authorization", "AWS4-HMAC-SHA256 Credential=")]);
    assert_eq!(check(&both).unwrap_err(), SigError::SignedTwice);
    let token = format!("{good}&X-Amz-Security-Token=t");
    assert_eq!(check(&request("GET", &token, &[])).unwrap_err().code(), "InvalidToken");
    let unsigned = request("GET", &good.to_string(), &[("x-amz-acl", "public-read")]);
    assert_eq!(check(&unsigned).unwrap_err(), SigError::UnsignedHeader("x-amz-acl".into()));
    let longer = format!("{good}&versionId=1");
    assert_eq!(check(&request("GET", &longer, &[])).unwrap_err(), SigError::Mismatch);
}

#[test]
fn other_services_presign_an_empty_body() {
    let url: Uri = "http://localhost/_terrane/v1/events".parse().unwrap();
    let signed =
        signer("terrane").presign(&Method::GET, &url, Duration::from_secs(60), example_time()).unwrap();
    let request = request("GET", &signed.to_string(), &[]);
    let empty: [u8; 32] = hex::decode(EMPTY_SHA256).unwrap().try_into().unwrap();
    verify_at(&request, &secret(), "terrane", example_time(), Some(&empty)).unwrap();
}

#[test]
fn the_service_is_found_without_a_full_parse() {
    assert_eq!(service_of((&signed(URL, &[], "terrane")).into()).as_deref(), Some("terrane"));
    let url: Uri = URL.parse().unwrap();
    let signed = signer("s3").presign(&Method::GET, &url, Duration::from_secs(60), example_time()).unwrap();
    assert_eq!(service_of((&request("GET", &signed.to_string(), &[])).into()).as_deref(), Some("s3"));
    assert_eq!(service_of((&request("GET", "/b/k?x=1", &[])).into()), None);
}

#[test]
fn signing_keys_are_kept_only_after_they_verified() {
    let keys = SigningKeys::new(10);
    let claim = Claim::parse((&signed(URL, &[], "s3")).into()).unwrap().unwrap();
    let key = keys.key(&claim.access_key, &secret(), &claim.scope);
    let other = Secret::new("other".into());
    assert_ne!(keys.key(&claim.access_key, &other, &claim.scope).sign(b"x"), key.sign(b"x"));
    keys.keep(&claim.access_key, &claim.scope, &key);
    assert_eq!(
        keys.key(&claim.access_key, &other, &claim.scope).sign(b"x"),
        key.sign(b"x"),
        "from the cache"
    );
}

/// Header values and query strings of the shape that parsers look into, mutated.
fn nearly_valid() -> impl Strategy<Value = String> {
    let tokens = prop::sample::select(vec![
        "AWS4-HMAC-SHA256",
        " ",
        ",",
        "=",
        "/",
        ";",
        "Credential=",
        "SignedHeaders=",
        "Signature=",
        "host",
        EXAMPLE_ID,
        "20130524",
        "us-east-1",
        "s3",
        "aws4_request",
        EMPTY_SHA256,
        "X-Amz-Algorithm=",
        "&",
        "X-Amz-Credential=",
        "X-Amz-Date=",
        "20130524T000000Z",
        "X-Amz-Expires=",
        "60",
        "%2F",
        "%",
        "%zz",
        "+",
        "X-Amz-SignedHeaders=",
        "X-Amz-Signature=",
        "é",
    ]);
    prop::collection::vec(tokens, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn parsers_survive_what_is_nearly_valid(header in nearly_valid(), query in nearly_valid()) {
        let mut builder = HttpRequest::builder().uri(
            format!("/b/k?{query}").parse::<Uri>().unwrap_or_else(|_| Uri::from_static("/b/k")),
        );
        for name in ["authorization", "x-amz-date", "host"] {
            builder = builder.header(name, http::HeaderValue::from_bytes(header.as_bytes()).unwrap());
        }
        let request = builder.body(()).unwrap();
        let _ = service_of((&request).into());
        if let Ok(Some(claim)) = Claim::parse((&request).into()) {
            let key = SigningKey::derive(&secret(), &claim.scope);
            let _ = claim.verify((&request).into(), &key, &Rules::default(), "s3", example_time(), None);
        }
    }

    /// Whatever path and query a client sends, both sides canonicalise it alike.
    #[test]
    fn what_we_sign_verifies(
        path in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,8}){1,4}",
        query in "[a-zA-Z0-9._~%!$&'()*+,;=:@/-]{0,40}",
        value in "[ -~]{0,40}",
        native: bool,
    ) {
        let url = format!("http://localhost:1{path}?{query}");
        prop_assume!(!query.contains("X-Amz"));
        let service = if native { "terrane" } else { "s3" };
        let signed = signed(&url, &[("x-amz-meta-v", &value)], service);
        prop_assert!(verify_at(&signed, &secret(), service, example_time(), None).is_ok());
    }
}
