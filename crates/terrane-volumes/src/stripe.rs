//! What shall become of a stripe: a pure function from its stored row and what is believed to the next row.
//!
//! All membership changes go through `terrane_block_core::manager`; here is only which copies there should be.

use std::collections::{BTreeMap, BTreeSet};

use terrane_block_core::bugs::Bugs;
use terrane_block_core::manager::{self, Alive};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Generation};

use crate::rows::{Phase, PlaceRow, StripeRow};

/// What the manager believes about a stripe's copies. May be wrong: then things are slower, never false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Copies that answer and are trusted.
    pub(crate) alive: BTreeMap<CopyId, Alive>,
    /// Copies that answer, but fail too often, or others complain about: only if there is nothing better.
    pub(crate) doubtful: BTreeMap<CopyId, Alive>,
    /// Nobody can hold the manager's lease of this stripe: its primary may change.
    pub(crate) lease_lapsed: bool,
    /// Copies that were away for so long that they are replaced.
    pub(crate) gone: BTreeSet<CopyId>,
    /// Copies on servers that are being drained.
    pub(crate) leaving: BTreeSet<CopyId>,
    /// Of some servers it is not known yet whether they live: nobody is removed.
    pub(crate) unsure: bool,
    /// A primary that was told to hand over did not, for too long: it is replaced as one that died.
    pub(crate) impatient: bool,
}

/// The next row, if something is to be changed and may be.
pub(crate) fn advance(row: &StripeRow, facts: &Facts) -> Option<StripeRow> {
    let mut next = match &row.record {
        None => begin(row, facts)?,
        Some(record) => {
            let finished = manager::finish_fence(record, Bugs::NONE);
            let changed = || retire(row, record, facts).or_else(|| repair(row, record, facts));
            let changed = || (!facts.unsure).then(changed).flatten();
            match finished.or_else(changed) {
                Some(next) => StripeRow { record: Some(next), ..row.clone() },
                None => drop_surplus(row, record, facts)?,
            }
        }
    };
    next.version = row.version + 1;
    Some(next)
}

/// Whether one more copy should be made, and why.
pub(crate) fn wants_copy(row: &StripeRow, facts: &Facts) -> Option<String> {
    if facts.unsure {
        return None;
    }
    let hopeful =
        |copy: &&CopyId| !facts.gone.contains(copy) && !leaves(row, facts, **copy) && !row.is_extra(**copy);
    let hopeful = row.places.keys().filter(hopeful).count();
    let source = row.record.as_ref().is_none_or(|record| {
        let lives = |copy: &CopyId| facts.alive.contains_key(copy) || facts.doubtful.contains_key(copy);
        record.now.in_sync.keys().any(lives)
    });
    let few = hopeful < row.wanted as usize && source;
    few.then(|| {
        let why = if facts.leaving.is_empty() { "a copy is gone" } else { "a server is being drained" };
        why.to_owned()
    })
}

/// The copy that the primary shall hand over to, if another one shall rule: because it leaves and others are there in
/// sufficient number, or because the volume was moved to where the other one is.
pub(crate) fn successor(row: &StripeRow, facts: &Facts) -> Option<CopyId> {
    let record = row.record.as_ref().filter(|record| record.active && !record.fencing && !facts.unsure)?;
    let lives = |copy: &CopyId| {
        facts.alive.get(copy).is_some_and(|alive| record.now.is_in_sync(*copy, alive.incarnation))
    };
    let primary = record.now.primary;
    let able: Vec<CopyId> = staying(row, record, facts).filter(lives).collect();
    let change = row.change.as_ref().filter(|change| change.phase == Phase::Over);
    let chosen = change.and_then(|change| change.primary).filter(|copy| able.contains(copy));
    if leaves(row, facts, primary) {
        return chosen.or(able.first().copied()).filter(|_| able.len() >= row.kept());
    }
    chosen.filter(|copy| *copy != primary)
}

/// All first copies are made: the record begins. What could not be made is dropped before.
fn begin(row: &StripeRow, facts: &Facts) -> Option<StripeRow> {
    let mut next = row.clone();
    next.places.retain(|copy, _| !facts.gone.contains(copy));
    let made: BTreeMap<_, _> =
        next.places.keys().filter_map(|copy| Some((*copy, facts.alive.get(copy)?.incarnation))).collect();
    if made.len() == next.places.len() && made.len() >= row.wanted as usize {
        // The first place is in the zone that was asked for.
        let primary = *made.keys().next()?;
        next.record = Some(Record::create(&made, primary, row.layout));
    }
    (next != *row).then_some(next)
}

/// Whether a copy is to go: its server is being drained, or a change of the volume does without it.
fn leaves(row: &StripeRow, facts: &Facts, copy: CopyId) -> bool {
    facts.leaving.contains(&copy) || row.lets_go(copy)
}

/// In-sync copies that are not to leave.
fn staying<'a>(
    row: &'a StripeRow,
    record: &'a Record,
    facts: &'a Facts,
) -> impl Iterator<Item = CopyId> + 'a {
    record.now.in_sync.keys().copied().filter(|copy| !leaves(row, facts, *copy))
}

