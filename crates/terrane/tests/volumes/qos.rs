//! Limits: no volume gets more than it may have, beside others and after a change. Nothing here depends on how fast the
//! machine is: only more than the limit is an error.

use terrane_testbed::fio::{Figures, Job};
use terrane_testbed::{Cluster, Installation, Member, Plan};

use crate::setup::BINARY;

/// How long a load goes on.
const SECONDS: f64 = 4.0;
const MIB: f64 = 1_048_576.0;

fn load(url: &str, rw: &str, options: &str, cluster: &Cluster) -> Figures {
    let options = format!("{options} --size=256m --time_based --runtime={SECONDS} --randrepeat=0");
    Job::new(url, rw, &options).run(cluster.dir()).unwrap()
}

/// Fails if more was done than a limit allows: a tenth of a second's worth may come at once, and what was in flight when
/// the clock began.
fn assert_within(what: &str, did: f64, limit: f64, in_flight: f64) {
    println!("{what}: {did:.0} per second of {limit:.0}");
    let may = limit + (limit / 10.0 + in_flight) / SECONDS;
    assert!(did <= may * 1.01, "{what}: {did:.0} per second, may have {limit:.0}");
    assert!(did > 0.0, "{what} got nothing");
}

#[test]
fn no_volume_gets_more_than_its_limit() {
    let cluster = Cluster::start(Plan::new(BINARY, 2, 1)).unwrap();
    let instance = cluster.instance(Member::Node(0)).unwrap();
    let slow = cluster.create_volume_with(1, &["--type", "io2", "--iops", "200"]).unwrap();
    let usual = cluster.create_volume(1).unwrap();
    let (at_slow, at_usual) =
        (cluster.attach(&slow, &instance).unwrap(), cluster.attach(&usual, &instance).unwrap());
    // Both at the same time.
    let (slow_did, usual_did) = std::thread::scope(|scope| {
        let other = scope.spawn(|| load(&at_usual, "randwrite", "--bs=4k --iodepth=32", &cluster));
        (load(&at_slow, "randwrite", "--bs=4k --iodepth=16", &cluster), other.join().unwrap())
    });
    assert_within("io2 of 200 IOPS", slow_did.iops, 200.0, 16.0);
    assert_within("gp3", usual_did.iops, 3000.0, 32.0);
    // Bytes: 125 MiB/s, and as many operations as there are 256 KiB.
    let large = load(&at_usual, "write", "--bs=1m --iodepth=8", &cluster);
    assert_within("gp3, bytes", large.bytes / MIB, 125.0, 8.0);
    let large = load(&at_slow, "read", "--bs=1m --iodepth=4", &cluster);
    assert_within("io2 of 200 IOPS, 256 KiB each", large.iops * 4.0, 200.0, 16.0);
    // A change holds at once, without a new attachment.
    cluster.cli(&["volume", "modify", &slow, "--iops", "100"]).unwrap();
    let lower = || load(&at_slow, "randread", "--bs=4k --iodepth=16", &cluster);
    // The first may have begun before every server had heard of it.
    lower();
    assert_within("io2 of 100 IOPS", lower().iops, 100.0, 16.0);
}
