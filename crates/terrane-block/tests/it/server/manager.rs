//! A manager of one stripe: believes connections, decides with the core's rules, forgets everything when it ends.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::manager::{self, Alive, Request};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Generation};
use terrane_block_wire::control::{
    Command, CopyReport, FromManager, Performance, Place, PoolReport, ServerId, StripeId, StripeView,
    ToManager,
};
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Connection, Credentials, Listener, Sender};
use tokio::sync::{oneshot, watch};

pub(super) const STRIPE: StripeId = StripeId(77);

struct Server {
    connection: u64,
    sender: Sender<FromManager>,
    address: String,
    pools: Vec<PoolReport>,
    copies: BTreeMap<CopyId, CopyReport>,
}

#[derive(Default)]
struct Inner {
    servers: BTreeMap<ServerId, Server>,
    /// Where copies were seen last.
    places: BTreeMap<CopyId, Place>,
    record: Option<Record>,
    blocks: u64,
    performance: Option<Performance>,
    connections: u64,
    commands: BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
    /// Managers' leases are not given.
    silent: bool,
}

#[derive(Clone)]
pub(super) struct Manager {
    inner: Arc<Mutex<Inner>>,
    views: Arc<watch::Sender<Option<StripeView>>>,
    pub(super) address: String,
}

