//! The manager: which one is listened to, what it is told, and what it wants.

use super::clock::LEASE_MAX;
use super::config::BlockServerConfig;
use super::drives::HostedPool;
use super::reactor::{Handle, Reactor};
use std::net::SocketAddr;
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_wire::WireError;
use terrane_block_wire::control::{Command, FromManager, StripeView, ToManager};
use terrane_block_wire::data::Dialer;
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Connection, Reader, Sender, dial};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

/// Between attempts to reach a manager, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// For the first answer of a manager.
const WELCOME_MAX: Duration = Duration::from_secs(3);
/// Pools are told of so often.
const POOLS_EVERY: Duration = Duration::from_secs(1);

/// Speaks with whichever manager answers, for ever.
pub(super) async fn run(handle: Handle, config: BlockServerConfig, address: SocketAddr) {
    let process: u128 = rand::random();
    let (mut pause, mut epoch) = (PAUSE.0, 0);
    for manager in config.managers.iter().cycle() {
        let dialer = Dialer::Server(handle.enter(|reactor| reactor.me));
        match dial(manager, &config.credentials, Protocol::Control, dialer, None).await {
            Ok(connection) => {
                let spoken = speak(&handle, &config, address, process, connection, &mut epoch).await;
                if let Err(error) = spoken {
                    tracing::warn!(%manager, %error, "no manager any more");
                }
                if handle.enter(|reactor| reactor.manager.take().is_some()) {
                    pause = PAUSE.0;
                }
            }
            Err(error) => tracing::debug!(%manager, %error, "cannot reach a manager"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// What a welcome says.
#[derive(Clone, Copy)]
struct Terms {
    heartbeat: Duration,
    silence: Duration,
}

async fn speak(
    handle: &Handle,
    config: &BlockServerConfig,
    address: SocketAddr,
    process: u128,
    connection: Connection,
    epoch: &mut u64,
) -> Result<(), WireError> {
    let (mut reader, sender, writer) = connection.split::<FromManager, ToManager>();
    spawn_local(writer.run());
    let hello = handle.enter(|reactor| {
        reactor.unreported.clear();
        ToManager::ServerHello {
            server: reactor.me,
            zone: config.zone.clone(),
            name: config.name.clone(),
            address: config.advertise.clone().unwrap_or_else(|| address.to_string()),
            process,
            pools: reactor.pools.iter().map(HostedPool::report).collect(),
            copies: reactor.copies.iter().flatten().map(super::hosted::Hosted::report).collect(),
        }
    });
    if let Err(error) = sender.send(&hello) {
        tracing::warn!(%error, "cannot greet a manager");
        return Err(WireError::Closed);
    }
    let mut batch = Vec::new();
    let welcome = timeout_at(Instant::now() + WELCOME_MAX, reader.read(&mut batch)).await;
    welcome.unwrap_or(Err(WireError::Slow))?;
    let broken = |found: String| WireError::Broken { what: "welcome", found };
    let terms = match batch.remove(0) {
        FromManager::Welcome { epoch: theirs, heartbeat_ms, silence_ms, lease_ms } => {
            if theirs < *epoch {
                return Err(broken(format!("manager {theirs}; {epoch} was there already")));
            }
            *epoch = theirs;
            handle.enter(|reactor| {
                reactor.manager = Some(sender.clone());
                reactor.lease = Duration::from_millis(lease_ms).min(LEASE_MAX);
                for slot in reactor.slots() {
                    reactor.fetch(slot);
                    reactor.push(slot, Event::Resend);
                }
            });
            Terms {
                heartbeat: Duration::from_millis(heartbeat_ms.max(10)),
                silence: Duration::from_millis(silence_ms.max(50)),
            }
        }
        other => return Err(broken(format!("{other:?}"))),
    };
    let result = converse(handle, &mut reader, &sender, batch, terms).await;
    sender.abort();
    result
}

async fn converse(
    handle: &Handle,
    reader: &mut Reader<FromManager>,
    sender: &Sender<ToManager>,
    mut batch: Vec<FromManager>,
    terms: Terms,
) -> Result<(), WireError> {
    let mut beat = interval(terms.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seq, mut heard, mut looked) = (0, Instant::now(), Instant::now());
    loop {
        for message in batch.drain(..) {
            handle.enter(|reactor| reactor.manager_says(message))?;
        }
        tokio::select! {
            read = reader.read(&mut batch) => {
                read?;
                heard = Instant::now();
            }
            _ = beat.tick() => {
                let pools = if looked.elapsed() >= POOLS_EVERY {
                    looked = Instant::now();
                    handle.enter(|reactor| reactor.pools.iter().map(HostedPool::report).collect())
                } else {
                    Vec::new()
                };
                seq += 1;
                if sender.send(&ToManager::Heartbeat { seq, pools }).is_err() {
                    return Err(WireError::Closed);
                }
            }
            () = tokio::time::sleep_until(heard + terms.silence) => return Err(WireError::Slow),
        }
    }
}

impl Reactor {
    /// Tells how the pools are without waiting for the next time. Heartbeats are not numbered by these.
    pub(super) fn tell_pools(&mut self) {
        let pools = self.pools.iter().map(HostedPool::report).collect();
        self.tell_manager(&ToManager::Heartbeat { seq: 0, pools });
    }

    fn manager_says(&mut self, message: FromManager) -> Result<(), WireError> {
        match message {
            FromManager::Stripe(view) => self.view(&view),
            FromManager::LeaseGranted { stripe, copy, round } => {
                if let Some(slot) = self.index.get(&(stripe, copy)).copied() {
                    self.push(slot, Event::ManagerLease(round));
                }
            }
            FromManager::Command { id, command } => self.command(id, command),
            FromManager::Rejected(reason) => {
                return Err(WireError::Broken { what: "standing with the manager", found: reason });
            }
            FromManager::NoStripe { stripe } => tracing::debug!(?stripe, "nobody knows a stripe any more"),
            FromManager::HeartbeatAck { .. } | FromManager::Welcome { .. } | FromManager::Attachments(_) => {}
        }
        Ok(())
    }

    fn view(&mut self, view: &StripeView) {
        let (now, copies): (_, Vec<_>) = (self.now, view.places.keys().copied().collect());
        for copy in copies {
            let Some(slot) = self.index.get(&(view.stripe, copy)).copied() else { continue };
            let Some(hosted) = self.copy(slot) else { continue };
            hosted.places.clone_from(&view.places);
            hosted.watched.fetched = None;
            self.performance(slot, view.performance);
            if view.record.now.primary == copy {
                self.hurry(slot, 0);
            }
            let Some(hosted) = self.copy(slot) else { continue };
            match hosted.fit(view.blocks, view.record.clone(), now) {
                Some(record) => self.push(slot, Event::Record(record)),
                None => {
                    self.uncommitted.insert(slot);
                }
            }
        }
    }

    fn command(&mut self, id: u64, command: Command) {
        let done = move |reactor: &mut Self, result| reactor.tell_manager(&ToManager::Done { id, result });
        match command {
            Command::CreateCopy { stripe, copy, pool, identity } => {
                self.create(stripe, copy, pool, identity, done);
            }
            Command::DeleteCopy { stripe, copy } => self.delete(stripe, copy, done),
            Command::Scrub { stripe, copy } => self.scrub(stripe, copy, done),
            Command::HandOver { stripe, copy, generation, to } => {
                self.order_hand_over(id, (stripe, copy), generation, to);
            }
        }
    }
}
