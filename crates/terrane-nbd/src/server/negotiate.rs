//! Driving the handshake over a stream.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::execute::Target;
use super::transmit::Session;
use super::{ConnectionError, Server};
use crate::handshake::{Handshake, HandshakeError, Lookup, Step, TlsMode};
use crate::{Peer, SecretName};

/// A stream after the negotiation.
pub(super) enum Secured<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

/// One client's negotiation.
pub(super) struct Negotiation<'a> {
    server: &'a Server,
    handshake: Handshake,
    peer: Peer,
    stop: &'a CancellationToken,
    input: BytesMut,
    permit: Option<OwnedSemaphorePermit>,
}

/// Where the negotiation over one stream has led.
enum Milestone {
    StartTls,
    Transmit(Box<Session>),
    Closed,
}

impl<'a> Negotiation<'a> {
    pub(super) fn new(server: &'a Server, peer: Peer, tls: TlsMode, stop: &'a CancellationToken) -> Self {
        let handshake = Handshake::new(tls);
        Self { server, handshake, peer, stop, input: BytesMut::new(), permit: None }
    }

    /// Negotiates; `None` if the client does not want to go on.
    pub(super) async fn run<S>(
        mut self,
        mut stream: S,
    ) -> Result<Option<(Secured<S>, Session)>, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.haggle(&mut stream).await? {
            Milestone::Closed => Ok(None),
            Milestone::Transmit(session) => Ok(Some((Secured::Plain(stream), *session))),
            Milestone::StartTls => {
                let mut stream = self.start_tls(stream).await?;
                match self.haggle(&mut stream).await? {
                    Milestone::Transmit(session) => Ok(Some((Secured::Tls(Box::new(stream)), *session))),
                    Milestone::Closed | Milestone::StartTls => Ok(None),
                }
            }
        }
    }

    async fn start_tls<S>(&mut self, stream: S) -> Result<TlsStream<S>, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = self.server.tls.as_ref().ok_or_else(|| std::io::Error::other("TLS is not set up"))?;
        let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        self.peer.certificate = leaf.map(|leaf| Bytes::copy_from_slice(leaf));
        self.handshake.tls_started();
        Ok(stream)
    }

    async fn haggle<S>(&mut self, stream: &mut S) -> Result<Milestone, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let step = self.handshake.advance(&mut self.input);
            let milestone = match step? {
                Step::NeedInput => {
                    self.send(stream).await?;
                    if stream.read_buf(&mut self.input).await? == 0 {
                        return Ok(Milestone::Closed);
                    }
                    continue;
                }
                Step::Find(name) => match self.find(&name).await? {
                    None => continue,
                    Some(session) => Milestone::Transmit(session),
                },
                Step::StartTls => Milestone::StartTls,
                Step::Close => Milestone::Closed,
            };
            self.send(stream).await?;
            return Ok(milestone);
        }
    }

    async fn send<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Result<(), ConnectionError> {
        let output = self.handshake.take_output();
        if !output.is_empty() {
            stream.write_all(&output).await?;
            stream.flush().await?;
        }
        Ok(())
    }

    /// Looks a name up and tells the handshake.
    async fn find(&mut self, name: &SecretName) -> Result<Option<Box<Session>>, HandshakeError> {
        let Some(export) = self.server.exports.find(name, &self.peer).await else {
            self.server.guesses.wait(&self.peer.address).await;
            tracing::info!(peer = ?self.peer.address, "a client named an export that does not exist");
            return self.handshake.found(Lookup::Unknown).map(|_| None);
        };
        if self.permit.is_none() {
            self.permit = self.server.established.clone().try_acquire_owned().ok();
        }
        let info = export.info();
        let lookup = match &self.permit {
            _ if self.stop.is_cancelled() => Lookup::Shutdown,
            None => Lookup::Full,
            Some(_) => Lookup::Found(&info),
        };
        let Some(agreement) = self.handshake.found(lookup)? else { return Ok(None) };
        let Some(permit) = self.permit.take() else { return Ok(None) };
        let presence = export.clone().enter();
        let target = Target { export, size: info.size, style: agreement.style };
        let input = std::mem::take(&mut self.input);
        Ok(Some(Box::new(Session { target, info, agreement, input, permit, presence })))
    }
}
