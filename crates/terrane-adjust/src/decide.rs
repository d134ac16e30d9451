//! From observations to decisions.

use crate::policy::{Grow, Iops, Leave, Policy, Shrink};
use crate::{Observation, Seconds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use terrane_types::Zone;

/// What a volume shall become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Another size, GiB.
    Size(u32),
    /// Other IOPS.
    Iops(u32),
    /// Its primary in another zone.
    Zone(Zone),
    /// No copy of it on this server.
    Leave(String),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// So much is used of the size, percent.
    Full(u32),
    /// Not more than so much was used, percent, for so long.
    Empty(u32, Seconds),
    /// A second needed so many IOPS.
    Busy(u32),
    /// No second needed more than so many IOPS, for so long.
    Quiet(u32, Seconds),
    /// This zone's time of the day has come.
    Schedule(Zone),
    /// This zone has been failing for so long.
    ZoneFails(Zone, Seconds),
    /// The server is being drained.
    Draining,
    /// The server has been busier than it should, percent at least, for so long.
    Overused(u32, Seconds),
}

/// What to change, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When it was decided.
    pub at: Seconds,
    /// What.
    pub change: Change,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(gib) => write!(f, "size {gib} GiB"),
            Self::Iops(iops) => write!(f, "{iops} IOPS"),
            Self::Zone(zone) => write!(f, "to {zone}"),
            Self::Leave(server) => write!(f, "away from {server}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(percent) => write!(f, "{percent} % of it is used"),
            Self::Empty(percent, time) => write!(f, "not more than {percent} % was used for {time} s"),
            Self::Busy(iops) => write!(f, "a second needed {iops} IOPS"),
            Self::Quiet(iops, time) => write!(f, "no second needed more than {iops} IOPS for {time} s"),
            Self::Schedule(zone) => write!(f, "the schedule says {zone}"),
            Self::ZoneFails(zone, time) => write!(f, "{zone} has been failing for {time} s"),
            Self::Draining => f.write_str("the server is being drained"),
            Self::Overused(percent, time) => {
                write!(f, "the server was {percent} % busy or more for {time} s")
            }
        }
    }
}

/// Something that has held since then, and the extreme of what was seen meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    at: Seconds,
    extreme: u32,
}

/// What is remembered of a volume between observations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    empty: Option<Since>,
    quiet: Option<Since>,
    failing: Option<Since>,
    overused: BTreeMap<String, Since>,
    sized: Option<Seconds>,
    set_iops: Option<Seconds>,
    moved: Option<Seconds>,
    left: BTreeMap<String, Seconds>,
}

const GIB: u64 = 1 << 30;

/// What should change after an observation; observations come in the order of time. Of each kind one decision at most. It
/// is the caller's to carry them out, or not; what was not done is decided again after the pause.
#[must_use]
pub fn decide(policy: &Policy, memory: &mut Memory, seen: &Observation) -> Vec<Decision> {
    let mut decisions = Vec::new();
    memory.note(policy, seen);
    if seen.changing {
        return decisions;
    }
    let mut add = |change_and_reason: Option<(Change, Reason)>| {
        decisions.extend(change_and_reason.map(|(change, reason)| Decision { at: seen.at, change, reason }));
    };
    let rested = |last: Option<Seconds>| last.is_none_or(|last| seen.at.saturating_sub(last) >= policy.pause);
    if rested(memory.sized) {
        let grown = policy.grow.and_then(|grow| grow.decide(seen));
        let size = grown.or_else(|| policy.shrink.and_then(|shrink| shrink.decide(memory.empty, seen)));
        if size.is_some() {
            (memory.sized, memory.empty) = (Some(seen.at), None);
        }
        add(size);
    }
    if rested(memory.set_iops) {
        let iops = policy.iops.and_then(|iops| iops.decide(memory.quiet, seen));
        if iops.is_some() {
            (memory.set_iops, memory.quiet) = (Some(seen.at), None);
        }
        add(iops);
    }
    if rested(memory.moved) {
        let zone = zone(policy, memory, seen);
        if zone.is_some() {
            memory.moved = Some(seen.at);
        }
        add(zone);
    }
    if let Some(leave) = policy.leave_server {
        add(leave.decide(memory, seen, policy.pause));
    }
    decisions
}

