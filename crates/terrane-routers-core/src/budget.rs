//! Ceilings that routers have in common. A worker has a [`Budget`]: buckets at a rate that is its own for ever (the
//! fallback) and a share of the rest that expires. Shares are dealt out by a [`Dealer`]; that they and all fallbacks
//! together stay below the ceiling is kept without any clock being compared: a worker counts a share's life from
//! sending its report, the dealer from answering it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bucket::{Bucket, Rate};
use crate::bugs::Bugs;
use crate::{GroupId, RealmId, RouterId, Time, WorkerId};

/// What a ceiling is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Commands anywhere.
    Network,
    /// Commands at routers of a group.
    Group(GroupId),
    /// Logins anywhere.
    Logins,
    /// Logins that one realm checks.
    RealmLogins(RealmId),
}

/// A ceiling over all workers.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// Tokens per time.
    pub rate: Rate,
    /// Tokens that each worker may take at once.
    pub burst: u32,
    /// Workers that there may be; each has an equal part of the fallbacks.
    pub workers_max: u32,
    /// The part of the rate that is dealt out as fallbacks, in percent.
    pub fallback_percent: u32,
}

impl Ceiling {
    /// What each worker has without asking.
    #[must_use]
    pub fn fallback(&self) -> Rate {
        let all = self.rate.percent(self.fallback_percent.min(100)).thousandths();
        Rate::per_1000_s(all / u64::from(self.workers_max.max(1)))
    }

    /// What can be dealt out.
    #[must_use]
    pub fn shared(&self) -> Rate {
        let fallbacks = self.fallback().thousandths().saturating_mul(self.workers_max.into());
        self.rate.minus(Rate::per_1000_s(fallbacks))
    }
}

/// A share of a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// On top of the fallback.
    pub extra: Rate,
    /// Counted by the worker from sending its report.
    pub ttl: Duration,
}

#[derive(Debug)]
struct Purse {
    fallback: Rate,
    bucket: Bucket,
    until: Option<Time>,
    wanted: u64,
}

/// A router's core that waits for tokens: it has its turn before those that came later, or tokens that are scarce
/// would always be somebody else's.
#[derive(Debug)]
struct Turn {
    number: u64,
    scopes: Vec<Scope>,
    tokens: u32,
    /// When it was told to come again.
    comes: Time,
}

/// Who does not come when told, and this much later, does not want tokens any more.
const LATE: Duration = Duration::from_millis(20);

/// A worker's part of the ceilings. Scopes that nobody has declared have none.
#[derive(Debug, Default)]
pub struct Budget {
    purses: BTreeMap<Scope, Purse>,
    turns: BTreeMap<(RouterId, Option<Scope>), Turn>,
    turns_made: u64,
    bugs: Bugs,
}

impl Budget {
    /// Without ceilings, and with broken rules for simulations.
    #[must_use]
    pub fn new(bugs: Bugs) -> Self {
        Self { bugs, ..Self::default() }
    }

    /// Declares a ceiling. Its bucket is empty: another worker may have been here under the same number.
    pub fn declare(&mut self, now: Time, scope: Scope, ceiling: &Ceiling) {
        let fallback = ceiling.fallback();
        let bucket = Bucket::empty(fallback, ceiling.burst, now);
        self.purses.insert(scope, Purse { fallback, bucket, until: None, wanted: 0 });
    }

    /// A share has come for a report that was sent at `sent_at`.
    pub fn share(&mut self, now: Time, scope: Scope, sent_at: Time, share: Share) {
        let until = sent_at.after(share.ttl);
        if let Some(purse) = self.purses.get_mut(&scope)
            && until > now
        {
            purse.bucket.set_rate(now, purse.fallback.plus(share.extra));
            purse.until = Some(until);
        }
    }

    /// What was wanted in each scope since the last time: the report to the dealer.
    pub fn report(&mut self) -> BTreeMap<Scope, u64> {
        self.purses.iter_mut().map(|(scope, purse)| (*scope, std::mem::take(&mut purse.wanted))).collect()
    }

