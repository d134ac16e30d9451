//! Making copies equal: suspects after a promotion, joining copies, damage. (Rules 6, 7, 8, 11.)

use super::durable::blocks_of;
use super::{Effects, Kind, State};
use crate::ids::{CopyId, Extent, Generation, Incarnation, Payload};
use crate::set::BlockSet;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// What is not the same on another member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sync {
    /// The life of the member.
    pub incarnation: Incarnation,
    /// It has said what it touched; before that everything may differ.
    pub known: bool,
    /// Blocks that may differ: still to be compared, and copied where they do.
    pub left: BlockSet,
    /// Those of them that nobody could be asked for; tried again when everything is sent again.
    pub stuck: BlockSet,
    /// Blocks compared so far.
    pub compared: Tally,
    /// Blocks with data that were sent so far.
    pub moved: Tally,
    /// For a joining copy.
    pub phase: Phase,
}

/// A number for people: nothing depends on it, so states that differ only here are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally(pub u64);

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

impl PartialOrd for Tally {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tally {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Tally {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// How far a primary is with making a member equal; all in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// The member.
    pub copy: CopyId,
    /// It is joining; otherwise it is in sync but for these blocks, which serve no I/O until they are equal.
    pub joining: bool,
    /// Blocks compared so far.
    pub compared: u64,
    /// Blocks with data that were sent so far.
    pub moved: u64,
    /// Blocks that may still differ.
    pub left: u64,
}

/// How far a joining copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Blocks are being copied.
    Copying,
    /// It flushes all it got.
    Flushing,
    /// The manager may commit it.
    Ready,
}

impl Sync {
    pub(super) fn unknown(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            known: false,
            left: BlockSet::new(),
            stuck: BlockSet::new(),
            compared: Tally::default(),
            moved: Tally::default(),
            phase: Phase::Copying,
        }
    }

    pub(super) fn is_equal(&self) -> bool {
        self.known && self.left.is_empty()
    }
}

