//! The asynchronous keymap: whatever its lag, GET and LIST are right.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use terrane_bench::load::Shape;
use terrane_bench::workload::{self, Target};

use crate::installation::{Installation, wait_until};

const BUCKET: &str = "paused";
const OBJECTS: u64 = 100_000;
const BODY_BYTES: usize = 64;

fn target(installation: &Installation) -> Target {
    Target {
        endpoint: installation.endpoint(),
        credentials: installation.credentials(),
        bucket: BUCKET.into(),
        prefix: "o/".into(),
    }
}

fn all_of(count: u64) -> Shape {
    Shape { clients: 16, time: None, count: Some(count), rate: None }
}

/// Pending entries over all classes, as `terrane queue` tells.
fn pending(installation: &Installation) -> u64 {
    let queues = installation.cli(&["queue", "list"]);
    let classes = queues.as_array().unwrap_or_else(|| panic!("a list of classes: {queues}"));
    classes.iter().map(|class| class["depth"].as_u64().unwrap() + class["spilled"].as_u64().unwrap()).sum()
}

fn class_paused(class: &Value) -> bool {
    class["paused"].as_bool().unwrap()
}

/// Every key once, in order, and those only.
fn assert_listed(installation: &Installation, expected: &[String]) {
    let listed = installation.client().list_all(BUCKET, "o/").unwrap();
    assert_eq!(listed.len(), expected.len());
    let wrong = listed.iter().zip(expected).find(|(listed, expected)| listed != expected);
    assert!(wrong.is_none(), "listed and expected first differ in {wrong:?}");
}

/// With its workers paused, the keymap learns nothing of 100,000 puts; every GET and every page of LIST is right
/// all the same, also after `kill -9`; after resuming, the keymap alone says the same.
#[test]
fn a_hundred_thousand_puts_with_workers_paused() {
    let mut installation = Installation::start();
    installation.client().create_bucket(BUCKET).unwrap();
    installation.cli(&["queue", "pause"]);
    let queues = installation.cli(&["queue", "list"]);
    assert!(queues.as_array().unwrap().iter().all(class_paused), "{queues}");

    let puts = target(&installation).put(&all_of(OBJECTS), 0, BODY_BYTES, &[]);
    assert_eq!((puts.done, &puts.errors), (OBJECTS, &BTreeMap::new()));
    assert!(pending(&installation) >= OBJECTS, "{}", installation.cli(&["queue", "list"]));

    let mut expected: Vec<String> = (0..OBJECTS).map(|number| workload::key("o/", number)).collect();
    expected.sort();
    assert_listed(&installation, &expected);
    let gets = target(&installation).get(&all_of(OBJECTS), OBJECTS, BODY_BYTES);
    assert_eq!((gets.done, &gets.errors), (OBJECTS, &BTreeMap::new()));

    installation.kill();
    installation.launch();
    installation.cli(&["queue", "pause"]);
    assert_listed(&installation, &expected);

    // Deletes and overwrites lie over what is pending.
    let mut client = installation.client();
    for (number, key) in expected.iter().enumerate().step_by(1000) {
        let answer = if number % 2000 == 0 {
            client.delete(BUCKET, key)
        } else {
            client.put(BUCKET, key, &[], b"new")
        };
        assert!(answer.unwrap().is_success());
    }
    let overwritten = expected[1000].clone();
    expected = expected.chunks(2000).flat_map(|chunk| chunk[1..].to_vec()).collect();
    assert_listed(&installation, &expected);

    installation.cli(&["queue", "resume"]);
    wait_until("the queues drain", Duration::from_secs(120), || pending(&installation) == 0);
    assert_listed(&installation, &expected);
    assert_eq!(client.get(BUCKET, &overwritten).unwrap().text(), "new");
    let gets = target(&installation).get(&all_of(2_000), OBJECTS, BODY_BYTES);
    assert!(
        gets.errors.keys().all(|what| what == "404 NoSuchKey" || what == "wrong body"),
        "{:?}",
        gets.errors
    );
    assert!(gets.failures() < 20, "one in a thousand was deleted or overwritten: {:?}", gets.errors);
}

/// What a write asks for is what the answer says, and a reader sees no difference.
#[test]
fn headers_decide_when_the_keymap_is_updated() {
    let mut installation = Installation::start();
    let mut client = installation.client();
    client.create_bucket(BUCKET).unwrap();
    let mut operations = Vec::new();
    for (number, (value, state)) in [
        ("false", "applied"),
        ("true", "pending"),
        ("async", "pending"),
        ("time=1h", "pending"),
        ("time=4w", "pending"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("o/{number}");
        installation.cli(&["queue", if state == "pending" { "pause" } else { "resume" }]);
        let put = client.put(BUCKET, &key, &[("x-terrane-async", value)], value.as_bytes()).unwrap();
        assert!(put.is_success(), "{value}: {}", put.text());
        assert_eq!(put.header("x-terrane-keymap"), Some(state), "{value}");
        let operation = put.header("x-terrane-operation").expect("every write has an identity").to_owned();
        let status = installation.cli(&["operation", "show", &operation]);
        assert_eq!(status["state"], state, "{value}: {status}");
        operations.push(operation);
        assert_eq!(client.get(BUCKET, &key).unwrap().text(), value);
        assert_eq!(client.list_all(BUCKET, &key).unwrap(), [key.as_str()]);
    }
    // A paused range and a write that insists: refused before anything is stored.
    installation.cli(&["queue", "pause"]);
    let refused = client.put(BUCKET, "o/refused", &[("x-terrane-async", "false")], b"x").unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("SlowDown"));
    assert_eq!(client.get(BUCKET, "o/refused").unwrap().status, 404);

    // After a crash delayed writes are there, still pending; draining applies them at once.
    installation.kill();
    installation.launch();
    let mut client = installation.client();
    let keys = ["o/0", "o/1", "o/2", "o/3", "o/4"].map(str::to_owned);
    assert_eq!(client.list_all(BUCKET, "o/").unwrap(), keys);
    assert!(pending(&installation) >= 2, "the delayed writes wait for their time");
    installation.cli(&["queue", "resume"]);
    installation.cli(&["queue", "drain"]);
    assert_eq!(pending(&installation), 0);
    assert_eq!(client.list_all(BUCKET, "o/").unwrap(), keys);
    for operation in operations {
        let status = installation.cli(&["operation", "show", &operation]);
        assert_eq!(status["state"], "applied", "{status}");
    }
}
