//! Object data on its way in (hashed, measured, staged) and out.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};
use terrane_objects::service::{BodyError, BucketInfo, ByteStream, ObjectHandle, ObjectService, Staged};
use tokio::task::JoinHandle;

use crate::checksums::{Algorithm, Digests, Expected, Hasher};
use crate::errors::{from_store, payload_mismatch};
use crate::metrics::Metrics;

/// Bodies up to this size are held whole: verified before they are staged, answered in one piece.
const SMALL: u64 = 64 << 10;
/// Bodies above this size are hashed on other threads, in batches of this size: MD5 takes more than 1 ms for it.
const BATCH: usize = 1 << 20;

/// A body as declared by its request.
pub(crate) struct Upload {
    pub(crate) blob: Option<StreamingBlob>,
    /// `Content-Length`, or the decoded length of aws-chunked bodies.
    pub(crate) declared: Option<u64>,
    pub(crate) expected: Expected,
    /// Checksum to compute where the request declares none.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl Upload {
    /// Reads, hashes and stages the body, and compares it with what was declared. Nothing keeps a name to
    /// the bytes if this fails.
    pub(crate) async fn stage(
        self,
        store: &dyn ObjectService,
        bucket: &BucketInfo,
        limit: u64,
        metrics: &Metrics,
    ) -> S3Result<(Staged, Digests)> {
        let declared = self.declared.ok_or_else(|| {
            let message = "You must provide the Content-Length HTTP header.";
            S3Error::with_message(S3ErrorCode::MissingContentLength, message)
        })?;
        if declared > limit {
            return Err(too_large());
        }
        let hasher = Hasher::new(true, self.expected.algorithm().or(self.algorithm));
        let (staged, digests) = match self.blob {
            Some(blob) if declared > SMALL => stage_large(store, bucket, blob, declared, hasher).await?,
            blob => {
                let (bytes, digests) = read_small(blob, declared, hasher).await?;
                self.expected.verify(&digests, trailers(self.trailers.as_ref()).as_ref())?;
                let body = stream::once(async move { Ok(bytes) }).boxed();
                let staged = store.stage_in(bucket, body, Some(declared)).await.map_err(from_store)?;
                metrics.received.inc_by(digests.length);
                return Ok((staged, digests));
            }
        };
        metrics.received.inc_by(digests.length);
        self.expected.verify(&digests, trailers(self.trailers.as_ref()).as_ref())?;
        Ok((staged, digests))
    }
}

/// Trailers are known once the body was read to its end.
fn trailers(handle: Option<&TrailingHeaders>) -> Option<HeaderMap> {
    handle.and_then(TrailingHeaders::take)
}

async fn read_small(
    blob: Option<StreamingBlob>,
    declared: u64,
    mut hasher: Hasher,
) -> S3Result<(Bytes, Digests)> {
    let mut whole = Bytes::new();
    let mut rest = BytesMut::new();
    if let Some(mut blob) = blob {
        while let Some(chunk) = blob.next().await {
            let chunk = chunk.map_err(|e| body_error(&e))?;
            hasher.update(&chunk);
            if hasher.length() > declared {
                return Err(wrong_length());
            }
            if whole.is_empty() && rest.is_empty() {
                whole = chunk;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut whole));
                rest.extend_from_slice(&chunk);
            }
        }
    }
    if hasher.length() != declared {
        return Err(wrong_length());
    }
    let bytes = if rest.is_empty() { whole } else { rest.freeze() };
    Ok((bytes, hasher.finish()))
}

/// What the reader of a large body leaves behind for whoever staged it.
#[derive(Default)]
struct Outcome {
    digests: Option<Digests>,
    error: Option<S3Error>,
}

async fn stage_large(
    store: &dyn ObjectService,
    bucket: &BucketInfo,
    blob: StreamingBlob,
    declared: u64,
    hasher: Hasher,
) -> S3Result<(Staged, Digests)> {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let work = if declared > BATCH as u64 { Work::away(hasher) } else { Work::Here(hasher) };
    let tap = Tap { blob, declared, read: 0, work, outcome: Arc::clone(&outcome) };
    let body = stream::unfold(Some(tap), |tap| async move { tap?.next().await }).boxed();
    let result = store.stage_in(bucket, body, Some(declared)).await;
    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = outcome.error.take() {
        return Err(error);
    }
    let staged = result.map_err(from_store)?;
    match outcome.digests.take() {
        Some(digests) => Ok((staged, digests)),
        None => Err(S3Error::with_message(S3ErrorCode::InternalError, "The body was not read to its end")),
    }
}

/// Passes a large body on while it is measured and hashed.
struct Tap {
    blob: StreamingBlob,
    declared: u64,
    read: u64,
    work: Work,
    outcome: Arc<Mutex<Outcome>>,
}

type Step = Option<(Result<Bytes, BodyError>, Option<Tap>)>;

