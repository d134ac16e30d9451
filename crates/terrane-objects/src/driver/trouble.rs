//! Something that fails again and again is told once, then ever more seldom, and once more when it works again.

use std::fmt::Display;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between the first two messages; doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest time of trouble without a message.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What is known of one thing that may fail.
pub(super) struct Trouble {
    what: &'static str,
    failing: Mutex<Option<Failing>>,
}

#[derive(Clone, Copy)]
struct Failing {
    since: Instant,
    failures: u64,
    /// When it is told again.
    next: Instant,
    pause: Duration,
}

impl Trouble {
    /// `what`: for people, as in "*a keymap batch* failed".
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, failing: Mutex::new(None) }
    }

    /// It has failed, and is going to be tried again.
    pub(super) fn failed(&self, error: &dyn Display) {
        if let Some(failures) = self.count(Instant::now()) {
            tracing::warn!(%error, failures, "{} failed; trying again", self.what);
        }
    }

    /// It has not failed.
    pub(super) fn works(&self) {
        if let Some(failing) = self.failing.lock().take() {
            let (failures, seconds) = (failing.failures, failing.since.elapsed().as_secs_f32());
            tracing::info!(failures, seconds, "{} works again", self.what);
        }
    }

    /// Counts a failure; gives the number of failures if it is time to tell.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut failing = self.failing.lock();
        let fresh = Failing { since: now, failures: 0, next: now, pause: PAUSE_MIN };
        let failing = failing.get_or_insert(fresh);
        failing.failures += 1;
        if now < failing.next {
            return None;
        }
        failing.next = now + failing.pause;
        failing.pause = (failing.pause * 2).min(PAUSE_MAX);
        Some(failing.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_trouble_is_a_handful_of_messages() {
        let (trouble, start) = (Trouble::new("a test"), Instant::now());
        let times = (0..36_000).map(|n| start + Duration::from_millis(n * 100));
        let told: Vec<u64> = times.filter_map(|now| trouble.count(now)).collect();
        assert_eq!(told[..4], [1, 11, 31, 71]);
        assert!((10..30).contains(&told.len()), "{told:?}");
        trouble.works();
        assert_eq!(trouble.count(start), Some(1), "new trouble is told at once");
    }
}
