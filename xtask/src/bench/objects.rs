//! `cargo xtask bench objects`: the table of the objects service.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use super::loadgen::{load, md5_rate};
use super::median;
use super::report::{self, Row, thousands};
use super::servers::{Address, seaweedfs, terrane};
use crate::server::Terrane;
use crate::sh;

/// How much is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Scale {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8.0)]
    pub(super) seconds: f64,
    /// How often each measurement is repeated; medians are shown.
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: usize,
    /// Keys that LIST walks.
    #[arg(long, default_value_t = 1_000_000)]
    list_keys: u64,
    /// Keys that the peer's LIST walks: filling it takes minutes.
    #[arg(long, default_value_t = 100_000)]
    peer_list_keys: u64,
    /// Entries pending in the rows about memory and restart.
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// Keys in the keymap at the restart.
    #[arg(long, default_value_t = 10_000_000)]
    restart_keys: u64,
    /// GiB of the volumes (volumes): the working set that no activity log covers.
    #[arg(long, default_value_t = 64)]
    pub(super) volume_gib: u64,
    /// How often the primary is killed, and how often frozen (volumes).
    #[arg(long, default_value_t = 10)]
    pub(super) failovers: usize,
    /// Measure this program instead of building one (volumes).
    #[arg(long)]
    pub(super) binary: Option<PathBuf>,
    /// Run only rows whose name contains this.
    #[arg(long, default_value = "")]
    pub(super) only: String,
}

struct Bench {
    scale: Scale,
    dir: PathBuf,
    rows: Vec<Row>,
}

/// Builds, measures row by row, prints the table.
pub(super) fn run(scale: &Scale) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--release", "--locked", "-p", "terrane", "-p", "terrane-bench"]))?;
    let dir = sh::target_dir().join("bench/objects");
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir)?;
    let mut bench = Bench { scale: scale.clone(), dir, rows: Vec::new() };
    type Step = fn(&mut Bench) -> Result<()>;
    let steps: [(&str, Step); 6] = [
        ("small", Bench::small_objects),
        ("list", Bench::listing),
        ("paused", Bench::workers_stopped),
        ("burst", Bench::burst),
        ("large", Bench::large_objects),
        ("restart", Bench::backlog_and_restart),
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
    report::finish("objects", &sh::target_dir(), &bench.rows)
}

impl Bench {
    fn row(&mut self, what: &str, ours: &str, against: &str, bar: &str, met: bool, note: &str) {
        let text = str::to_owned;
        let row = Row {
            what: what.into(),
            ours: text(ours),
            against: text(against),
            bar: text(bar),
            met,
            note: text(note),
        };
        eprintln!("bench: {what}: {ours} against {against}: {}", if met { "met" } else { "missed" });
        self.rows.push(row);
    }

    fn terrane(&self, name: &str) -> Result<(Terrane, Address)> {
        terrane(&self.dir.join(name))
    }

    fn seconds(&self) -> String {
        self.scale.seconds.to_string()
    }

    /// PUT and GET of 4 KiB: both servers up, loads alternate.
    fn small_objects(&mut self) -> Result<()> {
        let (_process, address) = self.terrane("small")?;
        let (_peer_process, peer) = seaweedfs(&self.dir.join("small-peer"))?;
        let seconds = self.seconds();
        let put = |server: &Address, round: usize| -> Result<(f64, f64)> {
            let prefix = format!("r{round}/");
            let figures =
                load(server, &["put", "--seconds", &seconds, "--prefix", &prefix])?.without_errors()?;
            Ok((figures.number("per_second"), figures.number("done")))
        };
        let get = |server: &Address, round: usize, population: f64| -> Result<f64> {
            let (prefix, population) = (format!("r{round}/"), format!("{population:.0}"));
            let args = ["get", "--seconds", &seconds, "--prefix", &prefix, "--population", &population];
            Ok(load(server, &args)?.without_errors()?.number("per_second"))
        };
        let mut put_rates = [Vec::new(), Vec::new()];
        let mut get_rates = [Vec::new(), Vec::new()];
        for round in 0..=self.scale.rounds {
            for (which, server) in [&address, &peer].into_iter().enumerate() {
                let (rate, done) = put(server, round)?;
                let got = get(server, round, done)?;
                // The first round warms up.
                if round > 0 {
                    put_rates[which].push(rate);
                    get_rates[which].push(got);
                }
            }
        }
        for (what, [ours, peer], bar) in
            [("durable 4 KiB PUT/s, 16 clients", put_rates, 3.0), ("4 KiB GET/s, 16 clients", get_rates, 2.0)]
        {
            let (ours, peer) = (median(ours), median(peer));
            let note = format!("{:.2}×; the peer does not fsync", ours / peer);
            self.row(
                what,
                &thousands(ours),
                &thousands(peer),
                &format!("≥ {bar}×"),
                ours >= bar * peer,
                &note,
            );
        }
        Ok(())
    }

