//! Where all events go through, in order, on one thread.

use super::clock::{Boot, Deadlines, Due, LEASE_MAX};
use super::config::{BlockServerConfig, Pace};
use super::devices::{self, HostedDevice};
use super::drive_use::ServerUses;
use super::drives::HostedPool;
use super::effects::Deferred;
use super::hosted::Hosted;
use super::meta::{Failures, boot_id};
use super::metrics::ServerMetrics;
use super::peers::Peers;
use super::{ServerError, connections, control, identity, lives, scrub, watch};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use terrane_block_core::CopyId;
use terrane_block_core::copy::{Event, step};
use terrane_block_wire::control::{PoolName, ServerId, StripeId, ToManager};
use terrane_block_wire::data::DataMessage;
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{BusyPoll, Credentials, Listener, Sender};
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local};

/// Everything that the server knows.
pub(super) struct Reactor {
    pub(super) me: ServerId,
    pub(super) boot: Arc<str>,
    pub(super) failures: Failures,
    pub(super) credentials: Credentials,
    pub(super) pace: Pace,
    pub(super) busy: BusyPoll,
    pub(super) metrics: ServerMetrics,
    pub(super) pools: Vec<HostedPool>,
    /// The devices that the pools lie on.
    pub(super) devices: Vec<HostedDevice>,
    pub(super) drive_use: ServerUses,
    /// Copies, and room where there were some.
    pub(super) copies: Vec<Option<Hosted>>,
    pub(super) index: HashMap<(StripeId, CopyId), usize>,
    pub(super) peers: Peers,
    /// Connections of clients.
    pub(super) clients: HashMap<u64, Sender<DataMessage>>,
    pub(super) next_connection: u64,
    pub(super) manager: Option<Sender<ToManager>>,
    /// How long leases are.
    pub(super) lease: Duration,
    pub(super) now: Boot,
    pub(super) deadlines: Deadlines,
    /// The timer sleeps until then.
    armed: Option<Boot>,
    timer: Rc<Notify>,
    /// Events that have come and are not handled: for which copy, in which life.
    work: VecDeque<(usize, u64, Event<Bytes>)>,
    /// Small writes, in order.
    pub(super) deferred: VecDeque<Deferred>,
    /// Writes were sent to mirrors since the last ones of this server were done.
    pub(super) sent_writes: bool,
    /// Copies with updates that nobody has begun to make durable.
    pub(super) uncommitted: BTreeSet<usize>,
    /// Copies of which the manager shall hear.
    pub(super) unreported: BTreeSet<usize>,
    handle: Weak<RefCell<Reactor>>,
}

/// Who may enter.
#[derive(Clone)]
pub(super) struct Handle(Rc<RefCell<Reactor>>);

/// Opens everything and starts all tasks.
pub(super) async fn start(config: BlockServerConfig) -> Result<(ServerId, SocketAddr), ServerError> {
    let me = identity::load_or_create(&config.dir)?;
    let listener = Listener::bind(config.listen, config.credentials.clone(), Protocol::Data, me.0).await;
    let listener = listener.map_err(|source| ServerError::Listen { address: config.listen, source })?;
    let address = listener.address();
    let boot: Arc<str> = boot_id().map_err(ServerError::io("read the machine's boot identifier"))?.into();
    let failures = Failures::open(&config.dir).map_err(ServerError::io("make a directory"))?;
    let opening = (config.clone(), boot.clone(), failures.clone());
    let opened = spawn_blocking(move || lives::open_pools(&opening.0, me, &opening.1, &opening.2)).await;
    let (mut pools, copies) =
        opened.map_err(|error| ServerError::io("open pools")(std::io::Error::other(error)))??;
    let timer = Rc::new(Notify::new());
    let pace = config.pace;
    let devices = devices::group(&mut pools, &pace);
    let handle = Handle(Rc::new_cyclic(|handle| {
        RefCell::new(Reactor {
            me,
            boot,
            failures,
            credentials: config.credentials.clone(),
            pace: config.pace,
            busy: BusyPoll::new(config.busy_poll),
            metrics: config.metrics.of(&config.name),
            pools,
            devices,
            drive_use: config.drive_uses.of(&config.name),
            copies: Vec::new(),
            index: HashMap::new(),
            peers: Peers::default(),
            clients: HashMap::new(),
            next_connection: 0,
            manager: None,
            lease: LEASE_MAX,
            now: Boot::now(),
            deadlines: Deadlines::default(),
            armed: None,
            timer: timer.clone(),
            work: VecDeque::new(),
            deferred: VecDeque::new(),
            sent_writes: false,
            uncommitted: BTreeSet::new(),
            unreported: BTreeSet::new(),
            handle: handle.clone(),
        })
    }));
    handle.enter(|reactor| {
        for (hosted, opened) in copies {
            let slot = reactor.host(hosted);
            reactor.opened(slot, opened);
        }
    });
    spawn_local(handle.enter(|reactor| reactor.busy.clone()).run());
    spawn_local(connections::accept(handle.clone(), listener));
    spawn_local(control::run(handle.clone(), config, address));
    spawn_local(run_timer(handle.clone(), timer));
    spawn_local(watch::run(handle.clone()));
    spawn_local(scrub::run(handle, pace.scrub));
    Ok((me, address))
}

