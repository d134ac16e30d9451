//! Which servers live, as far as the manager can tell. Pure; times are milliseconds of any monotonic clock.
//!
//! A wrong suspicion is safe and costs a resync. So there are dampers:
//!
//! * A server is silent when it has said nothing for `suspect_after`, *and* somebody complains that it does not answer.
//!   If nobody does, nobody is hurt, and it may be silent three times as long.
//! * One that came back from longer silences within the last minute is that slow: it gets half as much again.
//! * A manager that was not running itself suspects nobody for what it did not hear meanwhile.
//! * A server that died several times within a minute must stay for a while before it is trusted again.
//! * What never was heard of since the manager's start is unknown, not dead, for a while; for less if somebody waits.
//! * A manager that has lost all servers at once was cut off itself: when it hears of one again, the others are unknown.

use std::collections::BTreeMap;

use terrane_block_wire::control::ServerId;

use crate::Timing;

/// Milliseconds.
pub(crate) type Millis = u64;

/// Deaths older than this are forgiven.
const MEMORY: Millis = 60_000;
/// The first probation; doubled with every further death.
const PROBATION: Millis = 250;
/// The longest probation.
const PROBATION_MAX: Millis = 10_000;
/// How long after its start a manager waits for servers that it has not heard of.
const GRACE: Millis = 5000;
/// The same, if somebody complains about them. Everyone has found the manager by then.
const GRACE_DOUBTED: Millis = 400;
/// For how long a complaint makes the manager impatient.
const DOUBT: Millis = 1000;
/// The longest silence that is borne, in units of `suspect_after`.
const PATIENCE: Millis = 3;

/// What is believed of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It answers.
    Alive,
    /// It answers, but died several times lately.
    Doubtful,
    /// Not heard of since the manager's start, and not for long.
    Unknown,
    /// It does not answer.
    Dead,
}

#[derive(Clone, Debug)]
struct Life {
    connected: bool,
    heard: Millis,
    left: Millis,
    ever: bool,
    dead: Option<Millis>,
    deaths: u32,
    last_death: Millis,
    trusted_from: Millis,
    doubted_until: Millis,
    /// The longest silence of late that it came back from, and when.
    slowest: (Millis, Millis),
    /// What the last tick found.
    told: Option<Belief>,
}

/// The lives of all servers.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    suspect_after: Millis,
    reconnect_within: Millis,
    lives: BTreeMap<ServerId, Life>,
    last_tick: Option<Millis>,
    /// How often the manager itself was late.
    pub(crate) stalls: u64,
    late: bool,
}

