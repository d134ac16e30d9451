//! The primary dies or stands still under load: how long until the next acknowledged I/O.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use terrane_testbed::fio::Verifier;
use terrane_testbed::probe::{self, Probe};
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Role};

use super::targets::FAST;

/// How long a frozen primary stands still.
const FREEZE: Duration = Duration::from_secs(3);

/// What was found, in seconds.
pub(super) struct Found {
    pub(super) kills: Vec<f64>,
    pub(super) freezes: Vec<f64>,
    /// Requests that the probe had answered. One failure ends the run with an error.
    pub(super) answers: u64,
}

/// So many kills and freezes of whoever is the primary, while fio verifies and a probe writes.
pub(super) fn run(binary: &Path, dir: &Path, rounds: usize) -> Result<Found> {
    let mut cluster = Cluster::start_in(Plan::new(binary, 3, 1), TempDir::with_prefix_in("failover", dir)?)?;
    let volume = cluster.create_volume_with(2, &FAST)?;
    let url = cluster.attach(&volume, &cluster.instance(Member::Node(0))?)?;
    let work = cluster.dir().to_path_buf();
    let verifier = Verifier::start(&url, "512m", "64m", &work);
    let mut probe = Probe::start(&url, 0, Duration::from_millis(1), &work)?;
    let mut found = Found { kills: Vec::new(), freezes: Vec::new(), answers: 0 };
    for _ in 0..rounds {
        let primary = cluster.server_named(cluster.volume(&volume)?.server(Role::Primary)?)?;
        let moment = probe::now();
        cluster.kill(primary)?;
        found.kills.push(probe.longest_gap_since(moment, PATIENCE)?.as_secs_f64());
        cluster.launch(primary)?;
        cluster.wait_redundant(&volume, 2, PATIENCE)?;

        let primary = cluster.server_named(cluster.volume(&volume)?.server(Role::Primary)?)?;
        let moment = probe::now();
        cluster.process(primary)?.freeze()?;
        std::thread::sleep(FREEZE);
        found.freezes.push(probe.longest_gap_since(moment, PATIENCE)?.as_secs_f64());
        cluster.process(primary)?.thaw()?;
        cluster.wait_redundant(&volume, 2, PATIENCE)?;
    }
    found.answers = probe.finish()?;
    verifier.finish().context("fio's verification")?;
    Ok(found)
}
