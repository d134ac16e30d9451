//! Completions: long poll and server-sent events.

use futures::StreamExt;
use http::Method;
use serde_json::Value;

use crate::fixture::{Fixture, PATIENCE};

#[tokio::test]
async fn completions_come_by_poll_and_by_stream() {
    let door = Fixture::new().await;
    let s3 = door.signer("s3");
    door.signed(&s3, Method::PUT, "/bucket", b"").await;
    let put = door.send(&s3, Method::PUT, "/bucket/first", b"1").await;
    let operation = put.headers()["x-terrane-operation"].to_str().unwrap().to_owned();
    let path = format!("/_terrane/v1/operations/{operation}");
    let status = door.native(Method::GET, &path, None).await;
    assert_eq!(status.json()["operation"], operation, "{status:?}");

    let poll =
        door.native(Method::GET, "/_terrane/v1/completions?after=0&wait_seconds=20&max=1", None).await.json();
    assert_eq!(poll[0]["operation"], operation, "{poll}");
    assert_eq!(poll[0]["event"], "ObjectCreated:Put");

    let response = door.events(&poll[0]["cursor"].to_string()).await;
    door.signed(&s3, Method::PUT, "/bucket/second", b"2").await;
    let mut chunks = response.bytes_stream();
    let event = tokio::time::timeout(PATIENCE, async {
        let mut text = String::new();
        while !text.contains("\n\n") || !text.contains("data:") {
            text.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
        }
        text
    });
    let event = event.await.expect("no event");
    assert!(event.contains("event: completion\n"), "{event}");
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let completion: Value = serde_json::from_str(data).unwrap();
    assert_eq!(completion["key"], "second");
    assert!(event.contains(&format!("id: {}\n", completion["cursor"])), "{event}");
}
