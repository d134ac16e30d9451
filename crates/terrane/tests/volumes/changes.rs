//! Volumes that change in use: to another zone, to other drives, to more or fewer copies, while they are written and while
//! those who do it die.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use terrane_testbed::fio::{Job, Verifier};
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Up, succeed, wait_until};

use crate::setup::{BINARY, attached, tool};

/// Noise, so that nothing is saved by equal blocks, and enough of it for something to happen meanwhile.
const DATA: &str = "--size=96m --bs=1m --iodepth=4 --refill_buffers --end_fsync=1 --verify=crc32c --verify_fatal=1 \
                    --verify_state_save=0";

fn ec2(mut command: std::process::Command, arguments: &[&str]) -> Value {
    let text = succeed(command.args(["ec2", "--output", "json"]).args(arguments)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn aws(cluster: &Cluster, arguments: &[&str]) -> Value {
    ec2(cluster.client(&tool("aws")).unwrap(), arguments)
}

/// The latest modification: its state and progress as EC2 tells them.
fn modification(cluster: &Cluster, volume: &str) -> (String, u64) {
    let told = aws(cluster, &["describe-volumes-modifications", "--volume-ids", volume]);
    let told = &told["VolumesModifications"][0];
    (told["ModificationState"].as_str().unwrap().to_owned(), told["Progress"].as_u64().unwrap())
}

/// All that servers hold or have promised is what the volumes need: nothing has leaked.
fn check_space(installation: &impl Installation, copies: u64, size_gib: u64) {
    let sums = || {
        let servers = installation.cli(&["server", "list"])?;
        let servers = servers.as_array().into_iter().flatten();
        let (mut held, mut promised) = (0, 0);
        for server in servers {
            held += server["copies"].as_u64().unwrap_or(0);
            let pools = server["pools"].as_array().into_iter().flatten();
            promised += pools.map(|pool| pool["promised"].as_u64().unwrap_or(0)).sum::<u64>();
        }
        Ok((held, promised) == (copies, (copies * size_gib) << 30))
    };
    wait_until("servers hold what is needed and nothing else", PATIENCE, sums).unwrap();
}

#[test]
fn a_volume_moves_and_is_mirrored_more_and_less_under_its_clients() {
    let cluster = Cluster::start(Plan::new(BINARY, 4, 1)).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    let verifier = Verifier::start(&url, "256m", "24m", cluster.dir());
    let zone = || {
        let told = aws(&cluster, &["describe-volumes", "--volume-ids", &volume]);
        told["Volumes"][0]["AvailabilityZone"].as_str().unwrap().to_owned()
    };
    assert_eq!(zone(), "us-east-1a");
    let there = "us-east-1b";
    cluster.cli(&["volume", "modify", &volume, "--zone", there]).unwrap();
    assert_eq!(zone(), there, "where its primary is");
    assert_eq!(modification(&cluster, &volume), ("completed".to_owned(), 100));
    let now = cluster.volume(&volume).unwrap();
    assert!(now.is_redundant(2) && now.copies.iter().all(|copy| copy.zone == there), "{now:?}");
    check_space(&cluster, 2, 1);
    for mirrors in [2, 0, 1] {
        cluster.cli(&["volume", "modify", &volume, "--mirrors", &mirrors.to_string()]).unwrap();
        let now = cluster.volume(&volume).unwrap();
        assert!(now.is_redundant(mirrors + 1) && now.copies.len() == mirrors + 1, "{now:?}");
        check_space(&cluster, mirrors as u64 + 1, 1);
    }
    assert!(verifier.is_running(), "{}", cluster.logs());
    assert!(verifier.finish().unwrap() > 0);
    // What EC2 can ask for, and what holds at once.
    let asked =
        aws(&cluster, &["modify-volume", "--volume-id", &volume, "--iops", "4000", "--throughput", "200"]);
    assert_eq!(asked["VolumeModification"]["ModificationState"], "modifying");
    assert_eq!(modification(&cluster, &volume), ("completed".to_owned(), 100));
    let refused = cluster.cli(&["volume", "modify", &volume, "--stripes", "2"]).unwrap_err();
    assert!(format!("{refused:#}").contains("stripes"), "{refused:#}");
}

#[test]
fn a_volume_goes_to_other_drives_under_its_clients() {
    let up = Up::start(Path::new(BINARY)).unwrap();
    let (volume, url) = attached(&up, &up.instance().unwrap());
    let verifier = Verifier::start(&url, "256m", "24m", up.dir());
    let aws = |arguments: &[&str]| ec2(up.client(&tool("aws")).unwrap(), arguments);
    for (kind, media) in [("st1", "hdd"), ("io2", "ssd")] {
        let mut wish = vec!["modify-volume", "--volume-id", &volume, "--volume-type", kind];
        if kind == "io2" {
            wish.extend(["--iops", "2000", "--size", "2"]);
        }
        aws(&wish);
        wait_until("the volume is on other drives", 2 * PATIENCE + Duration::from_secs(60), || {
            let told = aws(&["describe-volumes-modifications", "--volume-ids", &volume]);
            Ok(told["VolumesModifications"][0]["ModificationState"] == "completed")
        })
        .unwrap();
        let now = up.volume(&volume).unwrap();
        let on = now.raw["copies"].as_array().unwrap().iter().map(|copy| copy["media"].as_str().unwrap());
        assert_eq!(on.collect::<Vec<_>>(), [media, media]);
        assert_eq!((&now.raw["type"], now.is_redundant(2)), (&kind.into(), true));
    }
    check_space(&up, 2, 2);
    assert!(verifier.is_running());
    assert!(verifier.finish().unwrap() > 0);
}

/// Who dies while data move. Whatever happens the volume ends where it was or where it was to be, whole, with nothing left
/// anywhere, and has all that was written.
fn dies(who: impl Fn(&Cluster, &str) -> Member, after: Duration) {
    let config = "[volumes]\nremirror_after_ms = 2000\n".to_owned();
    let mut cluster = Cluster::start(Plan { config, ..Plan::new(BINARY, 4, 1) }).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    Job::new(&url, "write", DATA).run(cluster.dir()).unwrap();
    cluster.cli(&["volume", "modify", &volume, "--zone", "us-east-1b", "--no-wait"]).unwrap();
    std::thread::sleep(after);
    let victim = who(&cluster, &volume);
    cluster.kill(victim).unwrap();
    cluster.launch(victim).unwrap();
    let ended = || Ok(!["modifying", "optimizing"].contains(&modification(&cluster, &volume).0.as_str()));
    wait_until("the change has ended", PATIENCE + Duration::from_secs(90), ended)
        .unwrap_or_else(|e| panic!("{e:#}\n{}", cluster.logs()));
    cluster.wait_redundant(&volume, 2, PATIENCE + Duration::from_secs(60)).unwrap();
    check_space(&cluster, 2, 1);
    let zone = if modification(&cluster, &volume).0 == "completed" { "us-east-1b" } else { "us-east-1a" };
    let now = cluster.volume(&volume).unwrap();
    assert!(now.copies.len() == 2 && now.copies.iter().all(|copy| copy.zone == zone), "{zone}: {now:?}");
    Job::new(&url, "write", &format!("{DATA} --verify_only")).run(cluster.dir()).unwrap();
}

#[test]
fn the_manager_dies_while_data_move() {
    for after in [100, 700] {
        dies(|_, _| Member::Manager(0), Duration::from_millis(after));
    }
}

#[test]
fn the_primary_dies_while_data_move() {
    let primary = |cluster: &Cluster, volume: &str| {
        let now = cluster.volume(volume).unwrap();
        cluster.server_named(now.server(terrane_testbed::Role::Primary).unwrap()).unwrap()
    };
    dies(primary, Duration::from_millis(400));
}

#[test]
fn the_target_dies_while_data_move() {
    let target = |cluster: &Cluster, volume: &str| {
        let now = cluster.volume(volume).unwrap();
        let there = now.copies.iter().find(|copy| copy.zone == "us-east-1b").map(|copy| copy.server.clone());
        cluster.server_named(&there.unwrap_or_else(|| "server1".to_owned())).unwrap()
    };
    dies(target, Duration::from_millis(400));
}
