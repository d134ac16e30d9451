//! Stripes: what is believed of their copies, what copies ask, who is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use terrane_block_core::bugs::Bugs;
use terrane_block_core::manager::{self, Request};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Generation};
use terrane_block_wire::control::{FromManager, Place, ServerId, StripeId, StripeView};

use super::{Complaint, Leader, Purpose, QUEUE_MAX, SessionId, Stripe};
use crate::db::VolumeKey;
use crate::jobs::Job;
use crate::liveness::{Belief, Millis, millis};
use crate::performance::performance;
use crate::rows::{LifeRow, PlaceRow, StripeRow};
use crate::stripe::{Facts, advance, successor, wants_copy};

/// A server that is dead for so long does not make the copy that a new volume waits for.
const MAKE_WITHIN: Millis = 2000;
/// Between two placings of one stripe, whatever becomes of the first: no mistake in judging may go round and round.
const PLACE_PAUSE: Millis = 100;
/// After no place was found: before looking again.
const PLACE_AGAIN: Millis = 5000;
/// Complaints with a longer pause between them are separate ones.
const COMPLAINT_GAP: Millis = 700;
/// A primary that has not handed over after this time is replaced all the same.
const HAND_OVER_WITHIN: Millis = 5000;
/// How long a copy that others complained about is put aside.
const ASIDE: Millis = 5000;

impl Stripe {
    pub(super) fn new(row: StripeRow, volume: VolumeKey) -> Self {
        Self {
            row,
            volume,
            busy: None,
            queue: VecDeque::new(),
            watchers: BTreeSet::new(),
            granted: None,
            resync: BTreeMap::new(),
            complaints: BTreeMap::new(),
            failed: BTreeMap::new(),
            avoid: BTreeSet::new(),
            place_after: 0,
            primary_lost: None,
            handing: None,
            declaring: None,
        }
    }

    /// Nothing is to be waited for: all copies wanted are in sync, and the record is active.
    pub(super) fn is_at_rest(&self) -> bool {
        self.row.record.as_ref().is_some_and(|record| {
            record.active
                && !record.fencing
                && record.now.in_sync.len() == self.row.wanted as usize
                && self.row.places.len() == self.row.wanted as usize
                && self.row.change.is_none()
        }) && self.declaring.is_none()
    }
}

impl Leader {
    pub(super) fn apply_stripe(&mut self, row: StripeRow, whole: bool, now: Millis) {
        let id = row.id;
        let volume = self.ids.get(&row.identity.volume).cloned();
        let Some(stripe) = self.stripes.get_mut(&id) else {
            if let Some(volume) = volume.filter(|_| whole) {
                self.place_stripe(&row);
                self.stripes.insert(id, Stripe::new(row, volume));
                self.stripe_changed(id, now);
            }
            return;
        };
        if stripe.row.version >= row.version {
            return;
        }
        let before = std::mem::replace(&mut stripe.row, row.clone());
        self.note(id, &before, &row, now);
        self.ask_for_growth(&before, &row);
        for (_, place) in before.places_not_in(Some(&row)) {
            if let Some(server) = self.servers.get_mut(&place.server) {
                server.stripes.remove(&id);
            }
        }
        self.place_stripe(&row);
        self.stripe_changed(id, now);
    }

    fn place_stripe(&mut self, row: &StripeRow) {
        for place in row.places.values() {
            self.servers.entry(place.server).or_default().stripes.insert(row.id);
        }
    }

    fn stripe_changed(&mut self, id: StripeId, now: Millis) {
        self.push_view(id);
        self.dirty.insert(id);
        if let Some(stripe) = self.stripes.get(&id) {
            let volume = stripe.volume.clone();
            let servers: Vec<ServerId> = stripe.row.places.values().map(|place| place.server).collect();
            for server in servers {
                self.command_server(server, now);
            }
            self.settle_volume(volume);
        }
    }

    /// Counts, and tells the log, what changed.
    fn note(&mut self, id: StripeId, before: &StripeRow, after: &StripeRow, now: Millis) {
        let (Some(old), Some(new)) = (&before.record, &after.record) else { return };
        if old.generation == new.generation && old.active == new.active {
            return;
        }
        let volume = &after.identity.volume;
        if old.now.primary != new.now.primary {
            self.counts.promotions += 1;
            tracing::warn!(%volume, generation = new.generation.0, from = ?old.now.primary, to = ?new.now.primary,
                "another copy becomes the primary");
        }
        for copy in old.now.in_sync.keys().filter(|copy| !new.now.in_sync.contains_key(copy)) {
            let reason = self.stripes.get(&id).and_then(|stripe| self.trouble(stripe, *copy));
            let reason = reason.as_deref().unwrap_or("it began another life, or is let go");
            tracing::warn!(%volume, ?copy, generation = new.generation.0, reason, "a copy is out of sync");
        }
        for copy in new.now.in_sync.keys().filter(|copy| !old.now.in_sync.contains_key(copy)) {
            self.counts.joins += 1;
            tracing::info!(%volume, ?copy, generation = new.generation.0, "a copy is in sync");
        }
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        stripe.resync.retain(|copy, _| new.now.joining.contains_key(copy));
        if new.active
            && let Some(since) = stripe.primary_lost.take()
        {
            let took = now.saturating_sub(since);
            self.counts.failovers.push(took);
            tracing::info!(%volume, took_ms = took, "the volume is served again");
        }
    }

