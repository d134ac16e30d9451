use std::time::Duration;

use parking_lot::Mutex;

/// A monotonic clock of this machine; its zero means nothing.
pub trait Clock: Send + Sync {
    /// Time since the clock's zero.
    fn now(&self) -> Duration;
}

/// `CLOCK_BOOTTIME`: monotonic, and runs while the machine is suspended, so that a holder which
/// slept through its lease knows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        use nix::time::{ClockId, clock_gettime};
        clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map(Duration::from)
            .expect("Linux has had this clock since 2.6.39")
    }
}

/// A clock that is moved by hand, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.now.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock()
    }
}
