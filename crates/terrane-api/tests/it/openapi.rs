//! The checked-in description is the served one.

use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::fixture::Fixture;

fn checked_in() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/terrane.json")
}

/// To bring the file up to date after a wanted change:
/// `TERRANE_WRITE_OPENAPI=1 cargo test -p terrane-api --test it openapi`.
#[test]
fn the_description_has_not_drifted() {
    let document = terrane_api::openapi_document();
    if std::env::var_os("TERRANE_WRITE_OPENAPI").is_some() {
        std::fs::write(checked_in(), &document).unwrap();
    }
    let kept = std::fs::read_to_string(checked_in()).unwrap_or_default();
    assert!(kept == document, "openapi/terrane.json is not what the code says; see this test's comment");
}

#[test]
fn it_is_an_openapi_3_1_document_without_loose_ends() {
    let document: Value = serde_json::from_str(&terrane_api::openapi_document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = std::collections::HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/_terrane/"), "{path}");
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} says nothing of itself");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "operation ID {id} occurs twice");
        }
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served() {
    let door = Fixture::new().await;
    let answer = door.plain(Method::GET, "/_terrane/openapi.json").await;
    assert_eq!(answer.text, terrane_api::openapi_document());
}

/// Everything described is routed: no path answers as if nothing were served there.
#[tokio::test]
async fn what_is_described_exists() {
    let door = Fixture::new().await;
    let document: Value = serde_json::from_str(&terrane_api::openapi_document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let concrete = path
                .replace("{account}", "999999999999")
                .replace("{key}", "AKIAAAAAAAAAAAAAAAAA")
                .replace(['{', '}'], "");
            let method = method.to_uppercase().parse().unwrap();
            let answer = door.signed(&door.signer("terrane"), method, &concrete, b"").await;
            assert!(!answer.text.contains("nothing is served under this path"), "{path}: {answer:?}");
            assert_ne!(answer.status, 405, "{path}: {answer:?}");
        }
    }
}
