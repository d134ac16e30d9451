//! How fast copies catch up: at least so many bytes per second however busy clients are, at most so many, and between
//! the two whatever clients leave.

use super::clock::Boot;
use super::config::Pace;
use crate::engine::BLOCK;
use std::time::Duration;
use terrane_block_core::copy::Resync;

/// Pieces at the same time: nothing, beside clients, alone.
const STOPPED: usize = 0;
const BESIDE: usize = 1;
const ALONE: usize = 8;
/// What was not used is saved for so long.
const SAVED: Duration = Duration::from_millis(100);

/// The pace of one primary's joining copies.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    looked: Option<Boot>,
    /// Bytes that may be compared and moved.
    budget: i64,
    /// Blocks compared when it was looked at last.
    compared: u64,
    /// Requests of clients when it was looked at last.
    requests: u64,
    told: Option<usize>,
}

impl Pacer {
    /// Looks at what was done since the last look. Returns how many pieces may be under way, if that changes.
    pub(super) fn look(
        &mut self,
        now: Boot,
        pace: &Pace,
        resyncs: &[Resync],
        requests: u64,
    ) -> Option<usize> {
        let joining = || resyncs.iter().filter(|resync| resync.joining);
        let compared: u64 = joining().map(|resync| resync.compared).sum();
        let passed = self.looked.replace(now).map_or(Duration::ZERO, |then| now.since(then));
        let busy = requests != self.requests;
        let used = compared.saturating_sub(self.compared).saturating_mul(BLOCK as u64);
        (self.compared, self.requests) = (compared, requests);
        if joining().next().is_none() {
            (self.budget, self.told) = (0, None);
            return None;
        }
        let rate = if busy { pace.resync_floor } else { pace.resync_ceiling };
        let bytes =
            |time: Duration| i64::try_from((rate as u128 * time.as_micros()) / 1_000_000).unwrap_or(i64::MAX);
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        self.budget = self.budget.saturating_sub(used).saturating_add(bytes(passed)).min(bytes(SAVED));
        let pieces = match (self.budget > 0, busy) {
            (false, _) if self.told.is_some() => STOPPED,
            (_, true) => BESIDE,
            (_, false) => ALONE,
        };
        (self.told.replace(pieces) != Some(pieces)).then_some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terrane_block_core::CopyId;

    /// Simulates a resync that does as much as it may, 4 MiB per piece and look, for a second.
    fn bytes_in_a_second(busy: bool) -> u64 {
        let pace = Pace { resync_floor: 16 << 20, resync_ceiling: 160 << 20, ..Pace::default() };
        let (mut pacer, mut pieces, mut compared) = (Pacer::default(), 0, 0);
        for tick in 0..40_u64 {
            let now = Boot::default().after(Duration::from_millis(25 * tick));
            let resync = Resync { copy: CopyId(2), joining: true, compared, moved: 0, left: 1 << 30 };
            if let Some(changed) = pacer.look(now, &pace, &[resync], if busy { tick + 1 } else { 0 }) {
                pieces = changed;
            }
            compared += pieces as u64 * 256;
        }
        compared * BLOCK as u64
    }

    #[test]
    fn between_floor_and_ceiling() {
        let (beside, alone) = (bytes_in_a_second(true) >> 20, bytes_in_a_second(false) >> 20);
        assert!((15..=19).contains(&beside), "{beside} MiB beside clients");
        assert!((150..=172).contains(&alone), "{alone} MiB alone");
    }

    #[test]
    fn nobody_joins_nothing_changes() {
        assert_eq!(Pacer::default().look(Boot::default(), &Pace::default(), &[], 5), None);
    }
}
