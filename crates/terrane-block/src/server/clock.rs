//! Time that goes on while the machine sleeps, and what is due when.

use nix::time::{ClockId, clock_gettime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use terrane_block_core::CopyId;
use terrane_block_core::copy::Grantor;

/// Time since the machine's start, suspended or not. A lease that is counted by a clock that stops is worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boot(Duration);

impl Boot {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has this clock");
        Self(now.into())
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// As the schedulers count.
    pub(super) fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }

    /// Since then; nothing if that is still to come.
    pub(super) fn since(self, then: Self) -> Duration {
        self.0.saturating_sub(then.0)
    }
}

/// Leases are never longer than this, whatever a manager says.
pub(super) const LEASE_MAX: Duration = Duration::from_millis(400);

/// How much longer than its holder a grantor counts: more than two clocks may differ in that time, and their ticks.
pub(super) fn grant_of(lease: Duration) -> Duration {
    lease + lease / 20 + Duration::from_millis(2)
}

/// What is due for a copy's core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A lease got by the request of this round.
    Lease(Grantor, u64),
    /// What was granted to this holder, if nothing was granted to it since.
    Grant(CopyId),
    /// What an earlier life granted.
    Settled,
    /// What waits for its volume's limits.
    Admit,
    /// A look, the so many-th, whether a new primary is answered.
    Hurry(u32),
}

/// What is due when, for the copy in this slot in this life.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Boot, usize, u64, Due)>>);

impl Deadlines {
    pub(super) fn add(&mut self, at: Boot, slot: usize, life: u64, due: Due) {
        self.0.push(Reverse((at, slot, life, due)));
    }

    /// The next one that is due by now.
    pub(super) fn pop(&mut self, now: Boot) -> Option<(Boot, usize, u64, Due)> {
        let Reverse((at, ..)) = self.0.peek()?;
        if *at > now {
            return None;
        }
        self.0.pop().map(|Reverse(due)| due)
    }

    pub(super) fn next(&self) -> Option<Boot> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_not_before() {
        let mut deadlines = Deadlines::default();
        let at = |ms| Boot::default().after(Duration::from_millis(ms));
        deadlines.add(at(20), 1, 1, Due::Settled);
        deadlines.add(at(10), 2, 1, Due::Grant(CopyId(1)));
        assert_eq!(deadlines.pop(at(9)), None);
        assert_eq!(deadlines.pop(at(30)), Some((at(10), 2, 1, Due::Grant(CopyId(1)))));
        assert_eq!(deadlines.next(), Some(at(20)));
        assert_eq!(deadlines.pop(at(20)), Some((at(20), 1, 1, Due::Settled)));
    }

    #[test]
    fn a_grantor_counts_longer_than_a_holder() {
        for lease in [1, 50, 250, 400].map(Duration::from_millis) {
            assert!(grant_of(lease) > lease.mul_f64(1.04));
        }
    }
}
