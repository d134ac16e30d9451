//! The other block servers: one connection each way at most, whichever end dialed it; dialed when there is something
//! to say.

use super::connections::read_peer;
use super::reactor::{Handle, Reactor};
use std::collections::HashMap;
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_wire::WireError;
use terrane_block_wire::control::{Place, ServerId};
use terrane_block_wire::data::{DataMessage, Dialer};
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Sender, dial};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Between attempts to dial, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(300));

#[derive(Debug, Default)]
struct Peer {
    /// The connection to send on, and its number.
    sender: Option<(u64, Sender<DataMessage>)>,
    dialing: bool,
    /// Something was to be said since the last attempt.
    wanted: bool,
    address: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<ServerId, Peer>);

impl Reactor {
    /// Sends to a server. What cannot be sent is dropped: once there is a connection, everything unanswered is sent
    /// again.
    pub(super) fn send_to(&mut self, place: &Place, message: &DataMessage) {
        let peer = self.peers.0.entry(place.server).or_default();
        if !place.address.is_empty() && peer.address != place.address {
            peer.address.clone_from(&place.address);
        }
        if let Some((_, sender)) = &peer.sender {
            match sender.send(message) {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "cannot send to a server"),
            }
            if !sender.is_closed() {
                return;
            }
            peer.sender = None;
        }
        peer.wanted = true;
        if !peer.dialing && !peer.address.is_empty() {
            peer.dialing = true;
            if let Some(handle) = self.handle() {
                spawn_local(connect(handle, place.server));
            }
        }
    }

    /// A connection with a server is there. Returns its number.
    pub(super) fn peer_is_there(&mut self, server: ServerId, sender: &Sender<DataMessage>) -> u64 {
        self.next_connection += 1;
        let connection = self.next_connection;
        let peer = self.peers.0.entry(server).or_default();
        peer.wanted = false;
        peer.sender = Some((connection, sender.clone()));
        for slot in self.slots() {
            let with = |hosted: &super::hosted::Hosted| hosted.places.values().any(|p| p.server == server);
            if self.copy(slot).is_some_and(|hosted| with(hosted)) {
                self.push(slot, Event::Resend);
            }
        }
        connection
    }

    /// A connection with a server is over. If something is unanswered, it is dialed again when that is sent again.
    pub(super) fn peer_is_gone(&mut self, server: ServerId, connection: u64) {
        let Some(peer) = self.peers.0.get_mut(&server) else { return };
        peer.sender.take_if(|(current, _)| *current == connection);
        self.hurry_with(server);
    }

    fn peer_address(&mut self, server: ServerId) -> Option<String> {
        let peer = self.peers.0.get_mut(&server)?;
        let needed = std::mem::take(&mut peer.wanted) && peer.sender.is_none();
        peer.dialing = needed;
        needed.then(|| peer.address.clone())
    }
}

/// Dials until there is a connection, or nobody wants one any more.
async fn connect(handle: Handle, server: ServerId) {
    let mut pause = PAUSE.0;
    while let Some(address) = handle.enter(|reactor| reactor.peer_address(server)) {
        let (credentials, me) = handle.enter(|reactor| (reactor.credentials.clone(), reactor.me));
        let dialer = Dialer::Server(me);
        match dial(&address, &credentials, Protocol::Data, dialer, Some(server.0)).await {
            Ok(connection) => {
                handle.enter(|reactor| {
                    if let Some(peer) = reactor.peers.0.get_mut(&server) {
                        peer.dialing = false;
                    }
                });
                return read_peer(handle, connection, server).await;
            }
            Err(error) => {
                tracing::debug!(?server, %address, %error, "cannot reach a server");
                if !matches!(error, WireError::Slow) {
                    sleep(pause).await;
                }
                pause = (pause * 2).min(PAUSE.1);
                handle.enter(|reactor| reactor.suspect_server(server, &error.to_string()));
            }
        }
    }
}