impl<P: Payload> State<P> {
    /// A member says what it touched: now it is known what may differ there.
    pub(super) fn touched_at(&mut self, member: CopyId, log: &BlockSet, blocks: BlockSet) {
        let Some(record) = self.ruling().cloned() else { return };
        let settings = self.settings;
        let mut left = blocks;
        if let Some(bitmap) = self.durable.bitmaps.get(&member) {
            left.extend(bitmap);
        }
        if let Some(bits) = self.volatile.bits.get(&member) {
            left.extend(bits);
        }
        if !settings.bugs.forget_applies {
            for apply in &self.volatile.applies {
                left.insert_range(apply.extent.range());
            }
        }
        if !settings.bugs.suspects_one_sided {
            left.extend(log);
        }
        if let Some(last) = record.now.absent.get(&member) {
            let since = record.now.in_sync.get(&settings.id).map(|own| own.since);
            if *last == Generation(0) || since.is_none_or(|since| since > *last) {
                // The bitmap does not reach back to when the member was in sync.
                left = BlockSet::from(0..settings.blocks);
            }
        } else {
            left.extend(&blocks_of(&self.touched(), &settings));
        }
        left.remove_range(settings.blocks..u64::MAX);
        let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&member));
        if let Some(sync) = sync.filter(|sync| !sync.known) {
            sync.known = true;
            sync.left = left;
        }
    }

    /// Whether every in-sync copy is known to be equal.
    pub(super) fn is_equalised(&self) -> bool {
        self.settings.bugs.flush_before_suspects || !self.any_in_sync(|sync| !sync.is_equal())
    }

    /// Whether an extent may differ between in-sync copies.
    pub(super) fn is_suspect(&self, extent: &Extent) -> bool {
        !self.settings.bugs.serve_suspects
            && self.any_in_sync(|sync| !sync.known || sync.left.overlaps(extent.range()))
    }

    fn any_in_sync(&self, test: impl Fn(&Sync) -> bool) -> bool {
        let Some(primary) = &self.volatile.primary else { return false };
        let mut failing = primary.syncs.iter().filter(|(_, sync)| test(sync)).peekable();
        if failing.peek().is_none() {
            return false;
        }
        let Some(record) = self.ruling() else { return false };
        failing.any(|(copy, _)| record.now.in_sync.contains_key(copy))
    }

    /// Starts comparing with those that may differ, and repairs of this copy's own.
    pub(super) fn start_copies(&mut self, out: &mut Effects<P>) {
        if self.is_frozen() {
            return;
        }
        let Some(primary) = &self.volatile.primary else { return };
        let behind = primary.syncs.iter().filter(|(_, sync)| !sync.left.is_empty());
        let targets: Vec<CopyId> = behind.map(|(copy, _)| *copy).collect();
        let damaged = (!primary.repairs.is_empty()).then_some(self.settings.id);
        for to in targets {
            while let Some(extent) = self.next_copy(to) {
                self.start_compare(extent, to, out);
            }
        }
        while let Some((me, extent)) = damaged.and_then(|me| Some((me, self.next_copy(me)?))) {
            self.start_read(extent, Kind::Copy(me), out);
        }
    }

    /// The next piece to be compared with a member or repaired here, if there is one and not enough are under way.
    fn next_copy(&self, to: CopyId) -> Option<Extent> {
        let primary = self.volatile.primary.as_ref()?;
        let none = BlockSet::new();
        let (left, stuck, piece) = match primary.syncs.get(&to) {
            Some(sync) => (&sync.left, &sync.stuck, self.settings.recopy_blocks.max(1)),
            // A block that is damaged says nothing about the next one.
            None => (&primary.repairs, &none, 1),
        };
        let is_such = |kind: Kind| matches!(kind, Kind::Copy(copy) | Kind::Compare(copy) if copy == to);
        if primary.ops.values().filter(|op| is_such(op.kind)).count() >= self.pace(to) {
            return None;
        }
        for run in left.runs() {
            let mut at = run.start;
            while at < run.end() {
                let piece_end = (at / piece).saturating_add(1).saturating_mul(piece);
                let range = at..run.end().min(piece_end);
                match self.first_held(range.clone(), stuck) {
                    Some(held) if held.start <= at => at = held.end(),
                    Some(held) => return Some(Extent { start: at, len: held.start - at }),
                    None => return Some(Extent { start: at, len: range.end - at }),
                }
            }
        }
        None
    }

    /// How many pieces may be under way for this copy. Nobody waits for a joining one: the driver sets its pace.
    fn pace(&self, to: CopyId) -> usize {
        let joining = self.durable.record.as_ref().is_some_and(|r| r.now.joining.contains_key(&to));
        self.volatile.pace.filter(|_| joining).unwrap_or(self.settings.recopies_max)
    }

    /// What comes first in a range of what an operation or write holds, or cannot be copied.
    fn first_held(&self, range: Range<u64>, stuck: &BlockSet) -> Option<Extent> {
        let ops = self.volatile.primary.iter().flat_map(|primary| primary.ops.values());
        let held = ops.map(|op| op.extent).chain(self.volatile.applies.iter().map(|apply| apply.extent));
        let piece = Extent { start: range.start, len: range.end - range.start };
        held.filter(|held| held.overlaps(&piece)).chain(stuck.first_in(range)).min_by_key(|held| held.start)
    }

    pub(super) fn copied(&mut self, to: CopyId, extent: Extent, moved: bool) {
        let Some(primary) = &mut self.volatile.primary else { return };
        match primary.syncs.get_mut(&to) {
            Some(sync) => {
                sync.left.remove_range(extent.range());
                sync.moved.0 += if moved { extent.len } else { 0 };
            }
            None => primary.repairs.remove_range(extent.range()),
        }
    }

    /// Nobody has an undamaged content: for this copy's own repair there is nothing to do but to answer reads so. What
    /// another copy lacks stays on its list and is tried again later: a write may have made it whole.
    pub(super) fn cannot_copy(&mut self, to: CopyId, extent: Extent) {
        match self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&to)) {
            Some(sync) => sync.stuck.insert_range(extent.range()),
            None => self.copied(to, extent, false),
        }
    }

    /// A member's scrubbing found damage there: it is made equal again.
    pub(super) fn damaged_at(&mut self, member: CopyId, extent: Extent) {
        let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&member));
        if let Some(sync) = sync.filter(|sync| sync.known) {
            sync.left.insert_range(extent.range());
        }
    }

    /// How far this primary is with each member that is not known to be equal. For people and metrics, and to set
    /// the pace by. Walks through the runs of what is left.
    #[must_use]
    pub fn resyncs(&self) -> Vec<Resync> {
        let (Some(record), Some(primary)) = (self.ruling(), &self.volatile.primary) else {
            return Vec::new();
        };
        let progress = |(copy, sync): (&CopyId, &Sync)| {
            let joining = record.now.joining.contains_key(copy);
            let left = if sync.known { sync.left.len() } else { self.settings.blocks };
            let behind = joining || !sync.is_equal();
            let (compared, moved) = (sync.compared.0, sync.moved.0);
            behind.then_some(Resync { copy: *copy, joining, compared, moved, left })
        };
        primary.syncs.iter().filter_map(progress).collect()
    }
}
