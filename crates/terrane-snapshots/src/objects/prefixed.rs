use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use terrane_snapshot::objects::{Listed, ObjectError, ObjectStore};

/// A part of an object store: what begins with a prefix, which users of the part do not see.
#[derive(Clone)]
pub struct Prefixed {
    inner: Arc<dyn ObjectStore>,
    prefix: Box<str>,
}

impl Prefixed {
    /// Of this store, what begins so.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: impl Into<Box<str>>) -> Self {
        Self { inner, prefix: prefix.into() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[async_trait]
impl ObjectStore for Prefixed {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.inner.put(&self.name(name), bytes).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.inner.get(&self.name(name), range).await
    }

    async fn head(&self, name: &str) -> Result<u64, ObjectError> {
        self.inner.head(&self.name(name)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, ObjectError> {
        let after = after.map(|after| self.name(after));
        let found = self.inner.list(&self.name(prefix), after.as_deref(), limit).await?;
        let strip = |listed: Listed| {
            let name = listed.name.strip_prefix(&*self.prefix)?.to_owned();
            Some(Listed { name, ..listed })
        };
        let count = found.len();
        let names: Vec<Listed> = found.into_iter().filter_map(strip).collect();
        // A page that lost names would look like the last one.
        if names.len() < count {
            let why = "a listing has names that were not asked for".to_owned();
            return Err(ObjectError::Unavailable { name: self.name(prefix), why });
        }
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        self.inner.delete(&self.name(name)).await
    }
}

impl std::fmt::Debug for Prefixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefixed").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
