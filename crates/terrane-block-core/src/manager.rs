//! The manager's rules, as pure functions from one record to the next.
//!
//! A manager runs each of them in one transaction over the stored record: read, [`transact`] or [`repair`], write if
//! there is something to write. What it believes about who lives comes in as an argument and may be wrong; no
//! answer here depends on its being right, except that things go on.

use crate::bugs::Bugs;
use crate::ids::{CopyId, Generation, Incarnation};
use crate::record::{InSync, Membership, Record};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the manager last heard from a copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alive {
    /// The life it is in.
    pub incarnation: Incarnation,
    /// Earlier lives of which nothing is lost: the process restarted, but the machine went on running and no flush
    /// failed since.
    pub kept: BTreeSet<Incarnation>,
}

/// What copies ask of the manager. All but [`Request::Lease`] are compare-and-set on the generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request {
    /// The primary has durably adopted the generation and wants to act in it.
    Activate {
        /// Who asks.
        copy: CopyId,
        /// Its life.
        incarnation: Incarnation,
        /// The generation adopted.
        generation: Generation,
    },
    /// A copy has adopted the generation (the primary: and drained all older requests); asked for while fencing.
    Confirm {
        /// Who says so.
        copy: CopyId,
        /// Its life.
        incarnation: Incarnation,
        /// The generation adopted.
        generation: Generation,
    },
    /// The primary says that a joining copy has everything, flushed.
    CommitJoin {
        /// The primary's generation.
        generation: Generation,
        /// The copy that joined.
        copy: CopyId,
        /// Its life.
        incarnation: Incarnation,
    },
    /// A primary without mirrors wants the manager's lease. No transaction: the manager's driver grants it if the
    /// record still says so, and remembers the grant until it lapses.
    Lease {
        /// Who asks.
        copy: CopyId,
        /// Its generation.
        generation: Generation,
        /// Names the lease.
        round: u64,
    },
    /// A primary was told to hand over ([`hand_over`]), has stopped for good in this generation, and nothing differs
    /// between the copies in sync: the next generation is another one's.
    Relinquish {
        /// Who asks.
        copy: CopyId,
        /// Its life.
        incarnation: Incarnation,
        /// The generation that it does nothing in any more.
        generation: Generation,
        /// Who follows.
        to: CopyId,
    },
}

/// Applies a copy's request; `None` changes nothing (out of date, or done already).
#[must_use]
pub fn transact(record: &Record, request: &Request, bugs: Bugs) -> Option<Record> {
    let is_current = |generation: Generation| generation == record.generation;
    match *request {
        Request::Activate { copy, incarnation, generation } => {
            let holds = is_current(generation)
                && !record.active
                && record.now.primary == copy
                && record.now.is_in_sync(copy, incarnation);
            holds.then(|| Record { active: true, last_active: None, ..record.clone() })
        }
        Request::Confirm { copy, incarnation, generation } => {
            let holds = record.fencing
                && is_current(generation)
                && record.now.is_in_sync(copy, incarnation)
                && !record.confirmed.contains(&copy);
            holds.then(|| {
                let mut next = record.clone();
                next.confirmed.insert(copy);
                next
            })
        }
        Request::CommitJoin { generation, copy, incarnation } => {
            let holds = is_current(generation)
                && record.active
                && record.now.joining.get(&copy) == Some(&incarnation);
            holds.then(|| {
                let mut now = record.now.clone();
                let since = record.generation.next();
                now.in_sync.insert(copy, InSync { incarnation, since });
                now.joining.remove(&copy);
                settle_bugs(successor(record, now), bugs)
            })
        }
        Request::Relinquish { copy, incarnation, generation, to } => {
            let rules = record.now.primary == copy && record.now.is_in_sync(copy, incarnation);
            let follows = hand_over(record, to) == Some(generation) && rules;
            follows.then(|| {
                let now = Membership { primary: to, ..record.now.clone() };
                settle_bugs(successor(record, now), bugs)
            })
        }
        Request::Lease { .. } => None,
    }
}

/// Whether the primary may be told to hand over to this copy, and in which generation; the order goes to the primary
/// ([`crate::copy::Event::HandOver`]) and changes nothing by itself. The primary flushes, holds what clients want, stops for good in this
/// generation, and asks for the next one by [`Request::Relinquish`]. `None`: the copy is not in sync, or rules already, or
/// the generation is not active.
#[must_use]
pub fn hand_over(record: &Record, to: CopyId) -> Option<Generation> {
    let follows = record.active && record.now.primary != to && record.now.in_sync.contains_key(&to);
    follows.then_some(record.generation)
}

