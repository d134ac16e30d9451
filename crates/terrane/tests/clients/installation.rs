//! One running `terrane up` in a directory of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use terrane_bench::{Client, Credentials, Endpoint};

use crate::tools::succeed;

/// The product promises to be ready within 30 s of its start, also after `kill -9`. A debug build on a loaded
/// machine gets some grace; what is measured is in `cargo xtask bench`.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// SIGTERM drains and stops within 10 s; the same grace.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Name of the certificate's file beside the data directory, where HTTPS is spoken.
const CERTIFICATE: &str = "certificate.pem";

const BINARY: &str = env!("CARGO_BIN_EXE_terrane");

pub(crate) struct Installation {
    /// Scratch space beside the data directory, for the tests' own files.
    temp: TempDir,
    data: PathBuf,
    config: Option<PathBuf>,
    server: Option<Child>,
}

impl Installation {
    /// Starts with defaults on free ports and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts with a configuration file.
    pub(crate) fn start_with(config: &str) -> Self {
        let temp = TempDir::with_prefix("terrane-clients-").unwrap();
        let data = temp.path().join("data");
        Self::start_in(temp, data, config)
    }

    /// Starts with HTTPS; clients are told to trust the certificate.
    pub(crate) fn start_https(certificate: &str, key: &str) -> Self {
        let temp = TempDir::with_prefix("terrane-clients-").unwrap();
        let (data, file, key_file) =
            (temp.path().join("data"), temp.path().join(CERTIFICATE), temp.path().join("key.pem"));
        fs::write(&file, certificate).unwrap();
        fs::write(&key_file, key).unwrap();
        let config = format!("[tls]\ncert = {file:?}\nkey = {key_file:?}\n");
        Self::start_in(temp, data, &config)
    }

    /// Starts with its data in a given directory.
    pub(crate) fn start_in(temp: TempDir, data: PathBuf, config: &str) -> Self {
        let file = temp.path().join("terrane.toml");
        let config = (!config.is_empty()).then(|| {
            fs::write(&file, config).unwrap();
            file
        });
        let mut installation = Self { temp, data, config, server: None };
        installation.launch();
        installation
    }

    /// Starts the server on what the directory holds and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        assert!(self.server.is_none(), "it is running");
        // Left by the last run; the new one writes its own when it is ready.
        let endpoints = self.data.join("run/endpoints.json");
        drop(fs::remove_file(&endpoints));
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["up", "--ports", "auto", "--data-dir"]).arg(&self.data);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        // A panic shall be found at the end of the log, and not only the outer half of its stack.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
        let began = Instant::now();
        while !endpoints.exists() {
            if let Some(status) = self.server.as_mut().unwrap().try_wait().unwrap() {
                self.server = None;
                panic!("`terrane up` ended ({status}):\n{}", self.log());
            }
            assert!(began.elapsed() < READY_WITHIN, "not ready in time:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`, which a server cannot notice.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().expect("it is not running");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// SIGTERM; waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("it is not running");
        kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = server.try_wait().unwrap() {
                return status;
            }
            if began.elapsed() > STOP_WITHIN {
                server.kill().unwrap();
                server.wait().unwrap();
                panic!("SIGTERM did not stop it:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A directory for the test's own files.
    pub(crate) fn scratch(&self) -> &Path {
        self.temp.path()
    }

    fn log_file(&self) -> PathBuf {
        self.temp.path().join("server.log")
    }

    /// The end of what the server printed.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// URL of the front door.
    pub(crate) fn url(&self) -> String {
        let text = fs::read_to_string(self.data.join("run/endpoints.json")).unwrap();
        let endpoints: Value = serde_json::from_str(&text).unwrap();
        endpoints["api"].as_str().expect("endpoints.json names the API").trim_end_matches('/').to_owned()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url()).unwrap()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::from_file(&self.data.join("run/credentials")).unwrap()
    }

    /// Our own small client, as the root account.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.endpoint(), &self.credentials())
    }

    /// Environment in which any AWS client finds this installation and nothing else.
    pub(crate) fn environment(&self, command: &mut Command) {
        let config = self.temp.path().join("aws-config");
        if !config.exists() {
            let text = "[default]\nregion = us-east-1\ns3 =\n  max_concurrent_requests = 16\n  multipart_chunksize = 64MB\n";
            fs::write(&config, text).unwrap();
        }
        let credentials = self.credentials();
        command
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_ACCESS_KEY_ID", credentials.access_key)
            .env("AWS_SECRET_ACCESS_KEY", credentials.secret_key)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", config)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "")
            .env("HOME", self.temp.path())
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_SHARED_CREDENTIALS_FILE");
        let certificate = self.temp.path().join(CERTIFICATE);
        if certificate.exists() {
            command.env("AWS_CA_BUNDLE", certificate);
        }
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
    }

    /// Runs `terrane ARGS --output json` against this installation and reads its answer.
    pub(crate) fn cli(&self, args: &[&str]) -> Value {
        let text =
            succeed(Command::new(BINARY).args(args).args(["--output", "json", "--data-dir"]).arg(&self.data));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?} did not print JSON ({e}): {text}"))
    }

    /// Sum of a metric over all its label sets, 0 if it is not there.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let answer = self.client().request("GET", "/_terrane/metrics", "", &[], b"").unwrap();
        assert_eq!(answer.status, 200, "metrics: {}", answer.text());
        answer
            .text()
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains(label))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the server's log ends so:\n{}", self.log());
        }
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
