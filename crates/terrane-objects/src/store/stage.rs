//! Staging: a body becomes durable bytes without a name, or stays in memory to be logged with its record.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::Fuse;
use terrane_keymap::write::NewData;

use super::Store;
use super::view::data_error;
use crate::data::{SegmentWriter, StagedExtents};
use crate::redundancy::Redundancy;
use crate::service::*;

/// Longest body that is logged with its record.
pub(super) const INLINE_BYTES_MAX: usize = 16 << 10;

/// What a [`Staged`] of this store holds.
pub(super) enum StagedBody {
    Inline(Bytes),
    Extents(StagedExtents),
}

impl StagedBody {
    /// The body of a [`Staged`], if it is of this kind of store.
    pub(super) fn of(staged: Staged) -> Result<(u64, Self)> {
        let size = staged.size;
        match staged.inner.downcast::<Self>() {
            Ok(body) => Ok((size, *body)),
            Err(_) => Err(ObjectError::Unavailable("the body was staged in another store".into())),
        }
    }

    /// For a record, and for whoever keeps the bytes from being collected until the record is visible.
    pub(super) fn into_data(self) -> (NewData, Option<StagedExtents>) {
        match self {
            Self::Inline(bytes) if bytes.is_empty() => (NewData::Empty, None),
            Self::Inline(bytes) => (NewData::Inline(bytes), None),
            Self::Extents(staged) => (NewData::Extents(staged.extents().to_vec()), Some(staged)),
        }
    }
}

impl Store {
    pub(super) async fn stage(
        &self,
        redundancy: Redundancy,
        body: ByteStream,
        size_hint: Option<u64>,
    ) -> Result<Staged> {
        if !self.space.admits(size_hint.unwrap_or(0)) {
            return Err(ObjectError::NoSpace("writes"));
        }
        // Asked again after its end below, which a stream need not bear.
        let mut body = body.fuse();
        // The common case, one chunk, is kept as it is.
        let mut only = match body.next().await {
            None => Bytes::new(),
            Some(chunk) => chunk?,
        };
        let mut head = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            head.extend_from_slice(&std::mem::take(&mut only));
            if head.len() + chunk.len() > INLINE_BYTES_MAX {
                return self.stage_bulk(redundancy, &head, &chunk, body).await;
            }
            head.extend_from_slice(&chunk);
        }
        if only.len() > INLINE_BYTES_MAX {
            return self.stage_bulk(redundancy, &only, &[], body).await;
        }
        let bytes = if head.is_empty() { only } else { head.freeze() };
        Ok(Staged { size: bytes.len() as u64, inner: Box::new(StagedBody::Inline(bytes)) })
    }

    async fn stage_bulk(
        &self,
        redundancy: Redundancy,
        head: &[u8],
        chunk: &[u8],
        mut body: Fuse<ByteStream>,
    ) -> Result<Staged> {
        let mut writer = self.data.writer(redundancy).await.map_err(data_error)?;
        self.write_bulk(&mut writer, head).await?;
        self.write_bulk(&mut writer, chunk).await?;
        while let Some(chunk) = body.next().await {
            self.write_bulk(&mut writer, &chunk?).await?;
        }
        finish(writer).await
    }

    async fn write_bulk(&self, writer: &mut SegmentWriter, bytes: &[u8]) -> Result<()> {
        if !self.space.admits(bytes.len() as u64) {
            return Err(ObjectError::NoSpace("bulk data"));
        }
        writer.write(bytes).await.map_err(data_error)
    }

    /// Puts an inline body into a segment, for parts: the object that is made of them refers to their extents.
    pub(super) async fn to_bulk(&self, redundancy: Redundancy, body: StagedBody) -> Result<StagedBody> {
        match body {
            StagedBody::Inline(bytes) if !bytes.is_empty() => {
                let mut writer = self.data.writer(redundancy).await.map_err(data_error)?;
                self.write_bulk(&mut writer, &bytes).await?;
                let staged = writer.finish().await.map_err(data_error)?;
                Ok(StagedBody::Extents(staged))
            }
            other => Ok(other),
        }
    }
}

async fn finish(writer: SegmentWriter) -> Result<Staged> {
    let size = writer.len();
    let staged = writer.finish().await.map_err(data_error)?;
    Ok(Staged { size, inner: Box::new(StagedBody::Extents(staged)) })
}
