//! What requests cost, and what clients are promised.

use crate::{Nanos, SECOND};

/// What one request takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// I/O operations; most requests are one.
    pub ops: u32,
    /// Bytes moved.
    pub bytes: u32,
}

/// Operations and bytes per second; whichever is used up first counts. 0: that dimension does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Operations per second.
    pub ops: u64,
    /// Bytes per second.
    pub bytes: u64,
}

/// What a client of a drive is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// At least this, however busy others are. None: nothing.
    pub reserve: Rate,
    /// Of what is left, in proportion to the weights of those that want it. At least 1.
    pub weight: u32,
    /// Never more than this. None: no ceiling. One below the reservation counts as the reservation.
    pub ceiling: Rate,
}

impl Rate {
    /// No rate at all.
    pub const NONE: Self = Self { ops: 0, bytes: 0 };

    /// Neither dimension counts.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The higher one, by dimension, if both count in it.
    pub(crate) fn at_least(self, least: Self) -> Self {
        let one = |own: u64, least: u64| if own == 0 { 0 } else { own.max(least) };
        Self { ops: one(self.ops, least.ops), bytes: one(self.bytes, least.bytes) }
    }
}

/// Divisions made beforehand: nanoseconds per operation and per byte, in units of 2⁻³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    per_op: u64,
    per_byte: u64,
}

impl Pace {
    pub(crate) fn of(rate: Rate) -> Self {
        let inverse = |rate: u64| match rate {
            0 => 0,
            rate => u64::try_from((u128::from(SECOND) << 32) / u128::from(rate)).unwrap_or(u64::MAX),
        };
        Self { per_op: inverse(rate.ops), per_byte: inverse(rate.bytes) }
    }

    /// How long the cost takes at this rate.
    pub(crate) fn time(self, cost: Cost) -> Nanos {
        let one = |per: u64, count: u32| (u128::from(per) * u128::from(count)) >> 32;
        let time = one(self.per_op, cost.ops).max(one(self.per_byte, cost.bytes));
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dimension_that_is_used_up_first_counts() {
        let pace = Pace::of(Rate { ops: 1000, bytes: 1 << 20 });
        assert_eq!(pace.time(Cost { ops: 1, bytes: 512 }), 1_000_000);
        assert_eq!(pace.time(Cost { ops: 2, bytes: 1 << 20 }).div_ceil(1000), 1_000_000);
        assert_eq!(Pace::of(Rate::NONE).time(Cost { ops: u32::MAX, bytes: u32::MAX }), 0);
        assert_eq!(Pace::of(Rate { ops: 1, bytes: 1 }).time(Cost { ops: 3, bytes: 0 }), 3 * SECOND);
    }
}
