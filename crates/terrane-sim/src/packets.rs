//! A network that delays, loses, duplicates, reorders and splits.

use crate::coverage::Coverage;
use crate::rng::SimRng;
use std::collections::BTreeSet;
use std::time::Duration;

/// How bad the network is. Chances are "one in n", 0 is never.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Shortest delay of a packet.
    pub delay_min: Duration,
    /// Longest delay; packets overtake each other within these bounds.
    pub delay_max: Duration,
    /// A packet is lost.
    pub loses: u32,
    /// A packet arrives twice.
    pub duplicates: u32,
}

/// Decides what becomes of each packet; the world's scheduler carries them.
#[derive(Clone, Debug)]
pub struct Network {
    rng: SimRng,
    weather: Weather,
    cut: BTreeSet<(u32, u32)>,
    coverage: Coverage,
}

impl Network {
    /// A network between nodes that are known by numbers.
    #[must_use]
    pub fn new(rng: &mut SimRng, weather: Weather, coverage: Coverage) -> Self {
        Self { rng: rng.fork(), weather, cut: BTreeSet::new(), coverage }
    }

    /// Where it counts.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Changes the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Cuts the way from one node to another (one direction).
    pub fn cut(&mut self, from: u32, to: u32) {
        self.coverage.hit("net.cut");
        self.cut.insert((from, to));
    }

    /// Mends all ways.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// The delays after which a packet arrives: none if it is lost, two if it is duplicated.
    pub fn send(&mut self, from: u32, to: u32) -> Vec<Duration> {
        if self.cut.contains(&(from, to)) {
            self.coverage.hit("net.dropped_at_cut");
            return Vec::new();
        }
        if self.rng.one_in(self.weather.loses) {
            self.coverage.hit("net.lost");
            return Vec::new();
        }
        let mut delays = vec![self.delay()];
        if self.rng.one_in(self.weather.duplicates) {
            self.coverage.hit("net.duplicated");
            delays.push(self.delay());
        }
        delays
    }

    fn delay(&mut self) -> Duration {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let (min, max) = (nanos(self.weather.delay_min), nanos(self.weather.delay_max));
        Duration::from_nanos(if min < max { self.rng.range(min..max) } else { min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_lost_duplicated_reordered_and_cut_off() {
        let coverage = Coverage::default();
        let (delay_min, delay_max) = (Duration::from_millis(1), Duration::from_millis(9));
        let weather = Weather { delay_min, delay_max, loses: 5, duplicates: 5 };
        let mut net = Network::new(&mut SimRng::new(1), weather, coverage.clone());
        let delays: Vec<_> = (0..200).flat_map(|_| net.send(1, 2)).collect();
        assert!(delays.iter().all(|d| (delay_min..delay_max).contains(d)));
        assert!(delays.windows(2).any(|pair| pair[1] + Duration::from_millis(1) < pair[0]));
        net.cut(1, 2);
        assert!((0..50).all(|_| net.send(1, 2).is_empty()));
        assert!((0..50).any(|_| !net.send(2, 1).is_empty()));
        net.heal();
        assert!((0..50).any(|_| !net.send(1, 2).is_empty()));
        assert_eq!(
            coverage.missing(&["net.cut", "net.dropped_at_cut", "net.lost", "net.duplicated"]),
            [""; 0]
        );
    }
}