    /// From when on the tokens can be taken in all of the scopes. Who is told a later time has a turn, ahead of all
    /// that ask after it, and should come then.
    pub(crate) fn ready_at(&mut self, now: Time, router: RouterId, scopes: &[Scope], tokens: u32) -> Time {
        let key = (router, scopes.first().copied());
        let number = self.turns.remove(&key).map_or(self.turns_made, |turn| turn.number);
        self.turns.retain(|_, turn| turn.comes.after(LATE) >= now);
        let ready = self.tokens_at(now, number, scopes, tokens);
        if ready > now {
            self.turns_made += 1;
            self.turns.insert(key, Turn { number, scopes: scopes.to_vec(), tokens, comes: ready });
        }
        ready
    }

    fn tokens_at(&mut self, now: Time, number: u64, scopes: &[Scope], tokens: u32) -> Time {
        let mut ready = now;
        for scope in scopes {
            let Some(purse) = self.purses.get_mut(scope) else { continue };
            purse.expire(now, self.bugs);
            let is_ahead =
                |turn: &&Turn| turn.number < number && turn.scopes.contains(scope) && !self.bugs.no_turns;
            let ahead = self.turns.values().filter(is_ahead);
            let ahead = ahead.fold(0u32, |sum, turn| sum.saturating_add(turn.tokens));
            let at = purse.bucket.ready_at(now, tokens.saturating_add(ahead));
            if at > now {
                purse.wanted = purse.wanted.saturating_add(1);
            }
            ready = ready.max(at);
        }
        ready
    }

    /// Takes the tokens in all of the scopes; they have been seen to be there.
    pub(crate) fn take(&mut self, now: Time, scopes: &[Scope], tokens: u32) {
        for scope in scopes {
            if let Some(purse) = self.purses.get_mut(scope) {
                purse.bucket.take(now, tokens);
                purse.wanted = purse.wanted.saturating_add(tokens.into());
            }
        }
    }
}

impl Purse {
    fn expire(&mut self, now: Time, bugs: Bugs) {
        let Some(until) = self.until.filter(|until| *until <= now && !bugs.keep_share) else { return };
        // What flowed in after the end of the share flowed at the fallback's rate.
        self.bucket.set_rate(until, self.fallback);
        self.until = None;
    }
}

/// Deals out one scope's shares: the throttling manager has one for each.
#[derive(Debug)]
pub struct Dealer {
    ceiling: Ceiling,
    ttl: Duration,
    /// Of a predecessor nothing is known: what it dealt may live until then.
    settles_at: Time,
    members: BTreeMap<WorkerId, Member>,
}

#[derive(Debug, Default)]
struct Member {
    wanted: u64,
    /// Shares that may be alive, each smaller than the one before and living longer: an answer may be lost, so a
    /// larger one counts until it has expired.
    shares: Vec<(Rate, Time)>,
}

/// Shares of one worker that are kept in mind; one that asks so often that there would be more gets nothing.
const SHARES_MAX: usize = 16;

impl Member {
    fn counted(&self) -> Rate {
        self.shares.first().map_or(Rate::ZERO, |(rate, _)| *rate)
    }
}

impl Dealer {
    /// A new dealer; it deals nothing for as long as shares of a predecessor may live.
    #[must_use]
    pub fn new(ceiling: Ceiling, ttl: Duration, now: Time) -> Self {
        Self { ceiling, ttl, settles_at: now.after(margin(ttl)), members: BTreeMap::new() }
    }

    /// A worker's report, and the share that it gets: in proportion to what is wanted, from what nobody has.
    pub fn report(&mut self, now: Time, worker: WorkerId, wanted: u64) -> Share {
        for member in self.members.values_mut() {
            member.shares.retain(|(_, until)| *until > now);
        }
        self.members.retain(|_, member| !member.shares.is_empty());
        let nothing = Share { extra: Rate::ZERO, ttl: self.ttl };
        let workers = usize::try_from(self.ceiling.workers_max).unwrap_or(usize::MAX);
        let is_known = self.members.contains_key(&worker);
        if now < self.settles_at || !is_known && self.members.len() >= workers {
            return nothing;
        }
        let mine = self.members.remove(&worker).unwrap_or_default();
        let wanted_by_others =
            self.members.values().fold(0u64, |sum, other| sum.saturating_add(other.wanted));
        let (left, shared) = (self.ceiling.shared().minus(self.dealt()), self.ceiling.shared());
        let all_wanted = wanted_by_others.saturating_add(wanted).max(1);
        let fair = shared.thousandths().saturating_mul(wanted) / all_wanted;
        let mut extra = Rate::per_1000_s(fair).min(left);
        let mut shares = mine.shares;
        shares.retain(|(rate, _)| *rate > extra);
        if shares.len() < SHARES_MAX {
            shares.push((extra, now.after(margin(self.ttl))));
        } else {
            extra = Rate::ZERO;
        }
        self.members.insert(worker, Member { wanted, shares });
        Share { extra, ..nothing }
    }

