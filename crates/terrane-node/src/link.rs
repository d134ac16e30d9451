//! The connection of one session: dialed, fed by the volume, read in batches.

use std::sync::Arc;

use terrane_block_core::ClientId;
use terrane_block_core::SessionId;
use terrane_block_wire::WireError;
use terrane_block_wire::control::Place;
use terrane_block_wire::data::{DataMessage, Dialer};
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{self, Credentials};

use crate::volume::Volume;

/// A session that is to be opened.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) stripe: usize,
    pub(crate) session: SessionId,
    pub(crate) client: ClientId,
    pub(crate) place: Place,
    /// The first message.
    pub(crate) hello: DataMessage,
}

/// Opens a session's connection and carries it until it breaks or another one takes its place.
pub(crate) async fn run(volume: Arc<Volume>, credentials: Credentials, opening: Opening) {
    let (stripe, session) = (opening.stripe, opening.session);
    if let Err(error) = carry(&volume, &credentials, opening).await {
        volume.broke(stripe, session, &error);
    }
}

async fn carry(volume: &Volume, credentials: &Credentials, opening: Opening) -> Result<(), WireError> {
    let Opening { stripe, session, client, place, hello } = opening;
    let dialer = Dialer::Client(client);
    let connection =
        transport::dial(&place.address, credentials, Protocol::Data, dialer, Some(place.server.0)).await?;
    let (mut reader, sender, writer) = connection.split::<DataMessage, DataMessage>();
    if sender.send(&hello).is_err() || !volume.connected(stripe, session, sender) {
        return Ok(());
    }
    let reading = async {
        let mut batch = Vec::new();
        loop {
            let read = reader.read(&mut batch).await;
            if !volume.receive(stripe, session, &mut batch) {
                return Ok(());
            }
            read?;
        }
    };
    tokio::select! {
        read = reading => read,
        written = writer.run() => written.and(Err(WireError::Closed)),
    }
}
