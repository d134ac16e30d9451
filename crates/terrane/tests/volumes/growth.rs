//! Volumes that grow while they are used.

use terrane_testbed::fio::Verifier;
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Role, wait_until};

use crate::setup::{BINARY, attached, nbd_script};

const GIB: u64 = 1 << 30;

/// Asks for a size and waits until the volume has it.
fn grow(cluster: &Cluster, volume: &str, size_gib: u64) {
    cluster.cli(&["volume", "modify", volume, "--size", &size_gib.to_string()]).unwrap();
    let has_it = || Ok(cluster.volume(volume)?.raw["size_gib"] == size_gib);
    wait_until(&format!("{volume} has {size_gib} GiB"), PATIENCE, has_it)
        .unwrap_or_else(|e| panic!("{e:#}\n{}", cluster.logs()));
}

/// Runs the script on what lies from one size to the other.
fn tail(what: &str, url: &str, from_gib: u64, to_gib: u64) {
    nbd_script("grown.py", &[what, url, &(from_gib * GIB).to_string(), &(to_gib * GIB).to_string()]);
}

fn server(cluster: &Cluster, volume: &str, role: Role) -> Member {
    let now = cluster.volume(volume).unwrap();
    cluster.server_named(now.server(role).unwrap()).unwrap()
}

/// Clients that are connected go on; those that connect later have the new size. What is written there is on every copy, also
/// on one that was away while the volume grew.
#[test]
fn a_volume_grows_under_its_clients_and_every_copy_with_it() {
    let mut cluster = Cluster::start(Plan::new(BINARY, 2, 1)).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    let verifier = Verifier::start(&url, "256m", "24m", cluster.dir());
    grow(&cluster, &volume, 3);
    tail("write", &url, 1, 3);

    let mirror = server(&cluster, &volume, Role::Mirror);
    cluster.kill(mirror).unwrap();
    grow(&cluster, &volume, 4);
    tail("write", &url, 3, 4);
    cluster.launch(mirror).unwrap();
    cluster.wait_redundant(&volume, 2, PATIENCE).unwrap();

    // Each of the two has everything.
    let primary = server(&cluster, &volume, Role::Primary);
    cluster.kill(primary).unwrap();
    tail("verify", &url, 1, 3);
    tail("verify", &url, 3, 4);
    assert!(verifier.is_running(), "{}", cluster.logs());
    assert!(verifier.finish().unwrap() > 0);
    cluster.launch(primary).unwrap();
    cluster.wait_redundant(&volume, 2, PATIENCE).unwrap();

    // Nothing has been forgotten when everybody begins anew.
    for member in [primary, mirror] {
        cluster.stop(member).unwrap();
        cluster.launch(member).unwrap();
    }
    cluster.wait_redundant(&volume, 2, PATIENCE).unwrap();
    tail("verify", &url, 1, 3);
    tail("verify", &url, 3, 4);
}
