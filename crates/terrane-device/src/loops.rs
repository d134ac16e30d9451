//! Loop devices, by way of `losetup`.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::process::Command;

use crate::DeviceError;

/// How long a detached device may take to let go of its file. Somebody may be probing it.
const RELEASE: Duration = Duration::from_secs(10);

/// The kernel's block devices.
const DEVICES: &str = "/sys/block";

/// An attached loop device.
#[derive(Debug)]
pub(crate) struct Loop {
    path: PathBuf,
}

impl Loop {
    /// Attaches a free loop device to a file.
    pub(crate) async fn attach(file: &Path, block: u32, read_only: bool) -> Result<Self, DeviceError> {
        let mut arguments = vec!["--find", "--show", "--direct-io=on", "--sector-size"];
        let block = block.to_string();
        arguments.push(&block);
        if read_only {
            arguments.push("--read-only");
        }
        let output = Command::new("losetup").args(arguments).arg(file).stdin(Stdio::null()).output().await;
        let printed = said(output)?;
        Ok(Self { path: printed.trim().into() })
    }

    /// The loop devices that are attached to a file, which need not be readable any more.
    pub(crate) fn on_file(file: &Path) -> std::io::Result<Vec<Self>> {
        let mut attached = Vec::new();
        for entry in fs::read_dir(DEVICES)? {
            let name = entry?.file_name();
            let backing = fs::read_to_string(backing_file(&name)).unwrap_or_default();
            if Path::new(backing.trim_end()) == file {
                attached.push(Self { path: Path::new("/dev").join(name) });
            }
        }
        Ok(attached)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes over the file's size.
    pub(crate) async fn resize(&self) -> Result<(), DeviceError> {
        let command = Command::new("losetup").arg("--set-capacity").arg(&self.path).output().await;
        said(command).map(drop)
    }

    /// An error if a filesystem on the device is mounted or something else holds it.
    pub(crate) fn check_unused(&self) -> Result<(), DeviceError> {
        // On a block device this means: only if nobody holds it, not even the kernel.
        let exclusive = OFlag::O_EXCL.bits();
        match OpenOptions::new().read(true).custom_flags(exclusive).open(&self.path) {
            Ok(_) => Ok(()),
            Err(_) => Err(DeviceError::Busy { path: self.path.clone() }),
        }
    }

    /// Detaches, and waits until the file was let go.
    pub(crate) async fn detach(&self) -> Result<(), DeviceError> {
        said(Command::new("losetup").arg("--detach").arg(&self.path).output().await)?;
        let released = async {
            while self.has_file() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(RELEASE, released).await;
        in_time.map_err(|_| DeviceError::Busy { path: self.path.clone() })
    }

    /// Detaches without waiting.
    pub(crate) fn detach_blocking(&self) -> Result<(), DeviceError> {
        let output = std::process::Command::new("losetup").arg("--detach").arg(&self.path).output();
        said(output).map(drop)
    }

    fn has_file(&self) -> bool {
        fs::exists(backing_file(self.path.file_name().unwrap_or_default())).unwrap_or(false)
    }
}

/// Where the kernel says what a loop device is attached to; there while it is.
fn backing_file(device: &OsStr) -> PathBuf {
    Path::new(DEVICES).join(device).join("loop/backing_file")
}

/// What a program printed, if it succeeded.
fn said(output: std::io::Result<Output>) -> Result<String, DeviceError> {
    let output = output.map_err(|error| DeviceError::Loop(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(DeviceError::Loop(words));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
