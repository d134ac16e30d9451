//! Objects of the model: put, copy, get, delete, change.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{Bucket, Change, ModelHandle, Object, State, Version};
use crate::service::*;

/// Whether a condition of a write holds for the current version: a delete marker counts as nothing.
pub(super) fn check(condition: &Condition, current: Option<&Version>) -> Result<()> {
    check_there(condition, current.filter(|version| version.object.is_some()))
}

/// Whether the condition of a delete holds for what it would hide or remove, be it a delete marker. Where there is
/// nothing, nothing is left to protect.
fn check_delete(condition: &Condition, target: Option<&Version>) -> Result<()> {
    target.map_or(Ok(()), |_| check_there(condition, target))
}

/// Whether a condition holds for what is there. A delete marker has no ETag and no bytes.
fn check_there(condition: &Condition, there: Option<&Version>) -> Result<()> {
    let matches = |set: &EtagSet| match (set, there) {
        (_, None) => false,
        (EtagSet::Any, Some(_)) => true,
        (EtagSet::Tags(tags), Some(v)) => v.object.as_ref().is_some_and(|o| tags.contains(&o.attrs.etag)),
    };
    let seconds = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if condition.if_none_match.as_ref().is_some_and(matches) {
        return Err(ObjectError::PreconditionFailed("If-None-Match"));
    }
    let wants_object = condition.if_match.is_some()
        || condition.if_match_size.is_some()
        || condition.if_match_last_modified.is_some();
    let Some(version) = there else {
        return if wants_object { Err(ObjectError::NoSuchKey) } else { Ok(()) };
    };
    if condition.if_match.as_ref().is_some_and(|set| !matches(set)) {
        return Err(ObjectError::PreconditionFailed("If-Match"));
    }
    if condition.if_match_size.is_some_and(|size| size != version.size()) {
        return Err(ObjectError::PreconditionFailed("x-amz-if-match-size"));
    }
    if condition.if_match_last_modified.is_some_and(|t| seconds(t) != seconds(version.modified)) {
        return Err(ObjectError::PreconditionFailed("x-amz-if-match-last-modified-time"));
    }
    Ok(())
}

impl Bucket {
    pub(super) fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key).and_then(|versions| versions.first())
    }

    fn find(&self, key: &str, id: &VersionId) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|v| v.id == *id)
    }

    /// Puts a version on top; where versioning is not on, it replaces the null version.
    pub(super) fn push(&mut self, key: &str, born: u64, object: Option<Object>) -> VersionId {
        let versions = self.keys.entry(key.into()).or_default();
        let id = if self.info.versioning == Versioning::Enabled {
            VersionId::Id(born)
        } else {
            versions.retain(|v| v.id != VersionId::Null);
            VersionId::Null
        };
        versions.insert(0, Version { id: id.clone(), born, modified: SystemTime::now(), object });
        id
    }

    fn remove(&mut self, key: &str, id: &VersionId) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|v| v.id != *id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }
}

impl State {
    /// Binds an object to a key; `event` names the kind of creation.
    pub(super) fn bind(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        object: Object,
        event: &'static str,
        mode: ModeRequest,
    ) -> Result<Written> {
        let lsn = self.next();
        let bucket = self.bucket(seen)?;
        let (etag, size) = (object.attrs.etag.clone(), object.bytes.len() as u64);
        let version = bucket.push(key, lsn, Some(object));
        let modified = bucket.current(key).map_or_else(SystemTime::now, |v| v.modified);
        let info = bucket.info.clone();
        let change = Change {
            lsn,
            event,
            key,
            version,
            delete_marker: false,
            modified,
            etag: Some(etag),
            size: Some(size),
        };
        Ok(self.written(&info, &change, mode))
    }

    pub(super) fn put_object(&mut self, put: PutObject) -> Result<Written> {
        check(&put.condition, self.bucket(&put.bucket)?.current(&put.key))?;
        let bytes = staged_bytes(put.staged)?;
        let object = Object { bytes, attrs: put.attrs, parts: Arc::new([]), upload: None };
        self.bind(&put.bucket, &put.key, object, "ObjectCreated:Put", put.mode)
    }

    pub(super) fn copy_object(&mut self, copy: CopyObject) -> Result<Written> {
        check(&copy.condition, self.bucket(&copy.bucket)?.current(&copy.key))?;
        let source = copy
            .source
            .as_any()
            .downcast_ref::<ModelHandle>()
            .ok_or_else(|| ObjectError::Unavailable("the source belongs to another store".into()))?;
        let object =
            Object { bytes: source.bytes.clone(), attrs: copy.attrs, parts: Arc::new([]), upload: None };
        self.bind(&copy.bucket, &copy.key, object, "ObjectCreated:Copy", copy.mode)
    }

