//! `terrane volume device`: a block device of an attached volume, served by a process that stays behind.

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use terrane_device::Device;

use super::client::Client;
use super::connect::Connect;
use super::output::{Output, say};
use super::volume::{self, DeviceArgs};
use crate::server::Signals;

/// A device that is to be taken away and is not after this time is in use.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device that is there.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    /// `/dev/loop0`
    device: String,
    /// Where its file is mounted.
    at: PathBuf,
    /// The process that serves it.
    pid: u32,
}

pub(super) async fn run(
    connect: &Connect,
    client: &Client,
    out: &Output,
    args: DeviceArgs,
) -> anyhow::Result<()> {
    let at = match &args.at {
        Some(at) => at.clone(),
        None => connect.data_dir_or_default().join("run/devices").join(&args.volume),
    };
    let at = prepared(&at)?;
    if args.remove {
        return remove(out, &at).await;
    }
    if args.foreground {
        return serve(client, &args.volume, &at).await;
    }
    let made = leave_behind(&args.volume, &at)?;
    out.print(&made, |made| made.device.clone())
}

/// Makes the directory, and says where it is. What a process that died has left mounted there may not even be looked
/// at; it is taken away later.
fn prepared(at: &Path) -> anyhow::Result<PathBuf> {
    let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = at.file_name().with_context(|| format!("{} names no directory", at.display()))?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let at = parent.canonicalize().with_context(|| format!("cannot find {}", parent.display()))?.join(name);
    match std::fs::create_dir(&at) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", at.display()))
        }
        _ => Ok(at),
    }
}

/// Where the serving process says who it is, and what it has to say later: beside the mount point.
fn beside(at: &Path, suffix: &str) -> PathBuf {
    let mut name = at.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Serves the device in this process. The first line on standard output is a [`Made`].
async fn serve(client: &Client, id: &str, at: &Path) -> anyhow::Result<()> {
    let volume = volume::get(client, id).await?;
    let url = volume.attachments.iter().find_map(|attachment| attachment.nbd_url.as_ref());
    let url =
        url.with_context(|| format!("volume {id} is attached to nothing: see `terrane volume attach`"))?;
    let mut signals = Signals::new()?;
    let mut device = Device::attach_uri(&url.0, None, at).await?;
    let path = device.path().context("the device is there")?.display().to_string();
    let made = Made { device: path, at: at.to_owned(), pid: std::process::id() };
    let pid = beside(at, ".pid");
    std::fs::write(&pid, format!("{}\n", made.pid))
        .with_context(|| format!("cannot write {}", pid.display()))?;
    say(serde_json::to_string(&made)?)?;
    loop {
        signals.stop().await;
        match device.detach().await {
            Ok(()) => break,
            // Whoever asked is told by its not going away; the reason is in the log beside it.
            Err(error) => eprintln!("terrane: {error:#}"),
        }
    }
    std::fs::remove_file(&pid).with_context(|| format!("cannot remove {}", pid.display()))
}

/// Starts a process that serves the device, and returns when the device is there.
fn leave_behind(volume: &str, at: &Path) -> anyhow::Result<Made> {
    let file = beside(at, ".pid");
    if let Some(pid) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok())
        && pid > 1
        && kill(Pid::from_raw(pid), None).is_ok()
    {
        bail!(
            "process {pid} serves a device at {} already; --remove takes it away ({})",
            at.display(),
            file.display()
        );
    }
    let log_path = beside(at, ".log");
    let log =
        std::fs::File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    // The same program with the same arguments: it finds the API and the key as this one did.
    let mut command = Command::new(std::env::current_exe().context("this program cannot be found")?);
    command.args(std::env::args_os().skip(1)).arg("--foreground");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    let mut child = command.spawn().context("cannot start the process that serves the device")?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("the process that serves the device")?;
    match serde_json::from_str(&line) {
        Ok(made) => Ok(made),
        Err(_) => {
            let _ended = child.wait();
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("there is no device of {volume}: {}", said.trim().trim_start_matches("terrane: "))
        }
    }
}

/// Has the serving process take the device away.
async fn remove(out: &Output, at: &Path) -> anyhow::Result<()> {
    let file = beside(at, ".pid");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("no device is served at {}: {} cannot be read", at.display(), file.display())
    })?;
    let pid = text.trim().parse().with_context(|| format!("{} holds no process", file.display()))?;
    ensure!(pid > 1, "{} holds no process", file.display());
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("process {pid} cannot be told"))?;
    let began = Instant::now();
    while file.exists() {
        if began.elapsed() > PATIENCE {
            bail!("the device at {} is in use: unmount it first", at.display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    out.done(format_args!("the device at {} is gone", at.display()))
}
