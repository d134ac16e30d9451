//! Starting a mirror.

use super::decide::{Decision, Found, Seen, decide};
use super::disk::mirrored_names;
use super::equalise::equalise;
use super::fan::Fan;
use super::record::{MAX_DRIVES, MirrorId, Phase, Record};
use super::set::{Inner, Member, Now, Set};
use super::{Drive, DriveState, MirrorConfig, MirrorDisk, MirrorError, MirrorReport};
use parking_lot::RwLock;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;

impl MirrorDisk {
    /// Opens the mirror on these drives, or makes one if all are there and none was ever part of one. (If one of
    /// them has a log already, that becomes the mirror's first member, and the others wait to be copied to.)
    ///
    /// When this returns, the members of the set have the same content, and a record of the set is durable on all
    /// of them.
    ///
    /// # Errors
    /// [`MirrorError`]: above all [`MirrorError::MembersMissing`].
    pub fn open(drives: Vec<Drive>, config: MirrorConfig) -> Result<(Self, MirrorReport), MirrorError> {
        if drives.is_empty() || drives.len() > MAX_DRIVES {
            return Err(MirrorError::Config("a mirror has 1 to 16 drives"));
        }
        let seen: Vec<Seen> = drives.iter().map(look).collect();
        let mut ids = Ids::new(config.seed);
        let accept = config.accept_loss.then(|| ids.draw().0 as u64);
        let (formed, store, epoch, set, overrides) = match decide(&seen, accept, config.bugs.serve_stale)? {
            Decision::Serve { store, epoch, set, overrides } => (false, store, epoch, set, overrides),
            Decision::Form(first) => {
                let (store, all) = form(&drives, &mut ids)?;
                let set = first.into_iter().map(|drive| (drive, all[drive])).collect();
                (true, store, 0, set, Vec::new())
            }
        };
        let loss_accepted = accept.is_some() && overrides.last().copied() == accept;
        let fan = Fan::new(config.fan_out, drives.len());
        let fan = fan.map_err(|e| no_drive("start a thread", e))?;
        let member = |(number, (drive, seen))| member(number, drive, seen, &set);
        let members = drives.into_iter().zip(&seen).enumerate().map(member).collect();
        let numbers = set.iter().map(|(drive, _)| *drive).collect();
        let first = Set { epoch, overrides, members: numbers, joining: None };
        let inner = Inner::new(store, members, first, fan, ids, config);
        let equalised = if config.bugs.skip_equalise {
            super::Equalised::default()
        } else {
            equalise(&inner).map_err(|e| no_drive("make the members equal", e))?
        };
        {
            let _changing = inner.change.lock();
            let set = (*inner.set()).clone();
            inner.commit(set, None).map_err(|e| no_drive("write the records of the set", e))?;
        }
        let mirror = Self(inner);
        let report = MirrorReport { formed, loss_accepted, equalised, status: mirror.status() };
        Ok((mirror, report))
    }
}

fn no_drive(doing: &'static str, source: io::Error) -> MirrorError {
    MirrorError::NoDrive { doing, source: Arc::new(source) }
}

/// Reads what a drive says of itself.
fn look(drive: &Drive) -> Seen {
    let read = || -> Result<(Found, bool), String> {
        let disk = drive.disk.as_ref().map_err(io::Error::to_string)?;
        let record = match Record::read(&**disk).map_err(|e| e.to_string())? {
            None => Found::None,
            Some(Err(bad)) => Found::Bad(bad),
            Some(Ok(record)) => Found::Record(record),
        };
        let files = !mirrored_names(&**disk).map_err(|e| e.to_string())?.is_empty();
        Ok((record, files))
    };
    let (record, files) = read().unwrap_or_else(|why| (Found::Missing(why), false));
    Seen { name: drive.name.clone(), record, files }
}

/// Gives every drive an identifier, durably, so that the first set can be named on all of them.
fn form(drives: &[Drive], ids: &mut Ids) -> Result<(MirrorId, Vec<MirrorId>), MirrorError> {
    let store = ids.draw();
    let mut all = Vec::new();
    for drive in drives {
        let member = ids.draw();
        let record = Record {
            store,
            member,
            epoch: 0,
            phase: Phase::Forming,
            members: Vec::new(),
            overrides: Vec::new(),
        };
        let written = match &drive.disk {
            Ok(disk) => record.write(&**disk),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        written.map_err(|source| MirrorError::Drive {
            drive: drive.name.clone(),
            doing: "write its first record",
            source: Arc::new(source),
        })?;
        all.push(member);
    }
    Ok((store, all))
}

fn member(number: usize, drive: Drive, seen: &Seen, set: &[(usize, MirrorId)]) -> Member {
    let own = match &seen.record {
        Found::Record(record) => Some(record.member),
        _ => None,
    };
    let in_set = set.iter().find(|(member, _)| *member == number).map(|(_, id)| *id);
    let idle = match &seen.record {
        Found::Missing(why) => DriveState::Lost(why.clone()),
        Found::Bad(why) => DriveState::Lost(format!("its record cannot be used: {why}")),
        Found::None => DriveState::Blank,
        Found::Record(record) if record.phase == Phase::Forming => DriveState::Blank,
        Found::Record(_) => DriveState::Stale,
    };
    let now = Now { disk: drive.disk.ok(), id: in_set.or(own), failed: None, idle };
    Member { name: drive.name, now: RwLock::new(now) }
}

/// Draws identifiers: at random, or, in the simulator, from a seed.
pub(super) struct Ids {
    seed: Option<u64>,
    drawn: u64,
}

impl Ids {
    fn new(seed: Option<u64>) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(super) fn draw(&mut self) -> MirrorId {
        MirrorId((u128::from(self.half()) << 64) | u128::from(self.half()))
    }

    fn half(&mut self) -> u64 {
        let Some(seed) = self.seed else { return RandomState::new().build_hasher().finish() };
        // SplitMix64.
        self.drawn += 1;
        let z = seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