    /// LIST over many keys.
    fn listing(&mut self) -> Result<()> {
        let (ours, address) = self.terrane("list")?;
        let (_peer_process, peer) = seaweedfs(&self.dir.join("list-peer"))?;
        fill(&address, "l/", self.scale.list_keys, None)?;
        drain(&ours)?;
        fill(&peer, "l/", self.scale.peer_list_keys, None)?;
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..self.scale.rounds {
            for (which, server) in [&address, &peer].into_iter().enumerate() {
                let figures = load(server, &["list", "--seconds", &self.seconds(), "--prefix", "l/"])?
                    .without_errors()?;
                rates[which].push(figures.number("units_per_second"));
            }
        }
        let counted = load(&address, &["count", "--prefix", "l/"])?.as_number();
        ensure!(counted == self.scale.list_keys as f64, "listed {counted} keys");
        let [ours, peer] = rates.map(median);
        let what = format!("LIST keys/s over {} keys", thousands(self.scale.list_keys as f64));
        let note = format!(
            "{:.2}×; the peer lists {} keys",
            ours / peer,
            thousands(self.scale.peer_list_keys as f64)
        );
        self.row(&what, &thousands(ours), &thousands(peer), "≥ 4×", ours >= 4.0 * peer, &note);
        Ok(())
    }

    /// PUT latency must not know whether the keymap's workers run.
    fn workers_stopped(&mut self) -> Result<()> {
        let (ours, address) = self.terrane("paused")?;
        let mut p99 = [Vec::new(), Vec::new()];
        for round in 0..=self.scale.rounds {
            for (which, state) in ["resume", "pause"].into_iter().enumerate() {
                ours.cli(&["queue", state])?;
                let prefix = format!("{state}{round}/");
                let args = ["put", "--seconds", &self.seconds(), "--prefix", &prefix];
                let figures = load(&address, &args)?.without_errors()?;
                if round > 0 {
                    p99[which].push(figures.number("p99_us"));
                }
            }
            ours.cli(&["queue", "resume"])?;
            drain(&ours)?;
        }
        let [running, stopped] = p99.map(median);
        let note = format!("{:.2}×", stopped / running);
        let us = |value: f64| format!("{} µs", thousands(value));
        self.row(
            "PUT p99, workers stopped",
            &us(stopped),
            &us(running),
            "≤ 1.1×",
            stopped <= 1.1 * running,
            &note,
        );
        Ok(())
    }

    /// Five times what the keymap sustains, for 20 seconds, with a reader that checks.
    fn burst(&mut self) -> Result<()> {
        let (ours, address) = self.terrane("burst")?;
        let backlog = self.scale.pending.min(200_000);
        ours.cli(&["queue", "pause"])?;
        let filled = fill(&address, "f/", backlog, None)?;
        ours.cli(&["queue", "resume"])?;
        let sustained = backlog as f64 / drain(&ours)?.as_secs_f64();
        // Where clients cannot offer that much, the workers are stopped instead: nothing is a smaller fraction.
        let stopped = 5.0 * sustained > filled;
        if stopped {
            ours.cli(&["queue", "pause"])?;
        }
        let rate = format!("{:.0}", 5.0 * sustained);
        let figures = load(&address, &["burst", "--seconds", "20", "--prefix", "b/", "--rate", &rate])?;
        if stopped {
            ours.cli(&["queue", "resume"])?;
        }
        let drained = drain(&ours)?;
        let (puts, checks) = (figures.part("puts"), figures.part("checks"));
        let counted = load(&address, &["count", "--prefix", "b/"])?.as_number();
        let wrong = checks.list("wrong");
        let met = puts.errors().is_empty() && wrong.is_empty() && counted == puts.number("done");
        let how = if stopped { "at full speed with workers stopped".into() } else { format!("at {rate}/s") };
        let note = format!(
            "{how}; {} checked right, {} wrong; {} listed; drained in {:.1} s {}",
            thousands(checks.number("gets") + checks.number("lists")),
            wrong.len(),
            thousands(counted),
            drained.as_secs_f64(),
            puts.errors(),
        );
        let done = format!("{} PUT/s", thousands(puts.number("per_second")));
        let against = format!("keymap sustains {}/s", thousands(sustained));
        self.row("burst of 20 s", &done, &against, "no error, nothing stale", met, &note);
        Ok(())
    }