impl Liveness {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self {
            suspect_after: millis(timing.suspect_after),
            reconnect_within: millis(timing.reconnect_within),
            lives: BTreeMap::new(),
            last_tick: None,
            stalls: 0,
            late: false,
        }
    }

    /// A server that the store knows.
    pub(crate) fn expect(&mut self, server: ServerId, now: Millis) {
        self.life(server, now);
    }

    fn life(&mut self, server: ServerId, now: Millis) -> &mut Life {
        self.lives.entry(server).or_insert(Life {
            connected: false,
            heard: now,
            left: now,
            ever: false,
            dead: None,
            deaths: 0,
            last_death: 0,
            trusted_from: 0,
            doubted_until: 0,
            slowest: (0, 0),
            told: None,
        })
    }

    pub(crate) fn connected(&mut self, server: ServerId, now: Millis) {
        self.found_again(server, now);
        let life = self.life(server, now);
        (life.connected, life.ever, life.heard) = (true, true, now);
        life.revive(now);
    }

    pub(crate) fn heard(&mut self, server: ServerId, now: Millis) {
        self.found_again(server, now);
        let most = self.patience_max();
        let life = self.life(server, now);
        if life.connected {
            life.learn(now, most);
            life.revive(now);
        }
        life.heard = now;
    }

    pub(crate) fn disconnected(&mut self, server: ServerId, now: Millis) {
        let life = self.life(server, now);
        (life.connected, life.left) = (false, now);
    }

    /// Somebody gets no answer from it: the manager becomes impatient for a moment.
    pub(crate) fn doubted(&mut self, server: ServerId, now: Millis) {
        self.life(server, now).doubted_until = now + DOUBT;
    }

    /// Time has passed. Those that died, came back or became trusted since.
    pub(crate) fn tick(&mut self, now: Millis) -> Vec<ServerId> {
        let stalled = self.last_tick.is_some_and(|last| now.saturating_sub(last) > self.suspect_after / 2);
        (self.last_tick, self.late) = (Some(now), stalled);
        if stalled {
            self.stalls += 1;
            for life in self.lives.values_mut().filter(|life| life.dead.is_none()) {
                (life.heard, life.left) = (now, now);
            }
            return Vec::new();
        }
        let mut changed = Vec::new();
        let (least, most) = (self.suspect_after, self.patience_max());
        for (server, life) in &mut self.lives {
            let doubted = life.doubted_until > now;
            let quiet = if life.connected {
                let patience = if doubted { life.patience(now).clamp(least, most) } else { most };
                now.saturating_sub(life.heard) > patience
            } else {
                let within = match (life.ever, doubted) {
                    (true, _) => self.reconnect_within,
                    (false, true) => GRACE_DOUBTED,
                    (false, false) => GRACE,
                };
                now.saturating_sub(life.left) > within
            };
            if quiet && life.dead.is_none() {
                life.die(now);
            }
            if life.trusted_from <= now {
                life.trusted_from = 0;
            }
            let belief = life.belief();
            if life.told != Some(belief) {
                life.told = Some(belief);
                changed.push(*server);
            }
        }
        changed
    }

    /// If all are dead, the manager was away, and not they: those that are not heard of yet have time to come back.
    fn found_again(&mut self, server: ServerId, now: Millis) {
        if self.lives.len() < 2 || self.lives.values().any(|life| life.dead.is_none()) {
            return;
        }
        for (_, life) in self.lives.iter_mut().filter(|(other, _)| **other != server) {
            (life.dead, life.heard, life.left) = (None, now, now);
            life.ever = life.connected;
            life.deaths = life.deaths.saturating_sub(1);
        }
    }

    fn patience_max(&self) -> Millis {
        self.suspect_after * PATIENCE
    }

    pub(crate) fn belief(&self, server: ServerId) -> Belief {
        self.lives.get(&server).map_or(Belief::Dead, Life::belief)
    }

    /// Whether the manager itself was not running before the last tick.
    pub(crate) fn was_late(&self) -> bool {
        self.late
    }

    /// For how long it has been dead.
    pub(crate) fn dead_for(&self, server: ServerId, now: Millis) -> Option<Millis> {
        self.lives.get(&server)?.dead.map(|since| now.saturating_sub(since))
    }
}

impl Life {
    fn belief(&self) -> Belief {
        match self {
            life if life.dead.is_some() => Belief::Dead,
            life if !life.ever => Belief::Unknown,
            life if life.trusted_from != 0 => Belief::Doubtful,
            _ => Belief::Alive,
        }
    }

    /// Notes the silence that ends now. A longer one than could be borne was something else than slowness.
    fn learn(&mut self, now: Millis, most: Millis) {
        let silence = now.saturating_sub(self.heard);
        let (slowest, since) = self.slowest;
        let is_old = now.saturating_sub(since) > MEMORY;
        if silence <= most && (is_old || silence >= slowest) {
            self.slowest = (silence, now);
        }
    }

    /// What it needs by what is known of it.
    fn patience(&self, now: Millis) -> Millis {
        let (slowest, since) = self.slowest;
        if now.saturating_sub(since) > MEMORY { 0 } else { slowest + slowest / 2 }
    }

    fn die(&mut self, now: Millis) {
        self.deaths = if now.saturating_sub(self.last_death) > MEMORY { 1 } else { self.deaths + 1 };
        (self.dead, self.last_death) = (Some(now), now);
    }

    /// The first death is forgiven at once.
    fn revive(&mut self, now: Millis) {
        if self.dead.take().is_some() && self.deaths > 1 {
            let doublings = (self.deaths - 2).min(10);
            self.trusted_from = now + (PROBATION << doublings).min(PROBATION_MAX);
        }
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: std::time::Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
