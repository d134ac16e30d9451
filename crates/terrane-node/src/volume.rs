//! An attached volume: its stripes, the requests under way, and who uses it.

mod cached;
mod export;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use terrane_block_core::client::{ClientEffect, ClientEvent};
use terrane_block_core::message::{Op, ToPrimary};
use terrane_block_core::{AttachmentEpoch, CopyId, SessionId};
use terrane_block_wire::WireError;
use terrane_block_wire::control::{AttachmentOrder, StripeId, StripeView};
use terrane_block_wire::data::DataMessage;
use terrane_block_wire::transport::{BusyPoll, Credentials, Sender};
use terrane_types::VolumeId;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cache::{Cached, Store};
use crate::layout::{Layout, LayoutError};
use crate::link::{self, Opening};
use crate::metrics::{NodeMetrics, observe};
use crate::outbox::Outbox;
use crate::slots::{Answer, Slots};
use crate::stripe::{Link, Runs, Stripe, Verdict};
use crate::turns::Turns;

/// Blocks of content in a volume's requests and answers that are under way: 32 MiB.
const CONTENT_BLOCKS_MAX: usize = 8192;

/// What all volumes of a node manager share.
#[derive(Debug)]
pub(crate) struct Site {
    /// The thread that everything runs on.
    pub(crate) runtime: Handle,
    /// When this process began.
    pub(crate) started: Instant,
    pub(crate) credentials: Credentials,
    pub(crate) busy: BusyPoll,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: NodeMetrics,
    /// Blocks of all volumes that are kept in memory, if any are.
    pub(crate) cache: Option<Arc<Mutex<Store>>>,
}

/// A volume as long as one attachment lasts.
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) epoch: AttachmentEpoch,
    layout: Layout,
    size: AtomicU64,
    read_only: bool,
    site: Arc<Site>,
    me: Weak<Self>,
    state: Mutex<State>,
    /// Blocks of content that may still be taken on.
    room: Semaphore,
    /// The attachment is over.
    gone: CancellationToken,
    /// A client has come or gone.
    clients_changed: Notify,
    /// A primary has answered whether a session is valid.
    confirmed: Notify,
}

#[derive(Debug)]
struct State {
    stripes: Vec<Stripe>,
    slots: Slots,
    turns: Turns,
    /// What is kept in memory; nothing if that is not wanted.
    cached: Option<Cached>,
    /// NBD connections.
    clients: usize,
    ended: bool,
}

impl Volume {
    /// A volume as ordered. Nothing happens before [`Volume::begin`].
    pub(crate) fn new(order: &AttachmentOrder, site: Arc<Site>) -> Result<Arc<Self>, LayoutError> {
        let layout = Layout::of(order)?;
        // An attachment that this process begins a second time goes on behind the numbers of the first: there are fewer
        // sessions than milliseconds.
        let last = SessionId(site.started.elapsed().as_millis() as u64);
        let stripes = order.stripes.iter().map(|id| Stripe::new(*id, order, last)).collect();
        let cached = site.cache.clone().map(|store| Cached::new(store, order.stripes.len()));
        site.metrics.volumes.inc();
        Ok(Arc::new_cyclic(|me| Self {
            id: order.volume.clone(),
            epoch: order.epoch,
            layout,
            size: AtomicU64::new(order.size),
            read_only: order.read_only,
            site,
            me: me.clone(),
            state: Mutex::new(State {
                stripes,
                slots: Slots::default(),
                turns: Turns::default(),
                cached,
                clients: 0,
                ended: false,
            }),
            room: Semaphore::new(CONTENT_BLOCKS_MAX),
            gone: CancellationToken::new(),
            clients_changed: Notify::new(),
            confirmed: Notify::new(),
        }))
    }