/// All that a policy would have decided, had it been there and been followed at once: what was used and needed is as it
/// was, sizes, IOPS and zones are as decided.
#[must_use]
pub fn dry_run<'a>(policy: &Policy, history: impl IntoIterator<Item = &'a Observation>) -> Vec<Decision> {
    let (mut memory, mut all) = (Memory::default(), Vec::<Decision>::new());
    let (mut size, mut iops, mut zone, mut left) = (None, None, None, Vec::new());
    for seen in history {
        let mut seen = seen.clone();
        seen.size_gib = size.unwrap_or(seen.size_gib);
        seen.iops = seen.iops.map(|now| iops.unwrap_or(now));
        seen.zone = zone.clone().unwrap_or(seen.zone);
        seen.servers.retain(|server| !left.contains(&server.name));
        for decision in decide(policy, &mut memory, &seen) {
            match &decision.change {
                Change::Size(gib) => size = Some(*gib),
                Change::Iops(wanted) => iops = Some(*wanted),
                Change::Zone(to) => zone = Some(to.clone()),
                Change::Leave(server) => left.push(server.clone()),
            }
            all.push(decision);
        }
    }
    all
}

impl Observation {
    /// Percent of the size that is used, rounded up.
    fn fill(&self) -> u32 {
        let size = u128::from(self.size_gib.max(1)) * u128::from(GIB);
        u32::try_from((u128::from(self.used) * 100).div_ceil(size)).unwrap_or(u32::MAX)
    }

    /// GiB of which what is used is so many percent, at least what nothing lies beyond.
    fn size_for(&self, percent: u32) -> u32 {
        let size = (u128::from(self.used) * 100).div_ceil(u128::from(percent.max(1)) * u128::from(GIB));
        u32::try_from(size).unwrap_or(u32::MAX).max(self.min_safe_size_gib).max(1)
    }

    fn fails(&self, zone: &Zone) -> bool {
        self.zones.iter().any(|state| state.zone == *zone && state.failing)
    }
}

impl Grow {
    fn decide(self, seen: &Observation) -> Option<(Change, Reason)> {
        let fill = seen.fill();
        if fill < self.at_percent {
            return None;
        }
        let more = (u64::from(seen.size_gib) * u64::from(self.by_percent) / 100).max(1);
        let size = u32::try_from(u64::from(seen.size_gib) + more).unwrap_or(u32::MAX).min(self.max_gib);
        (size > seen.size_gib).then_some((Change::Size(size), Reason::Full(fill)))
    }
}

impl Shrink {
    fn decide(self, empty: Option<Since>, seen: &Observation) -> Option<(Change, Reason)> {
        let empty = empty?;
        let time = seen.at.saturating_sub(empty.at);
        let size = seen.size_for(self.to_percent).max(self.min_gib);
        let due = time >= self.period && size < seen.size_gib;
        due.then_some((Change::Size(size), Reason::Empty(empty.extreme, time)))
    }
}

impl Iops {
    fn decide(self, quiet: Option<Since>, seen: &Observation) -> Option<(Change, Reason)> {
        let now = seen.iops?;
        let with_headroom = |needed: u32| {
            let iops = (u64::from(needed) * u64::from(100 + self.headroom_percent)).div_ceil(100);
            u32::try_from(iops).unwrap_or(u32::MAX).clamp(self.min, self.max)
        };
        if part(seen.demand, now) >= self.raise_at_percent {
            let wanted = with_headroom(seen.demand);
            return (wanted > now).then_some((Change::Iops(wanted), Reason::Busy(seen.demand)));
        }
        let quiet = quiet?;
        let time = seen.at.saturating_sub(quiet.at);
        let wanted = with_headroom(quiet.extreme);
        let due = time >= self.period && wanted < now;
        due.then_some((Change::Iops(wanted), Reason::Quiet(quiet.extreme, time)))
    }
}

