use std::time::Duration;

use super::LeaseConfig;

/// What a challenger has seen of a lease: for how long, by its own clock and only while the store
/// could be reached, the holder has not renewed.
#[derive(Debug, Clone)]
pub struct Watch {
    needed: Duration,
    /// A longer time between two looks counts as this much: the challenger itself was not running.
    gap_max: Duration,
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    epoch: u64,
    counter: u64,
    quiet: Duration,
    /// When the last look's answer was there; `None` after a look that failed.
    since: Option<Duration>,
}

impl Watch {
    pub(super) fn new(config: LeaseConfig) -> Self {
        let needed = config.ttl.saturating_mul(config.margin_percent.max(100)) / 100;
        Self { needed, gap_max: config.period.saturating_mul(2), seen: None }
    }

    /// A look that was sent at one time and answered at another found this epoch and counter.
    ///
    /// What counts is the time from the previous answer to this sending, by when both the
    /// old and the new state were surely in the store: never more than has passed.
    pub(super) fn observed(&mut self, epoch: u64, counter: u64, sent: Duration, answered: Duration) {
        let quiet = match self.seen {
            Some(seen) if (seen.epoch, seen.counter) == (epoch, counter) => {
                let gap = seen.since.map_or(Duration::ZERO, |since| sent.saturating_sub(since));
                seen.quiet + gap.min(self.gap_max)
            }
            _ => Duration::ZERO,
        };
        self.seen = Some(Seen { epoch, counter, quiet, since: Some(answered) });
    }

    /// The store could not be reached: the time around this look does not count.
    pub(super) fn unreachable(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.since = None;
        }
    }

    /// For how long the holder has not renewed, as far as that counts.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.seen.map_or(Duration::ZERO, |seen| seen.quiet)
    }

    /// Whether the holder was quiet for TTL × margin.
    pub(super) fn may_take(&self) -> bool {
        self.seen.is_some_and(|seen| seen.quiet >= self.needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(LeaseConfig {
            ttl: Duration::from_secs(10),
            margin_percent: 120,
            period: Duration::from_secs(2),
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn twelve_quiet_seconds_are_needed() {
        let mut watch = watch();
        for second in (0..12).step_by(2) {
            watch.observed(1, 5, at(second), at(second));
            assert_eq!(watch.quiet(), at(second));
            assert!(!watch.may_take(), "after {second} s");
        }
        watch.observed(1, 5, at(12), at(12));
        assert!(watch.may_take());
        watch.observed(1, 6, at(14), at(14));
        assert!(!watch.may_take(), "a renewal starts the count again");
        assert_eq!(watch.quiet(), Duration::ZERO);
    }

    #[test]
    fn slow_answers_do_not_count() {
        let mut watch = watch();
        for look in 0..7u64 {
            // Sent right after the previous answer, answered two seconds later.
            watch.observed(1, 5, at(2 * look), at(2 * look + 2));
        }
        assert!(!watch.may_take());
    }

    #[test]
    fn time_without_the_store_or_without_the_challenger_does_not_count() {
        let mut watch = watch();
        watch.observed(1, 5, at(0), at(0));
        watch.unreachable();
        watch.observed(1, 5, at(100), at(100));
        assert!(!watch.may_take());
        watch.observed(1, 5, at(200), at(200));
        assert!(!watch.may_take(), "a suspended challenger saw nothing: at most two periods count");
        for look in 1..=4 {
            watch.observed(1, 5, at(200 + 2 * look), at(200 + 2 * look));
        }
        assert!(watch.may_take(), "4 s of the gap and 8 s of looking");
    }
}