    pub(super) fn get_object(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
    ) -> Result<Arc<dyn ObjectHandle>> {
        let bucket = self.bucket(seen)?;
        let found = live(bucket, key, version)?;
        let Some(object) = found.object.clone() else { return Err(ObjectError::NoSuchKey) };
        Ok(Arc::new(ModelHandle {
            info: ObjectInfo {
                key: key.into(),
                version: found.id.clone(),
                size: object.bytes.len() as u64,
                modified: found.modified,
                attrs: object.attrs,
                parts: object.parts,
                is_current: bucket.current(key).is_some_and(|current| current.born == found.born),
            },
            bytes: object.bytes,
        }))
    }

    pub(super) fn delete_object(&mut self, delete: DeleteObject) -> Result<Written> {
        let lsn = self.next();
        let bucket = self.bucket(&delete.bucket)?;
        let key = delete.key.as_str();
        let target = match &delete.version {
            Some(id) => bucket.find(key, id),
            None => bucket.current(key),
        };
        check_delete(&delete.condition, target)?;
        let unconditional = delete.condition == Condition::default();
        let (known, was_marker) = (target.is_some(), target.is_some_and(|v| v.object.is_none()));
        let (version, delete_marker) = match (&delete.version, bucket.info.versioning) {
            (Some(id), _) => {
                bucket.remove(key, id);
                (id.clone(), was_marker)
            }
            (None, Versioning::Off) => {
                bucket.remove(key, &VersionId::Null);
                (VersionId::Null, false)
            }
            (None, _) if known || unconditional => (bucket.push(key, lsn, None), true),
            (None, _) => (VersionId::Null, false),
        };
        let made_marker = delete.version.is_none() && delete_marker;
        let modified = SystemTime::now();
        if !known && !made_marker {
            let keymap = KeymapState::Applied;
            return Ok(Written { version, delete_marker: false, modified, keymap, operation: None });
        }
        let event = if made_marker { "ObjectRemoved:DeleteMarkerCreated" } else { "ObjectRemoved:Delete" };
        let info = bucket.info.clone();
        let change = Change { lsn, event, key, version, delete_marker, modified, etag: None, size: None };
        Ok(self.written(&info, &change, delete.mode))
    }

    pub(super) fn change_object(
        &mut self,
        seen: &BucketInfo,
        key: &str,
        version: Option<&VersionId>,
        change: AttrChange,
        mode: ModeRequest,
    ) -> Result<Written> {
        let lsn = self.next();
        let bucket = self.bucket(seen)?;
        let id = live(bucket, key, version)?.id.clone();
        let info = bucket.info.clone();
        let found = bucket.keys.get_mut(key).and_then(|all| all.iter_mut().find(|v| v.id == id));
        let Some((modified, object)) = found.and_then(|v| Some((v.modified, v.object.as_mut()?))) else {
            return Err(ObjectError::NoSuchKey);
        };
        let event = match change {
            AttrChange::Tags(tags) => {
                let event = if tags.is_empty() { "ObjectTagging:Delete" } else { "ObjectTagging:Put" };
                object.attrs.tags = tags;
                event
            }
            AttrChange::Extra(name, value) => {
                match value {
                    Some(value) => object.attrs.extra.insert(name, value),
                    None => object.attrs.extra.remove(&name),
                };
                "ObjectAttributes:Put"
            }
        };
        let (etag, size) = (Some(object.attrs.etag.clone()), Some(object.bytes.len() as u64));
        let change = Change { lsn, event, key, version: id, delete_marker: false, modified, etag, size };
        Ok(self.written(&info, &change, mode))
    }
}

/// The version asked for, which must be an object.
fn live<'a>(bucket: &'a Bucket, key: &str, version: Option<&VersionId>) -> Result<&'a Version> {
    match version {
        None => match bucket.current(key) {
            None => Err(ObjectError::NoSuchKey),
            Some(v) if v.object.is_none() => Err(ObjectError::CurrentIsDeleteMarker(v.id.clone())),
            Some(v) => Ok(v),
        },
        Some(id) => match bucket.find(key, id) {
            None => Err(ObjectError::NoSuchVersion),
            Some(v) if v.object.is_none() => Err(ObjectError::VersionIsDeleteMarker(v.id.clone())),
            Some(v) => Ok(v),
        },
    }
}

/// The bytes behind a [`Staged`] of this store.
pub(super) fn staged_bytes(staged: Staged) -> Result<Bytes> {
    match staged.inner.downcast::<Bytes>() {
        Ok(bytes) => Ok(*bytes),
        Err(_) => Err(ObjectError::Unavailable("the body was staged in another store".into())),
    }
}
