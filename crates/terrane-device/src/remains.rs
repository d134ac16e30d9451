//! What a process that died has left behind: a mount that answers nothing, under a loop device.

use std::io;
use std::path::Path;
use std::{fs, path};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::filesystem::FILE;
use crate::loops::Loop;

/// Takes a dead mount away, with its loop device. A living one stays.
pub(crate) fn remove(mountpoint: &Path) -> io::Result<()> {
    let dead = match fs::metadata(mountpoint) {
        Err(error) => error.raw_os_error() == Some(Errno::ENOTCONN as i32),
        Ok(_) => false,
    };
    if !dead {
        return Ok(());
    }
    let mountpoint = path::absolute(mountpoint)?;
    for attached in Loop::on_file(&mountpoint.join(FILE))? {
        // One that is still mounted goes when it is unmounted.
        if let Err(error) = attached.detach_blocking() {
            tracing::warn!(device = %attached.path().display(), %error, "a dead block device stays");
        }
    }
    umount2(&mountpoint, MntFlags::MNT_DETACH)?;
    tracing::info!(path = %mountpoint.display(), "removed what a dead process had mounted");
    Ok(())
}
