//! What the running kernel offers.

use std::fs::OpenOptions;
use std::path::Path;

use crate::DeviceError;

/// Ways to a block device that the kernel and this process's rights allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Block devices in user space over io_uring.
    pub ublk: bool,
    /// The kernel's NBD client.
    pub nbd: bool,
    /// Filesystems in user space.
    pub fuse: bool,
    /// Loop devices.
    pub loops: bool,
}

const UBLK: &str = "/dev/ublk-control";
const NBD: &str = "/dev/nbd0";
const FUSE: &str = "/dev/fuse";
const LOOP: &str = "/dev/loop-control";

impl Support {
    /// Looks at the special files.
    pub fn detect() -> Self {
        let usable = |path: &str| OpenOptions::new().read(true).write(true).open(Path::new(path)).is_ok();
        Self { ublk: usable(UBLK), nbd: usable(NBD), fuse: usable(FUSE), loops: usable(LOOP) }
    }

    /// An error that names what FUSE with a loop device lacks.
    pub(crate) fn require_loop(self) -> Result<(), DeviceError> {
        match self {
            Self { fuse: false, .. } => Err(DeviceError::Unsupported { missing: FUSE }),
            Self { loops: false, .. } => Err(DeviceError::Unsupported { missing: LOOP }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = Support { ublk: false, nbd: false, fuse: true, loops: true };
        assert!(all.require_loop().is_ok());
        for (support, name) in
            [(Support { fuse: false, ..all }, FUSE), (Support { loops: false, ..all }, LOOP)]
        {
            let error = support.require_loop().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
