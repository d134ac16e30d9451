//! `cargo xtask bench volumes`: the table of the volumes service, beside other NBD servers.

mod drive;
mod failover;
mod targets;

use std::path::PathBuf;

use anyhow::{Context, Result};
use terrane_testbed::fio::{Figures, Job};

use self::targets::{Kind, Target};
use super::report::{self, Row, thousands};
use super::{Scale, median};
use crate::{sh, tools};

/// Bytes of the working set whose activity log stays warm.
const WARM_MIB: u64 = 1024;

struct Bench {
    scale: Scale,
    binary: PathBuf,
    dir: PathBuf,
    rows: Vec<Row>,
}

/// Builds, measures row by row, prints the table.
pub(super) fn run(scale: &Scale) -> Result<()> {
    tools::ensure_for_bench_volumes()?;
    let binary = match &scale.binary {
        Some(binary) => binary.clone(),
        None => {
            sh::run(sh::cargo().args(["build", "--release", "--locked", "-p", "terrane"]))?;
            sh::target_dir().join("release/terrane")
        }
    };
    let dir = sh::target_dir().join("bench/volumes");
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir)?;
    let mut bench = Bench { scale: scale.clone(), binary, dir, rows: Vec::new() };
    type Step = fn(&mut Bench) -> Result<()>;
    let steps: [(&str, Step); 5] = [
        ("small", Bench::small),
        ("cold", Bench::cold),
        ("flushed", Bench::flushed),
        ("sequential", Bench::sequential),
        ("failover", Bench::failover),
    ];
    for (name, step) in steps {
        if name.contains(&scale.only) {
            eprintln!("bench: {name}");
            // A row that fails is a row that says so; the others still count.
            if let Err(e) = step(&mut bench) {
                bench.row(name, "failed", "", "", false, &format!("{e:#}"));
            }
        }
    }
    report::finish("volumes", &sh::target_dir(), &bench.rows)
}

/// Medians of one load on each target, in the order of the targets.
type Medians = Vec<Figures>;

impl Bench {
    fn row(&mut self, what: &str, ours: &str, against: &str, bar: &str, met: bool, note: &str) {
        eprintln!("bench: {what}: {ours} against {against}: {}", if met { "met" } else { "missed" });
        let text = str::to_owned;
        self.rows.push(Row {
            what: what.into(),
            ours: text(ours),
            against: text(against),
            bar: text(bar),
            met,
            note: text(note),
        });
    }

    /// Bytes of the warm working set, in MiB: smaller only where the scale says so.
    fn warm_mib(&self) -> u64 {
        WARM_MIB.min(self.scale.volume_gib * 1024 / 2)
    }

    fn start(&self, kinds: &[Kind]) -> Result<Vec<Target>> {
        let start = |kind: &Kind| {
            Target::start(*kind, &self.binary, &self.dir, self.scale.volume_gib)
                .with_context(|| format!("{kind:?}"))
        };
        kinds.iter().map(start).collect()
    }

    /// Runs a load for the time of one measurement.
    fn once(&self, target: &Target, rw: &str, options: &str) -> Result<Figures> {
        let options = format!("{options} --time_based --runtime={} --randrepeat=0", self.scale.seconds);
        Job::new(target.url(), rw, &options).run(&self.dir).with_context(|| format!("{:?}", target.kind))
    }

    /// Runs a load on all targets in turn, several rounds; the first warms up and does not count.
    fn measure(&self, targets: &[Target], rw: &str, options: &str) -> Result<Medians> {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
        for round in 0..=self.scale.rounds {
            for (target, figures) in targets.iter().zip(&mut all) {
                let measured = self.once(target, rw, options)?;
                if round > 0 {
                    figures.push(measured);
                }
            }
        }
        let of = |figures: &[Figures], pick: fn(&Figures) -> f64| median(figures.iter().map(pick).collect());
        let medians = |figures: Vec<Figures>| Figures {
            iops: of(&figures, |f| f.iops),
            bytes: of(&figures, |f| f.bytes),
            p50_us: of(&figures, |f| f.p50_us),
            p99_us: of(&figures, |f| f.p99_us),
        };
        Ok(all.into_iter().map(medians).collect())
    }