/// Lets copies go at generation + 1, in sync or joining or absent; never the primary, so there is always one left. They
/// may be freed once the record is active and does not know them any more ([`Record::knows`]). A fail-over before that may
/// bring them back: then they are let go again. `None`: there is nothing to let go, or the generation is not active.
#[must_use]
pub fn retire(record: &Record, copies: &BTreeSet<CopyId>, bugs: Bugs) -> Option<Record> {
    let goes = |copy: &CopyId| copies.contains(copy) && *copy != record.now.primary;
    let known = record.now.in_sync.keys().chain(record.now.absent.keys());
    if !record.active || !known.into_iter().any(goes) {
        return None;
    }
    let mut before = record.clone();
    if !bugs.retire_only_now {
        // Bitmaps of copies that are not in sync end when a copy adopts the next generation, which may never become
        // active: going back from it must not believe them.
        before.now.joining.retain(|copy, _| !goes(copy));
        before.now.absent.retain(|copy, _| !goes(copy));
    }
    let mut now = before.now.clone();
    now.joining.retain(|copy, _| !goes(copy));
    now.in_sync.retain(|copy, _| !goes(copy));
    let mut next = settle_bugs(successor(&before, now), bugs);
    next.now.absent.retain(|copy, _| !goes(copy));
    Some(next)
}

/// The forced detach (or a new attachment): raises the attachment epoch together with the generation. It is complete
/// when [`Record::is_fenced`]; then [`finish_fence`].
#[must_use]
pub fn force_detach(record: &Record, bugs: Bugs) -> Record {
    let next = successor(record, record.now.clone());
    settle_bugs(Record { epoch: record.epoch.next(), fencing: true, ..next }, bugs)
}

/// Notes that the forced detach is complete; `None` if it is not, or nothing waits for it.
#[must_use]
pub fn finish_fence(record: &Record, bugs: Bugs) -> Option<Record> {
    let done = record.fencing && (record.is_fenced() || bugs.detach_early);
    done.then(|| Record { fencing: false, ..record.clone() })
}

/// Brings the membership in line with who lives: promotes, removes, goes back, picks one of several that all
/// restarted, and lets copies join. `None`: nothing to change, or nothing that may be changed.
#[must_use]
pub fn repair(record: &Record, alive: &BTreeMap<CopyId, Alive>, bugs: Bugs) -> Option<Record> {
    let mut now = survivors(record, alive, bugs)?;
    now.joining = BTreeMap::new();
    let next = successor(record, now);
    let mut next = settle_bugs(next, bugs);
    let absent = next.now.absent.keys();
    next.now.joining = absent.filter_map(|copy| Some((*copy, alive.get(copy)?.incarnation))).collect();
    (next.now != record.now).then_some(next)
}

/// Forgets absent copies that nobody needs any more, so that bitmaps for them end with the next generation. The generation
/// stays: no copy acts on who is absent, but to keep a bitmap, and whom a bitmap is missing for is not believed to have
/// missed little ([`admit`]). `None`: there is nothing to forget, or the generation is not active yet, so that what
/// it says may not be the last word.
#[must_use]
pub fn forget(record: &Record, copies: &BTreeSet<CopyId>) -> Option<Record> {
    let goes = |copy: &CopyId| copies.contains(copy) && !record.now.joining.contains_key(copy);
    if !record.active || !record.now.absent.keys().any(goes) {
        return None;
    }
    let mut next = record.clone();
    next.now.absent.retain(|copy, _| !goes(copy));
    Some(next)
}

/// The record with copies that it does not know (new ones, or forgotten ones, whatever they still hold) as absent ones that
/// never were in sync. Not to be stored: for [`repair`], which lets them join.
#[must_use]
pub fn admit(record: &Record, copies: impl IntoIterator<Item = CopyId>, bugs: Bugs) -> Record {
    let last = if bugs.trust_forgotten { record.generation } else { Generation(0) };
    let mut admitted = record.clone();
    for copy in copies.into_iter().filter(|copy| !record.knows(*copy)) {
        admitted.now.absent.insert(copy, last);
    }
    admitted
}

