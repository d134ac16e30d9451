//! A user of the stripe: the core's client over connections of its own.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::client::{Client, ClientEffect, ClientEvent};
use terrane_block_core::message::{Op, Outcome, ToPrimary};
use terrane_block_core::{AttachmentEpoch, ClientId, CopyId};
use terrane_block_wire::control::StripeView;
use terrane_block_wire::data::{DataMessage, Dialer};
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Credentials, Sender, dial};
use tokio::sync::{mpsc, oneshot, watch};

static CLIENTS: AtomicU64 = AtomicU64::new(1);

enum Input {
    Ask(Op<Bytes>, oneshot::Sender<Outcome<Bytes>>),
    Status(u64, u64, oneshot::Sender<Vec<(u64, bool)>>),
    /// From this connection; none: it is over.
    Message(u64, Option<DataMessage>),
}

pub(super) struct User(mpsc::UnboundedSender<Input>);

impl User {
    pub(super) fn start(views: watch::Receiver<Option<StripeView>>, credentials: Credentials) -> Self {
        let (sender, inputs) = mpsc::unbounded_channel();
        let epoch = views.borrow().as_ref().unwrap().record.epoch;
        tokio::spawn(run(views, credentials, epoch, sender.downgrade(), inputs));
        Self(sender)
    }

    pub(super) fn begin(&self, op: Op<Bytes>) -> oneshot::Receiver<Outcome<Bytes>> {
        let (done, outcome) = oneshot::channel();
        assert!(self.0.send(Input::Ask(op, done)).is_ok());
        outcome
    }

    pub(super) async fn ask(&self, op: Op<Bytes>) -> Outcome<Bytes> {
        let asked = tokio::time::timeout(Duration::from_secs(20), self.begin(op)).await;
        asked.expect("a request is not answered").unwrap()
    }

    pub(super) async fn status(&self, start: u64, len: u64) -> Vec<(u64, bool)> {
        let (done, runs) = oneshot::channel();
        assert!(self.0.send(Input::Status(start, len, done)).is_ok());
        runs.await.unwrap()
    }
}

struct Session {
    core: Client<Bytes>,
    views: watch::Receiver<Option<StripeView>>,
    credentials: Credentials,
    inputs: mpsc::WeakUnboundedSender<Input>,
    connection: Option<(CopyId, Sender<DataMessage>)>,
    /// The number of the last connection, there or not.
    connections: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome<Bytes>>>,
    statuses: HashMap<u64, oneshot::Sender<Vec<(u64, bool)>>>,
    tags: u64,
}

async fn run(
    mut views: watch::Receiver<Option<StripeView>>,
    credentials: Credentials,
    epoch: AttachmentEpoch,
    sender: mpsc::WeakUnboundedSender<Input>,
    mut inputs: mpsc::UnboundedReceiver<Input>,
) {
    let id = ClientId(CLIENTS.fetch_add(1, Ordering::Relaxed));
    let mut session = Session {
        core: Client::new(id, epoch, 128, Bugs::NONE),
        views: views.clone(),
        credentials,
        inputs: sender,
        connection: None,
        connections: 0,
        waiting: HashMap::new(),
        statuses: HashMap::new(),
        tags: 0,
    };
    session.record().await;
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => session.take(input).await,
                None => return,
            },
            changed = views.changed() => match changed {
                Ok(()) => session.record().await,
                Err(_) => return,
            },
        }
    }
}

impl Session {
    async fn record(&mut self) {
        let record = self.views.borrow().as_ref().map(|view| view.record.clone());
        if let Some(record) = record {
            self.step(ClientEvent::Record(Box::new(record))).await;
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Ask(op, done) => {
                self.tags += 1;
                self.waiting.insert(self.tags, done);
                self.step(ClientEvent::Submit { tag: self.tags, op }).await;
                if self.core.detached {
                    self.waiting.clear();
                }
            }
            Input::Status(start, len, done) => {
                let Some((to, sender)) = &self.connection else { return };
                self.tags += 1;
                let (stripe, id) = (super::manager::STRIPE, self.tags);
                self.statuses.insert(id, done);
                sender.send(&DataMessage::StatusQuery { stripe, to: *to, id, start, len }).unwrap();
            }
            Input::Message(number, message) => {
                if self.connections != number {
                    return;
                }
                match message {
                    Some(DataMessage::ToClient { from, message, .. }) => {
                        self.step(ClientEvent::Message(from, message)).await;
                    }
                    Some(DataMessage::Status { id, runs, .. }) => {
                        self.statuses.remove(&id).unwrap().send(runs).unwrap();
                    }
                    Some(other) => panic!("no server says {other:?}"),
                    None => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        self.step(ClientEvent::Reconnect).await;
                    }
                }
            }
        }
    }

    async fn step(&mut self, event: ClientEvent<Bytes>) {
        for effect in self.core.step(event) {
            match effect {
                ClientEffect::Send(copy, message) => self.send(copy, message).await,
                ClientEffect::Complete { tag, outcome } => {
                    // Whoever asked may have gone.
                    let _ = self.waiting.remove(&tag).unwrap().send(outcome);
                }
                ClientEffect::Fetch => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Box::pin(self.record()).await;
                }
                ClientEffect::Detached => self.waiting.clear(),
            }
        }
    }

    async fn send(&mut self, to: CopyId, message: ToPrimary<Bytes>) {
        if matches!(message, ToPrimary::Hello { .. }) {
            self.connect(to).await;
        }
        let stripe = super::manager::STRIPE;
        if let Some((_, sender)) = &self.connection {
            let _ = sender.send(&DataMessage::ToPrimary { stripe, to, message });
        }
    }

    async fn connect(&mut self, to: CopyId) {
        self.connection = None;
        self.connections += 1;
        let number = self.connections;
        let place = self.views.borrow().as_ref().and_then(|view| view.places.get(&to).cloned()).unwrap();
        let inputs = self.inputs.clone();
        let over = move |message| {
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.send(Input::Message(number, message));
            }
        };
        let (dialer, expected) = (Dialer::Client(self.core.id), Some(place.server.0));
        match dial(&place.address, &self.credentials, Protocol::Data, dialer, expected).await {
            Ok(connection) => {
                let (mut reader, sender, writer) = connection.split::<DataMessage, DataMessage>();
                tokio::spawn(writer.run());
                self.connection = Some((to, sender));
                tokio::spawn(async move {
                    let mut batch = Vec::new();
                    while reader.read(&mut batch).await.is_ok() {
                        batch.drain(..).for_each(|message| over(Some(message)));
                    }
                    over(None);
                });
            }
            Err(_) => over(None),
        }
    }
}
