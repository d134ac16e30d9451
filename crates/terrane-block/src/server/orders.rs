//! The manager's orders to primaries: what it wants handed over, how long that may take, and how soon the next primary
//! begins.

use super::clock::{Boot, Due};
use super::reactor::Reactor;
use bytes::Bytes;
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_core::message::ToPrimary;
use terrane_block_core::{ClientId, CopyId, Generation};
use terrane_block_wire::control::{StripeId, ToManager};

/// To get ready for a hand-over, while clients go on.
const READY_MAX: Duration = Duration::from_secs(10);
/// For so long at most clients' requests are held.
const FROZEN_MAX: Duration = Duration::from_secs(1);
/// Orders of one copy that are not answered.
const ORDERS_MAX: usize = 16;
/// How soon a new primary asks again for what a copy did not answer that was still adopting the record; it doubles ...
const HURRY: Duration = Duration::from_millis(2);
/// ... so often.
const HURRIES: u32 = 6;
/// How long a client's hello waits for the record that it names to be adopted.
const EARLY_MAX: Duration = Duration::from_millis(300);

/// An order to hand over that has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The manager's number of it.
    id: u64,
    to: CopyId,
    since: Boot,
}

/// Orders of one copy, and how they go.
#[derive(Default)]
pub(super) struct Orders {
    open: Vec<Order>,
    /// Clients' requests are held since then.
    frozen: Option<Boot>,
    /// A client that has heard of the next record before this copy has.
    early: Option<(Boot, ClientId, ToPrimary<Bytes>)>,
}

impl Reactor {
    /// The manager wants the role of a primary handed over.
    pub(super) fn order_hand_over(
        &mut self,
        id: u64,
        (stripe, copy): (StripeId, CopyId),
        generation: Generation,
        to: CopyId,
    ) {
        let now = self.now;
        let slot = self.index.get(&(stripe, copy)).copied();
        let hosted = slot.and_then(|slot| self.copy(slot)).filter(|hosted| hosted.running.is_some());
        let (Some(slot), Some(hosted)) = (slot, hosted) else {
            return self.answer_order(id, Err("there is no such copy here that runs".to_owned()));
        };
        let open = &mut hosted.orders.open;
        open.retain(|order| order.id != id);
        if open.len() >= ORDERS_MAX {
            return self.answer_order(id, Err("too many orders".to_owned()));
        }
        open.push(Order { id, to, since: now });
        self.push(slot, Event::HandOver { generation, to });
    }

    fn answer_order(&mut self, id: u64, result: Result<(), String>) {
        self.tell_manager(&ToManager::Done { id, result });
    }

    /// A hand-over has ended.
    pub(super) fn handed_over(&mut self, slot: usize, to: CopyId, given: bool) {
        let name = self.name(slot);
        let Some(hosted) = self.copy(slot) else { return };
        let ended: Vec<Order> = hosted.orders.open.extract_if(.., |order| order.to == to).collect();
        tracing::info!(copy = ?name, ?to, given, "a hand-over has ended");
        for order in ended {
            let result = if given { Ok(()) } else { Err("it serves as before".to_owned()) };
            self.answer_order(order.id, result);
        }
    }

    /// Gives up what takes too long.
    pub(super) fn look_at_orders(&mut self, slot: usize) {
        let now = self.now;
        let Some(hosted) = self.copy(slot) else { return };
        let state = hosted.running.as_ref().map(|running| &running.state);
        let under_way = state.is_some_and(|state| state.hand_over_stage().is_some());
        let frozen = under_way && state.is_some_and(terrane_block_core::copy::State::is_frozen);
        let orders = &mut hosted.orders;
        orders.frozen = frozen.then(|| orders.frozen.unwrap_or(now));
        let held_too_long = orders.frozen.is_some_and(|since| now.since(since) >= FROZEN_MAX);
        let too_long = orders.open.iter().any(|order| now.since(order.since) >= READY_MAX);
        let lost = if under_way { Vec::new() } else { std::mem::take(&mut orders.open) };
        let early = orders.early.take_if(|(since, ..)| now.since(*since) >= EARLY_MAX);
        if under_way && (held_too_long || too_long) {
            self.push(slot, Event::Abandon);
        }
        for order in lost {
            self.answer_order(order.id, Err("the copy has begun another life".to_owned()));
        }
        if let Some((_, client, message)) = early {
            self.push(slot, Event::Client(client, message));
        }
    }

    /// A client that is ahead of this copy waits until the record that it knows is adopted here. Returns whether it does.
    pub(super) fn is_early(&mut self, slot: usize, client: ClientId, message: &ToPrimary<Bytes>) -> bool {
        let now = self.now;
        let ToPrimary::Hello { generation, .. } = message else { return false };
        let Some(hosted) = self.copy(slot) else { return false };
        let adopted = hosted.running.as_ref().map(|running| running.state.adopted_generation());
        let early = adopted.is_some_and(|adopted| adopted < *generation);
        if early {
            hosted.orders.early = Some((now, client, message.clone()));
            self.fetch(slot);
        }
        early
    }

    /// The copy may have adopted a record.
    pub(super) fn let_early_in(&mut self, slot: usize) {
        let Some(hosted) = self.copy(slot) else { return };
        let adopted = hosted.running.as_ref().map(|running| running.state.adopted_generation());
        let waits = |message: &ToPrimary<Bytes>| match message {
            ToPrimary::Hello { generation, .. } => adopted.is_some_and(|adopted| adopted < *generation),
            ToPrimary::Request { .. } => false,
        };
        if let Some((_, client, message)) = hosted.orders.early.take_if(|(.., message)| !waits(message)) {
            self.push(slot, Event::Client(client, message));
        }
    }

    /// The record makes this copy the primary, perhaps since just now: soon it looks whether the others answer.
    pub(super) fn hurry(&mut self, slot: usize, count: u32) {
        let at = self.now.after(HURRY * 2_u32.pow(count));
        if let Some(life) = self.copy(slot).map(|hosted| hosted.life)
            && count < HURRIES
        {
            self.deadlines.add(at, slot, life, Due::Hurry(count));
        }
    }

    /// What was sent to a copy that had not adopted the record yet is lost there, and sent again.
    pub(super) fn look_whether_answered(&mut self, slot: usize, count: u32) {
        let Some(running) = self.copy(slot).and_then(|hosted| hosted.running.as_ref()) else { return };
        let state = &running.state;
        let record = state.durable.record.as_ref().filter(|_| state.rules());
        let in_sync = |copy: &CopyId| record.is_some_and(|record| record.now.in_sync.contains_key(copy));
        let syncs = state.volatile.primary.iter().flat_map(|primary| &primary.syncs);
        let unknown = syncs.into_iter().any(|(copy, sync)| in_sync(copy) && !sync.known);
        if record.is_none() || state.may_act() && !unknown {
            return;
        }
        if state.volatile.active {
            self.push(slot, Event::Renew);
            self.push(slot, Event::Resend);
        }
        self.hurry(slot, count + 1);
    }
}