    /// 4 KiB writes and reads over a working set that fits the activity log.
    fn small(&mut self) -> Result<()> {
        let targets = self.start(&Kind::ALL)?;
        let size = format!("--size={}m", self.warm_mib());
        // All of it is written once, so that nobody gains by holes.
        for target in &targets {
            let fill = format!("{size} --bs=1m --iodepth=8 --end_fsync=1");
            Job::new(target.url(), "write", &fill).run(&self.dir)?;
        }
        let deep = self.measure(&targets, "randwrite", &format!("{size} --bs=4k --iodepth=32"))?;
        let single = self.measure(&targets, "randwrite", &format!("{size} --bs=4k --iodepth=1"))?;
        let reads = self.measure(&targets, "randread", &format!("{size} --bs=4k --iodepth=32"))?;
        let place = |kind: Kind| Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        let (ours, quorum) = (place(Kind::Processes), place(Kind::Quorum));
        let iops = |figures: &Figures| thousands(figures.iops);
        let p50 = |figures: &Figures| format!("{:.0} µs", figures.p50_us);

        let met = deep[ours].iops >= 25_000.0 && deep[ours].iops >= deep[quorum].iops;
        let (bar, note) = ("≥ 25,000 and ≥ quorum", others(&deep, &iops));
        let against = format!("{} (quorum)", iops(&deep[quorum]));
        self.row("4 KiB writes/s, 2 copies, qd 32", &iops(&deep[ours]), &against, bar, met, &note);

        let met = single[ours].p50_us <= 70.0 && single[ours].p50_us <= single[quorum].p50_us;
        let (bar, note) = ("≤ 70 µs and ≤ quorum", others(&single, &p50));
        let against = format!("{} (quorum)", p50(&single[quorum]));
        self.row("4 KiB write p50, 2 copies, qd 1", &p50(&single[ours]), &against, bar, met, &note);

        let met = reads[ours].iops >= 40_000.0;
        let against = format!("{} (quorum)", iops(&reads[quorum]));
        let note = others(&reads, &iops);
        self.row("4 KiB reads/s, qd 32", &iops(&reads[ours]), &against, "≥ 40,000", met, &note);
        Ok(())
    }

    /// 4 KiB writes over far more than the activity log covers, beside those that it covers.
    fn cold(&mut self) -> Result<()> {
        let targets = self.start(&[Kind::Processes])?;
        let sizes = [self.warm_mib(), self.scale.volume_gib * 1024];
        let mut figures = Vec::new();
        for mib in sizes {
            let deep = self.measure(&targets, "randwrite", &format!("--size={mib}m --bs=4k --iodepth=32"))?;
            let single =
                self.measure(&targets, "randwrite", &format!("--size={mib}m --bs=4k --iodepth=1"))?;
            figures.push((deep[0], single[0]));
        }
        let [warm, cold] = [figures[0], figures[1]];
        let note = format!(
            "{:.0} %; p50 at qd 1: {:.0} µs, warm {:.0} µs",
            100.0 * cold.0.iops / warm.0.iops,
            cold.1.p50_us,
            warm.1.p50_us
        );
        let what = format!("4 KiB writes/s, qd 32, over {} GiB", self.scale.volume_gib);
        let against = format!("{} (over {} MiB)", thousands(warm.0.iops), sizes[0]);
        let met = cold.0.iops >= 0.5 * warm.0.iops;
        self.row(&what, &thousands(cold.0.iops), &against, "≥ 50 %", met, &note);
        Ok(())
    }

    /// Eight writers that each flush every write, against what the drive's own fdatasync allows.
    fn flushed(&mut self) -> Result<()> {
        let targets = self.start(&[Kind::Processes, Kind::Up, Kind::Quorum])?;
        let load = "--size=64m --bs=4k --iodepth=1 --numjobs=8 --group_reporting --fsync=1";
        for target in &targets {
            // The drive is measured over room that it has given out already, too.
            Job::new(target.url(), "write", "--size=64m --bs=1m --iodepth=8 --end_fsync=1").run(&self.dir)?;
        }
        let (mut drive, mut rounds) = (Vec::new(), vec![Vec::new(); targets.len()]);
        for _ in 0..self.scale.rounds {
            drive.push(drive::fdatasyncs(&self.dir, self.scale.seconds)?);
            for (target, rates) in targets.iter().zip(&mut rounds) {
                rates.push(self.once(target, "randwrite", load)?.iops);
            }
        }
        let rates: Vec<f64> = rounds.into_iter().map(median).collect();
        // Both copies lie on the one drive that there is: a flushed write costs it two.
        let allowed = median(drive) / 2.0;
        let note = format!(
            "{:.0} %; the drive does {} fdatasyncs/s for 8 writers, two copies share it; up {}, quorum {}",
            100.0 * rates[0] / allowed,
            thousands(2.0 * allowed),
            thousands(rates[1]),
            thousands(rates[2])
        );
        let met = rates[0] >= 0.5 * allowed;
        self.row(
            "flushed 4 KiB writes/s, 8 writers",
            &thousands(rates[0]),
            &thousands(allowed),
            "≥ 50 %",
            met,
            &note,
        );
        Ok(())
    }

