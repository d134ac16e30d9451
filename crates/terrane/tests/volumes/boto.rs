//! boto3: each script is one topic and runs on an installation of separate processes.

use terrane_testbed::{Cluster, Installation, Member, Plan, succeed};

use crate::setup::{BINARY, script, tool};

/// Runs scripts one after the other, as the root account, which the machines belong to, and with the keys of another.
fn run(scripts: &[&str]) {
    let cluster = Cluster::start(Plan::new(BINARY, 3, 2)).unwrap();
    let instances = [Member::Node(0), Member::Node(1)].map(|node| cluster.instance(node).unwrap());
    let account = cluster.cli(&["account", "create", "other"]).unwrap();
    let key = cluster.cli(&["key", "create", "--account", account["id"].as_str().unwrap()]).unwrap();
    for name in scripts {
        let mut command = cluster.client(&tool("python3")).unwrap();
        command
            .env("INSTANCES", instances.join(" "))
            .env("OTHER_ACCESS_KEY_ID", key["id"].as_str().unwrap())
            .env("OTHER_SECRET_ACCESS_KEY", key["secret"].as_str().unwrap());
        succeed(command.arg(script(name))).unwrap_or_else(|e| panic!("{e:#}\n{}", cluster.logs()));
    }
}

#[test]
fn a_volumes_life_with_waiters_and_paginators() {
    run(&["life.py", "pages.py"]);
}

#[test]
fn error_codes_of_unknown_foreign_and_malformed_ids_and_wrong_states() {
    run(&["errors.py"]);
}
