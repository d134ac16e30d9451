//! `terrane up`: files, locks, signals, crashes.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Server, terrane};

#[test]
fn it_says_where_it_is_and_gives_its_owner_a_key() {
    let server = Server::up(&[]);
    let endpoints = fs::read_to_string(server.run_file("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
    let keys: Vec<_> = endpoints.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["api", "metrics", "ebs", "control", "nbd"], "only services that exist");
    assert!(endpoints["api"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let credentials = server.run_file("credentials");
    assert_eq!(fs::metadata(&credentials).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(credentials).unwrap();
    assert!(text.contains("[default]") && text.contains("aws_access_key_id = AKIA"));
    let secret = text.lines().find_map(|line| line.strip_prefix("aws_secret_access_key = ")).unwrap();
    crate::process::wait_until("it greets", || server.log().contains("Terrane is ready"));
    assert!(!server.log().contains(secret), "a secret in the log");
    let master = server.data().join("keys/master.key");
    assert_eq!(fs::metadata(master).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let server = Server::up(&[]);
    let (code, said) = server.fails(&["up", "--ports", "auto"]);
    assert_eq!(code, 1);
    assert!(said.contains("is in use by process"), "{said}");
    // The first one is none the worse for it.
    assert_eq!(server.json(&["status"])["health"]["status"], "ok");
    assert!(server.run_file("endpoints.json").exists());
}

#[test]
fn a_crash_loses_nothing_and_foreign_files_stay() {
    let mut server = Server::up(&[]);
    fs::write(server.data().join("notes.txt"), "mine").unwrap();
    fs::create_dir(server.data().join("objects/elsewhere")).unwrap();
    let mut s3 = server.s3();
    s3.create_bucket("crash").unwrap();
    for round in 0..3 {
        let key = format!("round-{round}");
        assert!(
            s3.put("crash", &key, &[("x-terrane-async", "time=1h")], key.as_bytes()).unwrap().is_success()
        );
        server.kill();
        assert!(server.run_file("endpoints.json").exists(), "nobody could take it away");
        server.start();
        s3 = server.s3();
        for earlier in 0..=round {
            let key = format!("round-{earlier}");
            assert_eq!(s3.get("crash", &key).unwrap().text(), key);
        }
        assert_eq!(s3.list_all("crash", "").unwrap().len(), round + 1);
    }
    assert_eq!(fs::read_to_string(server.data().join("notes.txt")).unwrap(), "mine");
    assert!(server.data().join("objects/elsewhere").exists());
}

#[test]
fn sigterm_stops_in_order_also_with_idle_and_stuck_clients() {
    let mut server = Server::up(&[]);
    server.s3().create_bucket("kept").unwrap();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let _idle = TcpStream::connect(&address).unwrap();
    let mut stuck = TcpStream::connect(&address).unwrap();
    stuck.write_all(b"PUT /kept/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nab").unwrap();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success(), "{}", server.log());
    assert!(!server.run_file("endpoints.json").exists(), "it is not there any more");
    assert!(TcpStream::connect(&address).is_err());
    server.start();
    assert_eq!(server.json(&["bucket", "list"])[0]["name"], "kept");
}

#[test]
fn metrics_history_and_audit_survive_a_restart() {
    let config = "[telemetry]\nhistory_interval_seconds = 1\nlog_format = 'json'\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let mut server = Server::up(&["--config", file.path().to_str().unwrap()]);
    server.s3().create_bucket("one").unwrap();
    let metrics = server.data().join("metrics");
    crate::process::wait_until("a sample is written", || fs::read_dir(&metrics).unwrap().next().is_some());
    let audit = server.data().join("audit");
    let created = || {
        let files = fs::read_dir(&audit).unwrap();
        let text: String = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        text.lines().filter(|line| line.contains("s3:CreateBucket")).count()
    };
    crate::process::wait_until("the call is audited", || created() == 1);
    server.kill();
    server.start();
    server.s3().create_bucket("two").unwrap();
    server.signal(Signal::SIGINT);
    assert!(server.wait().success());
    assert_eq!(created(), 2);
    assert!(fs::read_dir(&metrics).unwrap().count() >= 1);
    assert!(server.log().lines().any(|line| serde_json::from_str::<Value>(line).is_ok()), "JSON logs");
}

#[test]
fn https_with_a_given_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::up(&["--tls-cert", &cert, "--tls-key", &key]);
    assert!(server.url().starts_with("https://"));
    let me = server.json(&["--ca-cert", &cert, "account", "whoami"]);
    assert_eq!(me["account"], "000000000001");
    let (code, said) = server.fails(&["account", "whoami"]);
    assert_eq!(code, 5, "{said}");
}

#[test]
fn mistakes_are_refused_before_anything_happens() {
    let home = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], code: i32, says: &str| {
        let output = terrane(home.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    };
    fails(&["status"], 1, "--data-dir");
    let config = home.path().join("terrane.toml");
    fs::write(&config, "[objects]\npending_memroy = '1GiB'\n").unwrap();
    let config = config.to_str().unwrap();
    fails(&["up", "--config", config], 1, "pending_memroy");
    fails(&["up", "--config", "nowhere.toml"], 1, "nowhere.toml");
    fails(&["up", "--tls-cert", "cert.pem"], 2, "--tls-key");
    fails(&["up", "--tls-cert", "c.pem", "--tls-key", "k.pem", "--ports", "auto"], 1, "c.pem");
    fails(&["up", "--domain", "not a domain", "--ports", "auto"], 1, "not a domain");
    fails(&["serve", "--role", "api", "--ports", "auto"], 1, "--role api,manager,objects");
    fails(&["serve", "--role", "api,manager,objects", "--store", "mysql://x:secret@y"], 1, "postgres://");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = home.path().join("port.toml");
    fs::write(&file, format!("[listen]\nport = {port}\n")).unwrap();
    fails(&["up", "--config", file.to_str().unwrap()], 1, "cannot listen on");
    assert!(!Path::new(home.path()).join("terrane-data/objects").exists());
}

/// Every metric that an alert watches is one that the server has.
#[test]
fn alerts_watch_metrics_that_exist() {
    let server = Server::up(&[]);
    let mut s3 = server.s3();
    s3.create_bucket("watched").unwrap();
    let metrics = s3.request("GET", "/_terrane/metrics", "", &[], b"").unwrap().text();
    let rules = include_str!("../../../../packaging/alerts.yml");
    let mut watched = 0;
    for line in rules.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("terrane_") {
                watched += 1;
                let name = word.strip_suffix("_total").unwrap_or(word);
                assert!(metrics.contains(&format!("# TYPE {name} ")), "there is no metric {word}");
            }
        }
    }
    assert!(watched >= 8, "{watched}");
}
