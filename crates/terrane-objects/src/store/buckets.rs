//! Buckets.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use terrane_keymap::Incarnation;
use terrane_keymap::bucket::BucketState;
use terrane_keymap::write::{Op, WriteRequest};
use terrane_types::AccountId;

use super::Store;
use crate::service::*;
use crate::{convert, notify};

/// Buckets whose service form is kept.
const CACHED_MAX: usize = 4_096;

/// A bucket's state in the core's and in the service's form.
type Forms = (Arc<BucketState>, Arc<BucketInfo>);

/// The service's form of bucket states, made once per state.
#[derive(Default)]
pub(super) struct BucketCache {
    infos: Mutex<HashMap<String, Forms>>,
}

impl BucketCache {
    fn info(&self, state: &Arc<BucketState>) -> Arc<BucketInfo> {
        let mut infos = self.infos.lock();
        if let Some((known, info)) = infos.get(&state.name)
            && Arc::ptr_eq(known, state)
        {
            return info.clone();
        }
        if infos.len() >= CACHED_MAX {
            infos.clear();
        }
        let info = Arc::new(convert::bucket_info(state));
        infos.insert(state.name.clone(), (state.clone(), info.clone()));
        info
    }
}

fn request(op: Op) -> WriteRequest {
    WriteRequest { op, mode: terrane_keymap::class::ModeRequest::default() }
}

impl Store {
    pub(super) async fn create_bucket(
        &self,
        name: &str,
        owner: &AccountId,
        region: Option<String>,
    ) -> Result<Arc<BucketInfo>> {
        let op = Op::CreateBucket {
            name: name.into(),
            incarnation: Incarnation(rand::random::<u64>().max(1)),
            owner: owner.clone(),
            region,
            limit: self.config.buckets_max,
        };
        let written = self.driver.write(request(op), None).await;
        let written = written.map_err(|e| convert::refusal(e, name, Some(owner.as_str())))?;
        self.changed(name, written.bucket.as_ref())
    }

    pub(super) async fn delete_bucket(&self, bucket: &BucketInfo) -> Result<()> {
        let op = Op::DeleteBucket { name: bucket.name.clone(), incarnation: convert::incarnation(bucket) };
        self.write(bucket, request(op), None).await.map(|_| ())
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<BucketInfo>> {
        let view = self.driver.view();
        let state = view.core.buckets.get(name).ok_or_else(|| ObjectError::NoSuchBucket(name.into()))?;
        Ok(self.buckets.info(state))
    }

    pub(super) fn list_buckets(&self, owner: &AccountId) -> Vec<Arc<BucketInfo>> {
        let view = self.driver.view();
        let ours = view.core.buckets.values().filter(|state| state.owner == *owner);
        ours.map(|state| self.buckets.info(state)).collect()
    }

    pub(super) async fn change_bucket(
        &self,
        bucket: &BucketInfo,
        change: BucketChange,
    ) -> Result<Arc<BucketInfo>> {
        self.check_change(&change)?;
        let change = notify::guarded(self, bucket, change).await?;
        let op = Op::ChangeBucket {
            name: bucket.name.clone(),
            incarnation: convert::incarnation(bucket),
            change: convert::bucket_change(change),
        };
        let written = self.write(bucket, request(op), None).await?;
        self.changed(&bucket.name, written.bucket.as_ref())
    }

    fn changed(&self, name: &str, state: Option<&Arc<BucketState>>) -> Result<Arc<BucketInfo>> {
        match state {
            Some(state) => Ok(self.buckets.info(state)),
            None => self.bucket(name),
        }
    }
}
