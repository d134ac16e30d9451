use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect()
}

fn code(pairs: &[(&str, &str)], body: &[u8]) -> Option<String> {
    let verify = || Expected::of_document(&headers(pairs), false)?.verify_document(body);
    verify().err().map(|e| e.code().as_str().to_owned())
}

/// Published check values of the five algorithms for "123456789".
#[test]
fn check_values() {
    for (algorithm, expected) in [
        (Algorithm::Crc32, "cbf43926"),
        (Algorithm::Crc32c, "e3069283"),
        (Algorithm::Crc64Nvme, "ae8b14860a799888"),
        (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ] {
        assert_eq!(hex(&algorithm.of(b"123456789")), expected, "{algorithm:?}");
        assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
    }
}

#[test]
fn content_md5_is_compared() {
    assert_eq!(code(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")], b"123456789"), None);
    assert_eq!(code(&[("content-md5", "rL0Y20xC+Fzt72VPzMSk2A==")], b"bar").as_deref(), Some("BadDigest"));
    for bad in ["", "AWS HAHAHA", "YWJyYWNhZGFicmE="] {
        assert_eq!(code(&[("content-md5", bad)], b"bar").as_deref(), Some("InvalidDigest"), "{bad}");
    }
}

#[test]
fn checksum_headers_are_compared() {
    assert_eq!(code(&[("x-amz-checksum-crc32", "y/Q5Jg==")], b"123456789"), None);
    assert_eq!(code(&[("x-amz-checksum-crc32", "y/Q5Jg==")], b"12345678").as_deref(), Some("BadDigest"));
    assert_eq!(code(&[("x-amz-checksum-crc32", "y/Q5JgA=")], b"123456789").as_deref(), Some("BadDigest"));
    for bad in [
        &[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")][..],
        &[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-sdk-checksum-algorithm", "SHA1")],
        &[("x-amz-sdk-checksum-algorithm", "MD6")],
        &[("x-amz-trailer", "x-amz-meta-a")],
    ] {
        assert_eq!(code(bad, b"123456789").as_deref(), Some("InvalidRequest"), "{bad:?}");
    }
}

#[test]
fn payload_hash_of_documents_is_compared() {
    let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
    assert_eq!(code(&[("x-amz-content-sha256", sha256)], b"123456789"), None);
    let wrong = code(&[("x-amz-content-sha256", sha256)], b"x");
    assert_eq!(wrong.as_deref(), Some("XAmzContentSHA256Mismatch"));
    assert_eq!(code(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")], b"x"), None);
}

#[test]
fn trailers_are_compared() {
    let expected = Expected::from_headers(&headers(&[("x-amz-trailer", "x-amz-checksum-crc32")])).unwrap();
    let mut hasher = Hasher::new(true, expected.algorithm());
    hasher.update(b"123456789");
    let found = hasher.finish();
    let good = headers(&[("x-amz-checksum-crc32", "y/Q5Jg==")]);
    assert!(expected.verify(&found, Some(&good)).is_ok());
    let bad = headers(&[("x-amz-checksum-crc32", "AAAAAA==")]);
    assert_eq!(expected.verify(&found, Some(&bad)).unwrap_err().code().as_str(), "BadDigest");
    let missing = expected.verify(&found, None).unwrap_err();
    assert_eq!(missing.code().as_str(), "MalformedTrailerError");
}

proptest! {
    #[test]
    fn pieces_do_not_matter(body in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let cut = cut.min(body.len());
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(true, Some(algorithm));
            hasher.update(&body[..cut]);
            hasher.update(&body[cut..]);
            let found = hasher.finish();
            prop_assert_eq!(found.length, body.len() as u64);
            prop_assert_eq!(found.sum.unwrap().1, algorithm.of(&body));
        }
    }

    #[test]
    fn headers_do_not_panic(name in 0usize..5, value in prop::collection::vec(any::<u8>(), 0..100)) {
        let names = ["content-md5", "x-amz-checksum-sha1", "x-amz-trailer", "x-amz-sdk-checksum-algorithm",
            "x-amz-content-sha256"];
        let mut headers = HeaderMap::new();
        if let Ok(value) = http::HeaderValue::from_bytes(&value) {
            headers.insert(names[name], value);
        }
        let _ = Expected::of_document(&headers, false).and_then(|e| e.verify_document(b"x"));
    }
}