/// The membership without those that are to leave, if others are in sync in sufficient number. What a change does
/// without and is not in sync, goes at once. The primary hands over first.
fn retire(row: &StripeRow, record: &Record, facts: &Facts) -> Option<Record> {
    let lives = |copy: &CopyId| {
        facts.alive.get(copy).is_some_and(|alive| record.now.is_in_sync(*copy, alive.incarnation))
    };
    let enough = staying(row, record, facts).filter(lives).count() >= row.kept();
    let goes = |copy: &CopyId| {
        let in_sync = record.now.in_sync.contains_key(copy);
        if in_sync || !row.lets_go(*copy) { enough && leaves(row, facts, *copy) } else { true }
    };
    let goes: BTreeSet<CopyId> = row.places.keys().copied().filter(goes).collect();
    manager::retire(record, &goes, Bugs::NONE)
}

/// The membership that who lives allows. Copies beyond those wanted are let go.
fn repair(row: &StripeRow, record: &Record, facts: &Facts) -> Option<Record> {
    // What a change does without and is not in sync, is of no use any more.
    let useful = |copy: &CopyId| {
        row.places.contains_key(copy) && (!row.lets_go(*copy) || record.now.in_sync.contains_key(copy))
    };
    // Copies that were made since join with the next generation, or are forgotten with this attempt.
    let made = row.places.keys().copied().filter(|copy| useful(copy) && facts.alive.contains_key(copy));
    let admitted = manager::admit(record, made, Bugs::NONE);
    let known = |alive: &BTreeMap<CopyId, Alive>| {
        let known = alive.iter().filter(|(copy, _)| useful(copy));
        known.map(|(copy, alive)| (*copy, alive.clone())).collect::<BTreeMap<_, _>>()
    };
    let mut alive = known(&facts.alive);
    let lives = |alive: &BTreeMap<CopyId, Alive>, copy: &CopyId| {
        let now = alive.get(copy).map(|alive| alive.incarnation);
        now.is_some_and(|incarnation| record.now.is_in_sync(*copy, incarnation))
    };
    let mut kept: Vec<CopyId> = staying(row, record, facts).filter(|copy| lives(&alive, copy)).collect();
    // Active or not: those who are let go in one generation would else be back in the next, before that one is active,
    // for ever.
    // A primary that leaves hands over first (`successor`), which takes a fraction of the time.
    let rules_on = leaves(row, facts, record.now.primary) && lives(&alive, &record.now.primary);
    if kept.len() >= row.kept() && (!rules_on || facts.impatient) {
        // The primary, and those that have been in sync for longest.
        let since = |copy: &CopyId| record.now.in_sync.get(copy).map(|member| member.since);
        kept.sort_by_key(|copy| (*copy != record.now.primary, since(copy), *copy));
        kept.truncate(row.kept());
        alive.retain(|copy, _| kept.contains(copy));
    }
    if !record.now.in_sync.keys().any(|copy| lives(&alive, copy)) {
        alive.extend(known(&facts.doubtful));
    }
    let next = manager::repair(&admitted, &alive, Bugs::NONE)?;
    let moves = next.now.primary != record.now.primary;
    // A primary without mirrors may hold our lease: nobody takes its place before that has lapsed.
    (facts.lease_lapsed || !moves).then_some(next)
}

/// Forgets copies that nobody needs: all absent ones if there are enough in sync, and those that are gone and never
/// were in sync.
fn drop_surplus(row: &StripeRow, record: &Record, facts: &Facts) -> Option<StripeRow> {
    if !record.active || facts.unsure {
        return None;
    }
    let lives = |copy: &CopyId| facts.alive.contains_key(copy) || facts.doubtful.contains_key(copy);
    let enough = staying(row, record, facts).filter(lives).count() >= row.kept();
    let useless = |copy: &CopyId| {
        let never = record.now.absent.get(copy).is_none_or(|last| *last == Generation(0));
        let joining = record.now.joining.contains_key(copy);
        let in_sync = record.now.in_sync.contains_key(copy);
        !in_sync && !joining && (enough || row.lets_go(*copy) || never && facts.gone.contains(copy))
    };
    let goes: BTreeSet<CopyId> = row.places.keys().copied().filter(useless).collect();
    if goes.is_empty() {
        return None;
    }
    let mut next = row.clone();
    next.places.retain(|copy, _| !goes.contains(copy));
    if let Some(forgotten) = manager::forget(record, &goes) {
        next.record = Some(forgotten);
    }
    Some(next)
}

impl StripeRow {
    /// Places that this row has and another one has not: their copies are to be deleted.
    pub(crate) fn places_not_in(&self, next: Option<&Self>) -> Vec<(CopyId, PlaceRow)> {
        let kept = |copy: &CopyId| next.is_some_and(|next| next.places.contains_key(copy));
        self.places.iter().filter(|(copy, _)| !kept(copy)).map(|(copy, place)| (*copy, *place)).collect()
    }

    /// Fewer copies in sync than wanted.
    pub(crate) fn is_degraded(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.now.in_sync.len() < self.wanted as usize)
    }
}

#[cfg(test)]
mod tests;