    /// 1 MiB writes (to stable media) and reads (from the drive) against the slower of drive and loopback.
    fn sequential(&mut self) -> Result<()> {
        let targets = self.start(&[Kind::Processes, Kind::Up, Kind::Quorum])?;
        let size = self.warm_mib();
        let options = format!("--size={size}m --bs=1m --iodepth=8");
        let (mut loopback, mut drive) = (Vec::new(), [Vec::new(), Vec::new()]);
        let mut rates = [(); 3].map(|()| vec![Vec::new(); targets.len()]);
        for _ in 0..self.scale.rounds {
            loopback.push(drive::loopback()?);
            drive[0].push(drive::sequential_writes(&self.dir, size)?);
            drive[1].push(drive::sequential_reads(&self.dir, size)?);
            for (place, target) in targets.iter().enumerate() {
                let run = |rw: &str, more: &str| {
                    Job::new(target.url(), rw, &format!("{options} {more}")).run(&self.dir)
                };
                rates[0][place].push(run("write", "--end_fsync=1")?.bytes);
                rates[2][place].push(run("read", "")?.bytes);
                target.forget_cached()?;
                rates[1][place].push(run("read", "")?.bytes);
            }
        }
        let (loopback, [writes, reads]) = (median(loopback), drive.map(median));
        let [ours_written, ours_read, cached] =
            rates.map(|rates| rates.into_iter().map(median).collect::<Vec<f64>>());
        let mib = |bytes: f64| format!("{} MiB/s", thousands(bytes / (1 << 20) as f64));
        // Both copies lie on the one drive that there is.
        for (what, rates, drive, also) in [
            ("sequential 1 MiB writes, flushed at the end", ours_written, writes / 2.0, String::new()),
            ("sequential 1 MiB reads", ours_read, reads, format!("; {} from memory", mib(cached[0]))),
        ] {
            let allowed = loopback.min(drive);
            let note = format!(
                "{:.0} %; drive {}, loopback {}; up {}, quorum {}{also}",
                100.0 * rates[0] / allowed,
                mib(drive),
                mib(loopback),
                mib(rates[1]),
                mib(rates[2])
            );
            self.row(what, &mib(rates[0]), &mib(allowed), "≥ 60 %", rates[0] >= 0.6 * allowed, &note);
        }
        Ok(())
    }

    /// The primary is killed, and frozen, under load.
    fn failover(&mut self) -> Result<()> {
        let found = failover::run(&self.binary, &self.dir, self.scale.failovers)?;
        let seconds = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let note = format!(
            "slowest of {}; median {:.2} s; frozen instead: slowest {:.2} s, median {:.2} s; {} requests of the \
             probe and fio's verification without an error",
            found.kills.len(),
            median(found.kills.clone()),
            seconds(&found.freezes),
            median(found.freezes.clone()),
            thousands(found.answers as f64)
        );
        let slowest = seconds(&found.kills);
        let what = "kill -9 of the primary under load → next acknowledged I/O";
        self.row(what, &format!("{slowest:.2} s"), "", "≤ 1 s, no error", slowest <= 1.0, &note);
        Ok(())
    }
}

/// Figures of everyone but the first and the quorum, named.
fn others(medians: &[Figures], show: &dyn Fn(&Figures) -> String) -> String {
    let named = Kind::ALL.iter().zip(medians);
    let shown = named.filter(|(kind, _)| !matches!(kind, Kind::Processes | Kind::Quorum));
    shown.map(|(kind, figures)| format!("{} {}", kind.name(), show(figures))).collect::<Vec<_>>().join(", ")
}