/// Percent, rounded down.
fn part(of: u32, whole: u32) -> u32 {
    u32::try_from(u64::from(of) * 100 / u64::from(whole.max(1))).unwrap_or(u32::MAX)
}

/// A failing zone is left for the one of the schedule if that is well, else for any other; otherwise the schedule counts,
/// but never into a zone that fails.
fn zone(policy: &Policy, memory: &Memory, seen: &Observation) -> Option<(Change, Reason)> {
    let possible = |zone: &Zone| {
        *zone != seen.zone && seen.zones.iter().any(|state| state.zone == *zone && !state.failing)
    };
    let scheduled = policy.zone_at(seen.at).map(|window| &window.zone);
    let failing = memory.failing.map(|since| seen.at.saturating_sub(since.at));
    if let (Some(time), Some(patience)) = (failing, policy.leave_failing_zone)
        && time >= patience
    {
        let others = seen.zones.iter().map(|state| &state.zone);
        let to = scheduled.into_iter().chain(others).find(|zone| possible(zone))?;
        return Some((Change::Zone(to.clone()), Reason::ZoneFails(seen.zone.clone(), time)));
    }
    let to = scheduled.filter(|zone| possible(zone))?;
    Some((Change::Zone(to.clone()), Reason::Schedule(to.clone())))
}

impl Leave {
    fn decide(self, memory: &mut Memory, seen: &Observation, pause: Seconds) -> Option<(Change, Reason)> {
        let left = memory.left.clone();
        let rested = |name: &String| left.get(name).is_none_or(|last| seen.at.saturating_sub(*last) >= pause);
        let candidates = || seen.servers.iter().filter(|server| rested(&server.name));
        let drained = candidates().find(|server| self.draining && server.draining);
        let overused = |name: &String| {
            let since = memory.overused.get(name)?;
            let time = seen.at.saturating_sub(since.at);
            (time >= self.period).then_some(Reason::Overused(since.extreme, time))
        };
        let (name, reason) = match drained {
            Some(server) => (server.name.clone(), Reason::Draining),
            // One server at a time, and not while it is not known where the last one has left its load.
            None if left.values().all(|last| seen.at.saturating_sub(*last) >= pause) => {
                candidates().find_map(|server| Some((server.name.clone(), overused(&server.name)?)))?
            }
            None => return None,
        };
        memory.left.insert(name.clone(), seen.at);
        memory.overused.remove(&name);
        Some((Change::Leave(name), reason))
    }
}

impl Memory {
    /// Begins, goes on with or ends what has to hold for a time.
    fn note(&mut self, policy: &Policy, seen: &Observation) {
        let at = seen.at;
        let fill = seen.fill();
        let empty = policy.shrink.is_some_and(|shrink| fill < shrink.under_percent);
        hold(&mut self.empty, empty, at, fill, u32::max);
        let quiet = policy
            .iops
            .zip(seen.iops)
            .is_some_and(|(iops, now)| part(seen.demand, now) < iops.lower_under_percent);
        hold(&mut self.quiet, quiet, at, seen.demand, u32::max);
        hold(&mut self.failing, seen.fails(&seen.zone), at, 0, u32::max);
        self.overused.retain(|name, _| seen.servers.iter().any(|server| server.name == *name));
        self.left.retain(|_, last| at.saturating_sub(*last) < policy.pause);
        let over = policy.leave_server.and_then(|leave| leave.over_percent);
        for server in &seen.servers {
            let mut since = self.overused.remove(&server.name);
            let busy = over.is_some_and(|over| server.busy_percent > over);
            hold(&mut since, busy, at, server.busy_percent, u32::min);
            self.overused.extend(since.map(|since| (server.name.clone(), since)));
        }
    }
}

fn hold(since: &mut Option<Since>, holds: bool, at: Seconds, value: u32, extreme: fn(u32, u32) -> u32) {
    *since = match (holds, *since) {
        (false, _) => None,
        (true, None) => Some(Since { at, extreme: value }),
        (true, Some(before)) => Some(Since { extreme: extreme(before.extreme, value), ..before }),
    };
}
