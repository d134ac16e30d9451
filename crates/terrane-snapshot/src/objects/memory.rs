//! An object store in memory, for tests: it can fail, stall, lie and tear.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Listed, ObjectError, ObjectStore};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It fails, and has not happened.
    Fail,
    /// It fails, and has happened.
    FailAfter,
    /// A write stores half of the bytes and fails; a read returns half of them.
    Tear,
    /// A write is acknowledged and not stored; a read returns other bytes.
    Lie,
    /// A write is acknowledged and half of it stored.
    LieTorn,
    /// It does not return until [`MemoryObjects::release`].
    Stall,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    calls: u64,
    trouble: BTreeMap<u64, Trouble>,
}

/// Objects in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryObjects {
    inner: Arc<Mutex<Inner>>,
    released: Arc<Notify>,
}

impl MemoryObjects {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// Makes the call of this number (from 0, see [`MemoryObjects::calls`]) go wrong.
    pub fn trouble(&self, call: u64, trouble: Trouble) {
        self.inner.lock().trouble.insert(call, trouble);
    }

    /// Forgets the trouble that has not happened yet.
    pub fn calm(&self) {
        self.inner.lock().trouble.clear();
    }

    /// Lets calls that stall now go on.
    pub fn release(&self) {
        self.released.notify_waiters();
    }

    /// All objects' names.
    pub fn names(&self) -> Vec<String> {
        self.inner.lock().objects.keys().cloned().collect()
    }

    /// The bytes of an object.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.inner.lock().objects.get(name).cloned()
    }

    /// Replaces the bytes of an object, as a failing disk does.
    pub fn overwrite(&self, name: &str, bytes: Bytes) {
        self.inner.lock().objects.insert(name.into(), bytes);
    }

    async fn begin(&self) -> Option<Trouble> {
        // Listening begins before the call is counted, so that no release is missed.
        let released = self.released.notified();
        let trouble = {
            let mut inner = self.inner.lock();
            let call = inner.calls;
            inner.calls += 1;
            inner.trouble.remove(&call)
        };
        if trouble == Some(Trouble::Stall) {
            released.await;
        }
        trouble
    }
}

fn unavailable(name: &str) -> ObjectError {
    ObjectError::Unavailable { name: name.into(), why: "as planned".into() }
}

fn not_found(name: &str) -> ObjectError {
    ObjectError::NotFound { name: name.into() }
}

fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

/// As long as the true bytes, and other ones behind the version, which would only be told to be too new.
fn other(bytes: &Bytes) -> Bytes {
    let flip = |(at, byte): (usize, &u8)| if at == 0 { *byte } else { byte ^ 0x55 };
    bytes.iter().enumerate().map(flip).collect::<Vec<_>>().into()
}

#[async_trait]
impl ObjectStore for MemoryObjects {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let trouble = self.begin().await;
        let stored = match trouble {
            Some(Trouble::Fail | Trouble::Lie) => None,
            Some(Trouble::Tear | Trouble::LieTorn) => Some(half(&bytes)),
            Some(Trouble::FailAfter | Trouble::Stall) | None => Some(bytes),
        };
        if let Some(bytes) = stored {
            self.inner.lock().objects.insert(name.into(), bytes);
        }
        match trouble {
            Some(Trouble::Fail | Trouble::FailAfter | Trouble::Tear) => Err(unavailable(name)),
            Some(Trouble::Lie | Trouble::LieTorn | Trouble::Stall) | None => Ok(()),
        }
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let trouble = self.begin().await;
        let object = self.bytes(name).ok_or_else(|| not_found(name))?;
        let at = |place: u64| usize::try_from(place).ok().filter(|place| *place <= object.len());
        let bytes = match (at(range.start), at(range.end)) {
            (Some(start), Some(end)) if start <= end => object.slice(start..end),
            _ => return Err(not_found(name)),
        };
        match trouble {
            Some(Trouble::Fail | Trouble::FailAfter) => Err(unavailable(name)),
            Some(Trouble::Tear | Trouble::LieTorn) => Ok(half(&bytes)),
            Some(Trouble::Lie) => Ok(other(&bytes)),
            Some(Trouble::Stall) | None => Ok(bytes),
        }
    }

    async fn head(&self, name: &str) -> Result<u64, ObjectError> {
        let trouble = self.begin().await;
        let object = self.bytes(name).ok_or_else(|| not_found(name))?;
        match trouble {
            Some(Trouble::Fail | Trouble::FailAfter) => Err(unavailable(name)),
            Some(Trouble::Tear | Trouble::Lie | Trouble::LieTorn) => Ok(object.len() as u64 / 2),
            Some(Trouble::Stall) | None => Ok(object.len() as u64),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, ObjectError> {
        if matches!(self.begin().await, Some(Trouble::Fail | Trouble::FailAfter)) {
            return Err(unavailable(prefix));
        }
        let inner = self.inner.lock();
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
        let found = inner.objects.range((start, Bound::Unbounded));
        let found = found.filter(|(name, _)| name.starts_with(prefix)).take(limit);
        Ok(found.map(|(name, bytes)| Listed { name: name.clone(), len: bytes.len() as u64 }).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let trouble = self.begin().await;
        if !matches!(trouble, Some(Trouble::Fail | Trouble::Lie)) {
            self.inner.lock().objects.remove(name);
        }
        match trouble {
            Some(Trouble::Fail | Trouble::FailAfter | Trouble::Tear) => Err(unavailable(name)),
            Some(Trouble::Lie | Trouble::LieTorn | Trouble::Stall) | None => Ok(()),
        }
    }
}

impl std::fmt::Debug for MemoryObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryObjects").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
