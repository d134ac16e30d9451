//! Token buckets, in whole numbers.

use std::time::Duration;

use crate::Time;

/// Tokens per time, in thousandths of a token per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// Nano-tokens in a token: a thousandth of a token per second is one nano-token per microsecond.
const TOKEN: u64 = 1_000_000_000;

impl Rate {
    /// None at all.
    pub const ZERO: Self = Self(0);

    /// So many in a second.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self(count as u64 * 1_000)
    }

    /// So many in a minute, rounded down.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self(count as u64 * 1_000 / 60)
    }

    /// So many thousandths in a second.
    #[must_use]
    pub const fn per_1000_s(count: u64) -> Self {
        Self(count)
    }

    /// In thousandths per second.
    #[must_use]
    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// That part of it, rounded down.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(percent)) / 100)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left without the other; at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// How long so many tokens take to come, rounded up; forever at rate 0.
    #[must_use]
    pub fn time_for(self, tokens: u64) -> Duration {
        self.time_for_nano(tokens.saturating_mul(TOKEN))
    }

    fn time_for_nano(self, nano: u64) -> Duration {
        match nano {
            0 => Duration::ZERO,
            _ if self.0 == 0 => Duration::from_micros(u64::MAX),
            nano => Duration::from_micros(nano.div_ceil(self.0)),
        }
    }
}

/// A bucket: in any time `t` no more than `burst + rate × t` tokens are taken by who looks before taking; who does not
/// leaves a debt.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    burst: i64,
    level: i64,
    at: Time,
}

impl Bucket {
    /// With nothing in it: for a holder that does not know what its predecessor took.
    #[must_use]
    pub fn empty(rate: Rate, burst: u32, now: Time) -> Self {
        Self { rate, burst: nano(burst), level: 0, at: now }
    }

    /// Full: for something that nobody took from before.
    #[must_use]
    pub fn full(rate: Rate, burst: u32, now: Time) -> Self {
        Self { level: nano(burst), ..Self::empty(rate, burst, now) }
    }

    /// How fast it fills from now on.
    pub fn set_rate(&mut self, now: Time, rate: Rate) {
        self.fill(now);
        self.rate = rate;
    }

    /// How fast it fills.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// From when on so many can be taken, if nobody takes any before: now, or later.
    #[must_use]
    pub fn ready_at(&mut self, now: Time, tokens: u32) -> Time {
        self.fill(now);
        let lacks = nano(tokens).saturating_sub(self.level).max(0);
        now.after(self.rate.time_for_nano(lacks.unsigned_abs()))
    }

    /// Takes so many, whether they are there or not.
    pub fn take(&mut self, now: Time, tokens: u32) {
        self.fill(now);
        self.level = self.level.saturating_sub(nano(tokens));
    }

    /// Whether nothing is known of it that a new, full one would not say.
    #[must_use]
    pub fn is_full(&mut self, now: Time) -> bool {
        self.fill(now);
        self.level >= self.burst
    }

    fn fill(&mut self, now: Time) {
        let gained = now.0.saturating_sub(self.at.0).saturating_mul(self.rate.0);
        let gained = i64::try_from(gained).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gained).min(self.burst);
        self.at = self.at.max(now);
    }
}

fn nano(tokens: u32) -> i64 {
    i64::from(tokens) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_that_cannot_fill_is_never_ready() {
        let mut bucket = Bucket::empty(Rate::ZERO, 1, Time(5));
        assert_eq!(bucket.ready_at(Time(5), 1), Time::NEVER);
        bucket.set_rate(Time(5), Rate::per_minute(1));
        assert!(bucket.ready_at(Time(5), 1) >= Time(60_000_005));
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_and_rate(
            steps in proptest::collection::vec((0u64..200_000, 1u32..4), 1..200),
            rate in 1u32..50,
            burst in 4u32..10,
        ) {
            let mut bucket = Bucket::full(Rate::per_second(rate), burst, Time(0));
            let (mut now, mut taken) = (Time(0), Vec::new());
            for (pause, tokens) in steps {
                now = Time(now.0 + pause);
                if bucket.ready_at(now, tokens) <= now {
                    bucket.take(now, tokens);
                    taken.push((now, tokens));
                }
            }
            for (from, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0u64;
                for (end, tokens) in &taken[from..] {
                    sum += u64::from(*tokens);
                    let allowed = u64::from(burst) * 1_000_000 + u64::from(rate) * (end.0 - start.0);
                    prop_assert!(sum * 1_000_000 <= allowed);
                }
            }
        }

        #[test]
        fn what_is_said_to_be_ready_is(tokens in 1u32..5, rate in 1u64..100_000, start in 0u64..1_000_000) {
            let mut bucket = Bucket::empty(Rate::per_1000_s(rate), 5, Time(start));
            let ready = bucket.ready_at(Time(start), tokens);
            let before = Time(ready.0 - 1);
            prop_assert_eq!(bucket.ready_at(before, tokens), ready);
            prop_assert_eq!(bucket.ready_at(ready, tokens), ready);
        }
    }
}
