//! Sets of blocks (or of log extents) as runs: a terabyte of neighbours takes the room of one.

use crate::ids::Extent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A set of numbers, kept as runs that neither overlap nor touch: equal sets are equal values.
///
/// Everything but walking through it takes time logarithmic in the number of runs (and linear in the runs of the
/// argument, or in those that vanish). Serialised as a list of (start, length).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", try_from = "Vec<(u64, u64)>")]
pub struct BlockSet {
    /// The first of each run, and the one behind its last.
    runs: BTreeMap<u64, u64>,
}

impl BlockSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { runs: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many numbers are in it. Walks through the runs.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(start, end)| end - start).sum()
    }

    /// How many runs it has: what it takes of memory.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Its runs, in order.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Extent> + '_ {
        self.runs.iter().map(|(start, end)| Extent { start: *start, len: end - start })
    }

    /// Its numbers, in order.
    pub fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|(start, end)| *start..*end)
    }

    /// Whether the number is in it.
    #[must_use]
    pub fn contains(&self, block: u64) -> bool {
        self.contains_range(block..block.saturating_add(1))
    }

    /// Whether all of the range is in it.
    #[must_use]
    pub fn contains_range(&self, range: Range<u64>) -> bool {
        range.is_empty()
            || self.runs.range(..=range.start).next_back().is_some_and(|(_, end)| *end >= range.end)
    }

    /// Whether any of the range is in it.
    #[must_use]
    pub fn overlaps(&self, range: Range<u64>) -> bool {
        self.first_in(range).is_some()
    }

    /// The first run that overlaps the range, cut to it.
    #[must_use]
    pub fn first_in(&self, range: Range<u64>) -> Option<Extent> {
        if range.is_empty() {
            return None;
        }
        let before = self.runs.range(..=range.start).next_back().filter(|(_, end)| **end > range.start);
        let (start, end) = before.or_else(|| self.runs.range(range.clone()).next())?;
        let (start, end) = (range.start.max(*start), range.end.min(*end));
        Some(Extent { start, len: end - start })
    }

    /// Adds a number.
    pub fn insert(&mut self, block: u64) {
        self.insert_range(block..block.saturating_add(1));
    }

    /// Adds a range.
    pub fn insert_range(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((before, its_end)) = self.runs.range_mut(..=start).next_back()
            && *its_end >= start
        {
            if *its_end >= end {
                return;
            }
            start = *before;
        }
        while let Some((next, its_end)) = self.runs.range(start..=end).next_back().map(|(s, e)| (*s, *e)) {
            end = end.max(its_end);
            self.runs.remove(&next);
        }
        self.runs.insert(start, end);
    }

    /// Takes a range out.
    pub fn remove_range(&mut self, range: Range<u64>) {
        while let Some(cut) = self.first_in(range.clone()) {
            let Some((start, end)) = self.runs.range(..=cut.start).next_back().map(|(s, e)| (*s, *e)) else {
                return;
            };
            self.runs.remove(&start);
            if start < cut.start {
                self.runs.insert(start, cut.start);
            }
            if cut.end() < end {
                self.runs.insert(cut.end(), end);
            }
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        for (start, end) in &other.runs {
            self.insert_range(*start..*end);
        }
    }

    /// Takes all of another set out.
    pub fn subtract(&mut self, other: &Self) {
        if self.is_empty() {
            return;
        }
        for (start, end) in &other.runs {
            self.remove_range(*start..*end);
        }
    }

    /// What of a range is not in it, in order.
    #[must_use]
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let run = self.first_in(at..range.end);
            let gap_end = run.map_or(range.end, |run| run.start);
            if at < gap_end {
                gaps.push(at..gap_end);
            }
            at = run.map_or(range.end, |run| run.end());
        }
        gaps
    }

    /// Fills the smallest gaps, powers of two at a time, until there are at most so many runs (at least one).
    pub fn coarsen(&mut self, runs_max: usize) {
        let mut gap = 1u64;
        while self.runs.len() > runs_max.max(1) {
            gap = gap.saturating_mul(2);
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for (start, end) in &self.runs {
                match merged.last_mut() {
                    Some((_, last)) if start - *last <= gap => *last = *end,
                    _ => merged.push((*start, *end)),
                }
            }
            self.runs = merged.into_iter().collect();
        }
    }
}

impl From<Range<u64>> for BlockSet {
    fn from(range: Range<u64>) -> Self {
        let mut set = Self::new();
        set.insert_range(range);
        set
    }
}

