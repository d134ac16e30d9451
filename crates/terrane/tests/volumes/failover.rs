//! Two managers on one PostgreSQL: either may die.

use std::time::Duration;

use terrane_testbed::fio::Verifier;
use terrane_testbed::postgres::Postgres;
use terrane_testbed::probe::{self, Probe};
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Role, wait_until};

use crate::setup::{BINARY, attached};

/// The manager that is in office.
fn leader(cluster: &Cluster) -> Member {
    let mut found = None;
    wait_until("a manager is in office", PATIENCE, || {
        let in_office = |member: &Member| {
            cluster.metric(*member, "terrane_volumes_manager_in_office").is_ok_and(|is| is == 1.0)
        };
        found = (0..2).map(Member::Manager).find(in_office);
        Ok(found.is_some())
    })
    .unwrap();
    found.unwrap()
}

/// The manager in office and the primary are killed together while I/O goes on: the other manager is elected, finds out
/// who lives, and promotes the mirror. What was half done goes on.
#[test]
fn a_manager_takes_over_from_a_dead_one() {
    let postgres = Postgres::start().unwrap();
    let plan = Plan { managers: 2, store: Some(postgres.url()), ..Plan::new(BINARY, 3, 1) };
    let mut cluster = Cluster::start(plan).unwrap();
    let instance = cluster.instance(Member::Node(0)).unwrap();
    let (volume, url) = attached(&cluster, &instance);
    let dir = cluster.dir().to_path_buf();
    let verifier = Verifier::start(&url, "256m", "24m", &dir);
    let mut probe = Probe::start(&url, 0, Duration::from_millis(1), &dir).unwrap();
    for round in 0..4 {
        let volume_now = cluster.volume(&volume).unwrap();
        let primary = cluster.server_named(volume_now.server(Role::Primary).unwrap()).unwrap();
        let manager = leader(&cluster);
        let moment = probe::now();
        cluster.kill(manager).unwrap();
        cluster.kill(primary).unwrap();
        let gap = probe.longest_gap_since(moment, PATIENCE).unwrap();
        println!("round {round}: without the manager in office and the primary: {gap:?}");
        cluster.launch(primary).unwrap();
        cluster.wait_redundant(&volume, 2, PATIENCE).unwrap();
        let second = cluster.create_volume(1).unwrap();
        cluster.launch(manager).unwrap();
        wait_until("the second volume is gone", PATIENCE, || {
            cluster.cli(&["volume", "delete", &second])?;
            Ok(true)
        })
        .unwrap();
        assert!(verifier.is_running(), "{}", cluster.logs());
    }
    assert!(verifier.finish().unwrap() > 0);
    assert!(probe.finish().unwrap() > 0);
}
