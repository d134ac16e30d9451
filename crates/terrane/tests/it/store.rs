//! Backup, restore, check; a lost root key.

use nix::sys::signal::Signal;

use crate::process::Server;

#[test]
fn a_backup_brings_accounts_back() {
    let mut server = Server::up(&[]);
    server.json(&["account", "create", "before"]);
    let made = server.json(&["store", "backup", "first"]);
    assert!(made["rows"].as_u64().unwrap() > 0);
    assert_eq!(server.json(&["store", "list"])[0]["name"], "first");
    let (code, said) = server.fails(&["store", "backup", "first"]);
    assert!(code == 1 && said.contains("backup-exists"), "{said}");
    assert_eq!(server.fails(&["store", "backup", "../x"]).0, 1);
    server.json(&["account", "create", "after"]);
    // Not while it runs.
    assert!(server.fails(&["store", "check"]).1.contains("is in use"));
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());

    let checked = server.json(&["store", "check"]);
    assert_eq!(checked["problems"], serde_json::json!([]));
    let none = server.data().join("keys/master.key");
    let (_, said) = server.fails(&["store", "restore", none.to_str().unwrap()]);
    assert!(said.contains("cannot be restored"), "{said}");
    let restored = server.json(&["store", "restore", made["path"].as_str().unwrap()]);
    assert!(std::path::Path::new(restored["kept"].as_str().unwrap()).exists());
    server.start();
    let accounts = server.json(&["account", "list"]);
    let names: Vec<_> = accounts.as_array().unwrap().iter().map(|account| account["name"].clone()).collect();
    assert!(names.contains(&"before".into()) && !names.contains(&"after".into()), "{names:?}");
}

#[test]
fn the_owner_of_the_directory_can_reset_the_root_key() {
    let mut server = Server::up(&[]);
    let old = std::fs::read_to_string(server.run_file("credentials")).unwrap();
    assert!(server.fails(&["reset-root-key"]).1.contains("is in use"));
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    let made = server.json(&["reset-root-key"]);
    server.start();
    let new = std::fs::read_to_string(server.run_file("credentials")).unwrap();
    assert!(new.contains(made["aws_access_key_id"].as_str().unwrap()));
    assert_eq!(server.json(&["account", "whoami"])["account"], "000000000001");
    std::fs::write(server.run_file("credentials"), old).unwrap();
    assert_eq!(server.fails(&["account", "whoami"]).0, 4);
}

#[test]
fn nothing_to_work_on_is_said() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["store", "check"][..], &["reset-root-key"], &["store", "restore", "x"]] {
        let output = crate::process::terrane(home.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("there is no data directory"), "{args:?}: {said}");
    }
}