impl Manager {
    pub(super) async fn start(credentials: Credentials, blocks: u64) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut listener = Listener::bind(listen, credentials, Protocol::Control, 0).await.unwrap();
        let inner = Arc::new(Mutex::new(Inner { blocks, ..Inner::default() }));
        let views = Arc::new(watch::Sender::new(None));
        let manager = Self { inner, views, address: listener.address().to_string() };
        let accepting = manager.clone();
        tokio::spawn(async move {
            loop {
                tokio::spawn(accepting.clone().serve(listener.accept().await));
            }
        });
        manager
    }

    async fn serve(self, connection: Connection) {
        let (mut reader, sender, writer) = connection.split::<ToManager, FromManager>();
        tokio::spawn(writer.run());
        let number = {
            let mut inner = self.inner.lock();
            inner.connections += 1;
            inner.connections
        };
        let mut who = None;
        let mut batch = Vec::new();
        while reader.read(&mut batch).await.is_ok() {
            for message in batch.drain(..) {
                self.hear(&mut who, number, &sender, message);
            }
        }
        let Some(who) = who else { return };
        let gone = |server: &Server| server.connection == number;
        let mut inner = self.inner.lock();
        if inner.servers.get(&who).is_some_and(gone) {
            inner.servers.remove(&who);
        }
        drop(inner);
        self.repair();
    }

    fn hear(
        &self,
        who: &mut Option<ServerId>,
        connection: u64,
        sender: &Sender<FromManager>,
        message: ToManager,
    ) {
        match message {
            ToManager::ServerHello { server, address, pools, copies, .. } => {
                *who = Some(server);
                let sender = sender.clone();
                let (heartbeat_ms, silence_ms, lease_ms) = (50, 1000, 250);
                sender.send(&FromManager::Welcome { epoch: 1, heartbeat_ms, silence_ms, lease_ms }).unwrap();
                let new = Server { connection, sender, address, pools, copies: BTreeMap::new() };
                self.inner.lock().servers.insert(server, new);
                self.reported(server, copies);
            }
            ToManager::Copies(copies) => self.reported(who.unwrap(), copies),
            ToManager::Heartbeat { seq, .. } => {
                let _ = sender.send(&FromManager::HeartbeatAck { seq });
            }
            ToManager::Request { request, .. } => self.request(sender, &request),
            ToManager::Fetch { stripe } => {
                let view = self.inner.lock().view();
                let none = FromManager::NoStripe { stripe };
                let _ = sender.send(&view.map_or(none, |view| FromManager::Stripe(Box::new(view))));
            }
            ToManager::Done { id, result } => {
                if let Some(command) = self.inner.lock().commands.remove(&id) {
                    command.send(result).unwrap();
                }
            }
            ToManager::Suspect { .. } | ToManager::Resync { .. } => {}
            other => panic!("no server says {other:?}"),
        }
    }

    fn reported(&self, server: ServerId, copies: Vec<CopyReport>) {
        let mut inner = self.inner.lock();
        let Some(known) = inner.servers.get_mut(&server) else { return };
        let address = known.address.clone();
        for report in copies {
            let place = Place { server, address: address.clone() };
            let copy = report.copy;
            inner.servers.get_mut(&server).unwrap().copies.insert(copy, report);
            inner.places.insert(copy, place);
        }
        drop(inner);
        self.repair();
        self.broadcast();
    }

    fn request(&self, sender: &Sender<FromManager>, request: &Request) {
        let mut inner = self.inner.lock();
        let Some(record) = &inner.record else { return };
        if let Request::Lease { copy, generation, round } = *request {
            let alone = record.now.in_sync.len() == 1;
            if !inner.silent && record.generation == generation && record.now.primary == copy && alone {
                let _ = sender.send(&FromManager::LeaseGranted { stripe: STRIPE, copy, round });
            }
            return;
        }
        let Some(next) = manager::transact(record, request, Bugs::NONE) else { return };
        inner.record = Some(manager::finish_fence(&next, Bugs::NONE).unwrap_or(next));
        drop(inner);
        self.broadcast();
        self.repair();
    }

    /// Brings the record in line with who is there.
    fn repair(&self) {
        let mut inner = self.inner.lock();
        let alive = inner.alive();
        let Some(record) = &inner.record else { return };
        let Some(next) = manager::repair(record, &alive, Bugs::NONE) else { return };
        inner.record = Some(next);
        drop(inner);
        self.broadcast();
    }

    fn broadcast(&self) {
        let inner = self.inner.lock();
        let Some(view) = inner.view() else { return };
        for server in inner.servers.values() {
            let _ = server.sender.send(&FromManager::Stripe(Box::new(view.clone())));
        }
        self.views.send_replace(Some(view));
    }

    /// The stripe begins with these copies, which must all be there.
    pub(super) fn begin(&self, copies: &[CopyId]) {
        let mut inner = self.inner.lock();
        let alive = inner.alive();
        let lives = copies.iter().map(|copy| (*copy, alive[copy].incarnation)).collect();
        inner.record = Some(Record::create(&lives, copies[0], terrane_block_core::LayoutEpoch(1)));
        drop(inner);
        self.broadcast();
    }

    pub(super) fn force_detach(&self) {
        let mut inner = self.inner.lock();
        inner.record = inner.record.take().map(|record| manager::force_detach(&record, Bugs::NONE));
        drop(inner);
        self.broadcast();
    }

    /// Wants the stripe to have so many blocks.
    pub(super) fn resize(&self, blocks: u64) {
        self.inner.lock().blocks = blocks;
        self.broadcast();
    }

    /// Limits the stripe's clients.
    pub(super) fn limit(&self, performance: Option<Performance>) {
        self.inner.lock().performance = performance;
        self.broadcast();
    }

    /// Gives no leases of its own any more.
    pub(super) fn silence(&self) {
        self.inner.lock().silent = true;
    }

    pub(super) fn has(&self, server: ServerId) -> bool {
        self.inner.lock().servers.contains_key(&server)
    }

    pub(super) fn record(&self) -> Option<Record> {
        self.inner.lock().record.clone()
    }

    pub(super) fn views(&self) -> watch::Receiver<Option<StripeView>> {
        self.views.subscribe()
    }

    pub(super) fn report(&self, copy: CopyId) -> Option<CopyReport> {
        self.inner.lock().servers.values().find_map(|server| server.copies.get(&copy)).cloned()
    }

    pub(super) fn pool(&self, server: ServerId) -> PoolReport {
        self.inner.lock().servers[&server].pools[0].clone()
    }

    pub(super) async fn command(&self, server: ServerId, command: Command) -> Result<(), String> {
        let (done, result) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            let id = inner.commands.len() as u64 + inner.connections * 1000;
            inner.connections += 1;
            inner.commands.insert(id, done);
            inner.servers[&server].sender.send(&FromManager::Command { id, command }).unwrap();
        }
        result.await.unwrap()
    }
}

impl Inner {
    fn alive(&self) -> BTreeMap<CopyId, Alive> {
        let reports = self.servers.values().flat_map(|server| server.copies.values());
        let alive = |report: &CopyReport| {
            let kept = report.kept.clone();
            Some((report.copy, Alive { incarnation: report.incarnation?, kept }))
        };
        reports.filter_map(alive).collect()
    }

    fn view(&self) -> Option<StripeView> {
        let record = self.record.clone()?;
        Some(StripeView {
            stripe: STRIPE,
            record,
            places: self.places.clone(),
            blocks: self.blocks,
            performance: self.performance,
        })
    }
}

/// Whether all copies are in sync and the generation is active.
pub(super) fn is_whole(record: &Record, copies: usize) -> bool {
    record.active && record.now.in_sync.len() == copies && record.generation > Generation(0)
}