    /// All that is dealt out.
    #[must_use]
    pub fn dealt(&self) -> Rate {
        self.members.values().fold(Rate::ZERO, |sum, member| sum.plus(member.counted()))
    }
}

/// How long the dealer counts what a worker counts `ttl` for: their clocks may differ by a tenth.
fn margin(ttl: Duration) -> Duration {
    ttl + ttl / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ceiling() -> Ceiling {
        Ceiling { rate: Rate::per_second(100), burst: 4, workers_max: 4, fallback_percent: 40 }
    }

    #[test]
    fn fallbacks_and_shares_make_up_the_ceiling() {
        let ceiling = ceiling();
        assert_eq!(ceiling.fallback(), Rate::per_second(10));
        assert_eq!(ceiling.shared(), Rate::per_second(60));
    }

    #[test]
    fn an_expired_share_is_gone() {
        let mut budget = Budget::default();
        budget.declare(Time(0), Scope::Network, &ceiling());
        let share = Share { extra: Rate::per_second(10), ttl: Duration::from_secs(1) };
        budget.share(Time(500_000), Scope::Network, Time(0), share);
        budget.take(Time(600_000), &[Scope::Network], 4);
        let one = RouterId(1);
        let ready = budget.ready_at(Time(1_000_000), one, &[Scope::Network], 4);
        assert_eq!(ready, Time(1_000_000));
        budget.take(Time(1_000_000), &[Scope::Network], 4);
        assert_eq!(budget.ready_at(Time(2_000_000), one, &[Scope::Network], 4), Time(2_000_000));
        budget.take(Time(2_000_000), &[Scope::Network], 4);
        assert_eq!(budget.ready_at(Time(2_000_000), one, &[Scope::Network], 4), Time(2_400_000));
        assert_eq!(budget.report()[&Scope::Network], 13);
    }

    #[test]
    fn who_asked_first_has_the_tokens_first() {
        let mut budget = Budget::default();
        budget.declare(Time(0), Scope::Network, &ceiling());
        let scopes = [Scope::Network];
        let (busy, modest) = (RouterId(1), RouterId(2));
        assert_eq!(budget.ready_at(Time(0), busy, &scopes, 1), Time(100_000));
        assert_eq!(budget.ready_at(Time(1), modest, &scopes, 1), Time(200_000));
        assert_eq!(budget.ready_at(Time(100_000), busy, &scopes, 1), Time(100_000));
        budget.take(Time(100_000), &scopes, 1);
        // It asks at once for more, and may not have what comes next.
        assert_eq!(budget.ready_at(Time(100_000), busy, &scopes, 1), Time(300_000));
        assert_eq!(budget.ready_at(Time(200_000), modest, &scopes, 1), Time(200_000));
        // Who does not come has lost its turn.
        assert_eq!(budget.ready_at(Time(200_000), modest, &scopes, 2), Time(400_000));
        assert_eq!(budget.ready_at(Time(420_001), modest, &scopes, 3), Time(420_001));
    }

    proptest! {
        #[test]
        fn what_is_dealt_stays_below_the_ceiling(
            reports in proptest::collection::vec((0u64..400_000, 0u64..6, 0u64..1_000), 1..100),
        ) {
            let ttl = Duration::from_secs(1);
            let mut dealer = Dealer::new(ceiling(), ttl, Time(0));
            let (mut now, mut given) = (Time(0), Vec::new());
            for (pause, worker, wanted) in reports {
                now = Time(now.0 + pause);
                let share = dealer.report(now, WorkerId(worker), wanted);
                given.push((worker, share.extra, now.after(ttl)));
                // Of each worker the largest share that lives: it may not have heard of another.
                let most = |worker: u64| {
                    let live = given.iter().filter(|(other, _, until)| *other == worker && *until > now);
                    live.map(|(_, extra, _)| *extra).max().unwrap_or_default()
                };
                let sum = (0..6).map(most).fold(Rate::ZERO, Rate::plus);
                prop_assert!(sum <= ceiling().shared(), "{sum:?}");
            }
        }
    }
}