    pub(super) fn forget_stripe(&mut self, id: StripeId, now: Millis) {
        let Some(stripe) = self.stripes.remove(&id) else { return };
        self.dirty.remove(&id);
        for (copy, place) in &stripe.row.places {
            if let Some(server) = self.servers.get_mut(&place.server) {
                server.stripes.remove(&id);
            }
            self.doom(place.server, id, *copy, now);
        }
        for session in stripe.watchers {
            self.send(session, FromManager::NoStripe { stripe: id });
        }
    }

    /// What is believed of a stripe's copies.
    pub(super) fn facts(&self, stripe: &Stripe, now: Millis) -> Facts {
        let mut facts = Facts::default();
        for (copy, place) in &stripe.row.places {
            let belief = self.live.belief(place.server);
            facts.unsure |= belief == Belief::Unknown;
            let aside = stripe.complaints.get(copy).is_some_and(|complaint| complaint.aside_until > now);
            // What is in sync is not given up because its server has to prove itself: that would be one more resync.
            let in_sync = |life| stripe.row.record.as_ref().is_some_and(|r| r.now.is_in_sync(*copy, life));
            match self.alive(stripe, *copy) {
                Some(alive) if !aside && (belief == Belief::Alive || in_sync(alive.incarnation)) => {
                    facts.alive.insert(*copy, alive);
                }
                Some(alive) => {
                    facts.doubtful.insert(*copy, alive);
                }
                None => {}
            }
            if self.is_gone(stripe, *copy, *place, now) {
                facts.gone.insert(*copy);
            }
            let row = self.servers.get(&place.server).and_then(|server| server.row.as_ref());
            if row.is_some_and(|row| row.draining) {
                facts.leaving.insert(*copy);
            }
        }
        let grant = self.grant_ms();
        // A primary that has adopted a generation with mirrors acts by their leases from then on.
        let by_mirrors = |record: &Record| record.active && record.now.in_sync.len() > 1;
        let lapsed = stripe.row.record.as_ref().is_some_and(by_mirrors)
            || stripe.granted.is_none_or(|granted| now >= granted + grant);
        facts.lease_lapsed = lapsed && now >= self.since + grant;
        facts.impatient = stripe.handing.is_some_and(|since| now.saturating_sub(since) >= HAND_OVER_WITHIN);
        facts
    }

    /// Whether a copy should be replaced.
    fn is_gone(&self, stripe: &Stripe, copy: CopyId, place: PlaceRow, now: Millis) -> bool {
        if stripe.failed.contains_key(&copy) {
            return true;
        }
        let begun = stripe.row.record.is_some();
        let patience = if begun { millis(self.timing.remirror_after) } else { MAKE_WITHIN };
        if let Some(dead) = self.live.dead_for(place.server, now) {
            return dead >= patience;
        }
        let Some(server) = self.servers.get(&place.server) else { return false };
        match server.copies.get(&(stripe.row.id, copy)) {
            Some(heard) => heard.troubled.is_some_and(|since| now.saturating_sub(since) >= patience),
            // Its server knows nothing of a copy that was there: another drive, perhaps. It is never made again under
            // the same number: what is blank now would be taken for what was in sync once.
            None => server.session.is_some() && was_made(&stripe.row, copy),
        }
    }

