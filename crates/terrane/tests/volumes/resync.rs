//! What comes back is brought up to date by what it has missed, not by all there is.

use std::time::Duration;

use terrane_testbed::fio::Job;
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Role};

use crate::setup::{BINARY, attached, nbd_script};

const MIB: f64 = 1_048_576.0;

/// Bytes that a primary has moved to copies that catch up.
fn moved(cluster: &Cluster, primary: Member) -> f64 {
    cluster.metric(primary, "terrane_block_resync_bytes_total").unwrap()
}

#[test]
fn a_mirror_that_was_away_gets_what_it_has_missed_and_no_more() {
    let mut cluster = Cluster::start(Plan::new(BINARY, 2, 1)).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    // Noise, so that nothing is saved by equal blocks.
    let fill = "--size=512m --bs=1m --iodepth=4 --refill_buffers --end_fsync=1";
    Job::new(&url, "write", fill).run(cluster.dir()).unwrap();

    let now = cluster.volume(&volume).unwrap();
    let [primary, mirror] =
        [Role::Primary, Role::Mirror].map(|role| cluster.server_named(now.server(role).unwrap()).unwrap());
    cluster.kill(mirror).unwrap();
    let before = moved(&cluster, primary);
    let change = "--size=512m --io_size=16m --bs=4k --iodepth=16 --refill_buffers --end_fsync=1";
    Job::new(&url, "randwrite", change).run(cluster.dir()).unwrap();
    cluster.launch(mirror).unwrap();
    cluster.wait_redundant(&volume, 2, PATIENCE).unwrap();
    let moved = (moved(&cluster, primary) - before) / MIB;
    println!("16 MiB changed of 512 MiB: {moved:.1} MiB moved");
    assert!(moved <= 2.0 * 16.0 + 64.0, "{moved:.1} MiB were moved for 16 MiB that it had missed");
    // Nothing is missing: the mirror alone gives the same.
    let digest = || nbd_script("digest.py", &[&url, "0", &(512_u64 << 20).to_string()]);
    let from_primary = digest();
    cluster.kill(primary).unwrap();
    assert_eq!(digest(), from_primary, "the copies differ");
}

/// A copy whose server does not come back is replaced by another one, elsewhere.
#[test]
fn a_copy_that_stays_away_is_replaced() {
    let config = "[volumes]\nremirror_after_ms = 1000\n".to_owned();
    let mut cluster = Cluster::start(Plan { config, ..Plan::new(BINARY, 3, 1) }).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    let data = "--size=64m --bs=64k --iodepth=4 --verify=crc32c --verify_fatal=1 --verify_state_save=0";
    Job::new(&url, "write", data).run(cluster.dir()).unwrap();
    let gone = cluster.volume(&volume).unwrap().server(Role::Mirror).unwrap().to_owned();
    cluster.kill(cluster.server_named(&gone).unwrap()).unwrap();
    let whole = || {
        let now = cluster.volume(&volume)?;
        Ok(now.is_redundant(2) && now.copies.iter().all(|copy| copy.server != gone))
    };
    terrane_testbed::wait_until("two copies on the servers that are left", PATIENCE, whole).unwrap();
    // The new one has everything: it is all that there is when the primary dies.
    let primary = cluster.volume(&volume).unwrap().server(Role::Primary).unwrap().to_owned();
    cluster.kill(cluster.server_named(&primary).unwrap()).unwrap();
    let verify = format!("{data} --verify_only");
    Job::new(&url, "write", &verify).run(cluster.dir()).unwrap();
    // The old one is no danger when it comes back.
    cluster.launch(cluster.server_named(&gone).unwrap()).unwrap();
    cluster.launch(cluster.server_named(&primary).unwrap()).unwrap();
    cluster.wait_redundant(&volume, 2, PATIENCE + Duration::from_secs(30)).unwrap();
    Job::new(&url, "write", &verify).run(cluster.dir()).unwrap();
}
