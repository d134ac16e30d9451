//! The connections of a term.

use std::collections::BTreeMap;

use terrane_block_wire::control::{FromManager, ToManager};
use terrane_block_wire::transport::{Connection, Sender};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::leader::{Event, SessionId};

/// Connections at a time.
const SESSIONS_MAX: usize = 4096;

/// All connections, by the number that the decisions know them by.
#[derive(Debug)]
pub(super) struct Sessions {
    senders: BTreeMap<SessionId, Sender<FromManager>>,
    tasks: JoinSet<()>,
    events: mpsc::Sender<Event>,
    next: SessionId,
}

impl Sessions {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { senders: BTreeMap::new(), tasks: JoinSet::new(), events, next: 1 }
    }

    /// Takes a connection; everything that it says becomes an event.
    pub(super) fn open(&mut self, connection: Connection) -> Option<Event> {
        if self.senders.len() >= SESSIONS_MAX {
            tracing::warn!("too many connections");
            return None;
        }
        let id = self.next;
        self.next += 1;
        let (mut reader, sender, writer) = connection.split::<ToManager, FromManager>();
        self.senders.insert(id, sender.clone());
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let read = async {
                let mut messages = Vec::new();
                loop {
                    let result = reader.read(&mut messages).await;
                    for message in messages.drain(..) {
                        if events.send(Event::Message(id, message)).await.is_err() {
                            return;
                        }
                    }
                    if let Err(error) = result {
                        tracing::debug!(session = id, %error, "a connection ended");
                        return;
                    }
                }
            };
            tokio::select! {
                () = read => {}
                result = writer.run() => {
                    if let Err(error) = result {
                        tracing::debug!(session = id, %error, "a connection ended");
                    }
                }
            }
            sender.abort();
            // Nobody listens any more: the term is over.
            let _ = events.send(Event::Closed(id)).await;
        });
        Some(Event::Opened(id))
    }

    /// What cannot be sent ends the connection; that comes back as an event.
    pub(super) fn send(&mut self, id: SessionId, message: &FromManager) {
        if let Some(sender) = self.senders.get(&id)
            && let Err(error) = sender.send(message)
        {
            tracing::debug!(session = id, %error, "a message was not sent");
        }
    }

    pub(super) fn close(&mut self, id: SessionId) {
        if let Some(sender) = self.senders.get(&id) {
            sender.close();
        }
    }

    pub(super) fn forget(&mut self, id: SessionId) {
        self.senders.remove(&id);
        while self.tasks.try_join_next().is_some() {}
    }
}
