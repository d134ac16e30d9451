//! Buckets of the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use terrane_types::{AccountId, RandomId};

use super::{BUCKETS_MAX, Bucket, State};
use crate::service::*;

impl State {
    pub(super) fn create_bucket(
        &mut self,
        name: &str,
        owner: &AccountId,
        region: Option<String>,
    ) -> Result<Arc<BucketInfo>> {
        if let Some(bucket) = self.buckets.get(name) {
            return Err(ObjectError::BucketExists { name: name.into(), ours: bucket.info.owner == *owner });
        }
        if self.buckets.values().filter(|b| b.info.owner == *owner).count() >= BUCKETS_MAX {
            return Err(ObjectError::TooManyBuckets { limit: BUCKETS_MAX });
        }
        let info = Arc::new(BucketInfo {
            name: name.into(),
            incarnation: RandomId(self.next()),
            owner: owner.clone(),
            created: SystemTime::now(),
            region,
            versioning: Versioning::Off,
            default_mode: None,
            settings: BTreeMap::new(),
        });
        let bucket = Bucket { info: info.clone(), keys: BTreeMap::new(), uploads: BTreeMap::new() };
        self.buckets.insert(name.into(), bucket);
        Ok(info)
    }

    pub(super) fn delete_bucket(&mut self, seen: &BucketInfo) -> Result<()> {
        if !self.bucket(seen)?.keys.is_empty() {
            return Err(ObjectError::BucketNotEmpty(seen.name.clone()));
        }
        self.buckets.remove(&seen.name);
        Ok(())
    }

    pub(super) fn change_bucket(
        &mut self,
        seen: &BucketInfo,
        change: BucketChange,
    ) -> Result<Arc<BucketInfo>> {
        let bucket = self.bucket(seen)?;
        let mut info = BucketInfo::clone(&bucket.info);
        match change {
            BucketChange::Versioning(versioning) => info.versioning = versioning,
            BucketChange::DefaultMode(mode) => info.default_mode = mode,
            BucketChange::Setting(name, Some(value)) => {
                info.settings.insert(name, value);
            }
            BucketChange::Setting(name, None) => {
                info.settings.remove(&name);
            }
        }
        bucket.info = Arc::new(info);
        Ok(bucket.info.clone())
    }
}
