//! Who dials here: other block servers, node managers, and managers that want to know whether anybody is there.

use super::reactor::{Handle, Reactor};
use crate::engine;
use bytes::Bytes;
use terrane_block_core::copy::Event;
use terrane_block_core::message::{Message, Op, ToClient, ToPrimary};
use terrane_block_core::{ClientId, CopyId, Extent, Generation};
use terrane_block_wire::WireError;
use terrane_block_wire::codec::RUNS_MAX;
use terrane_block_wire::control::{ServerId, StripeId};
use terrane_block_wire::data::{BLOCK, CONTENT_BYTES_MAX, DataMessage, Dialer};
use terrane_block_wire::transport::{Connection, Listener, Sender};
use tokio::task::spawn_local;

/// Connections of clients at the same time.
const CLIENTS_MAX: usize = 8192;
/// Blocks of one read, at most: as many as one message carries.
const READ_BLOCKS_MAX: u64 = (CONTENT_BYTES_MAX / BLOCK) as u64;

/// Blocks of one TRIM, at most: it enters the activity log all at once.
const WRITE_BLOCKS_MAX: u64 = 1 << 16;
/// Blocks that one question about what holds data is answered for, at most.
const STATUS_BLOCKS_MAX: u64 = 1 << 18;

/// Takes connections for ever.
pub(super) async fn accept(handle: Handle, mut listener: Listener) {
    loop {
        let connection = listener.accept().await;
        match connection.dialer() {
            Dialer::Server(server) => {
                spawn_local(read_peer(handle.clone(), connection, server));
            }
            Dialer::Client(client) => {
                spawn_local(read_client(handle.clone(), connection, client));
            }
            // The handshake was the answer.
            Dialer::Manager | Dialer::Node => drop(connection),
        }
    }
}

/// Takes what a server sends, until the connection ends.
pub(super) async fn read_peer(handle: Handle, connection: Connection, server: ServerId) {
    let (mut reader, sender, writer) = connection.split::<DataMessage, DataMessage>();
    spawn_local(writer.run());
    let number = handle.enter(|reactor| reactor.peer_is_there(server, &sender));
    let mut batch = Vec::new();
    let error = loop {
        let read = reader.read(&mut batch).await;
        handle.enter(|reactor| {
            reactor.busy.heard();
            batch.drain(..).for_each(|message| reactor.peer_says(server, message));
        });
        if let Err(error) = read {
            break error;
        }
    };
    sender.abort();
    log_end("server", &error);
    handle.enter(|reactor| reactor.peer_is_gone(server, number));
}

/// Takes what a client sends, until the connection ends.
async fn read_client(handle: Handle, connection: Connection, client: ClientId) {
    let (mut reader, sender, writer) = connection.split::<DataMessage, DataMessage>();
    spawn_local(writer.run());
    let Some(number) = handle.enter(|reactor| reactor.client_is_there(&sender)) else {
        tracing::warn!("too many connections of clients");
        return;
    };
    let mut batch = Vec::new();
    let error = loop {
        let read = reader.read(&mut batch).await;
        let taken = handle.enter(|reactor| {
            reactor.busy.heard();
            batch.drain(..).try_for_each(|message| reactor.client_says(client, number, message))
        });
        if let Err(error) = taken.and(read) {
            break error;
        }
    };
    sender.abort();
    log_end("client", &error);
    handle.enter(|reactor| reactor.clients.remove(&number));
}

fn log_end(of: &str, error: &WireError) {
    match error {
        WireError::Closed => tracing::debug!("a {of}'s connection was closed"),
        error => tracing::warn!(%error, "a {of}'s connection is over"),
    }
}

impl Reactor {
    fn client_is_there(&mut self, sender: &Sender<DataMessage>) -> Option<u64> {
        if self.clients.len() >= CLIENTS_MAX {
            return None;
        }
        self.next_connection += 1;
        self.clients.insert(self.next_connection, sender.clone());
        Some(self.next_connection)
    }

    fn peer_says(&mut self, server: ServerId, message: DataMessage) {
        let DataMessage::Copy { stripe, from, to, message } = message else {
            tracing::warn!(?server, "a server speaks as a client");
            return;
        };
        // A copy that is not here any more, or not yet: its primary will hear of that from the manager.
        let Some(slot) = self.index.get(&(stripe, to)).copied() else { return };
        if let Message::Ack { seq, .. } = &message {
            self.measure_answer(slot, from, *seq);
        }
        self.push(slot, Event::Copy(from, message));
    }

