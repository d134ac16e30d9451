//! Clients that break NBD's rules byte by byte, guess names, or come by the thousand, over both kinds of sockets.

use terrane_testbed::{Cluster, Installation, Member, Plan};

use crate::setup::{BINARY, attached, nbd_script};

const NODE: Member = Member::Node(0);

/// An attached volume on a Unix socket and on loopback TCP.
fn served() -> (Cluster, String, [String; 2]) {
    let node_options = ["--nbd-listen", "127.0.0.1:0"].map(str::to_owned).into();
    let cluster = Cluster::start(Plan { node_options, ..Plan::new(BINARY, 2, 1) }).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(NODE).unwrap());
    let (name, _) = url.strip_prefix("nbd+unix:///").unwrap().split_once("?socket=").unwrap();
    let tcp = format!("{}/{name}", cluster.endpoint(NODE, "nbd").unwrap());
    (cluster, volume, [url, tcp])
}

#[test]
fn wrong_options_and_requests_get_the_specified_answers() {
    let (mut cluster, _, urls) = served();
    for url in &urls {
        assert_eq!(nbd_script("haggling.py", &[url]).trim(), "all answers", "{}", cluster.logs());
    }
    cluster.stop(NODE).unwrap();
}

#[test]
fn guessing_finds_nothing_and_holds_up_nobody() {
    let (mut cluster, volume, urls) = served();
    for url in &urls {
        assert_eq!(nbd_script("guesses.py", &[url]).trim(), "none found", "{}", cluster.logs());
    }
    let log = std::fs::read_to_string(cluster.dir().join("node0.log")).unwrap();
    let (name, _) = urls[0].strip_prefix("nbd+unix:///").unwrap().split_once('?').unwrap();
    assert!(log.contains("named an export that does not exist"), "guesses are told");
    assert!(!log.contains(name), "the log tells the name");
    // Dead with the attachment, on both.
    cluster.detach(&volume, &[]).unwrap();
    for url in &urls {
        let mut nbdinfo = std::process::Command::new("nbdinfo");
        assert!(!terrane_testbed::output(nbdinfo.arg(url)).unwrap().status.success());
    }
    cluster.stop(NODE).unwrap();
}

#[test]
fn crowds_keep_nobody_out() {
    let (mut cluster, _, urls) = served();
    let process = cluster.process(NODE).unwrap().pid().to_string();
    for url in &urls {
        let said = nbd_script("crowds.py", &[url, &process]);
        assert_eq!(said.trim(), "served all the time", "{}", cluster.logs());
    }
    cluster.stop(NODE).unwrap();
}