    /// 64 MiB objects against what disk and MD5 allow.
    fn large_objects(&mut self) -> Result<()> {
        const SIZE: u64 = 64 << 20;
        const COUNT: u64 = 16;
        let (_process, address) = self.terrane("large")?;
        let (size, count) = (SIZE.to_string(), COUNT.to_string());
        let common = ["--prefix", "g/", "--clients", "2", "--size", &size, "--count", &count];
        let (mut puts, mut gets, mut disk, mut disk_read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.scale.rounds {
            let file = self.dir.join("dd");
            disk.push(dd(&["if=/dev/zero", &format!("of={}", file.display()), "conv=fdatasync"], COUNT)?);
            disk_read.push(dd(&[&format!("if={}", file.display()), "of=/dev/null", "iflag=direct"], COUNT)?);
            fs::remove_file(&file)?;
            let put = load(&address, &[&["put-large"], &common[..]].concat())?.without_errors()?;
            puts.push(put.number("units_per_second"));
            let get = load(&address, &[&["get-large", "--population", &count], &common[..]].concat())?;
            gets.push(get.without_errors()?.number("units_per_second"));
        }
        let md5 = md5_rate()?;
        let mib = |value: f64| format!("{} MiB/s", thousands(value / (1 << 20) as f64));
        for (what, ours, disk) in [
            ("PUT of 64 MiB", median(puts), median(disk)),
            ("GET of 64 MiB", median(gets), median(disk_read)),
        ] {
            let allowed = disk.min(md5);
            let note = format!("{:.0} %; disk {}, MD5 {}", 100.0 * ours / allowed, mib(disk), mib(md5));
            self.row(what, &mib(ours), &mib(allowed), "≥ 80 %", ours >= 0.8 * allowed, &note);
        }
        Ok(())
    }

    /// Memory with a backlog, and the first answer after `kill -9` with that backlog.
    fn backlog_and_restart(&mut self) -> Result<()> {
        const BOUND: u64 = 256 << 20;
        let (mut ours, mut address) = self.terrane("restart")?;
        fill(&address, "k/", self.scale.restart_keys, None)?;
        drain(&ours)?;
        let before = ours.process.resident()?;
        ours.cli(&["queue", "pause"])?;
        fill(&address, "p/", self.scale.pending, Some("time=1d"))?;
        let (pending, bytes) = ours.pending()?;
        let resident = ours.process.resident()?;
        let mib = |value: u64| format!("{} MiB", thousands(value as f64 / (1 << 20) as f64));
        let what = format!("memory of {} pending entries", thousands(pending as f64));
        let note = format!("resident {} before, {} after", mib(before), mib(resident));
        let met = bytes <= BOUND && resident.saturating_sub(before) <= BOUND;
        self.row(&what, &mib(bytes), &mib(resident.saturating_sub(before)), "≤ 256 MiB", met, &note);

        let mut seconds = Vec::new();
        let data = self.dir.join("restart");
        for _ in 0..self.scale.rounds {
            ours.process.kill()?;
            let began = Instant::now();
            (ours, address) = terrane(&data)?;
            load(&address, &["ready", "--seconds", "60"])?;
            seconds.push(began.elapsed().as_secs_f64());
            load(
                &address,
                &["get", "--count", "100", "--prefix", "p/", "--population", "1000", "--size", "64"],
            )?
            .without_errors()?;
        }
        let took = median(seconds);
        let what = format!(
            "first answer after kill -9 with {} keys and {} pending",
            thousands(self.scale.restart_keys as f64),
            thousands(pending as f64)
        );
        self.row(&what, &format!("{took:.2} s"), "", "≤ 2 s", took <= 2.0, "from the start of the process");
        Ok(())
    }
}

/// Puts `count` objects of 64 bytes; returns their rate per second.
fn fill(server: &Address, prefix: &str, count: u64, keymap: Option<&str>) -> Result<f64> {
    let count = count.to_string();
    let mut args = vec!["put", "--size", "64", "--prefix", prefix, "--count", &count];
    if let Some(keymap) = keymap {
        args.extend(["--keymap", keymap]);
    }
    Ok(load(server, &args)?.without_errors()?.number("per_second"))
}

/// Waits until nothing is pending; returns how long that took.
fn drain(terrane: &Terrane) -> Result<Duration> {
    let began = Instant::now();
    while terrane.pending()?.0 > 0 {
        ensure!(began.elapsed() < Duration::from_secs(1800), "the queues do not drain");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(began.elapsed())
}

/// `dd` of `count` × 64 MiB; bytes per second.
fn dd(args: &[&str], count: u64) -> Result<f64> {
    let mut command = Command::new("dd");
    command.args(args).args(["bs=64M", &format!("count={count}"), "status=none"]);
    let began = Instant::now();
    sh::run(&mut command).context("dd")?;
    Ok((count << 26) as f64 / began.elapsed().as_secs_f64())
}