impl Tap {
    async fn next(mut self) -> Step {
        match self.blob.next().await {
            Some(Ok(chunk)) => {
                self.read += chunk.len() as u64;
                if self.read > self.declared {
                    return self.fail(wrong_length());
                }
                if let Err(error) = self.work.update(&chunk).await {
                    return self.fail(error);
                }
                Some((Ok(chunk), Some(self)))
            }
            Some(Err(error)) => self.fail(body_error(&error)),
            None if self.read != self.declared => self.fail(wrong_length()),
            None => match self.work.finish().await {
                Ok(digests) => {
                    self.outcome.lock().unwrap_or_else(PoisonError::into_inner).digests = Some(digests);
                    None
                }
                Err(error) => {
                    self.outcome.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error);
                    Some((Err(BodyError("hashing failed".into())), None))
                }
            },
        }
    }

    fn fail(self, error: S3Error) -> Step {
        let text = BodyError(error.code().as_str().into());
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error);
        Some((Err(text), None))
    }
}

/// Hashing, here or away from the threads that serve requests. At most one batch is away at a time, so a
/// body holds no thread while it waits for its bytes.
enum Work {
    Here(Hasher),
    Away { idle: Option<Hasher>, busy: Option<JoinHandle<Hasher>>, batch: Vec<Bytes>, bytes: usize },
}

impl Work {
    fn away(hasher: Hasher) -> Self {
        Self::Away { idle: Some(hasher), busy: None, batch: Vec::new(), bytes: 0 }
    }

    async fn update(&mut self, chunk: &Bytes) -> S3Result<()> {
        match self {
            Self::Here(hasher) => hasher.update(chunk),
            Self::Away { batch, bytes, .. } => {
                batch.push(chunk.clone());
                *bytes += chunk.len();
                if *bytes >= BATCH {
                    self.send().await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> S3Result<()> {
        let Self::Away { idle, busy, batch, bytes } = self else { return Ok(()) };
        let hasher = match (idle.take(), busy.take()) {
            (Some(hasher), _) => Some(hasher),
            (None, Some(running)) => running.await.ok(),
            (None, None) => None,
        };
        let Some(mut hasher) = hasher else {
            return Err(S3Error::with_message(S3ErrorCode::InternalError, "Hashing failed"));
        };
        let batch = std::mem::take(batch);
        *bytes = 0;
        *busy = Some(tokio::task::spawn_blocking(move || {
            for chunk in &batch {
                hasher.update(chunk);
            }
            hasher
        }));
        Ok(())
    }

    async fn finish(mut self) -> S3Result<Digests> {
        self.send().await?;
        let failed = || S3Error::with_message(S3ErrorCode::InternalError, "Hashing failed");
        match self {
            Self::Here(hasher) => Ok(hasher.finish()),
            Self::Away { busy, .. } => match busy {
                Some(running) => Ok(running.await.map_err(|_| failed())?.finish()),
                None => Err(failed()),
            },
        }
    }
}

/// S3's word for what s3s reports about a body. Its error types are private, so their texts are read
/// (pinned by the integration tests).
pub(crate) fn body_error(error: &StdError) -> S3Error {
    let text = error.to_string();
    let has = |word: &str| text.contains(word);
    if has("Sha256Mismatch") {
        return payload_mismatch();
    }
    if has("SignatureMismatch") {
        let message = "The signature of a chunk does not match the signature we calculated.";
        return S3Error::with_message(S3ErrorCode::SignatureDoesNotMatch, message);
    }
    if has("FormatError") || has("TooLarge") || has("TooManyTrailerHeaders") {
        let message = "The body is not well-formed aws-chunked data";
        return S3Error::with_message(S3ErrorCode::InvalidRequest, message);
    }
    wrong_length()
}

fn wrong_length() -> S3Error {
    let message = "You did not provide the number of bytes specified by the Content-Length HTTP header";
    S3Error::with_message(S3ErrorCode::IncompleteBody, message)
}

pub(crate) fn too_large() -> S3Error {
    let message = "Your proposed upload exceeds the maximum allowed size";
    S3Error::with_message(S3ErrorCode::EntityTooLarge, message)
}

/// The bytes of a range as an answer's body. Small ones are read first, so that an error can still be answered.
pub(crate) async fn outgoing(
    handle: &dyn ObjectHandle,
    range: std::ops::Range<u64>,
    metrics: &Metrics,
) -> S3Result<StreamingBlob> {
    let length = range.end.saturating_sub(range.start);
    metrics.sent.inc_by(length);
    if length == 0 {
        return Ok(StreamingBlob::from(Body::empty()));
    }
    let data = handle.read(range);
    if length <= SMALL {
        return Ok(StreamingBlob::from(Body::from(collect(data).await?)));
    }
    let frames = data.map(|chunk| chunk.map(Frame::data));
    Ok(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(frames))))
}

async fn collect(mut data: ByteStream) -> S3Result<Bytes> {
    let broken = |error: BodyError| {
        tracing::error!(%error, "object data cannot be read");
        S3Error::with_message(S3ErrorCode::InternalError, "Storage failed")
    };
    let first = match data.next().await {
        Some(first) => first.map_err(broken)?,
        None => return Ok(Bytes::new()),
    };
    let Some(second) = data.next().await else { return Ok(first) };
    let mut all = BytesMut::from(first.as_ref());
    all.extend_from_slice(&second.map_err(broken)?);
    while let Some(chunk) = data.next().await {
        all.extend_from_slice(&chunk.map_err(broken)?);
    }
    Ok(all.freeze())
}
