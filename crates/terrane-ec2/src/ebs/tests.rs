use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Call, Ebs, EbsError, fuzz_decode};
use crate::service::{BLOCK_BYTES, SnapshotError};

const ID: &str = "snap-0123456789abcdef0";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn call(method: Method, target: &str, head: &[(&'static str, &str)], body: Bytes) -> Result<Call, EbsError> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Ebs::parse(&method, path, query, &headers(head), body)
}

fn reason(result: Result<Call, EbsError>) -> &'static str {
    let error = result.unwrap_err();
    error.reason().unwrap_or(error.code())
}

fn start(document: &str) -> Result<Call, EbsError> {
    call(Method::POST, "/snapshots", &[], Bytes::copy_from_slice(document.as_bytes()))
}

#[test]
fn every_operation_is_read() {
    let cases = [
        (
            Method::GET,
            format!("/snapshots/{ID}/blocks?maxResults=100&startingBlockIndex=7"),
            "ListSnapshotBlocks",
        ),
        (Method::GET, format!("/snapshots/{ID}/changedblocks?firstSnapshotId={ID}"), "ListChangedBlocks"),
        (Method::GET, format!("/snapshots/{ID}/blocks/7?blockToken=AA%3D%3D"), "GetSnapshotBlock"),
    ];
    for (method, target, action) in cases {
        assert_eq!(call(method, &target, &[], Bytes::new()).unwrap().action(), action);
    }
    let done = [("x-amz-changedblockscount", "7")];
    let complete = call(Method::POST, &format!("/snapshots/completion/{ID}"), &done, Bytes::new()).unwrap();
    assert!(complete.mutates() && complete.action() == "CompleteSnapshot");
    let Ok(Call::Start(begun)) = start(r#"{"VolumeSize":3,"Tags":[{"Key":"k","Value":"v"}],"Unheard":1}"#)
    else {
        panic!("it is a request")
    };
    assert_eq!((begun.size_gib, begun.timeout_minutes, begun.tags["k"].as_str()), (3, 60, "v"));
}

#[test]
fn a_block_must_be_what_its_checksum_says() {
    let data = Bytes::from(vec![7; BLOCK_BYTES]);
    let sum = STANDARD.encode(Sha256::digest(&data));
    let target = format!("/snapshots/{ID}/blocks/7");
    let length = ("x-amz-data-length", "524288");
    let algorithm = ("x-amz-checksum-algorithm", "SHA256");
    let put = |head: &[(&'static str, &str)], data: &Bytes| call(Method::PUT, &target, head, data.clone());
    let right = [length, algorithm, ("x-amz-checksum", &*sum)];
    assert_eq!(put(&right, &data).unwrap().action(), "PutSnapshotBlock");
    assert_eq!(reason(put(&right, &Bytes::from(vec![8; BLOCK_BYTES]))), "INVALID_BLOCK");
    assert_eq!(reason(put(&right, &data.slice(1..))), "INVALID_BLOCK");
    for wrong in [
        &right[..2],
        &[length, ("x-amz-checksum", &*sum)],
        &[algorithm, ("x-amz-checksum", &*sum)],
        &[length, algorithm, ("x-amz-checksum", "AAAA")],
        &[length, ("x-amz-checksum-algorithm", "MD5"), ("x-amz-checksum", &*sum)],
        &[length, algorithm, ("x-amz-checksum", &*sum), ("x-amz-progress", "101")],
    ] {
        assert_eq!(reason(put(wrong, &data)), "INVALID_PARAMETER_VALUE", "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_in_the_models_words() {
    for (document, expected) in [
        ("{}", "INVALID_PARAMETER_VALUE"),
        ("[", "INVALID_PARAMETER_VALUE"),
        (r#"{"VolumeSize":0}"#, "INVALID_VOLUME_SIZE"),
        (r#"{"VolumeSize":65537}"#, "INVALID_VOLUME_SIZE"),
        (r#"{"VolumeSize":1,"Timeout":9}"#, "INVALID_PARAMETER_VALUE"),
        (r#"{"VolumeSize":1,"ClientToken":"a b"}"#, "INVALID_PARAMETER_VALUE"),
        (r#"{"VolumeSize":1,"Encrypted":true}"#, "INVALID_CUSTOMER_KEY"),
        (r#"{"VolumeSize":1,"Tags":[{"Key":"aws:x"}]}"#, "INVALID_TAG"),
        (r#"{"VolumeSize":1,"Tags":[{"Key":"x"},{"Key":"x"}]}"#, "INVALID_TAG"),
        (r#"{"VolumeSize":1,"ParentSnapshotId":"snap-x"}"#, "INVALID_SNAPSHOT_ID"),
    ] {
        assert_eq!(reason(start(document)), expected, "{document}");
    }
    for (target, expected) in [
        ("/snapshots/snap-x/blocks".to_owned(), "INVALID_SNAPSHOT_ID"),
        (format!("/snapshots/{ID}/blocks?maxResults=99"), "INVALID_PARAMETER_VALUE"),
        (format!("/snapshots/{ID}/blocks?maxResults=10001"), "INVALID_PARAMETER_VALUE"),
        (format!("/snapshots/{ID}/blocks?pageToken=-"), "INVALID_PAGE_TOKEN"),
        (format!("/snapshots/{ID}/blocks?startingBlockIndex=-1"), "INVALID_BLOCK"),
        (format!("/snapshots/{ID}/blocks/x?blockToken=AAAA"), "INVALID_BLOCK"),
        (format!("/snapshots/{ID}/blocks/1"), "INVALID_PARAMETER_VALUE"),
        (format!("/snapshots/{ID}/blocks/1?blockToken=%20"), "INVALID_BLOCK_TOKEN"),
        (format!("/snapshots/{ID}/changedblocks"), "INVALID_PARAMETER_VALUE"),
        (format!("/snapshots/{ID}/blocks/1/x"), "UnknownOperationException"),
        ("/volumes".to_owned(), "UnknownOperationException"),
    ] {
        assert_eq!(reason(call(Method::GET, &target, &[], Bytes::new())), expected, "{target}");
    }
}

#[test]
fn errors_say_code_reason_and_message() {
    let error = EbsError::from(SnapshotError::BlockToken);
    let response = Ebs::refuse(&error);
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["x-amzn-errortype"], "ValidationException");
    let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(document["Reason"], "INVALID_BLOCK_TOKEN");
    let internal = EbsError::from(SnapshotError::Internal("secret".into()));
    assert!(!internal.to_string().contains("secret"));
}

proptest! {
    #[test]
    fn whatever_comes_is_survived(bytes: Vec<u8>, path in "/snapshots/[a-z0-9/-]{0,40}(\\?[ -~]{0,60})?") {
        fuzz_decode(&bytes);
        fuzz_decode(path.as_bytes());
    }

    #[test]
    fn documents_that_were_altered_are_survived(at in 0usize..120, byte: u8) {
        let mut document = br#"{"VolumeSize":1,"ParentSnapshotId":"snap-0123456789abcdef0","Tags":[{"Key":"k","Value":"v"}],"Timeout":60}"#.to_vec();
        let at = at % document.len();
        document[at] = byte;
        fuzz_decode(&document);
    }
}
