//! The connection to the manager: orders and records from it, progress and suspicions to it.

use std::sync::Arc;
use std::time::Duration;

use terrane_block_wire::WireError;
use terrane_block_wire::control::{FromManager, ToManager};
use terrane_block_wire::data::Dialer;
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{self, Connection, Reader, SendError, Sender};
use terrane_types::InstanceId;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::NodeConfig;
use crate::attachments::Attachments;
use crate::volume::Site;

/// Pauses between attempts to find a manager.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause after a manager did not want this process.
const PAUSE_REJECTED: Duration = Duration::from_secs(1);
/// A manager answers a hello within this time.
const WELCOME_MAX: Duration = Duration::from_secs(3);
/// Bounds of what a manager may ask for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
const SILENCE_MIN: Duration = Duration::from_millis(100);

/// What is said to managers about this process, and by whom.
pub(crate) struct Control {
    pub(crate) config: NodeConfig,
    pub(crate) instance: InstanceId,
    /// Drawn at each start.
    pub(crate) process: u128,
    pub(crate) site: Arc<Site>,
    pub(crate) attachments: Arc<Attachments>,
    /// The highest epoch of a manager so far: older managers are not listened to.
    pub(crate) manager_epoch: u64,
}

/// Why a manager is left.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the manager is silent")]
    Silent,
    #[error("the manager said something else than welcome")]
    NotWelcome,
    #[error("a manager of the past: {found} after {known}")]
    Past { found: u64, known: u64 },
    #[error("the manager does not want this process: {0}")]
    Rejected(String),
}

/// A manager's terms.
struct Terms {
    heartbeat: Duration,
    silence: Duration,
}

type Incoming = Reader<FromManager>;
type Outgoing = Sender<ToManager>;

impl Control {
    /// Speaks to one manager after the other, for ever.
    pub(crate) async fn run(mut self) {
        let addresses = self.config.managers.clone();
        let mut pause = PAUSE_MIN;
        for address in addresses.iter().cycle() {
            let left = self.speak_to(address, &mut pause).await;
            self.site.metrics.manager_connected.set(0);
            tracing::info!(%address, reason = %left, "not connected to the manager");
            if matches!(left, Left::Rejected(_)) {
                // Another process speaks for this machine: what it serves must not be served twice.
                self.attachments.cut_all();
                pause = PAUSE_REJECTED;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Everything that one manager says, until it does not.
    async fn speak_to(&mut self, address: &str, pause: &mut Duration) -> Left {
        let dialed =
            transport::dial(address, &self.config.credentials, Protocol::Control, Dialer::Node, None);
        let connection: Connection = match dialed.await {
            Ok(connection) => connection,
            Err(error) => return error.into(),
        };
        let (reader, sender, writer) = connection.split::<FromManager, ToManager>();
        let talk = async {
            let (reader, terms) = self.introduce(reader, &sender).await?;
            *pause = PAUSE_MIN;
            self.site.metrics.manager_connected.set(1);
            tracing::info!(%address, epoch = self.manager_epoch, "connected to the manager");
            self.attachments.announce();
            self.talk(reader, &sender, terms).await
        };
        tokio::select! {
            left = talk => left.err().unwrap_or(Left::Silent),
            written = writer.run() => written.err().unwrap_or(WireError::Closed).into(),
        }
    }

    /// Hello and welcome.
    async fn introduce(
        &mut self,
        mut reader: Incoming,
        sender: &Outgoing,
    ) -> Result<(Incoming, Terms), Left> {
        sender.send(&ToManager::NodeHello {
            instance: self.instance.clone(),
            zone: self.config.zone.clone(),
            host_name: self.config.host_name.clone(),
            process: self.process,
            serving: self.attachments.serving(),
        })?;
        let mut batch = Vec::new();
        timeout(WELCOME_MAX, reader.read(&mut batch)).await.map_err(|_| Left::Silent)??;
        let mut messages = batch.into_iter();
        let terms = match messages.next() {
            Some(FromManager::Welcome { epoch, .. }) if epoch < self.manager_epoch => {
                return Err(Left::Past { found: epoch, known: self.manager_epoch });
            }
            Some(FromManager::Welcome { epoch, heartbeat_ms, silence_ms, .. }) => {
                self.manager_epoch = epoch;
                Terms {
                    heartbeat: Duration::from_millis(heartbeat_ms).max(HEARTBEAT_MIN),
                    silence: Duration::from_millis(silence_ms).max(SILENCE_MIN),
                }
            }
            Some(FromManager::Rejected(reason)) => return Err(Left::Rejected(reason)),
            _ => return Err(Left::NotWelcome),
        };
        for message in messages {
            self.hear(message)?;
        }
        Ok((reader, terms))
    }

    async fn talk(&self, mut reader: Incoming, sender: &Outgoing, terms: Terms) -> Result<(), Left> {
        let mut heartbeats = interval(terms.heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seq = 0;
        let mut heard = Instant::now();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                read = reader.read(&mut batch) => {
                    heard = Instant::now();
                    for message in batch.drain(..) {
                        self.hear(message)?;
                    }
                    read?;
                }
                messages = self.site.outbox.take() => {
                    for message in messages {
                        sender.send(&message)?;
                    }
                }
                _ = heartbeats.tick() => {
                    if heard.elapsed() > terms.silence {
                        return Err(Left::Silent);
                    }
                    seq += 1;
                    sender.send(&ToManager::Heartbeat { seq, pools: Vec::new() })?;
                }
            }
        }
    }

    fn hear(&self, message: FromManager) -> Result<(), Left> {
        match message {
            FromManager::Attachments(orders) => self.attachments.order(orders),
            FromManager::Stripe(view) => self.attachments.view(*view),
            FromManager::Rejected(reason) => return Err(Left::Rejected(reason)),
            FromManager::HeartbeatAck { .. } | FromManager::NoStripe { .. } => {}
            FromManager::Welcome { .. } => return Err(Left::NotWelcome),
            FromManager::LeaseGranted { .. } | FromManager::Command { .. } => {
                tracing::warn!("the manager takes this node manager for a block server");
            }
        }
        Ok(())
    }
}
