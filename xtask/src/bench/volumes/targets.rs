//! The NBD servers under load: Terrane's, and its peers. Clients reach all of them by Unix sockets, and copies are reached by
//! TCP over loopback.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;
use terrane_testbed::{Cluster, Installation, Member, PATIENCE, Plan, Process, Up, wait_until};

use super::drive;

/// A volume that may do whatever the machine can.
pub(super) const FAST: [&str; 6] = ["--type", "gp3", "--iops", "80000", "--throughput", "2000"];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manager, two block servers and a node manager, each a process.
    Processes,
    /// `terrane up`.
    Up,
    /// QEMU's storage daemon writing to two nbdkit servers: two copies, nothing that repairs them.
    Quorum,
    /// nbdkit, one copy in memory.
    NbdkitMemory,
    /// nbdkit, one copy in a file.
    NbdkitFile,
    /// QEMU's NBD server, one copy in a file.
    QemuNbd,
}

impl Kind {
    /// All of them, ours first.
    pub(super) const ALL: [Self; 6] =
        [Self::Processes, Self::Up, Self::Quorum, Self::NbdkitMemory, Self::NbdkitFile, Self::QemuNbd];

    /// For the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Up => "up",
            Self::Quorum => "quorum",
            Self::NbdkitMemory => "nbdkit memory",
            Self::NbdkitFile => "nbdkit file",
            Self::QemuNbd => "qemu-nbd",
        }
    }
}

/// A running server with a volume.
pub(super) struct Target {
    pub(super) kind: Kind,
    url: String,
    dir: PathBuf,
    // Ends with this.
    _keeps: Keeps,
}

/// What has to live as long as the target.
#[expect(dead_code, reason = "kept for what happens when it is dropped")]
enum Keeps {
    Cluster(Box<Cluster>),
    Up(Box<Up>),
    Peers(Vec<Process>, TempDir),
}

impl Target {
    /// Starts one with a volume of this size, its data under `dir`.
    pub(super) fn start(kind: Kind, binary: &Path, dir: &Path, gib: u64) -> Result<Self> {
        let home = TempDir::with_prefix_in(kind.name().replace(' ', "-"), dir)?;
        let dir = home.path().to_path_buf();
        let (url, keeps) = match kind {
            Kind::Processes => processes(binary, home, gib)?,
            Kind::Up => up(binary, home, gib)?,
            _ => peer(kind, home, gib)?,
        };
        Ok(Self { kind, url, dir, _keeps: keeps })
    }

    /// Has the kernel forget what it keeps of the files in which the data lies: reads come from the drive then.
    pub(super) fn forget_cached(&self) -> Result<()> {
        drive::forget_cached(&self.dir)
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

fn processes(binary: &Path, home: TempDir, gib: u64) -> Result<(String, Keeps)> {
    let cluster = Cluster::start_in(Plan::new(binary, 2, 1), home)?;
    let volume = cluster.create_volume_with(u32::try_from(gib)?, &FAST)?;
    let url = cluster.attach(&volume, &cluster.instance(Member::Node(0))?)?;
    Ok((url, Keeps::Cluster(Box::new(cluster))))
}

fn up(binary: &Path, home: TempDir, gib: u64) -> Result<(String, Keeps)> {
    let up = Up::start_in(binary, home)?;
    let volume = up.create_volume_with(u32::try_from(gib)?, &FAST)?;
    let url = up.attach(&volume, &up.instance()?)?;
    Ok((url, Keeps::Up(Box::new(up))))
}

fn peer(kind: Kind, home: TempDir, gib: u64) -> Result<(String, Keeps)> {
    let dir = home.path();
    let socket = dir.join("s");
    let unix = format!("--unix={}", socket.display());
    let mut processes = Vec::new();
    match kind {
        Kind::NbdkitMemory => {
            processes.push(nbdkit(dir, "server", &[&unix, "memory", &format!("{gib}G")])?);
        }
        Kind::NbdkitFile => {
            let disk = blank(dir, "disk", gib)?;
            processes.push(nbdkit(dir, "server", &[&unix, "file", &disk])?);
        }
        Kind::QemuNbd => {
            let mut command = Command::new("qemu-nbd");
            command.args(["--persistent", "--shared=16", "--format=raw", "--cache=writeback"]);
            command.args(["--discard=unmap", "--aio=threads", "--export-name="]);
            command.arg("--socket").arg(&socket).arg(blank(dir, "disk", gib)?);
            processes.push(Process::start(&mut command, &dir.join("server.log"))?);
        }
        _ => quorum(dir, &socket, gib, &mut processes)?,
    }
    wait_until("the peer listens", PATIENCE, || Ok(socket.exists()))?;
    let url = format!("nbd+unix:///?socket={}", socket.display());
    Ok((url, Keeps::Peers(processes, home)))
}

/// Two nbdkit servers with a file each, and the daemon that writes to both.
fn quorum(dir: &Path, socket: &Path, gib: u64, processes: &mut Vec<Process>) -> Result<()> {
    let mut daemon = Command::new("qemu-storage-daemon");
    for copy in ["a", "b"] {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let disk = blank(dir, copy, gib)?;
        let at = format!("--port={port}");
        processes.push(nbdkit(dir, copy, &["--ipaddr=127.0.0.1", &at, "file", &disk])?);
        wait_until("nbdkit listens", PATIENCE, || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        let node =
            format!("driver=nbd,node-name={copy},server.type=inet,server.host=127.0.0.1,server.port={port}");
        daemon.args(["--blockdev", &node]);
    }
    daemon.args([
        "--blockdev",
        "driver=quorum,node-name=q,vote-threshold=2,children.0=a,children.1=b,read-pattern=fifo",
    ]);
    daemon
        .arg("--nbd-server")
        .arg(format!("addr.type=unix,addr.path={},max-connections=0", socket.display()));
    daemon.args(["--export", "type=nbd,id=e,node-name=q,name=,writable=on"]);
    processes.push(Process::start(&mut daemon, &dir.join("daemon.log"))?);
    Ok(())
}

fn nbdkit(dir: &Path, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new("nbdkit");
    command.arg("--foreground").args(arguments);
    Process::start(&mut command, &dir.join(format!("{name}.log")))
}

fn blank(dir: &Path, name: &str, gib: u64) -> Result<String> {
    let path = dir.join(name);
    File::create(&path)?.set_len(gib << 30)?;
    let path = fs::canonicalize(path)?;
    path.to_str().map(str::to_owned).context("a path that is UTF-8")
}
