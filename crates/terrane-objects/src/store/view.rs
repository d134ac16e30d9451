//! Reading with a view that may turn out to be older than a compaction.

use std::sync::Arc;

use terrane_keymap::bucket::BucketState;
use terrane_keymap::reader::ReadError;

use super::Store;
use crate::data::DataError;
use crate::driver::ReadView;
use crate::records::RecordReadError;
use crate::service::*;

/// Views that a reader tries before it takes bytes that are gone for lost.
const VIEWS_MAX: usize = 8;

/// A life of a bucket's name.
#[derive(Clone)]
pub(super) struct BucketRef {
    pub(super) name: String,
    pub(super) incarnation: u64,
}

impl From<&BucketInfo> for BucketRef {
    fn from(bucket: &BucketInfo) -> Self {
        Self { name: bucket.name.clone(), incarnation: bucket.incarnation.0 }
    }
}

/// A bucket in one view.
pub(super) struct Seen {
    pub(super) view: Arc<ReadView>,
    pub(super) bucket: Arc<BucketState>,
}

/// Why a read with a view failed.
pub(super) enum Stale {
    /// Compaction has moved what the view names, and removed it; a later view names the new place.
    Retry(ObjectError),
    /// A later view will not help.
    Final(ObjectError),
}

impl From<ObjectError> for Stale {
    fn from(error: ObjectError) -> Self {
        Self::Final(error)
    }
}

impl From<RecordReadError> for Stale {
    fn from(error: RecordReadError) -> Self {
        match error {
            RecordReadError::Moved => Self::Retry(error.into()),
            _ => Self::Final(error.into()),
        }
    }
}

impl From<DataError> for Stale {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Gone(_) => Self::Retry(ObjectError::Corrupt(error.to_string())),
            _ => Self::Final(data_error(error)),
        }
    }
}

/// The keymap or a spill run cannot be read.
pub(super) fn unreadable(error: ReadError) -> ObjectError {
    match error {
        ReadError::Corrupt { .. } => ObjectError::Corrupt(error.to_string()),
        ReadError::Storage(_) => ObjectError::Unavailable(error.to_string()),
    }
}

pub(super) fn data_error(error: DataError) -> ObjectError {
    match error {
        DataError::Io { source, .. } => ObjectError::Io { context: "bulk data".into(), source },
        DataError::NoSpace => ObjectError::NoSpace("bulk data"),
        DataError::DriveLost(_) | DataError::TooFewDrives { .. } => {
            ObjectError::Unavailable(error.to_string())
        }
        DataError::Body(error) => ObjectError::Body(error),
        DataError::Gone(_) | DataError::Corrupt { .. } => ObjectError::Corrupt(error.to_string()),
    }
}

impl Store {
    /// The bucket, in the life that the caller saw.
    pub(super) fn see(&self, bucket: &BucketRef) -> Result<Seen> {
        let view = self.driver.view();
        let state = view.core.buckets.get(bucket.name.as_str()).cloned();
        match state {
            Some(state) if state.incarnation.0 == bucket.incarnation => Ok(Seen { view, bucket: state }),
            _ => Err(ObjectError::NoSuchBucket(bucket.name.clone())),
        }
    }

    /// Reads with the latest view, again where a compaction was faster. Blocks on disks.
    pub(super) fn read<T>(
        &self,
        bucket: &BucketRef,
        mut read: impl FnMut(&Seen) -> Result<T, Stale>,
    ) -> Result<T> {
        let mut tries = 1;
        loop {
            let error = match read(&self.see(bucket)?) {
                Ok(found) => return Ok(found),
                Err(Stale::Retry(_)) if tries < VIEWS_MAX => {
                    tries += 1;
                    continue;
                }
                Err(Stale::Retry(error) | Stale::Final(error)) => error,
            };
            if matches!(error, ObjectError::Corrupt(_)) {
                self.metrics.corrupt_reads.inc();
                tracing::error!(%error, bucket = bucket.name, "reading an object");
            }
            return Err(error);
        }
    }

    /// As [`Store::read`], on a thread that may block.
    pub(super) async fn read_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        bucket: &BucketInfo,
        read: impl FnMut(&Self, &Seen) -> Result<T, Stale> + Send + 'static,
    ) -> Result<T> {
        let (store, bucket, mut read) = (self.clone(), BucketRef::from(bucket), read);
        let work = move || store.read(&bucket, |seen| read(&store, seen));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(ObjectError::Unavailable(error.to_string())),
        }
    }
}