async fn run_timer(handle: Handle, timer: Rc<Notify>) {
    loop {
        let wait = handle.enter(|reactor| {
            reactor.armed = reactor.next_due();
            reactor.armed.map(|at| at.since(reactor.now))
        });
        match wait {
            Some(wait) => tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = timer.notified() => {}
            },
            None => timer.notified().await,
        }
    }
}

impl Handle {
    /// Hands something in: what is due comes first, what follows from it is done before this returns.
    pub(super) fn enter<T>(&self, work: impl FnOnce(&mut Reactor) -> T) -> T {
        let mut reactor = self.0.borrow_mut();
        reactor.now = Boot::now();
        reactor.handle_due();
        reactor.run();
        let result = work(&mut reactor);
        reactor.run();
        reactor.settle_writes();
        reactor.finish();
        result
    }
}

impl Reactor {
    /// The way back in for what goes out; none while the server ends.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.handle.upgrade().map(Handle)
    }

    /// Does something that waits for a drive on another thread, then `done` here.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut Reactor, T) + 'static,
    ) {
        let handle = self.handle.clone();
        spawn_local(async move {
            match spawn_blocking(work).await {
                Ok(result) => {
                    if let Some(handle) = handle.upgrade().map(Handle) {
                        handle.enter(|reactor| done(reactor, result));
                    }
                }
                Err(error) => tracing::error!(%error, "work on a drive broke off"),
            }
        });
    }

    /// Takes a copy in.
    pub(super) fn host(&mut self, mut hosted: Hosted) -> usize {
        hosted.client = self.join_device(hosted.pool, hosted.admission.share());
        let key = (hosted.meta.stripe, hosted.meta.copy);
        let slot = self.copies.iter().position(Option::is_none).unwrap_or(self.copies.len());
        if slot == self.copies.len() {
            self.copies.push(None);
        }
        self.copies[slot] = Some(hosted);
        self.index.insert(key, slot);
        self.unreported.insert(slot);
        self.metrics.copies.set(self.index.len() as i64);
        slot
    }

    pub(super) fn copy(&mut self, slot: usize) -> Option<&mut Hosted> {
        self.copies.get_mut(slot)?.as_mut()
    }

    /// The copy in this slot, if it is in this life.
    pub(super) fn alive(&mut self, slot: usize, life: u64) -> Option<&mut Hosted> {
        self.copy(slot).filter(|hosted| hosted.life == life)
    }

    pub(super) fn slots(&self) -> Vec<usize> {
        (0..self.copies.len()).filter(|slot| self.copies[*slot].is_some()).collect()
    }

    pub(super) fn pool_of(&self, name: PoolName) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name() == name)
    }

    /// Queues an event for a copy, as it lives now.
    pub(super) fn push(&mut self, slot: usize, event: Event<Bytes>) {
        if let Some(life) = self.copy(slot).map(|hosted| hosted.life) {
            self.work.push_back((slot, life, event));
        }
    }

    fn handle_due(&mut self) {
        self.wake_devices();
        while let Some((at, slot, life, due)) = self.deadlines.pop(self.now) {
            let Some(hosted) = self.alive(slot, life) else { continue };
            let event = match due {
                Due::Lease(grantor, round) => Event::LeaseLapsed(grantor, round),
                Due::Grant(holder) if hosted.grants.get(&holder) == Some(&at) => Event::GrantLapsed(holder),
                Due::Grant(_) => continue,
                Due::Settled => Event::Settled,
                Due::Admit => {
                    self.admit(slot);
                    continue;
                }
                Due::Hurry(count) => {
                    self.look_whether_answered(slot, count);
                    continue;
                }
            };
            self.push(slot, event);
        }
    }

    /// When something is due next.
    fn next_due(&self) -> Option<Boot> {
        self.devices.iter().filter_map(|device| device.wake).chain(self.deadlines.next()).min()
    }

    /// Handles all events, and those that come of them.
    pub(super) fn run(&mut self) {
        while let Some((slot, life, event)) = self.work.pop_front() {
            let Some(running) = self.alive(slot, life).and_then(|hosted| hosted.running.as_mut()) else {
                continue;
            };
            for effect in step(&mut running.state, event) {
                self.perform(slot, life, effect);
            }
        }
    }

    /// What is done once for all that was handled.
    fn finish(&mut self) {
        for slot in std::mem::take(&mut self.uncommitted) {
            self.start_commit(slot);
        }
        if !self.unreported.is_empty() && self.manager.is_some() {
            let slots = std::mem::take(&mut self.unreported);
            let copies = slots.into_iter().filter_map(|slot| Some(self.copies[slot].as_ref()?.report()));
            let message = ToManager::Copies(copies.collect());
            self.tell_manager(&message);
        }
        let next = self.next_due();
        if next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed)) {
            self.timer.notify_one();
        }
    }

    /// Tells the manager, if there is one: whatever gets lost is told again in the next hello or asked for again.
    pub(super) fn tell_manager(&mut self, message: &ToManager) {
        if let Some(manager) = &self.manager
            && let Err(error) = manager.send(message)
        {
            tracing::debug!(%error, "cannot tell the manager");
        }
    }
}
