//! Space that goes from one account to another.

use std::process::Command;

use anyhow::Result;
use serde_json::Value;
use terrane_testbed::{Cluster, Installation, Member, Plan, succeed};

use crate::setup::{BINARY, attached, nbd_script};

/// The command line with the key of an account other than the root's.
struct Tenant<'a> {
    cluster: &'a Cluster,
    key: Value,
}

impl Installation for Tenant<'_> {
    fn cli(&self, args: &[&str]) -> Result<Value> {
        let field = |name: &str| self.key[name].as_str().unwrap().to_owned();
        let endpoint = self.cluster.endpoint(Member::Manager(0), "api")?;
        let mut command = Command::new(BINARY);
        command.args(args).args(["--output", "json", "--endpoint", &endpoint]);
        command.env("AWS_ACCESS_KEY_ID", field("id")).env("AWS_SECRET_ACCESS_KEY", field("secret"));
        let text = succeed(command.current_dir(self.cluster.dir()))?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

/// Fills a volume that has to be empty, and deletes it.
fn use_up(account: &impl Installation, instance: &str) {
    let (volume, url) = attached(account, instance);
    assert_eq!(nbd_script("space.py", &[&url]).trim(), "zeros, then full");
    account.detach(&volume, &[]).unwrap();
    account.cli(&["volume", "delete", &volume]).unwrap();
}

#[test]
fn space_freed_by_one_account_is_zeros_for_another() {
    let mut cluster = Cluster::start(Plan::new(BINARY, 2, 1)).unwrap();
    let [roots, others] = [Member::Node(0), Member::Node(1)];
    let account = cluster.cli(&["account", "create", "other"]).unwrap();
    let account = account["id"].as_str().unwrap().to_owned();
    let key = cluster.cli(&["key", "create", "--account", &account]).unwrap();
    use_up(&cluster, &cluster.instance(roots).unwrap());
    let kept = cluster.create_volume(1).unwrap();

    // Machines that register from now on are the other account's.
    cluster.stop(roots).unwrap();
    cluster.set_config(format!("[volumes]\nhost_account = \"{account}\"\n"));
    cluster.stop(Member::Manager(0)).unwrap();
    cluster.launch(Member::Manager(0)).unwrap();
    cluster.launch(others).unwrap();
    let tenant = Tenant { cluster: &cluster, key };
    let instance = cluster.instance(others).unwrap();
    let all = |list: &Value, is_so: &dyn Fn(&Value) -> bool| list.as_array().unwrap().iter().all(is_so);
    terrane_testbed::wait_until("the servers and its machine are there", terrane_testbed::PATIENCE, || {
        let (servers, machines) = (cluster.cli(&["server", "list"])?, tenant.cli(&["instance", "list"])?);
        let registered = machines[0]["id"] == instance.as_str() && machines[0]["state"] == "running";
        Ok(registered && all(&servers, &|server| server["state"] == "up"))
    })
    .unwrap();
    assert!(tenant.volume(&kept).is_err(), "another account's volume");
    use_up(&tenant, &instance);
}
