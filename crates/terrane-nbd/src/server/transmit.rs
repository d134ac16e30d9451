//! The transmission phase of one connection, as one task: read, start, finish, write.
//!
//! Requests run concurrently and are answered as they finish. A request counts against the connection's
//! bounds until its reply has been written, so a client that does not read its replies is not read from.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::execute::{Done, Target, execute};
use super::{ConnectionError, ServerConfig};
use crate::handshake::Agreement;
use crate::output::Output;
use crate::reply::{self, Outcome};
use crate::request::{Command, Incoming, Request, Requests};
use crate::{ExportInfo, NbdError};

/// Room that is made for reading.
const READ_BYTES: usize = 64 << 10;
/// Slices of one write.
const SLICES: usize = 64;

/// What the negotiation has led to.
pub(super) struct Session {
    pub(super) target: Target,
    pub(super) info: ExportInfo,
    pub(super) agreement: Agreement,
    /// Bytes that the client has sent ahead.
    pub(super) input: BytesMut,
    /// Place among the server's connections.
    pub(super) permit: OwnedSemaphorePermit,
    /// What the export wants kept as long as the connection lasts.
    pub(super) presence: Box<dyn Any + Send + Sync>,
}

/// A connection at its end.
pub(super) struct Ended<S> {
    pub(super) stream: S,
    pub(super) result: Result<(), ConnectionError>,
    /// The client has closed its side or the stream is broken: there is nothing to wait for.
    pub(super) at_end: bool,
}

/// Serves until the client leaves, the export goes, or the server stops.
pub(super) async fn transmit<S>(
    stream: S,
    session: Session,
    config: &ServerConfig,
    stop: &CancellationToken,
) -> Ended<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Session { target, info, agreement, input, permit, presence } = session;
    let export = target.export.clone();
    let at_stop = if config.hang_up_at_stop { Receiving::Closed } else { Receiving::Refusing };
    let mut leave = pin!(async {
        tokio::select! {
            () = export.gone() => Receiving::Refusing,
            () = stop.cancelled() => at_stop,
        }
    });
    let mut transmission = Transmission {
        stream,
        input,
        requests: Requests::new(agreement, info),
        agreement,
        start: |request, cost| execute(target.clone(), request, cost),
        running: FuturesUnordered::new(),
        output: Output::new(),
        flushed: true,
        unanswered: Unanswered { requests: 0, bytes: 0, written_at: VecDeque::new(), config },
        receiving: Receiving::Open,
        failure: None,
    };
    poll_fn(|cx| transmission.poll(cx, leave.as_mut())).await;
    drop((permit, presence));
    let at_end = transmission.failure.is_some() || transmission.receiving == Receiving::AtEnd;
    let result = transmission.failure.map_or(Ok(()), Err);
    Ended { stream: transmission.stream, result, at_end }
}

/// Whether requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Receiving {
    /// Yes.
    Open,
    /// The export goes or the server stops: what was already read is refused.
    Refusing,
    /// The client said goodbye, there is no more to refuse, or what comes is for the next server.
    Closed,
    /// The client has closed its side, or the stream is broken.
    AtEnd,
}

/// Requests that were taken and whose replies have not been written.
struct Unanswered<'a> {
    requests: usize,
    bytes: u64,
    /// Positions in the output behind each reply, and what the request costs.
    written_at: VecDeque<(u64, u64)>,
    config: &'a ServerConfig,
}

impl Unanswered<'_> {
    fn has_room(&self) -> bool {
        self.requests < self.config.requests_max && self.bytes < self.config.bytes_max
    }

    fn taken(&mut self, cost: u64) {
        self.requests += 1;
        self.bytes += cost;
    }

    fn written(&mut self, position: u64) {
        while let Some((end, cost)) = self.written_at.front()
            && *end <= position
        {
            self.requests -= 1;
            self.bytes -= cost;
            self.written_at.pop_front();
        }
    }
}