/// An operator's word that the in-sync copies are lost for good: `copy` goes on with what it has, which may be as old
/// as the last FLUSH that it took part in, or older. Only when nobody can hold the manager's lease any more; the
/// others' machines are the operator's to vouch for.
#[must_use]
pub fn declare_lost(record: &Record, copy: CopyId, alive: &Alive, lease_lapsed: bool) -> Option<Record> {
    let known = record.now.absent.contains_key(&copy) || record.now.in_sync.contains_key(&copy);
    if !known || !lease_lapsed {
        return None;
    }
    let since = record.generation.next();
    let member = InSync { incarnation: alive.incarnation, since };
    let now = Membership {
        primary: copy,
        in_sync: BTreeMap::from([(copy, member)]),
        joining: BTreeMap::new(),
        absent: record.now.absent.clone(),
    };
    Some(successor(record, now))
}

/// The copies to go on with: living in-sync ones, else those of the last active generation, else one of that
/// generation that restarted and lost nothing, else any of them if all restarted. `None`: the stripe is stranded until one comes back or is declared lost.
fn survivors(record: &Record, alive: &BTreeMap<CopyId, Alive>, bugs: Bugs) -> Option<Membership> {
    let lives = |copy: CopyId, member: &InSync| {
        alive.get(&copy).is_some_and(|a| a.incarnation == member.incarnation || bugs.keep_restarted)
    };
    let living = |membership: &Membership| -> Option<Membership> {
        let mut kept = membership.clone();
        kept.in_sync.retain(|copy, member| lives(*copy, member));
        if bugs.keep_restarted {
            for (copy, member) in &mut kept.in_sync {
                member.incarnation = alive.get(copy).map_or(member.incarnation, |a| a.incarnation);
            }
        }
        if !kept.in_sync.contains_key(&kept.primary) {
            kept.primary = *kept.in_sync.keys().next()?;
        }
        Some(kept)
    };
    let (generation, active) = record.active_membership();
    if let Some(kept) = living(&record.now) {
        return Some(kept);
    }
    if generation != record.generation
        && !bugs.never_go_back
        && let Some(kept) = living(active)
    {
        return Some(kept);
    }
    // One that restarted and lost nothing has every acknowledged write, whoever else is there; one that lost its cache may
    // not, but if all restarted, none is known to have more.
    let restarted: Vec<(CopyId, bool, &Alive)> = active
        .in_sync
        .iter()
        .filter_map(|(copy, member)| {
            let now = alive.get(copy)?;
            Some((*copy, now.kept.contains(&member.incarnation), now))
        })
        .collect();
    let all = restarted.len() == active.in_sync.len();
    let best = |(copy, kept, _): &(CopyId, bool, &Alive)| (*kept, *copy == active.primary);
    let (primary, _, chosen) = restarted.into_iter().filter(|(_, kept, _)| *kept || all).max_by_key(best)?;
    let since = active.in_sync.get(&primary)?.since;
    let member = InSync { incarnation: chosen.incarnation, since };
    Some(Membership { primary, in_sync: BTreeMap::from([(primary, member)]), ..active.clone() })
}

/// The next generation with this membership; works out who is absent since when.
fn successor(record: &Record, mut now: Membership) -> Record {
    let (generation, active) = record.active_membership();
    let known = [&record.now, active];
    let copies = known.iter().flat_map(|m| m.in_sync.keys().chain(m.absent.keys()));
    now.absent = copies
        .filter(|copy| !now.in_sync.contains_key(copy))
        .map(|copy| {
            let never = Generation(0);
            let last = if active.in_sync.contains_key(copy) {
                generation
            } else {
                active.absent.get(copy).copied().unwrap_or(never)
            };
            (*copy, last)
        })
        .collect();
    let last_active = if record.active {
        Some((record.generation, record.now.clone()))
    } else {
        record.last_active.clone()
    };
    Record {
        generation: record.generation.next(),
        active: false,
        now,
        last_active,
        confirmed: BTreeSet::new(),
        ..record.clone()
    }
}

/// A bitmap that is trusted whatever happened in between: every copy counts as in sync since ever.
fn settle_bugs(mut record: Record, bugs: Bugs) -> Record {
    if bugs.trust_broken_bitmap {
        for member in record.now.in_sync.values_mut() {
            member.since = Generation(0);
        }
    }
    record
}

#[cfg(test)]
mod tests;
