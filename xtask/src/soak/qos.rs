//! A quiet volume with committed IOPS among noisy neighbours on the same drives: how many seconds it got them in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;
use terrane_testbed::fio::{Figures, Job};
use terrane_testbed::{Cluster, Installation, Member, Plan};

use crate::{sh, tools};

/// IOPS committed to the quiet volume.
const COMMITTED: u64 = 2000;
/// What it gets in a second that counts as kept, percent.
const KEPT: u64 = 90;
/// Seconds in which it must get that, per mille.
const SECONDS: u64 = 999;
/// A second in which a thread that only sleeps was woken so much too late says nothing.
const STALL: Duration = Duration::from_millis(100);
/// What the drives are declared to have: more than all limits here together.
const POOL: &str = ",iops=30000,throughput=1000MiB";
/// Neighbours' loads, again and again in this order, each beginning with another one. They have volumes as anybody gets
/// them without asking for more (gp3 with 3,000 IOPS and 125 MiB/s, nothing reserved).
const NOISE: [(&str, &str); 5] = [
    ("randwrite", "--bs=4k --iodepth=64"),
    ("write", "--bs=1m --iodepth=32 --fsync=64"),
    ("randwrite", "--bs=4k --iodepth=8 --fsync=1"),
    ("randread", "--bs=64k --iodepth=32"),
    ("randrw", "--bs=16k --iodepth=32 --thinktime=200ms --thinktime_blocks=500"),
];
/// A load goes on for so long.
const TURN: Duration = Duration::from_secs(20);
/// The first seconds do not count: processes start.
const FIRST: u64 = 3;

/// Runs it for so many minutes; what it found, for the table.
pub(super) fn run(minutes: u64) -> Result<String> {
    tools::ensure_for_bench_volumes()?;
    sh::run(sh::cargo().args(["build", "--release", "--locked", "-p", "terrane"]))?;
    let dir = sh::target_dir().join("soak");
    std::fs::create_dir_all(&dir)?;
    let home = TempDir::with_prefix_in("qos", &dir)?;
    let plan =
        Plan { pool_options: POOL.to_owned(), ..Plan::new(sh::target_dir().join("release/terrane"), 2, 2) };
    let cluster = Cluster::start_in(plan, home)?;
    let committed = COMMITTED.to_string();
    let quiet = cluster.create_volume_with(2, &["--type", "io2", "--iops", &committed])?;
    let quiet = cluster.attach(&quiet, &cluster.instance(Member::Node(0))?)?;
    Job::new(&quiet, "write", "--bs=1m --size=1g --iodepth=4").run(cluster.dir())?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut neighbours = Vec::new();
    for first in 0..NOISE.len() {
        let volume = cluster.create_volume(2)?;
        let url = cluster.attach(&volume, &cluster.instance(Member::Node(1))?)?;
        neighbours.push(neighbour(url, first, cluster.dir(), &stop));
    }
    let seconds = minutes * 60 + FIRST + 1;
    let control = control(&stop);
    let load = format!(
        "--bs=4k --size=1g --iodepth=16 --time_based --runtime={seconds} --randrepeat=0 \
         --write_iops_log=quiet --log_avg_msec=1000"
    );
    let ran = Job::new(&quiet, "randrw", &load).run(cluster.dir());
    stop.store(true, Ordering::Relaxed);
    let broke = |_| anyhow!("a thread panicked");
    let stalled = control.join().map_err(broke)?;
    let noise = neighbours.into_iter().map(|one| one.join().map_err(broke)?).collect::<Result<Vec<_>>>()?;
    ran.context("the quiet volume")?;
    let log = std::fs::read_to_string(cluster.dir().join("quiet_iops.1.log")).context("fio's log")?;
    let found = judge(&per_second(&log)?, &stalled, FIRST..seconds - 1);
    let iops: f64 = noise.iter().map(|figures| figures.iops).sum();
    let mib: f64 = noise.iter().map(|figures| figures.bytes).sum::<f64>() / 1_048_576.0;
    let text =
        format!("{found}; {} neighbours did {iops:.0} operations and {mib:.0} MiB per second", noise.len());
    eprintln!("xtask: {text}");
    ensure!(found.is_met(), "the commitment was not kept: {text}");
    Ok(text)
}

