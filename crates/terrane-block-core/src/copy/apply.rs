//! The one way in which data gets onto a copy's disk: log, then bitmaps, then data. (Rules 1, 6.)

use super::durable::{RUNS_MAX, log_of};
use super::{Effect, Effects, State, Update};
use crate::ids::{Content, Extent, Generation, Payload};
use crate::set::BlockSet;
use std::ops::Range;

/// A write that is being applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Apply<P> {
    /// Names it in effects and events.
    pub id: u64,
    /// Where.
    pub extent: Extent,
    /// What.
    pub content: Content<P>,
    /// Who waits for it.
    pub source: Source,
    /// How far it is.
    pub stage: Stage,
}

impl<P> Apply<P> {
    /// The operation that waited for it is gone.
    pub(super) fn orphan_own(&mut self) {
        if matches!(self.source, Source::Own { .. }) {
            self.source = Source::Nobody;
        }
    }
}

/// Who waits for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An operation of this primary.
    Own {
        /// Its number.
        op: u64,
    },
    /// The primary's stream.
    Link {
        /// In which generation.
        generation: Generation,
        /// Its number there.
        seq: u64,
        /// A recopy, not a client's write.
        recopied: bool,
    },
    /// Nobody any more.
    Nobody,
}

/// How far a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It waits for an earlier write of the same blocks.
    Waiting,
    /// It waits until the log is durable.
    Logging,
    /// It is on its way to the disk.
    Writing,
}

impl<P: Payload> State<P> {
    /// Queues a write; [`State::start_applies`] does the rest.
    pub(super) fn apply(&mut self, extent: Extent, content: Content<P>, source: Source) {
        let id = self.free_apply();
        self.volatile.applies.push(Apply { id, extent, content, source, stage: Stage::Waiting });
    }

    /// The smallest number that names no write.
    fn free_apply(&self) -> u64 {
        let mut first = 0;
        loop {
            let used = self.volatile.applies.iter().filter_map(|apply| apply.id.checked_sub(first));
            let used = used.filter(|id| *id < 64).fold(0u64, |used, id| used | 1 << id);
            if used != u64::MAX {
                return first + u64::from(used.trailing_ones());
            }
            first += 64;
        }
    }

    /// Starts what waits for nothing older, and writes what is logged.
    pub(super) fn start_applies(&mut self, out: &mut Effects<P>) {
        for index in 0..self.volatile.applies.len() {
            let (before, rest) = self.volatile.applies.split_at(index);
            let Some(apply) = rest.first() else { break };
            let (stage, extent, source) = (apply.stage, apply.extent, apply.source);
            match stage {
                Stage::Writing => continue,
                Stage::Waiting if before.iter().any(|b| b.extent.overlaps(&extent)) => continue,
                Stage::Waiting => {
                    self.enter_log(extent, source, out);
                    self.volatile.applies[index].stage = Stage::Logging;
                }
                Stage::Logging => {}
            }
            if self.settings.bugs.data_before_log || self.is_logged(extent, source) {
                self.enter_bitmaps(extent);
                let apply = &mut self.volatile.applies[index];
                apply.stage = Stage::Writing;
                out.push(Effect::Write(apply.id, extent, apply.content.clone()));
            }
        }
    }

    fn unlogged(&self, source: Source) -> bool {
        self.settings.bugs.recopies_unlogged && matches!(source, Source::Link { recopied: true, .. })
    }

    fn enter_log(&mut self, extent: Extent, source: Source, out: &mut Effects<P>) {
        if self.unlogged(source) {
            return;
        }
        let range = log_of(extent, &self.settings);
        self.spare_from_retiring(range.clone());
        let missing = self.missing_in_log(range);
        if !missing.is_empty() {
            self.persist(Update::Enter(missing), out);
        }
    }

    /// What of these log extents the log will lack once all updates under way are durable.
    fn missing_in_log(&self, range: Range<u64>) -> BlockSet {
        let only_adopting = self.volatile.persisting.iter().all(|u| matches!(u, Update::Adopt(_)));
        if only_adopting && self.durable.log.contains_range(range.clone()) {
            return BlockSet::new();
        }
        let mut missing: BlockSet = self.durable.log.gaps(range.clone()).into_iter().collect();
        for update in &self.volatile.persisting {
            match update {
                Update::Enter(extents) => missing.subtract(extents),
                Update::Retire { extents, .. } => {
                    let within = extents.gaps(range.clone());
                    let mut retired = BlockSet::from(range.clone());
                    within.into_iter().for_each(|kept| retired.remove_range(kept));
                    missing.extend(&retired);
                }
                Update::Adopt(_) => {}
            }
        }
        missing
    }

    /// The log has all of it, and no retirement under way takes any of it: also not one with another entry behind it,
    /// since a crash may come between the two.
    fn is_logged(&self, extent: Extent, source: Source) -> bool {
        let range = log_of(extent, &self.settings);
        let retires = |update: &Update| match update {
            Update::Retire { extents, .. } => extents.overlaps(range.clone()),
            Update::Enter(_) | Update::Adopt(_) => false,
        };
        self.unlogged(source)
            || self.durable.log.contains_range(range.clone()) && !self.volatile.persisting.iter().any(retires)
    }

    fn enter_bitmaps(&mut self, extent: Extent) {
        let mine = self.durable.record.as_ref().is_some_and(|r| r.now.primary == self.settings.id);
        if self.settings.bugs.bitmap_at_primary && !mine {
            return;
        }
        for (copy, bitmap) in &self.durable.bitmaps {
            let fresh = self.volatile.bits.entry(*copy).or_default();
            for gap in bitmap.gaps(extent.range()) {
                fresh.insert_range(gap);
            }
            fresh.coarsen(RUNS_MAX);
        }
    }

    /// Everything that is being written or will be.
    pub(super) fn is_being_written(&self, extent: &Extent) -> bool {
        self.volatile.applies.iter().any(|apply| apply.extent.overlaps(extent))
    }

    /// Whether a write may be refused: it is a client's, and no other copy gets it.
    #[must_use]
    pub fn may_refuse(&self, id: u64) -> bool {
        let source = self.volatile.applies.iter().find(|apply| apply.id == id).map(|apply| apply.source);
        matches!(source, Some(Source::Own { op }) if self.is_mine_alone(op))
    }

    /// The local disk has no room for it: its client hears of that, and may ask again.
    pub(super) fn refused(&mut self, id: u64) {
        let position = self.volatile.applies.iter().position(|apply| apply.id == id);
        if let Some(position) = position.filter(|_| self.may_refuse(id))
            && let Source::Own { op } = self.volatile.applies.remove(position).source
        {
            self.own_refused(op);
        }
    }

    /// The local disk has it.
    pub(super) fn written(&mut self, id: u64, out: &mut Effects<P>) {
        let position = self.volatile.applies.iter().position(|apply| apply.id == id);
        let Some(position) = position else { return };
        let apply = self.volatile.applies.remove(position);
        match apply.source {
            Source::Own { op } => self.own_written(op),
            Source::Link { generation, seq, .. } => self.link_written(generation, seq, out),
            Source::Nobody => {}
        }
    }
}
