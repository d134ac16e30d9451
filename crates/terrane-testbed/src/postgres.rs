//! A private PostgreSQL server: its own directory and port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use tempfile::TempDir;

use crate::process::{Process, succeed};
use crate::{PATIENCE, wait_until};

/// A running server; killed and deleted when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Process,
    port: u16,
    _dir: TempDir,
}

impl Postgres {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// It is not installed (`cargo xtask test` does), or does not start.
    pub fn start() -> Result<Self> {
        let bin = binaries()?;
        let dir = TempDir::with_prefix("terrane-pg-")?;
        if geteuid().is_root() {
            let user = User::from_name("postgres")?.context("there is no user postgres")?;
            chown(dir.path(), Some(user.uid), Some(user.gid))?;
        }
        let data = dir.path().join("data");
        let mut initdb = command(&bin.join("initdb"));
        initdb.args(["-U", "terrane", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"]);
        succeed(initdb.arg(&data))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut postgres = command(&bin.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-p", &port.to_string()]);
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB"]);
        let server = Process::start(&mut postgres, &dir.path().join("log"))?;
        wait_until("PostgreSQL answers", PATIENCE, || {
            let mut ready = Command::new(bin.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-d", "postgres"]);
            Ok(ready.status()?.success())
        })
        .with_context(|| server.log_end())?;
        Ok(Self { server, port, _dir: dir })
    }

    /// URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://terrane@127.0.0.1:{}/postgres?connect_timeout=5", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its fast shutdown takes its children with it; what does not end in time is killed.
        drop(self.server.stop_by(Signal::SIGINT, PATIENCE));
    }
}

fn binaries() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL is not installed: run `cargo xtask test`, which installs it")
}

/// PostgreSQL refuses to run as root; then it runs as the user that its package made.
fn command(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}
