//! Objects: put, copy, get, delete, change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use terrane_keymap::completion::EventKind;
use terrane_keymap::etag::{Checksums, Etag};
use terrane_keymap::write::{NewData, NewPayload, Op, WriteError, WriteRequest};
use terrane_keymap::{Guard, RowId};

use super::Store;
use super::handle::{Body, Handle, find};
use super::stage::StagedBody;
use crate::convert;
use crate::data::{Extent, StagedExtents};
use crate::meta::ObjectMeta;
use crate::redundancy::Redundancy;
use crate::service::*;

/// Attempts of a compare-and-set before the conflict is the caller's.
const CONFLICTS_MAX: u32 = 16;
/// Waits for a compaction that is moving the bytes concerned, a tenth of a second each.
const WAITS_MAX: u32 = 100;

/// Repeats compare-and-sets that lost against others.
#[derive(Default)]
pub(super) struct Retries {
    conflicts: u32,
    waits: u32,
}

impl Retries {
    /// Whether to read again and retry after this error; `Err`: no.
    pub(super) async fn after(&mut self, error: WriteError, bucket: &BucketInfo) -> Result<()> {
        match error {
            WriteError::Conflict if self.conflicts < CONFLICTS_MAX => {
                self.conflicts += 1;
                Ok(())
            }
            WriteError::SourceMoved(_) if self.waits < WAITS_MAX => {
                self.waits += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
            error => Err(convert::refusal(error, &bucket.name, None)),
        }
    }
}

/// A payload of these attributes and bytes.
pub(super) fn payload(attrs: ObjectAttrs, parts: Vec<PartInfo>, size: u64, data: NewData) -> NewPayload {
    let checksums = attrs.checksums.iter().map(|(name, _)| name.as_str());
    let checksums = Checksums::new(checksums, attrs.checksum_type.as_deref());
    let storage_class = attrs.storage_class.as_deref().map(Into::into);
    let (etag, meta) = ObjectMeta::new(attrs, parts);
    NewPayload {
        size,
        mtime: convert::now(),
        etag: Etag::from(etag.as_str()),
        checksums,
        storage_class,
        meta: meta.encode().into(),
        data,
    }
}

/// A put of a payload, and what keeps its bytes alive until it is visible.
struct Binding {
    object: NewPayload,
    staged: Option<StagedExtents>,
    source: Option<(RowId, Guard)>,
    event: EventKind,
}

impl Store {
    pub(super) async fn put_object(&self, put: PutObject) -> Result<Written> {
        let (size, body) = StagedBody::of(put.staged)?;
        let (data, staged) = body.into_data();
        let object = payload(put.attrs, Vec::new(), size, data);
        let binding = Binding { object, staged, source: None, event: EventKind::Put };
        let bound = self.bind(&put.bucket, put.key, binding, put.condition, put.mode).await;
        bound.map_err(|error| convert::refusal(error, &put.bucket.name, None))
    }

    async fn bind(
        &self,
        bucket: &BucketInfo,
        key: String,
        binding: Binding,
        condition: Condition,
        mode: ModeRequest,
    ) -> std::result::Result<Written, WriteError> {
        let op = Op::Put {
            bucket: convert::incarnation(bucket),
            key: Bytes::from(key),
            object: binding.object,
            condition: convert::condition(condition),
            source: binding.source,
            event: binding.event,
        };
        let request = WriteRequest { op, mode: convert::mode_request(mode) };
        let written = self.driver.write(request, binding.staged).await?;
        Ok(convert::written(&written, bucket.owner.as_str()))
    }

