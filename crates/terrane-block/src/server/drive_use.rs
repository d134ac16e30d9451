//! Who used which drive in the last minutes: what an operator looks at after a slow second.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use terrane_qos::Use;
use terrane_types::VolumeId;

/// Seconds that are kept per drive.
const SECONDS: usize = 900;
/// A request that took so long from its coming to the drive's answer makes its second a slow one.
const SLOW: Duration = Duration::from_millis(500);
/// Slow seconds are told in the log so often, at most.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Somebody who uses a drive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriveUser {
    /// A volume's clients.
    Volume(VolumeId),
    /// Copies that are brought up to date.
    Resync,
    /// Snapshots that are read out.
    Snapshots,
    /// The search for damage.
    Scrub,
    /// Those that used it least, together.
    Others,
}

/// A second of a drive in which somebody used it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveSecond {
    /// The block server's name.
    pub server: String,
    /// The drive, as [`terrane_block_wire::control::PoolReport::device`] has it.
    pub device: u64,
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// Who used it how much; the one that kept it busy most first.
    pub users: Vec<(DriveUser, Use)>,
}

type Seconds = BTreeMap<(String, u64), VecDeque<DriveSecond>>;

/// The last seconds of all drives of a process's block servers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DriveUses(Arc<Mutex<Seconds>>);

impl DriveUses {
    /// The latest seconds, at most so many of each drive, oldest first.
    #[must_use]
    pub fn latest(&self, seconds: usize) -> Vec<DriveSecond> {
        let all = self.0.lock();
        let latest = |kept: &VecDeque<DriveSecond>| {
            kept.iter().skip(kept.len().saturating_sub(seconds)).cloned().collect::<Vec<_>>()
        };
        all.values().flat_map(latest).collect()
    }

    pub(super) fn of(&self, server: &str) -> ServerUses {
        ServerUses { server: server.to_owned(), all: self.clone(), told: None }
    }
}

/// One server's.
#[derive(Debug)]
pub(super) struct ServerUses {
    server: String,
    all: DriveUses,
    /// When a slow second was last told of.
    told: Option<SystemTime>,
}

impl ServerUses {
    /// A second of a drive is over.
    pub(super) fn ended(&mut self, device: u64, mut users: Vec<(DriveUser, Use)>, others: Use) {
        if others != Use::default() {
            users.push((DriveUser::Others, others));
        }
        let now = SystemTime::now();
        let at = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.tell_slow(device, now, &users);
        let second = DriveSecond { server: self.server.clone(), device, at, users };
        let mut all = self.all.0.lock();
        let kept = all.entry((self.server.clone(), device)).or_default();
        if kept.len() >= SECONDS {
            kept.pop_front();
        }
        kept.push_back(second);
    }

    fn tell_slow(&mut self, device: u64, now: SystemTime, users: &[(DriveUser, Use)]) {
        let worst = users.iter().map(|(_, used)| used.worst).max().unwrap_or(0);
        let lately = |told: SystemTime| now.duration_since(told).is_ok_and(|passed| passed < TOLD_EVERY);
        if u128::from(worst) < SLOW.as_nanos() || self.told.is_some_and(lately) {
            return;
        }
        self.told = Some(now);
        let most = &users[..users.len().min(3)];
        let worst_ms = worst / 1_000_000;
        tracing::warn!(server = %self.server, device, worst_ms, ?most, "a slow second of a drive, and who used it most");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_are_kept() {
        let uses = DriveUses::default();
        let mut server = uses.of("a");
        let used = Use { ops: 1, ..Use::default() };
        for n in 0..SECONDS as u64 + 5 {
            server.ended(7, vec![(DriveUser::Resync, Use { ops: n, ..used })], Use::default());
        }
        uses.of("b").ended(7, vec![(DriveUser::Scrub, used)], used);
        let latest = uses.latest(1);
        assert_eq!(latest.len(), 2, "one of each drive");
        assert_eq!((latest[0].server.as_str(), latest[0].users[0].1.ops), ("a", SECONDS as u64 + 4));
        assert_eq!(
            latest[1].users.iter().map(|(user, _)| user.clone()).collect::<Vec<_>>(),
            [DriveUser::Scrub, DriveUser::Others]
        );
        assert_eq!(uses.latest(usize::MAX).len(), SECONDS + 1);
    }
}
