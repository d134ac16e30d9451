//! Room on the disk: new bytes stop before the reserve, so that deletes, syncs and compaction still work.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Tells how many bytes an unprivileged process may still write.
pub trait SpaceProbe: Send + Sync + 'static {
    /// Free bytes now.
    fn free(&self) -> io::Result<u64>;
}

/// Asks the file system of a directory.
pub struct FsSpace(pub PathBuf);

impl SpaceProbe for FsSpace {
    fn free(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.0)?;
        Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
    }
}

/// The latest answer of a probe, and what follows from it.
pub(crate) struct SpaceGuard {
    probe: Arc<dyn SpaceProbe>,
    reserve_bytes: u64,
    free: AtomicU64,
    /// The file system itself said that it is full; holds until a poll finds more than the reserve.
    full: AtomicBool,
}

impl SpaceGuard {
    pub(crate) fn new(probe: Arc<dyn SpaceProbe>, reserve_bytes: u64) -> Self {
        let guard =
            Self { probe, reserve_bytes, free: AtomicU64::new(u64::MAX), full: AtomicBool::new(false) };
        guard.poll();
        guard
    }

    /// Asks the probe. A probe that fails changes nothing: writing decides.
    pub(crate) fn poll(&self) {
        match self.probe.free() {
            Ok(free) => {
                self.free.store(free, Ordering::Relaxed);
                if free > self.reserve_bytes {
                    self.full.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::warn!(%error, "free space is unknown"),
        }
    }

    /// Whether so many new bytes fit above the reserve.
    pub(crate) fn admits(&self, bytes: u64) -> bool {
        let above = self.free.load(Ordering::Relaxed).saturating_sub(self.reserve_bytes);
        above > bytes && !self.full.load(Ordering::Relaxed)
    }

    /// The file system refused a write.
    pub(crate) fn mark_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Free bytes at the last poll.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Given(AtomicU64);
    impl SpaceProbe for Given {
        fn free(&self) -> io::Result<u64> {
            Ok(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn writes_stop_before_the_reserve_and_resume_when_space_returns() {
        let given = Arc::new(Given(AtomicU64::new(1000)));
        let guard = SpaceGuard::new(given.clone(), 600);
        assert!(guard.admits(399) && !guard.admits(400));
        given.0.store(600, Ordering::Relaxed);
        guard.poll();
        assert!(!guard.admits(0));
        guard.mark_full();
        given.0.store(2000, Ordering::Relaxed);
        assert!(!guard.admits(0), "until the next poll");
        guard.poll();
        assert!(guard.admits(1399));
    }

    #[test]
    fn a_real_directory_has_space() {
        let dir = tempfile::tempdir().unwrap();
        assert!(FsSpace(dir.path().into()).free().unwrap() > 0);
    }
}
