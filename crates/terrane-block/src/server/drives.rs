//! Drives: what they are asked and have not answered, how they are, and those that stop answering.
//!
//! A drive that hangs makes no error. So whatever waits for one is counted, and when something has waited for long the
//! drive is asked for something small ([`Pool::probe`]): one that is only busy answers that. If it does not, the
//! copies on it end their lives, which takes them out of their sets as any failure does, while others can still serve
//! what they have. They begin anew when the drive answers at last.
//!
//! Nothing here waits for a drive, and neither does a heartbeat: the manager hears how pools were at the last look.

use super::clock::Boot;
use super::lives::{room_of, room_wanted};
use super::reactor::Reactor;
use crate::engine::{EngineError, Pool, PoolUsage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use terrane_block_wire::control::PoolReport;

/// Pools are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A pool of the server.
pub(super) struct HostedPool {
    pub(super) pool: Arc<Pool>,
    /// Which of the server's devices it lies on.
    pub(super) device: usize,
    report: PoolReport,
    /// Why the last write or flush in it failed, if no copy has begun anew since.
    pub(super) trouble: Option<String>,
    /// What the last look found wrong.
    found: Option<String>,
    /// The page cache makes writers wait: until then they wait on other threads.
    pub(super) slow_until: Boot,
    drive: Drive,
}

/// What a drive was asked.
#[derive(Default)]
struct Drive {
    next: u64,
    /// What has not come back: since when, oldest first.
    waiting: BTreeMap<u64, Boot>,
    /// The probe under way, and when the last one was made.
    probe: Option<Boot>,
    probed: Boot,
    /// A look is under way, and when the last one was made.
    looking: bool,
    looked: Boot,
    /// It does not answer. Copies that ended for that, in these lives.
    hangs: bool,
    ended: Vec<(usize, u64)>,
}

/// What to do about a drive.
#[derive(Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    /// Something takes long.
    Probe,
    /// And the probe does, too.
    Hangs,
}

impl Drive {
    fn begin(&mut self, now: Boot) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, now);
        self.next
    }

    fn suspicion(&self, now: Boot, bound: Duration) -> Suspicion {
        let waited = self.waiting.values().next().map_or(Duration::ZERO, |since| now.since(*since));
        match self.probe {
            None if waited >= bound / 2 && now.since(self.probed) >= bound / 2 => Suspicion::Probe,
            Some(since) if !self.hangs && waited >= bound && now.since(since) >= bound => Suspicion::Hangs,
            _ => Suspicion::None,
        }
    }
}

impl HostedPool {
    pub(super) fn new(pool: Arc<Pool>, report: PoolReport) -> Self {
        let (trouble, found, slow_until, drive) = (None, None, Boot::default(), Drive::default());
        Self { pool, device: 0, report, trouble, found, slow_until, drive }
    }

    pub(super) fn name(&self) -> terrane_block_wire::control::PoolName {
        self.report.pool
    }

    /// How it is, as far as known.
    pub(super) fn report(&self) -> PoolReport {
        let hangs = self.drive.hangs.then(|| EngineError::Hangs.to_string());
        let trouble = hangs.or_else(|| self.trouble.clone()).or_else(|| self.found.clone());
        PoolReport { trouble, ..self.report.clone() }
    }

    /// Whether what the page cache takes may wait, too: then not on the thread that has everything.
    pub(super) fn is_slow(&self, now: Boot) -> bool {
        self.slow_until > now || self.drive.probe.is_some()
    }

