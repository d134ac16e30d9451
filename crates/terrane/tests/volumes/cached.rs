//! A node manager that keeps blocks in memory.

use std::fs;

use terrane_testbed::fio::Job;
use terrane_testbed::{Cluster, Installation, Member, Plan};

use crate::setup::{BINARY, attached, nbd_script};

const OLD: Member = Member::Node(0);
const NEW: Member = Member::Node(1);

fn start() -> (tempfile::TempDir, Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    fs::write(&config, "[volumes]\ncache = \"16MiB\"\n").unwrap();
    let node_options = vec!["--config".to_owned(), config.display().to_string()];
    (dir, Cluster::start(Plan { node_options, ..Plan::new(BINARY, 2, 2) }).unwrap())
}

#[test]
fn what_is_verified_comes_from_memory() {
    let (_dir, cluster) = start();
    let (_, url) = attached(&cluster, &cluster.instance(OLD).unwrap());
    let options = "--size=20m --bssplit=4k/80:2k/10:64k/10 --iodepth=16 --fsync=64 --verify=crc32c \
                   --verify_fatal=1 --verify_state_save=0 --verify_backlog=64";
    Job::new(&url, "randwrite", options).run(cluster.dir()).unwrap();
    let metric = |name: &str| cluster.metric(OLD, &format!("terrane_node_cache_{name}")).unwrap();
    let (hits, misses, bytes) = (metric("hits_total"), metric("misses_total"), metric("bytes"));
    println!("{hits} reads from memory, {misses} from the primary, {bytes} bytes are kept");
    assert!(hits > 100.0 && bytes > 0.0 && bytes <= f64::from(16 << 20));
}

/// What it has in memory is no answer when the volume is another machine's.
#[test]
fn a_frozen_node_manager_answers_nothing_from_memory_after_a_forced_detach() {
    let (_dir, cluster) = start();
    let (volume, url) = attached(&cluster, &cluster.instance(OLD).unwrap());
    let mut reader = crate::fencing::Holder::start("reader.py", &url);
    assert_eq!(reader.tell("warm"), "64 blocks read");
    let hits = || cluster.metric(OLD, "terrane_node_cache_hits_total").unwrap();
    assert_eq!(reader.tell("warm"), "64 blocks read");
    assert!(hits() >= 64.0);
    cluster.process(OLD).unwrap().freeze().unwrap();
    assert_eq!(reader.tell("queue"), "queued");

    cluster.detach(&volume, &["--force"]).unwrap();
    let url = cluster.attach(&volume, &cluster.instance(NEW).unwrap()).unwrap();
    assert_eq!(nbd_script("owner.py", &[&url, "write"]).trim(), "written");

    cluster.process(OLD).unwrap().thaw().unwrap();
    assert_eq!(reader.tell("outcome"), "64 reads failed", "{}", cluster.logs());
    assert_eq!(nbd_script("owner.py", &[&url, "check"]).trim(), "as written");
}
