//! Servers and commands as processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// What must happen happens within this time, also in a debug build on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the built binary that sees nothing of this machine's own configuration.
pub(crate) fn terrane(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrane"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(home).stdin(Stdio::null());
    command
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One data directory, and its server while it runs.
pub(crate) struct Server {
    pub(crate) temp: TempDir,
    child: Option<Child>,
    args: Vec<String>,
}

impl Server {
    /// Starts `terrane up` on free ports and waits until it is ready.
    pub(crate) fn up(args: &[&str]) -> Self {
        let temp = TempDir::with_prefix("terrane-it-").unwrap();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { temp, child: None, args };
        server.start();
        server
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub(crate) fn run_file(&self, name: &str) -> PathBuf {
        self.data().join("run").join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.temp.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn command(&self) -> Command {
        terrane(self.temp.path())
    }

    /// Starts the server again.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the server again, with more arguments this time.
    pub(crate) fn start_with(&mut self, more: &[&str]) {
        let log = File::options().create(true).append(true).open(self.temp.path().join("log")).unwrap();
        let mut command = self.command();
        command.args(["up", "--ports", "auto", "--data-dir", "data"]).args(&self.args).args(more);
        drop(fs::remove_file(self.run_file("endpoints.json")));
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let began = Instant::now();
        while !self.run_file("endpoints.json").exists() {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("`terrane up` ended ({status}):\n{}", self.log());
            }
            assert!(began.elapsed() < PATIENCE, "not ready:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it does not run");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the server's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it does not run");
        let mut status = None;
        wait_until("the server ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Runs a command against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(["--data-dir", "data"]).args(args).output().unwrap()
    }

    /// Runs a command that must succeed and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--output", "json"], args].concat());
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {errors}\n{}", self.log());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// Runs a command that must fail: exit code and what it says.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded: {output:?}");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// URL of the front door.
    pub(crate) fn url(&self) -> String {
        let endpoints = fs::read_to_string(self.run_file("endpoints.json")).unwrap();
        let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
        endpoints["api"].as_str().unwrap().to_owned()
    }

    /// A client that signs for S3.
    pub(crate) fn s3(&self) -> terrane_bench::Client {
        let endpoint = terrane_bench::Endpoint::parse(&self.url()).unwrap();
        let credentials = terrane_bench::Credentials::from_file(&self.run_file("credentials")).unwrap();
        terrane_bench::Client::new(&endpoint, &credentials)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
