//! A private PostgreSQL server for one test: its own directory, port and socket.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

/// A running cluster; stopped and deleted when dropped.
pub(crate) struct Cluster {
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    server: Option<Child>,
}

const MISSING: &str = "PostgreSQL is not installed: run `cargo xtask test`, which installs it";

fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().expect(MISSING)
}

/// PostgreSQL refuses to run as root; then it runs as the user that its package made.
fn command(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    command.arg(program);
    command
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn make_dir(prefix: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().expect(MISSING);
        nix::unistd::chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    dir
}

fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    run(copy);
}

/// A fresh cluster's files. They are made once and copied from then on: `initdb` takes a second.
fn template(bin: &Path) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = std::fs::File::create(parent.join("pg-template.lock")).unwrap();
    lock.lock().unwrap();
    let version = bin.parent().and_then(Path::file_name).unwrap();
    let template = parent.join("pg-template").join(version);
    if !template.exists() {
        let dir = make_dir("terrane-initdb-");
        let mut initdb = command(&bin.join("initdb"));
        initdb.args(["-U", "terrane", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"]);
        initdb.arg(dir.path().join("data"));
        run(initdb);
        std::fs::create_dir_all(parent.join("pg-template")).unwrap();
        let half = parent.join("pg-template").join("half");
        let _ = std::fs::remove_dir_all(&half);
        copy(&dir.path().join("data"), &half);
        std::fs::rename(half, &template).unwrap();
    }
    template
}

/// The server that tests share which do not kill it; it ends with the last of them.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// The shared server and the address of a new database on it.
    pub(crate) fn shared() -> (Arc<Self>, String) {
        let mut shared = SHARED.lock();
        let cluster = shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        });
        drop(shared);
        let name = format!("db{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut create = Command::new(cluster.bin.join("createdb"));
        create.args(["-h", "127.0.0.1", "-p", &cluster.port.to_string(), "-U", "terrane", &name]);
        run(create);
        (cluster, name)
    }

    /// A server of its own.
    pub(crate) fn start() -> Self {
        let bin = binaries();
        let dir = make_dir("terrane-pg-");
        copy(&template(&bin), &dir.path().join("data"));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut cluster = Self { dir, bin, port, server: None };
        cluster.restart();
        cluster
    }

    /// Starts the server if it does not run, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        let mut postgres = command(&self.bin.join("postgres"));
        postgres.arg("-D").arg(self.dir.path().join("data")).arg("-k").arg(self.dir.path());
        postgres.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        postgres.args([
            "-c",
            "max_connections=60",
            "-c",
            "shared_buffers=32MB",
            "-c",
            "log_min_messages=fatal",
        ]);
        let log = std::fs::File::create(self.dir.path().join("server.log")).unwrap();
        postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(postgres.spawn().unwrap_or_else(|error| panic!("{postgres:?}: {error}")));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            let log = std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not answer: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(self.bin.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-d", "postgres"]);
        ready.status().unwrap().success()
    }

    /// Kills the server as a crash would: `kill -9` of its postmaster, by its own process ID.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        // Its children notice that it is gone; a new server refuses to start before that.
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.answers() {
            assert!(Instant::now() < deadline, "children of the killed server go on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address of a database through a port: the server's or a proxy's.
    pub(crate) fn url(port: u16, database: &str) -> String {
        format!("postgres://terrane@127.0.0.1:{port}/{database}?connect_timeout=5")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGINT is PostgreSQL's fast shutdown; it takes its children with it.
            let pid = nix::unistd::Pid::from_raw(i32::try_from(server.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
            let _ = server.wait();
        }
    }
}
