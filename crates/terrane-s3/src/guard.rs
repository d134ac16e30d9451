//! Bodies on their way in: given up when they stall, and `aws-chunked` ones kept to chunks that fit in memory.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3s::{Body, S3Error, S3ErrorCode, StdError};
use tokio::time::{Instant, Sleep, sleep};

use crate::chunked::{ChunkFault, Rechunker};
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

/// A request's body behind its guards.
pub(crate) struct Guarded {
    inner: Body,
    stall: Duration,
    /// Made when the body first keeps us waiting.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    chunks: Option<Rechunker>,
    note: BodyFaultNote,
}

impl Guarded {
    pub(crate) fn new(inner: Body, stall: Duration, chunks: Option<Rechunker>, note: BodyFaultNote) -> Self {
        Self { inner, stall, timer: None, waiting: false, chunks, note }
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

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
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
