//! Sets of blocks as runs: what one bitmap of an absent copy holds.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of block numbers, kept as disjoint runs that do not touch.
///
/// It may be made coarser to stay within bounds: a bitmap that names too many blocks costs a few comparisons, one
/// that misses a block costs data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap(BTreeMap<u64, u64>);

impl Bitmap {
    /// Runs that one bitmap holds at most; then the closest ones become one.
    pub const MAX_RUNS: usize = 1 << 16;

    /// Adds the blocks of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((before, until)) = self.0.range(..=start).next_back().map(|(s, e)| (*s, *e))
            && until >= start
        {
            if until >= end {
                return;
            }
            start = before;
        }
        while let Some((next, until)) = self.0.range(start..=end).next().map(|(s, e)| (*s, *e)) {
            self.0.remove(&next);
            end = end.max(until);
        }
        self.0.insert(start, end);
        self.coarsen(Self::MAX_RUNS);
    }

    /// Joins runs until there are at most `max`, those with the smallest gaps first (in powers of two).
    fn coarsen(&mut self, max: usize) {
        let mut gap = 1_u64;
        while self.0.len() > max.max(1) {
            gap = gap.saturating_mul(2);
            let mut joined: Vec<(u64, u64)> = Vec::new();
            for (start, end) in std::mem::take(&mut self.0) {
                match joined.last_mut() {
                    Some(last) if start - last.1 <= gap => last.1 = end,
                    _ => joined.push((start, end)),
                }
            }
            self.0 = joined.into_iter().collect();
        }
    }

    /// Whether the block is in the set.
    #[must_use]
    pub fn contains(&self, block: u64) -> bool {
        self.0.range(..=block).next_back().is_some_and(|(_, end)| *end > block)
    }

    /// The runs in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// How many runs there are.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.0.len()
    }

    /// How many blocks there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Range<u64>> for Bitmap {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(runs: T) -> Self {
        let mut all = Self::default();
        runs.into_iter().for_each(|run| all.insert(run));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_the_set(runs in proptest::collection::vec((0..200_u64, 0..20_u64), 0..40)) {
            let mut set = BTreeSet::new();
            let mut bitmap = Bitmap::default();
            for (start, len) in runs {
                set.extend(start..start + len);
                bitmap.insert(start..start + len);
            }
            prop_assert_eq!(bitmap.runs().flatten().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bitmap.len(), set.len() as u64);
            for block in 0..230 {
                prop_assert_eq!(bitmap.contains(block), set.contains(&block));
            }
            let runs: Vec<_> = bitmap.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            let mut coarse = bitmap.clone();
            coarse.coarsen(3);
            prop_assert!(coarse.run_count() <= 3 && set.iter().all(|block| coarse.contains(*block)));
        }
    }
}
