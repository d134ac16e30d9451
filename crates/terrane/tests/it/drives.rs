//! A server over several drives, as an operator sees it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Server, wait_until};

/// Directories for drives and the configuration that names them.
struct Rack {
    temp: TempDir,
}

impl Rack {
    fn new(count: usize) -> Self {
        let rack = Self { temp: TempDir::with_prefix("terrane-drives-").unwrap() };
        let drives: Vec<String> = (0..count).map(|n| format!("{:?}", rack.drive(n))).collect();
        fs::write(rack.config(), format!("[objects]\ndrives = [{}]\n", drives.join(", "))).unwrap();
        rack
    }

    fn drive(&self, number: usize) -> PathBuf {
        self.temp.path().join(format!("drive-{number}"))
    }

    fn config(&self) -> PathBuf {
        self.temp.path().join("terrane.toml")
    }
}

fn shards(drive: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(drive.join("data")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

fn states(server: &Server) -> Vec<String> {
    let drives = server.json(&["drive", "list"]);
    let drives = drives["drives"].as_array().unwrap().iter();
    drives.map(|drive| format!("{} {}", drive["state"].as_str().unwrap(), drive["log"])).collect()
}

fn body(seed: u8) -> Vec<u8> {
    (0..700_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

#[test]
fn rot_and_loss_of_drives_as_an_operator_meets_them() {
    let rack = Rack::new(3);
    let mut server = Server::up(&["--config", rack.config().to_str().unwrap()]);
    assert_eq!(states(&server), [r#"live "current""#; 3]);
    let made = server.json(&["bucket", "create", "coded", "--redundancy", "rs:2+1"]);
    assert_eq!(made["redundancy"], "rs:2+1");
    server.json(&["bucket", "create", "mirrored"]);
    for (layout, why) in
        [("rs:4+2", "needs 6 drives"), ("single", "one drive"), ("raid5", "not a redundancy")]
    {
        let (code, said) = server.fails(&["bucket", "set-redundancy", "mirrored", layout]);
        assert!(code != 0 && said.contains(why), "{layout}: {said}");
    }
    let (code, _) = server.fails(&["bucket", "create", "unmade", "--redundancy", "rs:4+2"]);
    assert_ne!(code, 0);
    assert_eq!(server.json(&["bucket", "list"]).as_array().unwrap().len(), 2, "made as asked or not at all");
    let mut s3 = server.s3();
    for (bucket, seed) in [("coded", 1), ("mirrored", 2)] {
        assert!(s3.put(bucket, "large", &[], &body(seed)).unwrap().is_success());
        assert!(s3.put(bucket, "small", &[], &body(seed)[..1_000]).unwrap().is_success());
    }
    let all_right = |server: &Server| {
        let mut s3 = server.s3();
        for (bucket, seed) in [("coded", 1), ("mirrored", 2)] {
            assert!(s3.get(bucket, "large").unwrap().body == body(seed), "{bucket}");
            assert!(s3.get(bucket, "small").unwrap().body == body(seed)[..1_000], "{bucket}");
        }
    };
    // Rot: found and healed by a pass.
    for path in shards(&rack.drive(2)) {
        let mut bytes = fs::read(&path).unwrap();
        (50..bytes.len()).step_by(9_000).for_each(|at| bytes[at] ^= 2);
        fs::write(path, bytes).unwrap();
    }
    all_right(&server);
    let pass = server.json(&["drive", "scrub"]);
    assert_eq!((&pass["scrub"]["lost_blocks"], &pass["scrub"]["problem"]), (&Value::from(0), &Value::Null));
    assert!(server.json(&["drive", "list"])["drives"][2]["repaired_blocks"].as_u64().unwrap() > 0);
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());

    // Loss: refused until accepted, served with what is left, rebuilt on an empty directory.
    let config = rack.config();
    fs::remove_dir_all(rack.drive(0)).unwrap();
    let (_, said) = server.fails(&["up", "--ports", "auto", "--config", config.to_str().unwrap()]);
    assert!(said.contains("--accept-missing-drives") && said.contains("drive-0"), "{said}");
    server.start_with(&["--accept-missing-drives"]);
    all_right(&server);
    assert_eq!(states(&server), [r#"missing "lost""#, r#"live "current""#, r#"live "current""#]);
    wait_until("health says so", || server.json(&["status"])["health"]["status"] == "degraded");
    let mut s3 = server.s3();
    assert!(s3.put("mirrored", "later", &[], &body(3)).unwrap().is_success());
    let refused = s3.put("coded", "later", &[], &body(3)).unwrap();
    assert!(!refused.is_success(), "no write without a shard to spare");
    fs::create_dir(rack.drive(0)).unwrap();
    server.json(&["drive", "replace", rack.drive(0).to_str().unwrap()]);
    wait_until("the log is copied", || states(&server) == [r#"live "current""#; 3]);
    assert_eq!(server.json(&["drive", "list"])["degraded_segments"], 0);
    assert!(s3.put("coded", "later", &[], &body(3)).unwrap().is_success());

    // Now another one may go, with a crash on top.
    server.kill();
    fs::remove_dir_all(rack.drive(1)).unwrap();
    server.start_with(&["--accept-missing-drives"]);
    all_right(&server);
    assert!(server.s3().get("coded", "later").unwrap().body == body(3));
}

#[test]
fn a_store_without_drives_gets_some() {
    let mut server = Server::up(&[]);
    server.json(&["bucket", "create", "old"]);
    assert!(server.s3().put("old", "large", &[], &body(1)).unwrap().is_success());
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    let temp = TempDir::with_prefix("terrane-drives-").unwrap();
    let (first, second) = (server.data().join("objects"), temp.path().join("second"));
    let config = temp.path().join("terrane.toml");
    fs::write(&config, format!("[objects]\ndrives = [{second:?}]\n")).unwrap();
    let (_, said) = server.fails(&["up", "--ports", "auto", "--config", config.to_str().unwrap()]);
    assert!(said.contains("name it as the first"), "{said}");
    fs::write(&config, format!("[objects]\ndrives = [{first:?}, {second:?}]\n")).unwrap();
    server.start_with(&["--config", config.to_str().unwrap()]);
    assert!(server.s3().get("old", "large").unwrap().body == body(1));
    wait_until("the log is copied", || states(&server) == [r#"live "current""#; 2]);
    assert!(server.s3().put("old", "new", &[], &body(2)).unwrap().is_success());
    assert_eq!(shards(&second).len(), 1);
}