    pub(super) async fn copy_object(&self, copy: CopyObject) -> Result<Written> {
        let source = copy.source.as_any().downcast_ref::<Handle>();
        let source =
            source.ok_or_else(|| ObjectError::Unavailable("the source is of another store".into()))?;
        let size = source.info().size;
        let onto_itself =
            source.info().key == copy.key && copy.source_bucket.incarnation == copy.bucket.incarnation;
        let itself = onto_itself.then(|| (source.row.clone(), source.guard));
        let redundancy = self.redundancy(&copy.bucket);
        if let Some((data, staged)) = self.share(&source.body, redundancy) {
            let binding = Binding {
                object: payload(copy.attrs.clone(), Vec::new(), size, data),
                staged,
                source: itself.clone(),
                event: EventKind::Copy,
            };
            let bound =
                self.bind(&copy.bucket, copy.key.clone(), binding, copy.condition.clone(), copy.mode).await;
            match bound {
                Err(WriteError::SourceMoved(_)) => {}
                other => return other.map_err(|error| convert::refusal(error, &copy.bucket.name, None)),
            }
        }
        // The source's segment is being emptied, or the bucket wants another redundancy: the handle reads, so the bytes
        // are copied.
        let (_, body) = StagedBody::of(self.stage(redundancy, source.read(0..size), Some(size)).await?)?;
        let (data, staged) = body.into_data();
        let object = payload(copy.attrs, Vec::new(), size, data);
        let binding = Binding { object, staged, source: itself, event: EventKind::Copy };
        let bound = self.bind(&copy.bucket, copy.key, binding, copy.condition, copy.mode).await;
        bound.map_err(|error| convert::refusal(error, &copy.bucket.name, None))
    }

    /// The same bytes for another row; `None` if they are about to move, or are laid out otherwise than they should be.
    fn share(&self, body: &Body, redundancy: Redundancy) -> Option<(NewData, Option<StagedExtents>)> {
        match body {
            Body::Inline(bytes) if bytes.is_empty() => Some((NewData::Empty, None)),
            Body::Inline(bytes) => Some((NewData::Inline(bytes.clone()), None)),
            Body::Extents(extents, _) => {
                let fits = |e: &Extent| self.data.redundancy_of(e.segment) == Some(redundancy);
                let held = self.data.hold(extents).filter(|_| extents.iter().all(fits))?;
                Some((NewData::Extents(extents.to_vec()), Some(held)))
            }
        }
    }

    pub(super) async fn get_object(
        self: &Arc<Self>,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<dyn ObjectHandle>> {
        let (key, version) = (key.to_owned(), version.cloned());
        let open =
            move |store: &Self, seen: &super::view::Seen| store.open_object(seen, &key, version.as_ref());
        let handle = self.read_blocking(bucket, open).await?;
        Ok(Arc::new(handle))
    }

    pub(super) async fn delete_object(&self, delete: DeleteObject) -> Result<Written> {
        let op = Op::Delete {
            bucket: convert::incarnation(&delete.bucket),
            key: Bytes::from(delete.key),
            version: delete.version.as_ref().map(convert::sub_of),
            condition: convert::condition(delete.condition),
            mtime: convert::now(),
        };
        let request = WriteRequest { op, mode: convert::mode_request(delete.mode) };
        let written = self.write(&delete.bucket, request, None).await?;
        Ok(convert::written(&written, delete.bucket.owner.as_str()))
    }

    pub(super) async fn change_object(
        self: &Arc<Self>,
        bucket: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
        change: AttrChange,
        mode: ModeRequest,
    ) -> Result<Written> {
        let mut retries = Retries::default();
        loop {
            let (wanted, id) = (key.to_owned(), version.cloned());
            let open = move |store: &Self, seen: &super::view::Seen| {
                store.open_row(find(seen, &wanted, id.as_ref())?)
            };
            let mut opened = self.read_blocking(bucket, open).await?;
            let (sub, expect) = (opened.found.sub, opened.found.head.guard);
            apply(&mut opened.meta.attrs, &change);
            let op = Op::Change {
                bucket: convert::incarnation(bucket),
                key: Bytes::copy_from_slice(key.as_bytes()),
                sub,
                expect,
                object: opened.changed(),
            };
            let request = WriteRequest { op, mode: convert::mode_request(mode) };
            match self.driver.write(request, None).await {
                Ok(written) => return Ok(convert::written(&written, bucket.owner.as_str())),
                Err(error) => retries.after(error, bucket).await?,
            }
        }
    }
}

fn apply(attrs: &mut ObjectAttrs, change: &AttrChange) {
    match change {
        AttrChange::Tags(tags) => attrs.tags.clone_from(tags),
        AttrChange::Extra(name, Some(value)) => {
            attrs.extra.insert(name.clone(), value.clone());
        }
        AttrChange::Extra(name, None) => {
            attrs.extra.remove(name);
        }
    }
}
