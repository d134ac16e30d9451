//! What is looked at from time to time: leases are renewed, what stays unanswered is sent again, who does not answer is
//! suspected, logs that fill up are flushed.

use super::hosted::{Hosted, LOG_WANTS_FLUSH, Running};
use super::reactor::{Handle, Reactor};
use std::time::Duration;
use terrane_block_core::CopyId;
use terrane_block_core::copy::{Event, Grantor, Phase};
use terrane_block_wire::control::{ServerId, ToManager};
use tokio::time::{MissedTickBehavior, interval};

/// So often.
const TICK: Duration = Duration::from_millis(25);
/// Leases are renewed at every so many ticks.
const RENEW_TICKS: u64 = 3;
/// How long something may be unanswered before all is sent again, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(75), Duration::from_secs(2));
/// How long a lease may be wanted before whoever should give it is suspected.
const LACK_MAX: Duration = Duration::from_millis(200);
/// Progress is told so often.
const PROGRESS_TICKS: u64 = 20;

/// For ever.
pub(super) async fn run(handle: Handle) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0.. {
        ticks.tick().await;
        handle.enter(|reactor| {
            reactor.look_at_drives();
            for slot in reactor.slots() {
                reactor.look_at(slot, tick);
            }
        });
    }
}

impl Reactor {
    fn look_at(&mut self, slot: usize, tick: u64) {
        let (now, pace) = (self.now, self.pace);
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &hosted.running else { return };
        let rules = running.state.rules();
        let mut events = Vec::new();
        if rules && tick.is_multiple_of(RENEW_TICKS) {
            events.push(Event::Renew);
        }
        let unanswered = unanswered(running);
        let asks = asks(running);
        let full = hosted.log_extents >= LOG_WANTS_FLUSH;
        if rules
            && let Some(pieces) = hosted.pacer.look(now, &pace, &running.state.resyncs(), hosted.requests)
        {
            events.push(Event::Pace(pieces));
        }
        // An answer that was lost is not waited for.
        hosted.sample.take_if(|(.., sent)| sent.elapsed() > PATIENCE.1);
        let watched = &mut hosted.watched;
        if unanswered != watched.unanswered || unanswered.is_empty() && !asks {
            (watched.unanswered, watched.since, watched.patience) = (unanswered, now, PATIENCE.0);
        } else if now.since(watched.since) >= watched.patience {
            (watched.since, watched.patience) = (now, (watched.patience * 2).min(PATIENCE.1));
            events.push(Event::Resend);
        }
        if full && watched.flush_wanted.is_none_or(|then| now.since(then) >= PATIENCE.1) {
            watched.flush_wanted = Some(now);
            events.push(Event::FlushWanted);
        }
        self.suspect_silent(slot);
        self.look_at_orders(slot);
        if rules && tick.is_multiple_of(PROGRESS_TICKS) {
            self.tell_progress(slot);
        }
        events.into_iter().for_each(|event| self.push(slot, event));
    }

    /// Tells the manager of copies whose leases are wanted and do not come.
    fn suspect_silent(&mut self, slot: usize) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &hosted.running else { return };
        let wanted = if running.state.volatile.active { running.state.wanted_leases() } else { Vec::new() };
        let lacking = &mut hosted.watched.lacking;
        lacking.retain(|copy, _| wanted.contains(&Grantor::Copy(*copy)));
        let mut silent = Vec::new();
        for grantor in wanted {
            let Grantor::Copy(copy) = grantor else { continue };
            let since = lacking.entry(copy).or_insert(now);
            if now.since(*since) >= LACK_MAX {
                *since = now;
                silent.push(copy);
            }
        }
        for copy in silent {
            self.suspect(slot, copy, "it gives no lease");
        }
    }

    fn suspect(&mut self, slot: usize, copy: CopyId, reason: &str) {
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &hosted.running else { return };
        let generation = running.state.adopted_generation();
        let (stripe, reason) = (hosted.stripe(), reason.to_owned());
        tracing::info!(?stripe, ?copy, %reason, "a copy is suspected");
        self.tell_manager(&ToManager::Suspect { stripe, copy, generation, reason });
    }

    /// A server cannot be reached: the manager hears of all copies there that primaries here need.
    pub(super) fn suspect_server(&mut self, server: ServerId, reason: &str) {
        for slot in self.slots() {
            let Some(hosted) = self.copy(slot) else { continue };
            for copy in members_at(hosted, server) {
                self.suspect(slot, copy, reason);
            }
        }
    }

    /// A connection is over: what is unanswered there is sent again at the next look, which dials.
    pub(super) fn hurry_with(&mut self, server: ServerId) {
        for slot in self.slots() {
            let Some(hosted) = self.copy(slot) else { continue };
            if !members_at(hosted, server).is_empty() {
                self.push(slot, Event::Resend);
            }
        }
    }

    /// Tells the manager, and the metrics, how far copies are that catch up.
    fn tell_progress(&mut self, slot: usize) {
        let Some(hosted) = self.copy(slot) else { return };
        let Some(running) = &hosted.running else { return };
        let stripe = hosted.meta.stripe;
        let resyncs = running.state.resyncs();
        let degraded = running.state.durable.record.as_ref().is_some_and(|r| !r.now.absent.is_empty());
        let mut messages = Vec::new();
        let mut fresh = 0;
        let moved_before = &mut hosted.watched.moved;
        moved_before.retain(|copy, _| resyncs.iter().any(|resync| resync.copy == *copy));
        for resync in resyncs {
            let bytes = |blocks: u64| blocks * crate::engine::BLOCK as u64;
            let (copy, moved, left) = (resync.copy, bytes(resync.moved), bytes(resync.left));
            fresh += moved.saturating_sub(moved_before.insert(copy, moved).unwrap_or(0));
            if left > 0 || resync.joining {
                messages.push(ToManager::Resync { stripe, copy, moved, left });
            }
        }
        self.metrics.resync_bytes.inc_by(fresh);
        if degraded {
            self.metrics.degraded_seconds.inc_by((TICK * PROGRESS_TICKS as u32).as_secs_f64());
        }
        messages.iter().for_each(|message| self.tell_manager(message));
    }
}

/// Copies on a server that a primary here needs.
fn members_at(hosted: &Hosted, server: ServerId) -> Vec<CopyId> {
    let state = hosted.running.as_ref().map(|running| &running.state).filter(|state| state.rules());
    let Some(record) = state.and_then(|state| state.durable.record.as_ref()) else { return Vec::new() };
    let there = |copy: &CopyId| hosted.places.get(copy).is_some_and(|place| place.server == server);
    record.now.acknowledgers().map(|(copy, _)| copy).filter(there).collect()
}

/// The oldest that each member has not answered.
fn unanswered(running: &Running) -> Vec<(CopyId, u64)> {
    let links = running.state.volatile.primary.iter().flat_map(|primary| &primary.links);
    links.filter_map(|(copy, link)| Some((*copy, *link.unanswered.keys().next()?))).collect()
}

/// Whether something is asked of the manager, or waits for another copy to get better.
fn asks(running: &Running) -> bool {
    let state = &running.state;
    let fenced = state.durable.record.as_ref().is_some_and(|record| record.fencing);
    let syncs = state.volatile.primary.iter().flat_map(|primary| primary.syncs.values());
    let waits = syncs.filter(|sync| sync.phase == Phase::Ready || !sync.stuck.is_empty()).count() > 0;
    let stopped = state.volatile.relinquished.is_some();
    fenced || waits || stopped || state.rules() && !state.volatile.active || state.durable.record.is_none()
}