    fn found(&mut self, usage: Result<PoolUsage, EngineError>) {
        self.found = match usage {
            Ok(usage) => {
                (self.report.used, self.report.host_free) = (usage.data_bytes, usage.host_free);
                (room_of(&usage) < room_wanted(&usage)).then(|| "full".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
    }
}

impl Reactor {
    /// Does something that waits for the drive of a pool on another thread, then `done` here.
    pub(super) fn spawn_on<T: Send + 'static>(
        &mut self,
        pool: usize,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut Self, T) + 'static,
    ) {
        let number = self.pools[pool].drive.begin(self.now);
        self.spawn(work, move |reactor, result| {
            reactor.pools[pool].drive.waiting.remove(&number);
            done(reactor, result);
        });
    }

    /// Looks after all drives: from time to time.
    pub(super) fn look_at_drives(&mut self) {
        self.end_seconds();
        for at in 0..self.pools.len() {
            let (now, bound) = (self.now, self.pace.hang);
            match self.pools[at].drive.suspicion(now, bound) {
                Suspicion::None => {}
                Suspicion::Probe => self.probe(at),
                Suspicion::Hangs => self.drive_hangs(at),
            }
            let drive = &mut self.pools[at].drive;
            if !drive.looking && now.since(drive.looked) >= LOOK_EVERY {
                (drive.looking, drive.looked) = (true, now);
                self.look_at_pool(at);
            }
        }
    }

    fn look_at_pool(&mut self, at: usize) {
        let pool = self.pools[at].pool.clone();
        self.spawn_on(
            at,
            move || pool.usage(),
            move |reactor, usage| {
                let hosted = &mut reactor.pools[at];
                hosted.drive.looking = false;
                hosted.found(usage);
                let report = hosted.report();
                reactor.metrics.pool_troubled(report.pool, report.trouble.is_some());
            },
        );
    }

    fn probe(&mut self, at: usize) {
        let (pool, now) = (self.pools[at].pool.clone(), self.now);
        let drive = &mut self.pools[at].drive;
        (drive.probe, drive.probed) = (Some(now), now);
        // A drive that refuses answers.
        self.spawn(move || pool.probe(), move |reactor, _| reactor.drive_answers(at));
    }

    fn drive_hangs(&mut self, at: usize) {
        let hosted = &mut self.pools[at];
        hosted.drive.hangs = true;
        let name = hosted.name();
        tracing::error!(pool = ?name, "a drive does not answer");
        self.metrics.pool_troubled(name, true);
        for slot in self.running_in(at) {
            let Some(copy) = self.copy(slot) else { continue };
            copy.fail(&EngineError::Hangs);
            let life = copy.life;
            self.pools[at].drive.ended.push((slot, life));
            self.metrics.failed_lives.inc();
            self.unreported.insert(slot);
        }
        self.tell_pools();
    }

    fn drive_answers(&mut self, at: usize) {
        let drive = &mut self.pools[at].drive;
        drive.probe = None;
        if !std::mem::take(&mut drive.hangs) {
            return;
        }
        let ended = std::mem::take(&mut drive.ended);
        tracing::warn!(pool = ?self.pools[at].name(), "a drive answers again");
        for (slot, life) in ended {
            if self.alive(slot, life).is_some() {
                // Unless something failed meanwhile, which is noted, what the kernel was given it still has.
                self.reopen(slot, false);
            }
        }
    }

    /// Copies of a pool that can be used.
    pub(super) fn running_in(&self, pool: usize) -> Vec<usize> {
        let runs = |slot: &usize| {
            let hosted = self.copies[*slot].as_ref();
            hosted.is_some_and(|hosted| hosted.pool == pool && hosted.running.is_some())
        };
        (0..self.copies.len()).filter(runs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_hangs_when_neither_old_nor_new_is_answered() {
        let at = |ms: u64| Boot::default().after(Duration::from_millis(10_000 + ms));
        let bound = Duration::from_secs(2);
        let mut drive = Drive::default();
        assert_eq!(drive.suspicion(at(0), bound), Suspicion::None);
        let slow = drive.begin(at(0));
        assert_eq!(drive.suspicion(at(999), bound), Suspicion::None);
        assert_eq!(drive.suspicion(at(1000), bound), Suspicion::Probe);
        (drive.probe, drive.probed) = (Some(at(1000)), at(1000));
        assert_eq!(drive.suspicion(at(2999), bound), Suspicion::None);
        assert_eq!(drive.suspicion(at(3000), bound), Suspicion::Hangs);
        // Only busy: it answered, and is asked again later.
        drive.probe = None;
        assert_eq!(drive.suspicion(at(1500), bound), Suspicion::None);
        assert_eq!(drive.suspicion(at(2000), bound), Suspicion::Probe);
        drive.waiting.remove(&slow);
        drive.begin(at(2900));
        (drive.probe, drive.probed) = (Some(at(2000)), at(2000));
        assert_eq!(drive.suspicion(at(4500), bound), Suspicion::None, "the old one came back");
    }
}
