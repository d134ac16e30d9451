//! One body type for all families of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;

/// What went wrong while an answer was streamed; the connection is cut.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

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
