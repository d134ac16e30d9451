//! Opened objects.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use terrane_keymap::lookup::{self, Found};
use terrane_keymap::record::{Data, Payload, RowState};
use terrane_keymap::write::{NewData, NewPayload};
use terrane_keymap::{Guard, RowId};

use super::Store;
use super::view::{Seen, Stale};
use crate::convert;
use crate::data::{DataError, Extent, ExtentReader};
use crate::meta::ObjectMeta;
use crate::records;
use crate::service::*;

/// Where an opened object's bytes are.
#[derive(Clone)]
pub(super) enum Body {
    Inline(Bytes),
    Extents(Arc<[Extent]>, ExtentReader),
}

/// An object as one reader sees it.
pub(super) struct Handle {
    info: ObjectInfo,
    pub(super) row: RowId,
    pub(super) guard: Guard,
    pub(super) body: Body,
}

impl ObjectHandle for Handle {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&self, range: Range<u64>) -> ByteStream {
        match &self.body {
            Body::Inline(bytes) => {
                let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
                let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
                let bytes = bytes.slice(start..end);
                stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed()
            }
            Body::Extents(_, reader) => reader.stream(range),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The state of an object that a change in place replaces.
pub(super) struct Opened {
    pub(super) found: Found,
    pub(super) payload: Payload,
    pub(super) meta: ObjectMeta,
    pub(super) inline: Bytes,
}

impl Opened {
    /// The same bytes with other attributes, for [`terrane_keymap::write::Op::Change`].
    pub(super) fn changed(self) -> NewPayload {
        let (_, meta) = (self.payload.etag.clone(), self.meta);
        NewPayload {
            size: self.payload.size,
            mtime: self.payload.mtime,
            etag: self.payload.etag,
            checksums: self.payload.checksums,
            storage_class: self.payload.storage_class,
            meta: meta.encode().into(),
            data: match self.payload.data {
                Data::Empty => NewData::Empty,
                Data::Inline => NewData::Inline(self.inline),
                Data::Extents(extents) => NewData::Extents(extents),
            },
        }
    }
}

/// The object row that a request means.
pub(super) fn find(seen: &Seen, key: &str, version: Option<&VersionId>) -> Result<Found> {
    use terrane_keymap::head::RowKind;
    let rows = seen.view.rows();
    let (incarnation, key) = (seen.bucket.incarnation, key.as_bytes());
    let found = match version {
        None => lookup::current(&rows, incarnation, key, seen.bucket.versioning),
        Some(version) => lookup::version(&rows, incarnation, key, convert::sub_of(version)),
    };
    let found = found.map_err(super::view::unreadable)?;
    match (found, version) {
        (None, None) => Err(ObjectError::NoSuchKey),
        (None, Some(_)) => Err(ObjectError::NoSuchVersion),
        (Some(found), version) if found.head.kind == RowKind::DeleteMarker => {
            let id = convert::version_of(found.sub);
            Err(match version {
                None => ObjectError::CurrentIsDeleteMarker(id),
                Some(_) => ObjectError::VersionIsDeleteMarker(id),
            })
        }
        (Some(found), _) => Ok(found),
    }
}

impl Store {
    /// The full state of an object.
    pub(super) fn open_row(&self, found: Found) -> Result<Opened, Stale> {
        let (state, inline) = records::read_state(&self.driver.reader, &found.head)?;
        let RowState::Object(payload) = state else {
            return Err(ObjectError::Corrupt("an object's row names a record of another kind".into()).into());
        };
        let meta = ObjectMeta::decode(&payload.meta)?;
        Ok(Opened { found, payload: *payload, meta, inline })
    }

    pub(super) fn open_object(
        &self,
        seen: &Seen,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Handle, Stale> {
        let found = find(seen, key, version)?;
        let is_current = match version {
            None => true,
            Some(_) => find(seen, key, None).is_ok_and(|current| current.sub == found.sub),
        };
        let row = RowId::new(seen.bucket.incarnation, key.as_bytes(), found.sub);
        let Opened { found, payload, meta, inline } = self.open_row(found)?;
        let body = match payload.data {
            Data::Empty => Body::Inline(Bytes::new()),
            Data::Inline => Body::Inline(inline),
            Data::Extents(extents) => Body::Extents(extents.as_slice().into(), self.pin(&extents)?),
        };
        let attrs = ObjectAttrs { etag: payload.etag.to_string(), ..meta.attrs };
        let info = ObjectInfo {
            key: key.into(),
            version: convert::version_of(found.sub),
            size: payload.size,
            modified: convert::system_time(payload.mtime),
            attrs,
            parts: meta.parts.into(),
            is_current,
        };
        Ok(Handle { info, row, guard: found.head.guard, body })
    }

    fn pin(&self, extents: &[Extent]) -> Result<ExtentReader, Stale> {
        let metrics = self.metrics.clone();
        let on_error = Arc::new(move |error: &DataError| {
            if matches!(error, DataError::Corrupt { .. }) {
                metrics.corrupt_reads.inc();
            }
            tracing::error!(%error, "reading an object");
        });
        Ok(ExtentReader::pin(&self.data, extents, on_error)?)
    }
}