    fn client_says(
        &mut self,
        client: ClientId,
        connection: u64,
        message: DataMessage,
    ) -> Result<(), WireError> {
        match message {
            DataMessage::ToPrimary { stripe, to, message } => {
                check(&message)?;
                let slot = self.index.get(&(stripe, to)).copied();
                let hosted = slot.and_then(|slot| self.copies[slot].as_mut());
                let (Some(slot), Some(hosted)) = (slot, hosted.filter(|hosted| hosted.running.is_some()))
                else {
                    // The client fetches the record and goes where that says.
                    self.refuse(connection, stripe, to, &message);
                    return Ok(());
                };
                if hosted.clients.insert(client, connection).is_none() {
                    hosted.clients.retain(|_, connection| self.clients.contains_key(connection));
                }
                if self.is_early(slot, client, &message) {
                    return Ok(());
                }
                self.client_asks(slot, client, message);
            }
            DataMessage::StatusQuery { stripe, to, id, start, len } => {
                self.status(connection, (stripe, to), id, Extent { start, len });
            }
            DataMessage::Copy { .. } | DataMessage::ToClient { .. } | DataMessage::Status { .. } => {
                let found = "a client speaks as a server".to_owned();
                return Err(WireError::Broken { what: "message", found });
            }
        }
        Ok(())
    }
}

/// Answers that do not come from a core.
impl Reactor {
    fn measure_answer(&mut self, slot: usize, from: CopyId, seq: u64) {
        let Some(hosted) = self.copy(slot) else { return };
        if let Some((.., sent)) = hosted.sample.take_if(|(to, number, _)| (*to, *number) == (from, seq)) {
            self.metrics.replicate.observe(sent.elapsed().as_secs_f64());
        }
    }

    fn refuse(&mut self, connection: u64, stripe: StripeId, from: CopyId, message: &ToPrimary<Bytes>) {
        let (ToPrimary::Hello { session, .. } | ToPrimary::Request { session, .. }) = message;
        let generation = Generation(0);
        let refused = ToClient::Refused { session: *session, generation };
        self.answer_client(connection, &DataMessage::ToClient { stripe, from, message: refused });
    }

    pub(super) fn answer_client(&mut self, connection: u64, message: &DataMessage) {
        if let Some(sender) = self.clients.get(&connection)
            && let Err(error) = sender.send(message)
        {
            tracing::debug!(%error, "cannot answer a client");
        }
    }

    /// Which blocks hold data, as the primary has it.
    fn status(&mut self, connection: u64, (stripe, copy): (StripeId, CopyId), id: u64, extent: Extent) {
        let answer = move |runs| DataMessage::Status { stripe, from: copy, id, runs };
        let slot = self.index.get(&(stripe, copy)).copied();
        let running = slot.and_then(|slot| Some((slot, self.copy(slot)?)));
        let ruling = running.filter(|(_, hosted)| hosted.running.as_ref().is_some_and(|r| r.state.may_act()));
        let Some((slot, life)) = ruling.map(|(slot, hosted)| (slot, hosted.life)) else {
            return self.answer_client(connection, &answer(Vec::new()));
        };
        let blocks = extent.len.min(STATUS_BLOCKS_MAX);
        let work = move |copy: &engine::Copy| copy.allocated(extent.start, blocks, RUNS_MAX);
        self.work_on(slot, life, work, move |reactor, runs| {
            // Advisory: one that cannot be told is not known.
            reactor.answer_client(connection, &answer(runs.unwrap_or_default()));
        });
    }
}

/// What the core need not look at.
fn check(message: &ToPrimary<Bytes>) -> Result<(), WireError> {
    let (what, extent, limit) = match message {
        ToPrimary::Request { op: Op::Read(extent), .. } => ("a read", extent, READ_BLOCKS_MAX),
        ToPrimary::Request { op: Op::Write(extent, _), .. } => ("a write", extent, WRITE_BLOCKS_MAX),
        _ => return Ok(()),
    };
    if extent.len <= limit {
        return Ok(());
    }
    let size = usize::try_from(extent.len).unwrap_or(usize::MAX);
    Err(WireError::TooLarge { what, size, limit: limit as usize })
}
