//! QEMU's storage daemon between a client and an export: it connects again when its server comes back, and sends again
//! what had no answer, for clients that do not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::Process;
use crate::{PATIENCE, wait_until};

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    _daemon: Process,
    url: String,
}

impl Relay {
    /// Starts one in front of an export on a Unix socket (`nbd+unix:///NAME?socket=PATH`).
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start(url: &str, dir: &Path) -> Result<Self> {
        let rest = url.strip_prefix("nbd+unix:///");
        let (name, path) =
            rest.and_then(|rest| rest.split_once("?socket=")).context("a URL of a Unix socket")?;
        let socket = dir.join("relay.sock");
        drop(std::fs::remove_file(&socket));
        let server = format!(
            "driver=nbd,node-name=far,server.type=unix,server.path={path},export={name},reconnect-delay=120"
        );
        let mut command = Command::new("qemu-storage-daemon");
        command.args(["--blockdev", &server, "--nbd-server"]);
        command.arg(format!("addr.type=unix,addr.path={}", socket.display()));
        command.args(["--export", "type=nbd,id=near,node-name=far,name=near,writable=on"]);
        let mut daemon = Process::start(&mut command, &dir.join("relay.log"))?;
        wait_until("the relay listens", PATIENCE, || {
            if let Some(status) = daemon.ended()? {
                bail!("the relay ended ({status}):\n{}", daemon.log_end());
            }
            Ok(socket.exists())
        })?;
        Ok(Self { _daemon: daemon, url: format!("nbd+unix:///near?socket={}", socket.display()) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
