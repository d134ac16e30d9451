//! One body type for all families of answers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

/// What went wrong while an answer was streamed; the connection is cut.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request's body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the body did not arrive within {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("the body ended early: {0}")]
    Incomplete(BodyError),
}

/// Reads the whole body of a request, which is short and comes soon.
pub(crate) async fn read_whole<B>(body: B, bytes_max: usize, patience: Duration) -> Result<Bytes, ReadError>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BodyError>,
{
    match tokio::time::timeout(patience, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ReadError::TooLong(bytes_max)),
        Ok(Err(error)) => Err(ReadError::Incomplete(error)),
        Err(_) => Err(ReadError::TooSlow(patience)),
    }
}

/// The body of an answer. An enum, so that S3's bodies are not boxed on their way.
#[derive(Debug)]
pub enum Body {
    /// A whole body.
    Whole(Full<Bytes>),
    /// From the S3 front end.
    S3(s3s::Body),
    /// From the native API.
    Native(axum::body::Body),
}

impl Body {
    /// A body of these bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl From<s3s::Body> for Body {
    fn from(inner: s3s::Body) -> Self {
        Self::S3(inner)
    }
}

impl From<axum::body::Body> for Body {
    fn from(inner: axum::body::Body) -> Self {
        Self::Native(inner)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(inner) => Pin::new(inner).poll_frame(cx).map_err(|never| match never {}),
            Self::S3(inner) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
            Self::Native(inner) => Pin::new(inner).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(inner) => inner.is_end_stream(),
            Self::S3(inner) => http_body::Body::is_end_stream(inner),
            Self::Native(inner) => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(inner) => inner.size_hint(),
            Self::S3(inner) => http_body::Body::size_hint(inner),
            Self::Native(inner) => inner.size_hint(),
        }
    }
}