    /// Asks for the stripes' records; sessions open as they come.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        for index in 0..state.stripes.len() {
            self.step(&mut state, index, ClientEvent::Reconnect);
        }
    }

    /// Asks for all records again: the manager was away.
    pub(crate) fn refresh(&self) {
        for stripe in &self.state.lock().stripes {
            self.site.outbox.fetch(stripe.id);
        }
    }

    /// Whether this is one of its stripes.
    pub(crate) fn has_stripe(&self, id: StripeId) -> bool {
        self.state.lock().stripes.iter().any(|stripe| stripe.id == id)
    }

    /// Takes over the volume's present size; new connections see it.
    pub(crate) fn resize(&self, size: u64) {
        if self.size.swap(size, Ordering::AcqRel) != size
            && let Some(cached) = &mut self.state.lock().cached
        {
            cached.end_life();
        }
    }

    /// A stripe's record, and where its copies are.
    pub(crate) fn view(&self, view: StripeView) {
        let mut state = self.state.lock();
        let Some(index) = state.stripes.iter().position(|stripe| stripe.id == view.stripe) else { return };
        let stripe = &mut state.stripes[index];
        let known = stripe.view.as_ref().map(|known| known.record.generation);
        if known.is_some_and(|known| known > view.record.generation) {
            return;
        }
        let record = Box::new(view.record.clone());
        let newer = known.is_none_or(|known| known < view.record.generation);
        let moved = stripe.view.as_ref().is_some_and(|known| known.places != view.places);
        stripe.view = Some(view);
        if moved && !stripe.client.open && stripe.reconnect_at.is_some() {
            stripe.reconnect_at = Some(Instant::now());
        }
        if let Some(cached) = state.cached.as_mut().filter(|_| newer) {
            cached.end_life();
        }
        self.step(&mut state, index, ClientEvent::Record(record));
    }

    /// The attachment is over: connections to primaries are cut, nothing more is sent or answered.
    pub(crate) fn end(&self) {
        self.end_locked(&mut self.state.lock());
    }

    fn end_locked(&self, state: &mut State) {
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        for stripe in &mut state.stripes {
            stripe.link = None;
            stripe.forget_questions();
        }
        state.slots.end_all();
        state.cached = None;
        self.room.close();
        self.gone.cancel();
        self.site.metrics.volumes.dec();
        tracing::info!(volume = %self.id, epoch = ?self.epoch, "an attachment has ended");
    }

    /// Whether the attachment is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Returns when no client is there (or the attachment is over).
    pub(crate) async fn unused(&self) {
        loop {
            let changed = self.clients_changed.notified();
            if self.state.lock().clients == 0 || self.has_ended() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = self.gone.cancelled() => return,
            }
        }
    }

    /// Time passes; see [`Stripe::tick`].
    pub(crate) fn tick(&self, now: Instant, own: Duration) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        for index in 0..state.stripes.len() {
            match state.stripes[index].tick(now, own) {
                Verdict::Wait => {}
                Verdict::Reconnect => self.step(&mut state, index, ClientEvent::Reconnect),
                Verdict::Suspect(message) => {
                    let stripe = state.stripes[index].id;
                    self.site.metrics.suspects.inc();
                    self.site.outbox.suspect(stripe, message);
                    self.site.outbox.fetch(stripe);
                }
            }
        }
    }

    /// A session's connection is there; says whether it is still wanted.
    pub(crate) fn connected(&self, stripe: usize, session: SessionId, sender: Sender<DataMessage>) -> bool {
        let mut state = self.state.lock();
        match current(&mut state, stripe, session) {
            Some(stripe) => {
                if let Some(link) = &mut stripe.link {
                    link.sender = Some(sender);
                }
                true
            }
            None => false,
        }
    }

    /// Messages of a session's connection; says whether it is still wanted.
    pub(crate) fn receive(&self, index: usize, session: SessionId, batch: &mut Vec<DataMessage>) -> bool {
        self.site.busy.heard();
        let mut state = self.state.lock();
        for message in batch.drain(..) {
            let Some(stripe) = current(&mut state, index, session) else { return false };
            if let Some(event) = stripe.event(message) {
                self.step(&mut state, index, event);
            }
        }
        current(&mut state, index, session).is_some()
    }

    /// A session's connection cannot be made or broke.
    pub(crate) fn broke(&self, index: usize, session: SessionId, error: &WireError) {
        let mut state = self.state.lock();
        let Some(stripe) = current(&mut state, index, session) else { return };
        stripe.link = None;
        stripe.forget_questions();
        let now = Instant::now();
        if let Some(message) = stripe.failure(error.to_string(), now) {
            tracing::info!(volume = %self.id, stripe = index, %error, "the connection to a primary failed");
            self.site.metrics.suspects.inc();
            self.site.outbox.suspect(stripe.id, message);
            self.site.outbox.fetch(stripe.id);
        }
        let pause = stripe.pauses.next();
        if pause.is_zero() {
            self.step(&mut state, index, ClientEvent::Reconnect);
        } else {
            stripe.reconnect_at = Some(now + pause);
        }
    }

    /// One event of a stripe's core, and what it wants done.
    fn step(&self, state: &mut State, index: usize, event: ClientEvent<Bytes>) {
        let before = state.stripes[index].session();
        let effects = state.stripes[index].client.step(event);
        if state.stripes[index].session() != before
            && let Some(cached) = &mut state.cached
        {
            cached.end_life();
        }
        for effect in effects {
            let stripe = &mut state.stripes[index];
            match effect {
                ClientEffect::Send(to, ToPrimary::Hello { epoch, session, generation }) => {
                    let hello = ToPrimary::Hello { epoch, session, generation };
                    self.open(stripe, index, to, session, hello);
                }
                ClientEffect::Send(to, message) => {
                    if let ToPrimary::Request { seq, .. } = &message
                        && let Some((tag, _)) = stripe.client.outstanding.get(seq)
                    {
                        self.note_sent(&mut state.slots, *tag);
                    }
                    state.stripes[index].send(to, message);
                }
                ClientEffect::Complete { tag, outcome } => {
                    let times = state.slots.complete(tag, Some(outcome));
                    if let Some(sent) = times.and_then(|times| times.sent) {
                        observe(&self.site.metrics.primary, sent.elapsed());
                    }
                }
                ClientEffect::Fetch => self.fetch(stripe),
                ClientEffect::Detached => self.end_locked(state),
            }
        }
    }

    fn note_sent(&self, slots: &mut Slots, tag: u64) {
        let now = Instant::now();
        match slots.sent(tag, now) {
            Some(times) if times.sent.is_some() => {
                self.site.metrics.resends.inc();
            }
            Some(times) => observe(&self.site.metrics.waiting, now - times.began),
            None => {}
        }
    }

    /// Opens the connection of a new session; that of the last one is cut.
    fn open(
        &self,
        stripe: &mut Stripe,
        index: usize,
        to: CopyId,
        session: SessionId,
        hello: ToPrimary<Bytes>,
    ) {
        stripe.link = None;
        stripe.forget_questions();
        stripe.reconnect_at = None;
        if std::mem::replace(&mut stripe.begun, true) {
            self.site.metrics.reconnects.inc();
        }
        let place = stripe.view.as_ref().and_then(|view| view.places.get(&to));
        let (Some(place), Some(me)) = (place.filter(|place| !place.address.is_empty()), self.me.upgrade())
        else {
            // Nobody knows where it is: the next record may.
            stripe.reconnect_at = Some(Instant::now() + stripe.pauses.next());
            self.site.outbox.fetch(stripe.id);
            return;
        };
        let hello = DataMessage::ToPrimary { stripe: stripe.id, to, message: hello };
        let client = stripe.client.id;
        let opening = Opening { stripe: index, session, client, place: place.clone(), hello };
        let task = link::run(me, self.site.credentials.clone(), opening);
        let task = self.site.runtime.spawn(task).abort_handle();
        stripe.link = Some(Link { session, to, sender: None, task });
    }

    /// Asks for the record, with pauses if that has not helped before.
    fn fetch(&self, stripe: &mut Stripe) {
        let (pause, id) = (stripe.pauses.next(), stripe.id);
        if pause.is_zero() {
            return self.site.outbox.fetch(id);
        }
        let site = self.site.clone();
        self.site.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            site.outbox.fetch(id);
        });
    }

    /// Hands a request to a stripe.
    fn submit(&self, state: &mut State, stripe: usize, op: Op<Bytes>, now: Instant) -> Pending<'_> {
        self.site.busy.heard();
        let tag = state.slots.take(now);
        if state.ended {
            state.slots.complete(tag, None);
        } else {
            self.step(state, stripe, ClientEvent::Submit { tag, op });
        }
        Pending { volume: self, tag, taken: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Asks a primary which blocks hold data.
    fn ask(&self, stripe: usize, start: u64, len: u64) -> Option<oneshot::Receiver<Runs>> {
        self.state.lock().stripes.get_mut(stripe)?.ask(start, len)
    }
}

/// The stripe, if this is its session.
fn current(state: &mut State, stripe: usize, session: SessionId) -> Option<&mut Stripe> {
    let stripe = state.stripes.get_mut(stripe)?;
    let is_current = stripe.link.as_ref().is_some_and(|link| link.session == session);
    is_current.then_some(stripe)
}

/// A request that was handed to a stripe.
struct Pending<'a> {
    volume: &'a Volume,
    tag: u64,
    taken: bool,
}

impl Future for Pending<'_> {
    type Output = Answer;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Answer> {
        let answer = self.volume.state.lock().slots.poll(self.tag, cx);
        self.taken |= answer.is_ready();
        answer
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.volume.state.lock().slots.abandon(self.tag);
        }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