impl FromIterator<u64> for BlockSet {
    fn from_iter<I: IntoIterator<Item = u64>>(blocks: I) -> Self {
        let mut set = Self::new();
        blocks.into_iter().for_each(|block| set.insert(block));
        set
    }
}

impl FromIterator<Range<u64>> for BlockSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert_range(range));
        set
    }
}

impl From<BlockSet> for Vec<(u64, u64)> {
    fn from(set: BlockSet) -> Self {
        set.runs.into_iter().map(|(start, end)| (start, end - start)).collect()
    }
}

/// A list that is no set of runs: one that is empty, goes beyond the largest number, or comes before or touches its
/// predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASet;

impl fmt::Display for NotASet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list of runs in order")
    }
}

impl std::error::Error for NotASet {}

impl TryFrom<Vec<(u64, u64)>> for BlockSet {
    type Error = NotASet;

    fn try_from(list: Vec<(u64, u64)>) -> Result<Self, NotASet> {
        let mut runs = BTreeMap::new();
        let mut last = None;
        for (start, len) in list {
            let end = start.checked_add(len).filter(|end| *end > start).ok_or(NotASet)?;
            if last.is_some_and(|last| start <= last) {
                return Err(NotASet);
            }
            runs.insert(start, end);
            last = Some(end);
        }
        Ok(Self { runs })
    }
}

impl fmt::Debug for BlockSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.runs()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(Range<u64>),
        Remove(Range<u64>),
        Extend(Vec<Range<u64>>),
        Subtract(Vec<Range<u64>>),
    }

    fn range() -> impl Strategy<Value = Range<u64>> {
        (0u64..40, 0u64..12).prop_map(|(start, len)| start..start + len)
    }

    fn change() -> impl Strategy<Value = Change> {
        let ranges = || proptest::collection::vec(range(), 0..4);
        prop_oneof![
            range().prop_map(Change::Insert),
            range().prop_map(Change::Remove),
            ranges().prop_map(Change::Extend),
            ranges().prop_map(Change::Subtract),
        ]
    }

    fn apply(set: &mut BlockSet, model: &mut BTreeSet<u64>, change: &Change) {
        let all = |ranges: &[Range<u64>]| ranges.iter().cloned().flatten().collect::<Vec<_>>();
        match change {
            Change::Insert(range) => {
                set.insert_range(range.clone());
                model.extend(range.clone());
            }
            Change::Remove(range) => {
                set.remove_range(range.clone());
                model.retain(|block| !range.contains(block));
            }
            Change::Extend(ranges) => {
                set.extend(&ranges.iter().cloned().collect());
                model.extend(all(ranges));
            }
            Change::Subtract(ranges) => {
                set.subtract(&ranges.iter().cloned().collect());
                model.retain(|block| !all(ranges).contains(block));
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_one_form(changes in proptest::collection::vec(change(), 0..20), probe in range()) {
            let (mut set, mut model) = (BlockSet::new(), BTreeSet::new());
            for change in &changes {
                apply(&mut set, &mut model, change);
                prop_assert_eq!(set.blocks().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(&set, &model.iter().copied().collect::<BlockSet>());
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.contains(probe.start), model.contains(&probe.start));
            prop_assert_eq!(set.contains_range(probe.clone()), probe.clone().all(|b| model.contains(&b)));
            prop_assert_eq!(set.overlaps(probe.clone()), probe.clone().any(|b| model.contains(&b)));
            let first = set.first_in(probe.clone()).map(|run| run.start);
            prop_assert_eq!(first, probe.clone().find(|b| model.contains(b)));
            let gaps: Vec<u64> = set.gaps(probe.clone()).into_iter().flatten().collect();
            prop_assert_eq!(gaps, probe.clone().filter(|b| !model.contains(b)).collect::<Vec<_>>());
            let list: Vec<(u64, u64)> = set.clone().into();
            prop_assert_eq!(BlockSet::try_from(list), Ok(set.clone()));
            let mut coarse = set.clone();
            coarse.coarsen(2);
            prop_assert!(coarse.run_count() <= 2);
            prop_assert!(model.iter().all(|block| coarse.contains(*block)));
        }

        #[test]
        fn lists_that_are_no_sets_are_refused(list in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..4)) {
            if let Ok(set) = BlockSet::try_from(list.clone()) {
                prop_assert_eq!(Vec::from(set), list);
            }
        }
    }
}
