//! Making copies equal: suspects after a promotion, joining copies, damage. (Rules 6, 7, 8, 11.)

use super::durable::blocks_of;
use super::{Effect, Effects, Kind, Purpose, State};
use crate::ids::{CopyId, Extent, Generation, Incarnation, Payload};
use crate::manager::Request;
use crate::message::Body;
use std::collections::BTreeSet;

/// What is not the same on another member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sync {
    /// The life of the member.
    pub incarnation: Incarnation,
    /// It has said what it touched; before that everything may differ.
    pub known: bool,
    /// Blocks still to be copied.
    pub left: BTreeSet<u64>,
    /// Those of them that nobody could be asked for; tried again when everything is sent again.
    pub stuck: BTreeSet<u64>,
    /// For a joining copy.
    pub phase: Phase,
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
            left: BTreeSet::new(),
            stuck: BTreeSet::new(),
            phase: Phase::Copying,
        }
    }

    fn is_equal(&self) -> bool {
        self.known && self.left.is_empty()
    }
}

impl<P: Payload> State<P> {
    /// A member says what it touched: now it is known what may differ there.
    pub(super) fn touched_at(&mut self, member: CopyId, log: &BTreeSet<u64>, blocks: BTreeSet<u64>) {
        let Some(record) = self.ruling().cloned() else { return };
        let settings = self.settings;
        let theirs =
            if settings.bugs.suspects_one_sided { BTreeSet::new() } else { blocks_of(log, &settings) };
        let own_log = blocks_of(&self.touched(), &settings);
        let bitmap = self.durable.bitmaps.get(&member).into_iter().flatten();
        let bits = self.volatile.bits.get(&member).into_iter().flatten();
        let mut left: BTreeSet<u64> = bitmap.chain(bits).copied().collect();
        if !settings.bugs.forget_applies {
            left.extend(self.volatile.applies.iter().flat_map(|apply| apply.extent.blocks()));
        }
        left.extend(theirs);
        left.extend(blocks);
        if let Some(last) = record.now.absent.get(&member) {
            let since = record.now.in_sync.get(&settings.id).map(|own| own.since);
            if *last == Generation(0) || since.is_none_or(|since| since > *last) {
                // The bitmap does not reach back to when the member was in sync.
                left = (0..settings.blocks).collect();
            }
        } else {
            left.extend(own_log);
        }
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

    pub(super) fn is_equal(&self, member: CopyId) -> bool {
        let sync = self.volatile.primary.as_ref().and_then(|primary| primary.syncs.get(&member));
        self.settings.bugs.flush_before_suspects || sync.is_some_and(Sync::is_equal)
    }

    /// Whether an extent may differ between in-sync copies.
    pub(super) fn is_suspect(&self, extent: &Extent) -> bool {
        !self.settings.bugs.serve_suspects
            && self.any_in_sync(|sync| !sync.known || extent.blocks().any(|block| sync.left.contains(&block)))
    }

    fn any_in_sync(&self, test: impl Fn(&Sync) -> bool) -> bool {
        let Some(record) = self.ruling() else { return false };
        let Some(primary) = &self.volatile.primary else { return false };
        primary.syncs.iter().any(|(copy, sync)| record.now.in_sync.contains_key(copy) && test(sync))
    }

    /// Starts copying blocks to those that need them, and repairs of this copy's own.
    pub(super) fn start_copies(&mut self, out: &mut Effects<P>) {
        if !self.may_act() {
            return;
        }
        let me = self.settings.id;
        let Some(primary) = &self.volatile.primary else { return };
        let targets: Vec<CopyId> = primary.syncs.keys().copied().chain([me]).collect();
        for to in targets {
            while let Some(block) = self.next_copy(to) {
                self.start_read(Extent::block(block), Kind::Copy(to), out);
            }
        }
    }

    fn next_copy(&self, to: CopyId) -> Option<u64> {
        let primary = self.volatile.primary.as_ref()?;
        let none = BTreeSet::new();
        let (left, stuck) = match primary.syncs.get(&to) {
            Some(sync) => (&sync.left, &sync.stuck),
            None => (&primary.repairs, &none),
        };
        let running = primary.ops.values().filter(|op| op.kind == Kind::Copy(to)).count();
        if running >= self.settings.recopies_max {
            return None;
        }
        let is_free = |block: &u64| {
            let extent = Extent::block(*block);
            !primary.ops.values().any(|op| op.extent.overlaps(&extent)) && !self.is_being_written(&extent)
        };
        left.difference(stuck).copied().find(is_free)
    }

    pub(super) fn copied(&mut self, to: CopyId, extent: Extent) {
        let Some(primary) = &mut self.volatile.primary else { return };
        let left = match primary.syncs.get_mut(&to) {
            Some(sync) => &mut sync.left,
            None => &mut primary.repairs,
        };
        left.retain(|block| !extent.blocks().any(|done| done == *block));
    }

    /// Nobody has an undamaged content: for this copy's own repair there is nothing to do but to answer reads so. What
    /// another copy lacks stays on its list and is tried again later: a write may have made it whole.
    pub(super) fn cannot_copy(&mut self, to: CopyId, extent: Extent) {
        match self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&to)) {
            Some(sync) => sync.stuck.extend(extent.blocks()),
            None => self.copied(to, extent),
        }
    }

    /// A member's scrubbing found damage there: it is made equal again.
    pub(super) fn damaged_at(&mut self, member: CopyId, extent: Extent) {
        let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(&member));
        if let Some(sync) = sync.filter(|sync| sync.known) {
            sync.left.extend(extent.blocks());
        }
    }

    /// A joining copy that has all blocks flushes data and metadata. It is part of every write already.
    pub(super) fn start_join_flushes(&mut self, out: &mut Effects<P>) {
        if !self.may_act() {
            return;
        }
        let Some(record) = self.ruling().cloned() else { return };
        for copy in record.now.joining.keys() {
            let early = self.settings.bugs.join_before_flush;
            let sync = self.volatile.primary.as_mut().and_then(|primary| primary.syncs.get_mut(copy));
            let Some(sync) = sync.filter(|s| s.is_equal() && s.phase == Phase::Copying) else { continue };
            sync.phase = if early { Phase::Ready } else { Phase::Flushing };
            if early {
                self.ask_commits(out);
            } else {
                let body = Body::Flush { exclude: (0..self.settings.blocks).collect() };
                self.send(*copy, body, Purpose::JoinFlush, out);
            }
        }
    }

    /// Asks the manager to commit the copies that are ready. Until it says so they stay part of everything.
    pub(super) fn ask_commits(&self, out: &mut Effects<P>) {
        let Some(record) = self.ruling() else { return };
        let Some(primary) = &self.volatile.primary else { return };
        if !self.volatile.active {
            return;
        }
        for (copy, incarnation) in &record.now.joining {
            if primary.syncs.get(copy).is_some_and(|sync| sync.phase == Phase::Ready) {
                let (generation, copy, incarnation) = (record.generation, *copy, *incarnation);
                out.push(Effect::Ask(Request::CommitJoin { generation, copy, incarnation }));
            }
        }
    }
}
