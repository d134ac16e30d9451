//! Load above the thresholds makes writes asynchronous, and back, without an error.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use terrane_bench::load::Shape;
use terrane_bench::workload::Target;

use crate::installation::{Installation, wait_until};

/// Transactions per second of the thresholds: low enough for a debug build to pass both.
const CONFIG: &str = "
[objects.load]
async_high_tps = 60
async_low_tps = 180
";

#[test]
fn load_switches_modes_and_back() {
    let installation = Installation::start_with(CONFIG);
    let mut client = installation.client();
    client.create_bucket("load").unwrap();
    let calm = client.put("load", "calm", &[], b"x").unwrap();
    assert_eq!(calm.header("x-terrane-keymap"), Some("applied"), "no load: synchronous");

    let target = Target {
        endpoint: installation.endpoint(),
        credentials: installation.credentials(),
        bucket: "load".into(),
        prefix: "o/".into(),
    };
    let level = || installation.metric("terrane_objects_load_level", "");
    let shape = Shape { clients: 8, time: Some(Duration::from_secs(6)), count: None, rate: None };
    let (storm, levels) = thread::scope(|scope| {
        let storm = scope.spawn(|| target.put(&shape, 0, 100, &[]));
        let mut levels = Vec::new();
        while !storm.is_finished() {
            levels.push(level());
            thread::sleep(Duration::from_millis(50));
        }
        (storm.join().unwrap(), levels)
    });
    assert_eq!(storm.errors, BTreeMap::new());
    assert!(storm.per_second > 200.0, "this machine cannot make the load: {storm:?}");
    assert!(levels.contains(&2.0), "both thresholds were passed: {levels:?}");

    let listed = target.count().unwrap();
    assert_eq!(listed, storm.done);
    // Asked seldom: the question is load, too.
    let mut number = 0;
    wait_until("synchronous again", Duration::from_secs(60), || {
        number += 1;
        thread::sleep(Duration::from_millis(500));
        let put = client.put("load", &format!("after/{number}"), &[], b"x").unwrap();
        assert!(put.is_success());
        put.header("x-terrane-keymap") == Some("applied")
    });
    wait_until("the level falls", Duration::from_secs(60), || level() == 0.0);
    assert!(installation.metric("terrane_objects_load_level_changes_total", "") >= 2.0, "up and down again");
}