struct Transmission<'a, S, X, F> {
    stream: S,
    input: BytesMut,
    requests: Requests,
    agreement: Agreement,
    start: X,
    running: FuturesUnordered<F>,
    output: Output,
    /// Everything that was written was also flushed, which matters to TLS.
    flushed: bool,
    unanswered: Unanswered<'a>,
    receiving: Receiving,
    failure: Option<ConnectionError>,
}

impl<S, X, F> Transmission<'_, S, X, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    X: Fn(Request, u64) -> F,
    F: Future<Output = Done>,
{
    fn poll(&mut self, cx: &mut Context<'_>, leave: Pin<&mut impl Future<Output = Receiving>>) -> Poll<()> {
        if self.receiving == Receiving::Open
            && let Poll::Ready(receiving) = leave.poll(cx)
        {
            self.receiving = receiving;
        }
        loop {
            let mut progress = self.take_requests();
            progress |= self.poll_read(cx);
            progress |= self.poll_running(cx);
            progress |= self.poll_write(cx);
            if self.receiving >= Receiving::Closed
                && self.running.is_empty()
                && self.output.is_empty()
                && self.flushed
            {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Starts every request that has been read, as far as there is room.
    fn take_requests(&mut self) -> bool {
        let mut progress = false;
        while self.receiving < Receiving::Closed && self.unanswered.has_room() {
            match self.requests.next(&mut self.input) {
                Ok(None) if self.receiving == Receiving::Refusing => self.receiving = Receiving::Closed,
                Ok(None) => break,
                Ok(Some(Incoming::Disconnect)) => self.receiving = Receiving::Closed,
                Ok(Some(Incoming::Refused(address, error))) => {
                    self.unanswered.taken(0);
                    self.finish(Done { address, outcome: Outcome::Failed(error), cost: 0 });
                }
                Ok(Some(Incoming::Request(request))) if self.receiving == Receiving::Refusing => {
                    self.unanswered.taken(0);
                    let outcome = Outcome::Failed(NbdError::shutdown());
                    self.finish(Done { address: request.address, outcome, cost: 0 });
                }
                Ok(Some(Incoming::Request(request))) => {
                    let cost = cost(&request.command);
                    self.unanswered.taken(cost);
                    self.running.push((self.start)(request, cost));
                }
                Err(error) => self.fail(error.into()),
            }
            progress = true;
        }
        progress
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.receiving != Receiving::Open || !self.unanswered.has_room() {
            return false;
        }
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.receiving = Receiving::AtEnd,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => self.fail(error.into()),
        }
        true
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) {
            self.finish(done);
            progress = true;
        }
        progress
    }

    fn finish(&mut self, done: Done) {
        if self.failure.is_none() {
            reply::encode(self.agreement, done.address, done.outcome, &mut self.output);
            self.unanswered.written_at.push_back((self.output.end(), done.cost));
        }
    }

    /// Writes once, or flushes if all is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.output.is_empty() && self.flushed {
            return false;
        }
        match self.try_write(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.fail(error.into()),
        }
        true
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        if self.output.is_empty() {
            ready!(stream.poll_flush(cx))?;
            self.flushed = true;
            return Poll::Ready(Ok(()));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.output.slices(&mut slices);
        let count = ready!(stream.poll_write_vectored(cx, &slices[..filled]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.output.advance(count);
        self.unanswered.written(self.output.position());
        self.flushed = false;
        Poll::Ready(Ok(()))
    }

    /// The stream is of no use any more. What is running goes on, its replies are lost.
    fn fail(&mut self, error: ConnectionError) {
        self.receiving = Receiving::AtEnd;
        self.output = Output::new();
        self.flushed = true;
        self.failure.get_or_insert(error);
    }
}

/// Bytes that a request or its reply keeps in memory.
fn cost(command: &Command) -> u64 {
    match command {
        Command::Write { data, .. } => data.len() as u64,
        Command::Read { len, .. } => u64::from(*len),
        _ => 0,
    }
}
