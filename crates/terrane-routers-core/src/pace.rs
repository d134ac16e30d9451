//! How fast a router is asked, by how it answers; and whether it is asked at all.

use std::time::Duration;

use crate::Time;
use crate::bucket::Rate;
use crate::config::RouterConfig;
use crate::question::Cost;

/// A rate between floor and ceiling that follows the gradient of the router's own latency: while a command takes about
/// as long as it ever does the rate grows by a twentieth of the ceiling, else it shrinks in proportion.
#[derive(Debug)]
pub(crate) struct Pace {
    floor: Rate,
    ceiling: Rate,
    rate: Rate,
    /// What commands of each cost take when the router is at ease, in microseconds; 0: not known.
    at_ease: [u64; 3],
}

impl Pace {
    pub(crate) fn new(config: &RouterConfig) -> Self {
        Self { floor: config.rate_min, ceiling: config.rate_max, rate: config.rate_max, at_ease: [0; 3] }
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// A command took so long.
    pub(crate) fn observe(&mut self, cost: Cost, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let Some(at_ease) = self.at_ease.get_mut(cost.index()) else { return };
        // Rises by 1 % at a time, so that a router that has become slower for good is believed in the end.
        let risen = at_ease.saturating_add(*at_ease / 100 + 1);
        *at_ease = if *at_ease == 0 { took } else { took.min(risen) };
        let tolerated = at_ease.saturating_mul(2);
        if took <= tolerated {
            self.rate = self.rate.plus(self.ceiling.percent(5));
        } else {
            let percent = tolerated.saturating_mul(100) / took;
            self.rate = self.rate.percent(u32::try_from(percent).unwrap_or(100).clamp(50, 99));
        }
        self.rate = self.rate.clamp(self.floor, self.ceiling);
    }

    /// A command failed.
    pub(crate) fn fail(&mut self) {
        self.rate = self.rate.percent(50).clamp(self.floor, self.ceiling);
    }

    /// The least that a command of this cost can take, as far as is known.
    pub(crate) fn at_ease(&self, cost: Cost) -> Duration {
        Duration::from_micros(self.at_ease.get(cost.index()).copied().unwrap_or(0))
    }
}

/// Leaves a failing router alone, then admits one probe at a time.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Time>,
    pause: Duration,
}

impl Breaker {
    pub(crate) fn new(config: &RouterConfig) -> Self {
        Self { failures: 0, open_until: None, pause: config.breaker_pause }
    }

    pub(crate) fn succeed(&mut self, config: &RouterConfig) {
        *self = Self::new(config);
    }

    pub(crate) fn fail(&mut self, now: Time, config: &RouterConfig) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= config.breaker_failures {
            self.open_until = Some(now.after(self.pause));
            self.pause = (self.pause * 2).min(config.breaker_pause_max);
        }
    }

    /// When it may be asked again, if not now.
    pub(crate) fn open_until(&self, now: Time) -> Option<Time> {
        self.open_until.filter(|until| *until > now)
    }

    /// Whether only one may go at a time: it has failed, and nothing has succeeded since.
    pub(crate) fn is_probing(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_probe_after_a_growing_pause() {
        let config = RouterConfig::default();
        let mut breaker = Breaker::new(&config);
        (0..3).for_each(|_| breaker.fail(Time(0), &config));
        assert_eq!(breaker.open_until(Time(0)), Some(Time(2_000_000)));
        assert_eq!(breaker.open_until(Time(2_000_000)), None);
        assert!(breaker.is_probing());
        breaker.fail(Time(2_000_000), &config);
        assert_eq!(breaker.open_until(Time(2_000_000)), Some(Time(6_000_000)));
        breaker.succeed(&config);
        assert!(!breaker.is_probing());
    }

    proptest! {
        #[test]
        fn the_rate_stays_between_floor_and_ceiling(
            took in proptest::collection::vec((0usize..3, 0u64..30_000_000, any::<bool>()), 0..200),
        ) {
            let config = RouterConfig::default();
            let mut pace = Pace::new(&config);
            for (cost, took, failed) in took {
                if failed {
                    pace.fail();
                } else {
                    pace.observe(Cost::ALL[cost], Duration::from_micros(took));
                }
                prop_assert!(pace.rate() >= config.rate_min && pace.rate() <= config.rate_max);
            }
        }
    }
}
