//! Who may serve: from what the drives' records say. No I/O.

use super::error::{MirrorError, MissingMember};
use super::record::{BadRecord, MAX_OVERRIDES, MirrorId, Phase, Record};

/// Added to the epoch when an operator accepts a loss: no set that goes on elsewhere gets there by itself.
const OVERRIDE_STEP: u64 = 1 << 32;

/// What was found on a drive.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) record: Found,
    /// Whether there are files of a log.
    pub(super) files: bool,
}

/// A drive's record, or why there is none.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The drive is not there or does not answer.
    Missing(String),
    /// There never was one.
    None,
    Bad(BadRecord),
    Record(Record),
}

impl Seen {
    fn record(&self) -> Option<&Record> {
        match &self.record {
            Found::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The record of a member of a set.
    fn member(&self) -> Option<&Record> {
        self.record().filter(|record| record.phase == Phase::Member)
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// All drives are there and nothing was ever served from them: make a mirror. Its first set
    /// are these drives (all, or the one that has a log already).
    Form(Vec<usize>),
    /// Serve from these, after a set of theirs with a greater epoch than this is durable.
    Serve { store: MirrorId, epoch: u64, set: Vec<(usize, MirrorId)>, overrides: Vec<u64> },
}

/// Decides. `accept` is the random number that this override gets, if the operator accepts a loss.
pub(super) fn decide(seen: &[Seen], accept: Option<u64>, serve_stale: bool) -> Result<Decision, MirrorError> {
    for drive in seen {
        if let Found::Bad(why @ BadRecord::Newer(_)) = drive.record {
            return Err(MirrorError::Newer { drive: drive.name.clone(), why });
        }
    }
    let members = || seen.iter().filter_map(|drive| Some((drive, drive.member()?)));
    let Some((holder, latest)) = members().max_by_key(|(_, record)| record.epoch) else { return form(seen) };
    check_history(seen, holder, latest)?;
    let find = |id: MirrorId| {
        let is = |drive: &Seen| drive.record().is_some_and(|record| record.member == id);
        seen.iter().position(is).map(|index| (index, id))
    };
    let mut set: Vec<_> = latest.members.iter().filter_map(|id| find(*id)).collect();
    set.sort_unstable();
    let mut next = Decision::Serve {
        store: latest.store,
        epoch: latest.epoch,
        set: set.clone(),
        overrides: latest.overrides.clone(),
    };
    if serve_stale && let Decision::Serve { set, .. } = &mut next {
        *set = (0..).zip(seen).filter_map(|(index, drive)| Some((index, drive.member()?.member))).collect();
        return Ok(next);
    }
    if set.len() == latest.members.len() {
        return Ok(next);
    }
    let Some(accept) = accept else { return Err(missing(seen, latest, &set)) };
    if let Decision::Serve { epoch, overrides, .. } = &mut next {
        if overrides.len() >= MAX_OVERRIDES {
            return Err(MirrorError::Config("losses were accepted too often: start with a new mirror"));
        }
        *epoch = epoch.checked_add(OVERRIDE_STEP).ok_or(MirrorError::Config("no epoch is left"))?;
        overrides.push(accept);
    }
    Ok(next)
}

/// All records belong to one history of one mirror, and all logs to it.
fn check_history(seen: &[Seen], holder: &Seen, latest: &Record) -> Result<(), MirrorError> {
    let split = |other: &Seen| MirrorError::Split { one: holder.name.clone(), other: other.name.clone() };
    let mut ids: Vec<(MirrorId, &Seen)> = Vec::new();
    for drive in seen {
        let Some(record) = drive.record() else {
            if drive.files && matches!(drive.record, Found::None) {
                return Err(MirrorError::Unclaimed { drive: drive.name.clone() });
            }
            continue;
        };
        if record.store != latest.store {
            return Err(MirrorError::Foreign {
                drive: drive.name.clone(),
                found: record.store,
                other: holder.name.clone(),
                expected: latest.store,
            });
        }
        if let Some((_, twin)) = ids.iter().find(|(id, _)| *id == record.member) {
            return Err(MirrorError::Split { one: twin.name.clone(), other: drive.name.clone() });
        }
        ids.push((record.member, drive));
        let same_set = record.members == latest.members && record.overrides == latest.overrides;
        let fork = match record.phase {
            Phase::Member if record.epoch == latest.epoch => !same_set,
            Phase::Member => !latest.overrides.starts_with(&record.overrides),
            Phase::Forming | Phase::Copying => false,
        };
        if fork {
            return Err(split(drive));
        }
    }
    Ok(())
}

fn missing(seen: &[Seen], latest: &Record, set: &[(usize, MirrorId)]) -> MirrorError {
    let suspects: Vec<String> = seen.iter().filter_map(suspect).collect();
    let why = if suspects.is_empty() { "none of the drives configured".into() } else { suspects.join("; ") };
    let absent = latest.members.iter().filter(|id| set.iter().all(|(_, there)| there != *id));
    let present: Vec<&str> = set.iter().map(|(index, _)| seen[*index].name.as_str()).collect();
    MirrorError::MembersMissing {
        epoch: latest.epoch,
        of: latest.members.len(),
        missing: absent.map(|id| MissingMember { id: *id, why: why.clone() }).collect(),
        present: present.join(", "),
    }
}

/// A drive that might be one that is missed.
fn suspect(drive: &Seen) -> Option<String> {
    let why = match &drive.record {
        Found::Missing(why) => why.clone(),
        Found::None => "it is blank".into(),
        Found::Bad(why) => format!("its record cannot be used: {why}"),
        Found::Record(_) => return None,
    };
    Some(format!("{}: {why}", drive.name))
}

/// No member's record was found: makes a mirror if certainly none exists.
fn form(seen: &[Seen]) -> Result<Decision, MirrorError> {
    let usable = |drive: &Seen| match &drive.record {
        Found::None => true,
        Found::Record(record) => record.phase == Phase::Forming,
        Found::Missing(_) | Found::Bad(_) => false,
    };
    let hindrances: Vec<String> = seen.iter().filter(|drive| !usable(drive)).map(hindrance).collect();
    if !hindrances.is_empty() {
        return Err(MirrorError::NoSet(hindrances.join("; ")));
    }
    let mut with_log = (0..seen.len()).filter(|index| seen[*index].files);
    match (with_log.next(), with_log.next()) {
        (None, _) => Ok(Decision::Form((0..seen.len()).collect())),
        (Some(one), None) => Ok(Decision::Form(vec![one])),
        (_, Some(other)) => Err(MirrorError::Unclaimed { drive: seen[other].name.clone() }),
    }
}

fn hindrance(drive: &Seen) -> String {
    suspect(drive).unwrap_or_else(|| format!("{}: it was only being copied to", drive.name))
}

#[cfg(test)]
mod tests;