    /// Does what is to be done for a stripe next, if nothing is under way.
    pub(super) fn evaluate(&mut self, id: StripeId, now: Millis) {
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        if stripe.busy.is_some() {
            return;
        }
        if let Some(request) = stripe.queue.pop_front() {
            return self.run_stripe(id, Job::Request { stripe: id, request });
        }
        let Some(stripe) = self.stripes.get(&id) else { return };
        let facts = self.facts(stripe, now);
        if stripe.declaring.is_some() {
            return self.declare(id, &facts);
        }
        let follows = successor(&stripe.row, &facts);
        self.hand_over(id, follows, now);
        let Some(stripe) = self.stripes.get(&id) else { return };
        if advance(&stripe.row, &facts).is_some() {
            return self.run_stripe(id, Job::Advance { stripe: id, facts });
        }
        let lives = |record: &Record| facts.alive.contains_key(&record.now.primary);
        if !facts.lease_lapsed && !stripe.row.record.as_ref().is_some_and(lives) {
            self.leased.insert(id);
        }
        let why = wants_copy(&stripe.row, &facts).filter(|_| now >= stripe.place_after);
        if let Some(why) = why {
            // The store may not have heard yet who is dead. A copy there would be given up at once, and again.
            let dead = self.servers.keys().filter(|server| self.live.belief(**server) == Belief::Dead);
            let without = stripe.avoid.iter().chain(dead).copied().collect();
            let job = self.run(Job::Place { stripe: id, without, why }, Purpose::Place(id));
            if let Some(stripe) = self.stripes.get_mut(&id) {
                stripe.busy = Some(job);
                stripe.place_after = now + PLACE_PAUSE;
            }
        }
    }

    fn run_stripe(&mut self, id: StripeId, job: Job) {
        let job = self.run(job, Purpose::Stripe(id));
        if let Some(stripe) = self.stripes.get_mut(&id) {
            stripe.busy = Some(job);
        }
    }

    /// No server has room for another copy. A volume that was to be made is not made; one that is there waits.
    pub(super) fn no_room(&mut self, id: StripeId, reason: String, now: Millis) {
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        stripe.place_after = now + PLACE_AGAIN;
        stripe.avoid.clear();
        tracing::warn!(volume = %stripe.row.identity.volume, reason, "there is no place for a copy");
        if stripe.row.record.is_none() {
            let volume = stripe.volume.clone();
            self.run(Job::Fail { volume, reason }, Purpose::Other);
        }
    }

    /// A copy asks for something.
    pub(super) fn request(
        &mut self,
        session: SessionId,
        server: ServerId,
        id: StripeId,
        request: Request,
        now: Millis,
    ) {
        let Some(stripe) = self.stripes.get_mut(&id) else {
            return self.send(session, FromManager::NoStripe { stripe: id });
        };
        let Some(record) = &stripe.row.record else { return };
        if let Request::Lease { copy, generation, round } = request {
            let lives_here = stripe.row.places.get(&copy).is_some_and(|place| place.server == server);
            let rules = record.generation == generation && record.now.primary == copy;
            // A transaction that is under way may be about to give the primary's place to another copy.
            let free = stripe.busy.is_none() && stripe.declaring.is_none() && now < self.office_until;
            if lives_here && rules && record.now.in_sync.len() == 1 && free {
                stripe.granted = Some(now);
                self.counts.leases += 1;
                self.send(session, FromManager::LeaseGranted { stripe: id, copy, round });
            }
            return;
        }
        if manager::transact(record, &request, Bugs::NONE).is_none() {
            // Out of date, or done already: the view says so.
            return self.send_view(session, id);
        }
        if stripe.queue.len() < QUEUE_MAX && !stripe.queue.contains(&request) {
            stripe.queue.push_back(request);
        }
        self.dirty.insert(id);
    }

    pub(super) fn fetch(&mut self, session: SessionId, id: StripeId) {
        match self.stripes.get_mut(&id) {
            Some(stripe) => {
                stripe.watchers.insert(session);
                self.send_view(session, id);
            }
            None => self.send(session, FromManager::NoStripe { stripe: id }),
        }
    }

    pub(super) fn resync(&mut self, id: StripeId, copy: CopyId, moved: u64, left: u64) {
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        let (before, _) = stripe.resync.insert(copy, (moved, left)).unwrap_or_default();
        // A new attempt begins at nothing.
        self.counts.resync_bytes += if moved >= before { moved - before } else { moved };
    }

    /// Somebody gets no answer from a copy.
    pub(super) fn suspect(
        &mut self,
        id: StripeId,
        copy: CopyId,
        generation: Generation,
        reason: &str,
        now: Millis,
    ) {
        let after = millis(self.timing.complaints_after);
        let Some(stripe) = self.stripes.get_mut(&id) else { return };
        let current = stripe.row.record.as_ref().is_some_and(|record| record.generation == generation);
        let Some(place) = stripe.row.places.get(&copy).filter(|_| current) else { return };
        let server = place.server;
        self.counts.suspicions += 1;
        tracing::debug!(volume = %stripe.row.identity.volume, ?copy, reason, "a copy is said not to answer");
        let fresh = Complaint { first: now, last: now, aside_until: 0 };
        let complaint = stripe.complaints.entry(copy).or_insert(fresh);
        if now.saturating_sub(complaint.last) > COMPLAINT_GAP {
            complaint.first = now;
        }
        complaint.last = now;
        if now.saturating_sub(complaint.first) >= after && complaint.aside_until <= now {
            complaint.aside_until = now + ASIDE;
            complaint.first = now;
            self.dirty.insert(id);
        }
        self.live.doubted(server, now);
    }

