//! Virtual time and the one queue of events.

use crate::rng::SimRng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Virtual time since the start of the history, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later by `delay`; at most the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Whole milliseconds since the start.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// Events in the order of their time. Those of the same time come in random order.
#[derive(Clone, Debug)]
pub struct Scheduler<E> {
    now: Time,
    rng: SimRng,
    count: u64,
    queue: BTreeMap<(Time, u64, u64), E>,
}

impl<E> Scheduler<E> {
    /// An empty queue at time 0.
    #[must_use]
    pub fn new(rng: &mut SimRng) -> Self {
        Self { now: Time::default(), rng: rng.fork(), count: 0, queue: BTreeMap::new() }
    }

    /// The time of the event popped last.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds an event; one in the past comes now.
    pub fn at(&mut self, time: Time, event: E) {
        self.count += 1;
        self.queue.insert((time.max(self.now), self.rng.u64(), self.count), event);
    }

    /// Adds an event `delay` from now.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.after(delay), event);
    }

    /// Adds an event at a random time within `delay` from now.
    pub fn within(&mut self, delay: Duration, event: E) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).max(1);
        let delay = Duration::from_nanos(self.rng.range(0..nanos));
        self.after(delay, event);
    }

    /// The next event; time moves on to it.
    pub fn pop(&mut self) -> Option<E> {
        let ((time, ..), event) = self.queue.pop_first()?;
        self.now = time;
        Some(event)
    }

    /// Drops the events that `keep` does not want (those of a machine that crashed).
    pub fn retain(&mut self, mut keep: impl FnMut(&E) -> bool) {
        self.queue.retain(|_, event| keep(event));
    }

    /// Number of events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64) -> Vec<u32> {
        let mut scheduler = Scheduler::new(&mut SimRng::new(seed));
        for event in 0..20 {
            scheduler.after(Duration::from_millis(u64::from(event % 2)), event);
        }
        std::iter::from_fn(|| scheduler.pop()).collect()
    }

    #[test]
    fn time_orders_and_the_seed_orders_what_is_simultaneous() {
        let first = order(1);
        assert!(first[..10].iter().all(|event| event % 2 == 0));
        assert_eq!(first, order(1));
        assert_ne!(first, order(2));
    }

    #[test]
    fn nothing_happens_in_the_past() {
        let mut scheduler = Scheduler::new(&mut SimRng::new(1));
        scheduler.after(Duration::from_secs(1), 'a');
        assert_eq!(scheduler.pop(), Some('a'));
        scheduler.at(Time(5), 'b');
        scheduler.within(Duration::from_secs(1), 'c');
        scheduler.retain(|event| *event == 'b');
        assert_eq!((scheduler.pop(), scheduler.now()), (Some('b'), Time(1_000_000_000)));
        assert!(scheduler.is_empty());
    }
}
