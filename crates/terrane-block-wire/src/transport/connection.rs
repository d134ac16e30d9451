//! An established connection: a reader that hands out all that has come, a sender that collects, and a writer that
//! sends what was collected, in few calls.

use super::OUTPUT_MAX;
use crate::data::Dialer;
use crate::error::WireError;
use crate::frame::{self, Frames, Message};
use crate::output::Output;
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsStream;

/// Room for one call of the host that reads.
const READ_ROOM: usize = 256 << 10;
/// Less room than this is not read into.
const READ_ROOM_MIN: usize = 32 << 10;
/// Pieces of one vectored write.
const SLICES: usize = 64;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection after its handshake.
pub struct Connection {
    stream: Stream,
    version: u8,
    dialer: Dialer,
    acceptor: u128,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection of {:?} to {:032x}", self.dialer, self.acceptor)
    }
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, version: u8, dialer: Dialer, acceptor: u128) -> Self {
        Self { stream: Stream::Plain(stream), version, dialer, acceptor }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, version: u8, dialer: Dialer, acceptor: u128) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), version, dialer, acceptor }
    }

    /// Who dialed.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.dialer
    }

    /// Who accepted ([`crate::handshake::Answer::id`]).
    #[must_use]
    pub fn acceptor(&self) -> u128 {
        self.acceptor
    }

    /// Both directions. Somebody must drive [`Writer::run`]; the connection ends with whatever ends first.
    #[must_use]
    pub fn split<R: Message, S: Message>(self) -> (Reader<R>, Sender<S>, Writer) {
        let (input, output): (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>) =
            match self.stream {
                Stream::Plain(stream) => {
                    let (input, output) = stream.into_split();
                    (Box::new(input), Box::new(output))
                }
                Stream::Tls(stream) => {
                    let (input, output) = split(*stream);
                    (Box::new(input), Box::new(output))
                }
            };
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new() });
        let reader = Reader { input, buffer: BytesMut::new(), frames: Frames::new(self.version) };
        let sender = Sender { shared: shared.clone(), version: self.version, message: PhantomData };
        (reader, sender, Writer { output, shared })
    }
}

/// The receiving side.
pub struct Reader<M> {
    input: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    frames: Frames<M>,
}

impl<M: Message> Reader<M> {
    /// Waits for at least one message and appends all that have come. Content shares the buffer that was read into. May
    /// be dropped and called again.
    ///
    /// # Errors
    /// [`WireError`]; messages that came before are appended all the same.
    pub async fn read(&mut self, out: &mut Vec<M>) -> Result<(), WireError> {
        let before = out.len();
        loop {
            let missing = loop {
                match self.frames.next(&mut self.buffer)? {
                    Ok(message) => out.push(message),
                    Err(missing) => break missing.0,
                }
            };
            if out.len() > before {
                return Ok(());
            }
            let room = self.buffer.capacity() - self.buffer.len();
            if room < missing.max(READ_ROOM_MIN) {
                self.buffer.reserve(missing.max(READ_ROOM));
            }
            let read = self.input.read_buf(&mut self.buffer).await;
            if read.map_err(WireError::io("read"))? == 0 {
                return Err(WireError::Closed);
            }
        }
    }
}

impl<M> fmt::Debug for Reader<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

#[derive(Debug, Default)]
struct Queue {
    output: Output,
    /// The writer sleeps.
    idle: bool,
    /// Nothing more will be sent: whatever is queued is sent (`Closing`) or not (`Closed`).
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closing,
    Closed,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

/// Why something cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection is over, or the other end takes too little: then it is over now.
    #[error("the connection is over")]
    Closed,
    /// The message cannot be expressed; the connection goes on.
    #[error(transparent)]
    Message(WireError),
}

/// The sending side. Cheap to clone.
pub struct Sender<M> {
    shared: Arc<Shared>,
    version: u8,
    message: PhantomData<fn(M)>,
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), version: self.version, message: PhantomData }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<M: Message> Sender<M> {
    /// Queues a message; the writer sends it with all others that are queued when its turn comes.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, message: &M) -> Result<(), SendError> {
        let mut queue = self.shared.queue.lock();
        if queue.end.is_some() {
            return Err(SendError::Closed);
        }
        frame::encode(message, self.version, &mut queue.output).map_err(SendError::Message)?;
        let too_much = queue.output.len() > OUTPUT_MAX;
        if too_much {
            queue.end = Some(End::Closed);
        }
        if std::mem::take(&mut queue.idle) {
            self.shared.wake.notify_one();
        }
        if too_much { Err(SendError::Closed) } else { Ok(()) }
    }

    /// Bytes that wait to be handed to the host.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queue.lock().output.len()
    }
}

impl<M> Sender<M> {
    /// Ends the connection once what is queued is sent.
    pub fn close(&self) {
        self.end(End::Closing);
    }

    /// Ends the connection now: what is queued is dropped.
    pub fn abort(&self) {
        self.end(End::Closed);
    }

    fn end(&self, end: End) {
        let mut queue = self.shared.queue.lock();
        if queue.end != Some(End::Closed) {
            queue.end = Some(end);
        }
        queue.idle = false;
        self.shared.wake.notify_one();
    }

    /// Whether nothing can be sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.queue.lock().end.is_some()
    }
}

/// Sends what senders have queued.
pub struct Writer {
    output: Box<dyn AsyncWrite + Send + Unpin>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Until the connection is closed, by a sender or by the other end.
    ///
    /// # Errors
    /// [`WireError`]; senders get [`SendError::Closed`] from then on.
    pub async fn run(mut self) -> Result<(), WireError> {
        let result = self.write().await;
        let aborted = self.shared.queue.lock().end.replace(End::Closed) == Some(End::Closed);
        if result.is_ok() && !aborted {
            // What was queued is sent; an error here would not change that.
            let _ = self.output.shutdown().await;
        }
        result
    }

    async fn write(&mut self) -> Result<(), WireError> {
        let mut pieces = VecDeque::new();
        loop {
            let ended = {
                let mut queue = self.shared.queue.lock();
                if queue.end == Some(End::Closed) {
                    return Ok(());
                }
                queue.output.take(&mut pieces);
                queue.idle = pieces.is_empty();
                queue.end.is_some()
            };
            if pieces.is_empty() && ended {
                return Ok(());
            }
            if pieces.is_empty() {
                self.shared.wake.notified().await;
                continue;
            }
            tokio::select! {
                biased;
                written = write_all(&mut self.output, &mut pieces) => {
                    written.map_err(WireError::io("write"))?;
                }
                () = aborted(&self.shared) => return Ok(()),
            }
        }
    }
}

/// Until somebody aborts the connection.
async fn aborted(shared: &Shared) {
    while shared.queue.lock().end != Some(End::Closed) {
        shared.wake.notified().await;
    }
}

async fn write_all(
    output: &mut (dyn AsyncWrite + Send + Unpin),
    pieces: &mut VecDeque<Bytes>,
) -> std::io::Result<()> {
    while !pieces.is_empty() {
        let mut written = {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = pieces.len().min(SLICES);
            for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                *slice = IoSlice::new(piece);
            }
            output.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(piece) = pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            pieces.pop_front();
        }
    }
    output.flush().await
}

#[cfg(test)]
mod tests;
