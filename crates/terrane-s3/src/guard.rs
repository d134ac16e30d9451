//! Bodies on their way in: given up when they stall, and `aws-chunked` ones kept to chunks that fit in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use s3s::{Body, S3Error, S3ErrorCode, StdError};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::chunked::{ChunkFault, Rechunker};
use crate::config::Limits;
use crate::errors::custom;

/// Why a body was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the body delivered nothing for too long")]
    Stalled,
    #[error("a chunk of the body is larger than {limit} bytes")]
    ChunkTooLarge { limit: u64 },
    #[error("the body is not well-formed aws-chunked data")]
    Malformed,
}

impl BodyFault {
    /// S3's word for it.
    pub(crate) fn to_error(self) -> S3Error {
        match self {
            Self::Stalled => S3Error::with_message(
                S3ErrorCode::RequestTimeout,
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
            Self::ChunkTooLarge { .. } => {
                custom("InvalidChunkSizeError", http::StatusCode::BAD_REQUEST, self.to_string())
            }
            Self::Malformed => S3Error::with_message(S3ErrorCode::InvalidRequest, self.to_string()),
        }
    }
}

/// Where a body leaves the reason for its early end. s3s passes errors of bodies on in its own wrapping,
/// in which they cannot be recognised.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyFaultNote(pub(crate) Arc<OnceLock<BodyFault>>);

/// Bytes of a refused body that are read and thrown away.
const REST_BYTES_MAX: usize = 64 << 20;
/// And for how long.
const REST_TIME_MAX: Duration = Duration::from_secs(5);

/// What a body tells of itself after its end.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub(crate) fault: BodyFaultNote,
    pub(crate) rest: Rest,
}

/// Where a body that nobody wanted to the end leaves what is left of it. A connection that is closed over unread
/// bytes is reset, and a reset takes the answer with it (RFC 9112, 9.6): the refusal would reach nobody.
#[derive(Clone, Default)]
pub(crate) struct Rest(Arc<Mutex<Option<Body>>>);

impl Rest {
    fn leave(&self, body: Body) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Keeps the body of a request that is refused for its head, unless the client waits to be asked for it.
    pub(crate) fn take_from(&self, request: &mut Request<Body>) {
        if !request.headers().contains_key(header::EXPECT) && !request.body().is_end_stream() {
            self.leave(std::mem::replace(request.body_mut(), Body::empty()));
        }
    }

    /// Reads the rest, within bounds.
    pub(crate) async fn drain(&self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let read = async {
            let mut bytes = 0;
            while bytes < REST_BYTES_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // Whoever sends more, or sends too slowly, loses the connection.
        let _ = timeout(REST_TIME_MAX, read).await;
    }
}

/// A request's body behind its guards.
pub(crate) struct Guarded {
    inner: Body,
    stall: Duration,
    /// Made when the body first keeps us waiting.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    chunks: Option<Rechunker>,
    note: BodyFaultNote,
    /// Where the rest goes, once the client was told to send, or if it never asks.
    rest: Rest,
    wanted: bool,
}

impl Guarded {
    /// `expects`: the client waits for `100 Continue`, which the first look at the body sends.
    pub(crate) fn new(inner: Body, limits: &Limits, expects: bool, streaming: bool, notes: &Notes) -> Self {
        let chunks = streaming.then(|| Rechunker::new(limits.signed_chunk_bytes));
        let Notes { fault: note, rest } = notes.clone();
        Self {
            inner,
            stall: limits.body_stall,
            timer: None,
            waiting: false,
            chunks,
            note,
            rest,
            wanted: !expects,
        }
    }

    fn fail<T>(&self, fault: BodyFault) -> Poll<Option<Result<T, StdError>>> {
        // The first fault is the one that counts.
        let _ = self.note.0.set(fault);
        Poll::Ready(Some(Err(Box::new(fault))))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stall = self.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(stall)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + stall);
        }
        timer.as_mut().poll(cx)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.wanted && !self.inner.is_end_stream() {
            self.rest.leave(std::mem::replace(&mut self.inner, Body::empty()));
        }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        this.wanted = true;
        loop {
            if let Some(ready) = this.chunks.as_mut().and_then(Rechunker::next) {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                ready!(this.poll_timer(cx));
                return this.fail(BodyFault::Stalled);
            };
            this.waiting = false;
            let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
            let Some(chunks) = &mut this.chunks else { return Poll::Ready(Some(Ok(frame))) };
            let Ok(data) = frame.into_data() else { continue };
            if let Err(fault) = chunks.push(data) {
                return this.fail(match fault {
                    ChunkFault::TooLarge { limit } => BodyFault::ChunkTooLarge { limit },
                    ChunkFault::Malformed => BodyFault::Malformed,
                });
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.as_ref().is_none_or(Rechunker::is_empty) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunks {
            // Chunks are cut anew: the length on the wire says nothing.
            Some(_) => SizeHint::default(),
            None => self.inner.size_hint(),
        }
    }
}
