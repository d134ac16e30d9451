//! Smoothed load and the mode that it asks for.

use crate::class::WriteMode;
use crate::config::Threshold;
use crate::ids::Timestamp;

/// Exponentially decaying count of events, as a rate.
pub(super) struct Rate {
    half_life_ms: f64,
    count: f64,
    at: Timestamp,
}

impl Rate {
    pub(super) fn new(half_life_ms: u64, now: Timestamp) -> Self {
        Self { half_life_ms: half_life_ms.max(1) as f64, count: 0.0, at: now }
    }

    fn decay(&mut self, now: Timestamp) {
        let elapsed = now.since_ms(self.at);
        if elapsed > 0 {
            self.count *= (-(elapsed as f64) / self.half_life_ms).exp2();
            self.at = now;
        }
    }

    pub(super) fn add(&mut self, now: Timestamp, events: u64) {
        self.decay(now);
        self.count += events as f64;
    }

    /// Events per second: a steady stream of r events per second keeps `count` at r × half-life / ln 2.
    pub(super) fn per_second(&mut self, now: Timestamp) -> f64 {
        self.decay(now);
        self.count * std::f64::consts::LN_2 * 1_000.0 / self.half_life_ms
    }
}

/// Thresholds with hysteresis.
pub(super) struct Load {
    pub(super) rate: Rate,
    thresholds: Vec<Threshold>,
    level: usize,
    pub(super) switches: u64,
}

impl Load {
    pub(super) fn new(thresholds: Vec<Threshold>, half_life_ms: u64, now: Timestamp) -> Self {
        Self { rate: Rate::new(half_life_ms, now), thresholds, level: 0, switches: 0 }
    }

    /// Counts a write and says how it is applied if nothing else does.
    pub(super) fn write(&mut self, now: Timestamp) -> WriteMode {
        self.rate.add(now, 1);
        self.mode(now)
    }

    /// The mode at this load.
    pub(super) fn mode(&mut self, now: Timestamp) -> WriteMode {
        let rate = self.rate.per_second(now);
        let before = self.level;
        while self.level < self.thresholds.len() && rate > self.thresholds[self.level].on {
            self.level += 1;
        }
        while self.level > 0 && rate < self.thresholds[self.level - 1].off {
            self.level -= 1;
        }
        self.switches += u64::from(before != self.level);
        match self.level.checked_sub(1) {
            None => WriteMode::Sync,
            Some(passed) => self.thresholds[passed].mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_a_steady_stream() {
        let mut rate = Rate::new(1_000, Timestamp(0));
        for ms in 0..10_000 {
            rate.add(Timestamp(ms), 5);
        }
        let seen = rate.per_second(Timestamp(10_000));
        assert!((4_900.0..5_100.0).contains(&seen), "{seen}");
        assert!(rate.per_second(Timestamp(30_000)) < 1.0);
    }

    #[test]
    fn thresholds_switch_in_order_and_with_hysteresis() {
        let step = |on: f64, mode| Threshold { on, off: on / 2.0, mode };
        let steps = vec![step(100.0, WriteMode::High), step(1_000.0, WriteMode::Low)];
        let mut load = Load::new(steps, 100, Timestamp(0));
        let mut modes = Vec::new();
        for (ms, per_ms) in (0..4_000).map(|ms| (ms, if (1_000..2_000).contains(&ms) { 2 } else { 0 })) {
            for _ in 0..per_ms {
                load.write(Timestamp(ms));
            }
            let mode = load.mode(Timestamp(ms));
            if modes.last() != Some(&mode) {
                modes.push(mode);
            }
        }
        use WriteMode::{High, Low, Sync};
        assert_eq!(modes, [Sync, High, Low, High, Sync]);
        assert_eq!(load.switches, 4);
    }
}
