//! The instruments themselves, against QEMU's NBD server: what they have to notice, they notice.
#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use terrane_testbed::fio::Verifier;
use terrane_testbed::probe::{self, Probe};
use terrane_testbed::{PATIENCE, Process, Relay, guest, succeed, wait_until};

/// `qemu-nbd` with one raw file.
struct Server {
    disk: PathBuf,
    socket: PathBuf,
    process: Process,
}

impl Server {
    fn start(dir: &Path, disk: PathBuf) -> Self {
        let socket = dir.join("nbd.sock");
        let process = Self::launch(&disk, &socket);
        Self { disk, socket, process }
    }

    fn launch(disk: &Path, socket: &Path) -> Process {
        drop(std::fs::remove_file(socket));
        let mut command = Command::new("qemu-nbd");
        command.args([
            "--persistent",
            "--shared=8",
            "--export-name=disk",
            "--format=raw",
            "--cache=writeback",
        ]);
        command.arg("--socket").arg(socket).arg(disk);
        let process = Process::start(&mut command, &socket.with_extension("log")).unwrap();
        wait_until("qemu-nbd listens", PATIENCE, || Ok(socket.exists())).unwrap();
        process
    }

    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process = Self::launch(&self.disk, &self.socket);
    }

    fn url(&self) -> String {
        format!("nbd+unix:///disk?socket={}", self.socket.display())
    }
}

fn blank(dir: &TempDir) -> PathBuf {
    let disk = dir.path().join("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    disk
}

#[test]
fn a_guest_boots_from_an_export_and_writes_to_it() {
    let dir = TempDir::new().unwrap();
    let disk = guest::image(dir.path(), "marker of this test").unwrap();
    assert_eq!(disk.metadata().unwrap().len(), guest::IMAGE_BYTES);
    assert!(guest::check(dir.path(), &disk).is_err(), "nothing was written yet");
    let server = Server::start(dir.path(), disk.clone());
    let said = guest::boot(&server.url()).unwrap();
    assert!(said.contains("marker of this test") && said.contains("guest has written"), "{said}");
    guest::check(dir.path(), &disk).unwrap();
}

#[test]
fn a_verifier_rides_over_a_restart_behind_a_relay_and_finds_damage() {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path(), blank(&dir));
    let relay = Relay::start(&server.url(), dir.path()).unwrap();
    let verifier = Verifier::start(relay.url(), "0", "8m", dir.path());
    wait_until("fio writes", PATIENCE, || Ok(written(&server.disk) > 100)).unwrap();
    server.restart();
    assert!(verifier.finish().unwrap() > 0);

    let verifier = Verifier::start(&server.url(), "0", "8m", dir.path());
    let file = File::options().write(true).open(&server.disk).unwrap();
    let damaged = wait_until("the damage is noticed", PATIENCE, || {
        for block in 0..2048 {
            file.write_all_at(b"wrong", block * 4096 + 2000)?;
        }
        Ok(!verifier.is_running())
    });
    damaged.unwrap();
    assert!(verifier.finish().unwrap_err().to_string().contains("verify"));
}

/// Blocks of a sparse file that have been written.
fn written(disk: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&disk.metadata().unwrap()) / 8
}

#[test]
fn a_probe_tells_pauses_and_notices_old_data() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path(), blank(&dir));
    let mut probe = Probe::start(&server.url(), 1 << 20, Duration::from_millis(1), dir.path()).unwrap();
    let moment = probe::now();
    server.process.freeze().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    server.process.thaw().unwrap();
    let longest = probe.longest_gap_since(moment, PATIENCE).unwrap();
    assert!(longest > Duration::from_millis(400), "{longest:?}");
    assert!(probe.finish().unwrap() > 0);

    let mut probe = Probe::start(&server.url(), 2 << 20, Duration::ZERO, dir.path()).unwrap();
    let file = File::options().write(true).open(&server.disk).unwrap();
    let noticed = wait_until("the damage is noticed", PATIENCE, || {
        file.write_all_at(&[0; 256 << 10], 2 << 20)?;
        Ok(probe.check().is_err())
    });
    noticed.unwrap();
    assert!(probe.check().unwrap_err().to_string().contains("was acknowledged"));
}

#[test]
fn a_private_postgres_answers_and_goes() {
    let postgres = terrane_testbed::postgres::Postgres::start().unwrap();
    let query = ["-At", "-c", "select 6 * 7"];
    assert_eq!(succeed(Command::new("psql").arg(postgres.url()).args(query)).unwrap().trim(), "42");
}