/// Somebody who does what volumes can, in turns. Returns the mean of its turns.
fn neighbour(url: String, first: usize, dir: &Path, stop: &Arc<AtomicBool>) -> JoinHandle<Result<Figures>> {
    let (stop, dir) = (Arc::clone(stop), dir.to_path_buf());
    thread::spawn(move || {
        let (mut sum, mut turns) = (Figures::default(), 0.0);
        for (rw, options) in NOISE.iter().cycle().skip(first) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let options =
                format!("{options} --size=2g --time_based --runtime={} --randrepeat=0", TURN.as_secs());
            let figures = Job::new(&url, rw, &options).run(&dir)?;
            (sum.iops, sum.bytes, turns) = (sum.iops + figures.iops, sum.bytes + figures.bytes, turns + 1.0);
        }
        Ok(Figures { iops: sum.iops / f64::max(turns, 1.0), bytes: sum.bytes / f64::max(turns, 1.0), ..sum })
    })
}

/// Sleeps and looks how late it wakes. Returns the seconds since its start in which that was too late, and those beside
/// them: fio begins to count a little later.
fn control(stop: &Arc<AtomicBool>) -> JoinHandle<BTreeSet<u64>> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let (started, mut stalled) = (Instant::now(), BTreeSet::new());
        while !stop.load(Ordering::Relaxed) {
            let before = started.elapsed();
            thread::sleep(Duration::from_millis(10));
            let after = started.elapsed();
            if after - before > STALL {
                stalled.extend(before.as_secs().saturating_sub(1)..=after.as_secs() + 1);
            }
        }
        stalled
    })
}

/// Operations in each second, reads and writes, from fio's log: `milliseconds, value, direction, …`.
fn per_second(log: &str) -> Result<BTreeMap<u64, u64>> {
    let mut seconds = BTreeMap::new();
    for line in log.lines() {
        let mut fields = line.split(',').map(|field| field.trim().parse::<u64>());
        let (Some(Ok(ms)), Some(Ok(value))) = (fields.next(), fields.next()) else {
            return Err(anyhow!("not a line of fio's log: {line:?}"));
        };
        *seconds.entry(ms.saturating_sub(500) / 1000).or_default() += value;
    }
    Ok(seconds)
}

/// What became of the commitment.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    counted: u64,
    left_out: u64,
    missed: u64,
    least: u64,
}

impl Found {
    fn is_met(&self) -> bool {
        self.counted > 0 && (self.counted - self.missed) * 1000 >= self.counted * SECONDS
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { counted, left_out, missed, least } = self;
        let kept = 100.0 * (counted - missed) as f64 / (*counted).max(1) as f64;
        write!(
            f,
            "{COMMITTED} committed IOPS among noisy neighbours: ≥ {KEPT} % in {kept:.2} % of {counted} s (the least \
             {least}); {left_out} s left out, in which the machine stalled"
        )
    }
}

fn judge(seconds: &BTreeMap<u64, u64>, stalled: &BTreeSet<u64>, range: std::ops::Range<u64>) -> Found {
    let mut found = Found { counted: 0, left_out: 0, missed: 0, least: u64::MAX };
    for second in range {
        if stalled.contains(&second) {
            found.left_out += 1;
            continue;
        }
        // A second of which fio has no line is one in which nothing was done.
        let done = seconds.get(&second).copied().unwrap_or(0);
        found.counted += 1;
        found.least = found.least.min(done);
        found.missed += u64::from(done * 100 < COMMITTED * KEPT);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_judged_by_what_was_done_in_them() {
        let log =
            "1000, 900, 0, 4096, 0\n1000, 1000, 1, 4096, 0\n2001, 2000, 0, 4096, 0\n4000, 10, 1, 4096, 0\n";
        let seconds = per_second(log).unwrap();
        assert_eq!(seconds, BTreeMap::from([(0, 1900), (1, 2000), (3, 10)]));
        let found = judge(&seconds, &BTreeSet::from([3]), 0..4);
        assert_eq!(found, Found { counted: 3, left_out: 1, missed: 1, least: 0 });
        assert!(!found.is_met() && judge(&seconds, &BTreeSet::from([2, 3]), 0..4).is_met());
        assert!(!judge(&seconds, &BTreeSet::from([0]), 0..1).is_met(), "nothing was seen");
        assert!(per_second("nonsense").is_err());
    }
}