    /// The stripe as others are told of it.
    pub(crate) fn view(&self, stripe: &Stripe) -> Option<StripeView> {
        let record = stripe.row.record.clone()?;
        let place = |place: &PlaceRow| {
            let row = self.servers.get(&place.server).and_then(|server| server.row.as_ref());
            Place { server: place.server, address: row.map(|row| row.address.clone()).unwrap_or_default() }
        };
        let places = stripe.row.places.iter().map(|(copy, at)| (*copy, place(at))).collect();
        let blocks = stripe.row.identity.blocks;
        let performance = self.volumes.get(&stripe.volume).map(|volume| performance(&volume.settings));
        Some(StripeView { stripe: stripe.row.id, record, places, blocks, performance })
    }

    pub(super) fn send_view(&mut self, session: SessionId, id: StripeId) {
        let view = self.stripes.get(&id).and_then(|stripe| self.view(stripe));
        if let Some(view) = view {
            self.send(session, FromManager::Stripe(Box::new(view)));
        }
    }

    /// To everyone whom the stripe concerns.
    pub(super) fn push_view(&mut self, id: StripeId) {
        let Some(stripe) = self.stripes.get(&id) else { return };
        let Some(view) = self.view(stripe) else { return };
        let mut sessions = stripe.watchers.clone();
        let servers = stripe.row.places.values().filter_map(|place| self.servers.get(&place.server));
        sessions.extend(servers.filter_map(|server| server.session));
        if let Some(volume) = self.volumes.get(&stripe.volume) {
            sessions.extend(self.node_sessions(volume));
        }
        for session in sessions {
            self.send(session, FromManager::Stripe(Box::new(view.clone())));
        }
    }

    /// An operator's word about a volume: every stripe of it that nobody alive can go on with, goes on with the best
    /// copy that lives, as soon as our lease has lapsed. Says how many stripes that are, or why it cannot be.
    pub(crate) fn declare_lost(&mut self, key: &VolumeKey, by: &str) -> Result<usize, String> {
        let volume = self.volumes.get(key).filter(|volume| volume.life == LifeRow::Ready);
        let volume = volume.ok_or("the volume is not in use")?;
        let mut stranded = Vec::new();
        for id in &volume.stripes {
            let Some(stripe) = self.stripes.get(id) else { continue };
            if !self.is_stranded(stripe) || stripe.row.record.is_none() {
                continue;
            }
            if !stripe.row.places.keys().any(|copy| self.alive(stripe, *copy).is_some()) {
                return Err("of one of its stripes no copy lives".to_owned());
            }
            stranded.push(*id);
        }
        for id in &stranded {
            if let Some(stripe) = self.stripes.get_mut(id) {
                stripe.declaring = Some(by.to_owned());
            }
            self.dirty.insert(*id);
        }
        Ok(stranded.len())
    }

    fn declare(&mut self, id: StripeId, facts: &Facts) {
        let Some(stripe) = self.stripes.get(&id) else { return };
        // It may have come back meanwhile, or nobody may be left.
        let Some(record) = stripe.row.record.as_ref().filter(|_| self.is_stranded(stripe)) else {
            return self.end_declaring(id);
        };
        let known =
            |copy: &CopyId| record.now.absent.contains_key(copy) || record.now.in_sync.contains_key(copy);
        let candidates = facts.alive.iter().chain(&facts.doubtful).filter(|(copy, _)| known(copy));
        // The latest that was in sync; of those in sync now, the primary.
        let rank = |copy: &CopyId| {
            let since = record.now.absent.get(copy).copied().unwrap_or(record.generation);
            (since, *copy == record.now.primary)
        };
        let best = candidates.max_by_key(|(copy, _)| rank(copy)).map(|(copy, alive)| (*copy, alive.clone()));
        let Some((copy, alive)) = best else { return self.end_declaring(id) };
        if !facts.lease_lapsed {
            return;
        }
        let by = stripe.declaring.clone().unwrap_or_default();
        self.end_declaring(id);
        self.run_stripe(id, Job::DeclareLost { stripe: id, copy, alive, by });
    }

    fn end_declaring(&mut self, id: StripeId) {
        if let Some(stripe) = self.stripes.get_mut(&id) {
            stripe.declaring = None;
        }
    }
}

/// Whether a copy was ever part of the stripe's record.
pub(super) fn was_made(row: &StripeRow, copy: CopyId) -> bool {
    row.record.as_ref().is_some_and(|record| record.knows(copy))
}
