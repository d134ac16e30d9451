//! Every part is killed, frozen and cut off, again and again, while fio verifies and a probe watches every answer.
//!
//! `TERRANE_FAULT_ROUNDS` and `TERRANE_FREEZE_SECONDS` make it longer (`cargo xtask soak volume-faults`).

use std::time::Duration;

use terrane_testbed::fio::Verifier;
use terrane_testbed::probe::{self, Probe};
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Relay, Role};

use crate::setup::{BINARY, attached, number_from};

/// Longer than any failover may take, also in a debug build on a loaded machine. What is promised (1 s) is shown by
/// `cargo xtask bench volumes`.
const FAILOVER_WITHIN: Duration = Duration::from_secs(10);

/// How long a killed process is away, and how long a cut lasts, at least.
const AWAY: Duration = Duration::from_secs(1);

/// Copies of a volume.
const COPIES: usize = 2;

/// Who is hit: roles that move are looked up before each hit.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Copy(Role),
    Manager,
    Node,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Freeze,
    Cut,
}

/// A cluster under load, and who is to be hit.
struct Scene {
    cluster: Cluster,
    volume: String,
    url: String,
    victim: Victim,
    freeze: Duration,
    // Before the cluster ends, its clients do.
    relay: Option<Relay>,
}

impl Scene {
    fn new(victim: Victim) -> Self {
        let cluster = Cluster::start(Plan::new(BINARY, 3, 1).with_networks()).unwrap();
        let (volume, direct) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
        // A client that connects again, where the node manager itself dies. Everyone else must not notice anything.
        let relay = matches!(victim, Victim::Node).then(|| Relay::start(&direct, cluster.dir()).unwrap());
        let url = relay.as_ref().map_or(direct, |relay| relay.url().to_owned());
        let freeze = Duration::from_secs(number_from("TERRANE_FREEZE_SECONDS", 3));
        Self { cluster, volume, url, victim, freeze, relay }
    }

    fn member(&self) -> Member {
        match self.victim {
            Victim::Manager => Member::Manager(0),
            Victim::Node => Member::Node(0),
            Victim::Copy(role) => {
                let volume = self.cluster.volume(&self.volume).unwrap();
                self.cluster.server_named(volume.server(role).unwrap()).unwrap()
            }
        }
    }

    /// Hits the victim once; returns the longest time without an answer, and for how long the victim was away.
    fn hit(&mut self, fault: Fault, probe: &mut Probe) -> (Duration, Duration) {
        let member = self.member();
        let moment = probe::now();
        let away = match fault {
            Fault::Kill => {
                self.cluster.kill(member).unwrap();
                std::thread::sleep(AWAY);
                self.cluster.launch(member).unwrap();
                Duration::from_secs_f64(probe::now() - moment)
            }
            Fault::Freeze => {
                self.cluster.process(member).unwrap().freeze().unwrap();
                std::thread::sleep(self.freeze);
                self.cluster.process(member).unwrap().thaw().unwrap();
                self.freeze
            }
            Fault::Cut => {
                let lasts = AWAY.max(self.freeze / 2);
                self.cluster.cut(member).unwrap();
                std::thread::sleep(lasts);
                self.cluster.heal(member).unwrap();
                lasts
            }
        };
        let gap = probe.longest_gap_since(moment, PATIENCE).unwrap();
        self.cluster.wait_redundant(&self.volume, COPIES, PATIENCE).unwrap();
        (gap, away)
    }

    /// All faults in turn, several times.
    fn run(mut self) {
        let rounds = number_from("TERRANE_FAULT_ROUNDS", 5);
        let dir = self.cluster.dir().to_path_buf();
        let verifier = Verifier::start(&self.url, "256m", "24m", &dir);
        let mut probe = Probe::start(&self.url, 0, Duration::from_millis(1), &dir).unwrap();
        for fault in [Fault::Kill, Fault::Freeze, Fault::Cut] {
            let mut gaps = Vec::new();
            for round in 0..rounds {
                let (gap, away) = self.hit(fault, &mut probe);
                // Without its node manager a client has nobody to ask.
                let excused = if matches!(self.victim, Victim::Node) { away } else { Duration::ZERO };
                assert!(
                    gap <= FAILOVER_WITHIN + excused,
                    "{fault:?} {round} of {:?}: nothing was answered for {gap:?}\n{}",
                    self.victim,
                    self.cluster.logs()
                );
                if !verifier.is_running() {
                    break;
                }
                gaps.push(gap);
            }
            gaps.sort();
            println!(
                "{:?} {fault:?}: {} times; longest time without an answer: median {:?}, at most {:?}",
                self.victim,
                gaps.len(),
                gaps.get(gaps.len() / 2),
                gaps.last()
            );
        }
        let runs = verifier.finish().unwrap_or_else(|e| panic!("{e:#}\n{}", self.cluster.logs()));
        let answers = probe.finish().unwrap_or_else(|e| panic!("{e:#}\n{}", self.cluster.logs()));
        println!("{:?}: {runs} verified runs of fio, {answers} answers to the probe", self.victim);
        assert!(runs > 0 && answers > 0);
        self.compare_copies();
    }

    /// What is read does not depend on which copy answers.
    fn compare_copies(mut self) {
        let from_one = self.digest();
        let primary = self.cluster.volume(&self.volume).unwrap().server(Role::Primary).unwrap().to_owned();
        self.cluster.kill(self.cluster.server_named(&primary).unwrap()).unwrap();
        let from_other = self.digest();
        let now = self.cluster.volume(&self.volume).unwrap();
        assert_ne!(now.server(Role::Primary).unwrap(), primary, "the mirror has taken over");
        assert_eq!(from_one, from_other, "the copies differ");
        drop(self.relay.take());
    }

    /// SHA-256 of what was written to.
    fn digest(&self) -> String {
        crate::setup::nbd_script("digest.py", &[&self.url, "0", &(280_u64 << 20).to_string()])
    }
}

#[test]
fn the_primary_dies_freezes_and_is_cut_off() {
    Scene::new(Victim::Copy(Role::Primary)).run();
}

#[test]
fn the_mirror_dies_freezes_and_is_cut_off() {
    Scene::new(Victim::Copy(Role::Mirror)).run();
}

#[test]
fn the_manager_dies_freezes_and_is_cut_off() {
    Scene::new(Victim::Manager).run();
}

#[test]
fn the_node_manager_dies_freezes_and_is_cut_off() {
    Scene::new(Victim::Node).run();
}
