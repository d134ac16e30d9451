//! The command line as a client.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::Server;

#[test]
fn every_noun_answers_in_json() {
    let server = Server::up(&[]);
    let made = server.json(&["bucket", "create", "logs", "--async", "time=1h"]);
    assert_eq!(made["write_mode"], "time=1h");
    assert_eq!(server.json(&["bucket", "set-async", "logs", "low"])["write_mode"], "low");
    assert_eq!(server.json(&["bucket", "set-async", "logs", "auto"])["write_mode"], Value::Null);
    assert_eq!(server.json(&["bucket", "set-versioning", "logs", "enabled"])["versioning"], "enabled");
    assert_eq!(server.json(&["bucket", "show", "logs"])["owner"], "000000000001");
    assert_eq!(server.json(&["bucket", "list"]).as_array().unwrap().len(), 1);
    server.run(&["bucket", "delete", "logs"]);
    assert_eq!(server.json(&["bucket", "list"]), json!([]));

    let status = server.json(&["status"]);
    assert_eq!(status["roles"], json!(["api", "manager", "objects", "block", "node"]));
    assert_eq!(server.json(&["account", "whoami"])["arn"], "arn:aws:iam::000000000001:root");

    let account = server.json(&["account", "create", "lab"])["id"].as_str().unwrap().to_owned();
    let limited = server.json(&["account", "limit", &account, "--per-second", "100", "--burst", "200"]);
    assert_eq!(limited["rate_limit"], json!({ "per_second": 100, "burst": 200 }));
    assert_eq!(server.json(&["account", "limit", &account])["rate_limit"], Value::Null);
    assert_eq!(server.json(&["account", "rename", &account, "labs"])["name"], "labs");
    assert_eq!(server.json(&["account", "disable", &account])["status"], "disabled");
    assert_eq!(server.json(&["account", "list"]).as_array().unwrap().len(), 2);
    assert!(server.run(&["account", "delete", &account]).status.success());

    let user = server.json(&["user", "create", "alice", "--policy", "read-only"]);
    assert_eq!(user["managed_policies"], json!(["read-only"]));
    assert_eq!(server.json(&["user", "list"])[0]["name"], "alice");
    let why =
        server.json(&["policy", "why", "s3:PutObject", "--user", "alice", "--bucket", "b", "--key", "k"]);
    assert_eq!(why["allowed"], false);
    let key = server.json(&["key", "create", "--user", "alice"])["id"].as_str().unwrap().to_owned();
    assert_eq!(server.json(&["key", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(server.json(&["key", "disable", &key])[0]["status"], "disabled");
    assert_eq!(server.json(&["key", "rotate", &key, "--grace", "60"])["user"], "alice");
    assert!(server.run(&["key", "delete", &key]).status.success());
    assert!(server.run(&["user", "delete", "alice"]).status.success());
}

#[test]
fn queues_are_paused_resumed_and_drained() {
    let server = Server::up(&[]);
    let mut s3 = server.s3();
    s3.create_bucket("queue").unwrap();
    // The record of the bucket itself is applied as well; it is not what is counted below.
    assert!(server.run(&["queue", "drain"]).status.success());
    let paused = server.json(&["queue", "pause"]);
    assert!(paused.as_array().unwrap().iter().all(|queue| queue["paused"] == true), "{paused}");
    let mut operation = String::new();
    for number in 0..10 {
        let put = s3.put("queue", &format!("{number}"), &[("x-terrane-async", "true")], b"x").unwrap();
        assert_eq!(put.header("x-terrane-keymap"), Some("pending"));
        operation = put.header("x-terrane-operation").unwrap().to_owned();
    }
    let depth = |queues: &Value| -> u64 {
        queues.as_array().unwrap().iter().map(|queue| queue["depth"].as_u64().unwrap()).sum()
    };
    assert_eq!(depth(&server.json(&["queue", "list"])), 10);
    assert_eq!(server.json(&["operation", "show", &operation])["state"], "pending");
    let resumed = server.json(&["queue", "resume"]);
    assert!(resumed.as_array().unwrap().iter().all(|queue| queue["paused"] == false), "{resumed}");
    assert_eq!(depth(&server.json(&["queue", "drain"])), 0);
    assert_eq!(server.json(&["operation", "show", &operation])["state"], "applied");
    let followed = server.run(&["-o", "json", "operation", "follow", "--count", "3"]);
    let lines = String::from_utf8(followed.stdout).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((lines.lines().count(), &first["bucket"]), (3, &json!("queue")));
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let mut server = Server::up(&[]);
    assert_eq!(server.fails(&["bucket", "show", "nowhere"]).0, 3);
    assert_eq!(server.fails(&["bucket", "create", "A_B"]).0, 1);
    assert_eq!(server.fails(&["bucket", "explode"]).0, 2);
    let url = server.url();
    let with_key = |secret: &str| {
        let mut command = server.command();
        command.args(["--endpoint", &url, "queue", "list"]);
        command.env("AWS_ACCESS_KEY_ID", "AKIAAAAAAAAAAAAAAAAA").env("AWS_SECRET_ACCESS_KEY", secret);
        command.output().unwrap().status.code()
    };
    assert_eq!(with_key("x"), Some(4));
    server.kill();
    let output = server.command().args(["--data-dir", "data", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

#[test]
fn the_api_is_found_by_environment_profile_and_token() {
    let server = Server::up(&[]);
    let credentials = server.run_file("credentials");
    let whoami = |prepare: &dyn Fn(&mut std::process::Command)| {
        let mut command = server.command();
        command.args(["-o", "json", "account", "whoami"]);
        prepare(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let me: Value = serde_json::from_slice(&output.stdout).unwrap();
        me["account"].as_str().unwrap().to_owned()
    };
    let root = "000000000001";
    let found = whoami(&|command| {
        command.env("AWS_ENDPOINT_URL", server.url()).env("AWS_SHARED_CREDENTIALS_FILE", &credentials);
    });
    assert_eq!(found, root);

    let text = std::fs::read_to_string(&credentials).unwrap().replace("[default]", "[lab]");
    let profile = server.temp.path().join("profiles");
    std::fs::write(&profile, format!("{text}endpoint_url = {}\n", server.url())).unwrap();
    let found = whoami(&|command| {
        command.env("AWS_SHARED_CREDENTIALS_FILE", &profile).args(["--profile", "lab"]);
    });
    assert_eq!(found, root);

    let token = server.json(&["token", "create", "ci"]);
    let found = whoami(&|command| {
        command.env("AWS_ENDPOINT_URL", server.url()).env("TERRANE_TOKEN", token["text"].as_str().unwrap());
    });
    assert_eq!(found, root);
    assert_eq!(server.json(&["token", "list"])[0]["name"], "ci");
    assert!(server.run(&["token", "delete", token["id"].as_str().unwrap()]).status.success());
}

#[test]
fn policies_come_from_files_or_standard_input() {
    let server = Server::up(&[]);
    let text = "permit(principal, action == Action::\"s3:ListAllMyBuckets\", resource);";
    let mut put = server.command();
    put.args(["--data-dir", "data", "policy", "put", "listing", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut put = put.spawn().unwrap();
    put.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(server.json(&["policy", "show", "listing"])["text"], text);
    let file = server.temp.path().join("bad.cedar");
    std::fs::write(&file, "permit(principal, action, resourse);").unwrap();
    let (code, said) = server.fails(&["policy", "put", "bad", file.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(server.fails(&["policy", "validate", file.to_str().unwrap()]).0, 1);
    assert!(server.run(&["policy", "delete", "listing"]).status.success());
    assert_eq!(server.json(&["policy", "list"]), json!([]));
}

#[test]
fn shells_get_their_completions() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = crate::process::terrane(home.path()).args(["completion", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("set-async"), "{shell}");
    }
}
