//! Block devices of this machine, made of exports.
//!
//! A [`Device`] shows an [`Export`] as the one file of a FUSE filesystem and puts a loop device with direct I/O
//! on top. That needs no kernel module beyond FUSE and loop, which are nearly everywhere. [`Support`] says what
//! the running kernel has; ublk and the kernel's NBD client are detected and not used.
//!
//! Who may: mounting and loop devices are root's.
//!
//! What the device promises is what the export promises: a write that was answered is where the export has
//! put it, a flush of the device is a flush of the export, discarding a range makes it zero and frees it.
//! If this process dies, the device fails all I/O until it is attached again, as another device.

mod filesystem;
mod loops;
mod remains;
mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};
use terrane_nbd::Export;
use terrane_nbd::client::{Client, ClientOptions, ClientTls, ConnectError, Target};

use filesystem::{FILE, Volume};
use loops::Loop;
pub use support::Support;

/// Why there is no device, or it stays.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such export.
    #[error("cannot use the export: {0}")]
    Connect(#[from] ConnectError),
    /// The kernel lacks what is needed, or this process may not use it.
    #[error("a block device needs FUSE and loop devices: {missing} cannot be opened")]
    Unsupported {
        /// The special file.
        missing: &'static str,
    },
    /// Sizes that a block device cannot have.
    #[error("a volume of {size} bytes in blocks of {block} bytes cannot be a block device")]
    Geometry {
        /// Bytes.
        size: u64,
        /// Bytes.
        block: u32,
    },
    /// The filesystem cannot be mounted or unmounted.
    #[error("cannot mount or unmount {path}: {source}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `losetup` is missing or refuses.
    #[error("losetup: {0}")]
    Loop(String),
    /// Somebody uses the device: a mounted filesystem, an open file.
    #[error("{path} is in use")]
    Busy {
        /// The device.
        path: PathBuf,
    },
}

/// A block device. [`Device::detach`] takes it away; a device that is dropped without takes itself away in the
/// background, if nobody uses it.
#[derive(Debug)]
pub struct Device {
    /// `None` when detached.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    attached: Loop,
    mountpoint: PathBuf,
    session: BackgroundSession,
}

impl Device {
    /// Makes a device of an export. `mountpoint` is an empty directory that nobody else uses as long as the
    /// device exists; what a process that died has left there is taken away first. Must be called within a runtime with more than one thread, which runs the export.
    pub async fn attach(export: Arc<dyn Export>, mountpoint: &Path) -> Result<Self, DeviceError> {
        Support::detect().require_loop()?;
        let info = export.info();
        let block = info.min_block.max(512);
        if block > 4096 || info.size == 0 || !info.size.is_multiple_of(block.into()) {
            return Err(DeviceError::Geometry { size: info.size, block });
        }
        remains::remove(mountpoint)
            .map_err(|source| DeviceError::Mount { path: mountpoint.to_owned(), source })?;
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("terrane".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
            MountOption::NoDev,
            MountOption::NoExec,
            MountOption::NoSuid,
        ];
        let volume = Volume::new(export, tokio::runtime::Handle::current());
        let session = fuser::spawn_mount(volume, mountpoint, &config)
            .map_err(|source| DeviceError::Mount { path: mountpoint.to_owned(), source })?;
        // If this fails, dropping the session unmounts.
        let attached = Loop::attach(&mountpoint.join(FILE), block, info.read_only).await?;
        tracing::info!(device = %attached.path().display(), "volume attached as a block device");
        Ok(Self { parts: Some(Parts { attached, mountpoint: mountpoint.to_owned(), session }) })
    }

    /// Makes a device of an export of another process, by its NBD URI (`nbd+unix:///NAME?socket=…`). That process may
    /// restart, and I/O on the device waits for it meanwhile, but for no longer than a minute. `tls`: certificates for
    /// an `nbds://` URI. As [`Device::attach`] otherwise.
    pub async fn attach_uri(
        uri: &str,
        tls: Option<&ClientTls>,
        mountpoint: &Path,
    ) -> Result<Self, DeviceError> {
        let target = Target::parse(uri, tls)?;
        let client = Client::connect(target, ClientOptions::default()).await?;
        Self::attach(Arc::new(client), mountpoint).await
    }

    /// The device, like `/dev/loop0`; `None` after it was detached.
    pub fn path(&self) -> Option<&Path> {
        self.parts.as_ref().map(|parts| parts.attached.path())
    }

    /// Takes over the export's present size.
    pub async fn resize(&self) -> Result<(), DeviceError> {
        match &self.parts {
            Some(parts) => parts.attached.resize().await,
            None => Ok(()),
        }
    }

    /// Takes the device away. While somebody uses it, this is an error and nothing changes.
    pub async fn detach(&mut self) -> Result<(), DeviceError> {
        let Some(parts) = &self.parts else { return Ok(()) };
        parts.attached.check_unused()?;
        parts.attached.detach().await?;
        let Some(Parts { mountpoint, session, .. }) = self.parts.take() else { return Ok(()) };
        // Unmounting waits for the filesystem's thread.
        tokio::task::spawn_blocking(move || session.umount_and_join())
            .await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map_err(|source| DeviceError::Mount { path: mountpoint, source })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // On a thread of its own: the export must be able to answer meanwhile.
        std::thread::spawn(move || {
            let device = parts.attached.path().display().to_string();
            let gone = parts.attached.check_unused().and_then(|()| parts.attached.detach_blocking());
            if let Err(error) = gone {
                tracing::warn!(device, %error, "a block device stays behind");
            }
        });
    }
}
