//! The generic cell rate algorithm (ITU-T I.371): one rate and one tolerance, kept as a single moment.

use crate::{Nanos, SECOND};

/// A rate, and what may be used beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Units per second, for ever. At least 1.
    pub rate: u64,
    /// Units that may be used at once after nothing was used for long.
    pub burst: u64,
}

/// What is left of an [`Allowance`].
///
/// In any time `t` at most `rate × t + burst` units pass, and the last request, which may be larger than what was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    rate: u64,
    /// Nanoseconds per unit, in units of 2⁻³²; rounded up, so that rounding never lets more pass.
    per_unit: u64,
    tolerance: Nanos,
    /// When all that has passed would have passed at the rate: the theoretical arrival time.
    due: Nanos,
}

impl Gcra {
    /// With the whole burst at hand.
    #[must_use]
    pub fn new(allowance: Allowance) -> Self {
        let rate = allowance.rate.max(1);
        let per_unit = (SECOND << 32).div_ceil(rate);
        Self { rate, per_unit, tolerance: time_of(allowance.burst, per_unit), due: 0 }
    }

    /// From when on the next request may pass.
    #[must_use]
    pub fn open_at(&self) -> Nanos {
        self.due.saturating_sub(self.tolerance)
    }

    /// So many units pass.
    pub fn take(&mut self, now: Nanos, units: u64) {
        self.due = self.due.max(now).saturating_add(time_of(units, self.per_unit));
    }

    /// Another allowance from now on. What was used of the burst stays used.
    pub fn set(&mut self, now: Nanos, allowance: Allowance) {
        let used = u128::from(self.due.saturating_sub(now)) * u128::from(self.rate) / u128::from(SECOND);
        *self = Self::new(allowance);
        let used = time_of(u64::try_from(used).unwrap_or(u64::MAX), self.per_unit);
        self.due = now.saturating_add(used.min(self.tolerance));
    }
}

fn time_of(units: u64, per_unit: u64) -> Nanos {
    let time = (u128::from(units) * u128::from(per_unit)).saturating_add(u128::from(u32::MAX)) >> 32;
    u64::try_from(time).unwrap_or(u64::MAX)
}
