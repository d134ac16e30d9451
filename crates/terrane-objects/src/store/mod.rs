//! The object store: the service's calls over the driver, the segments and the readers' views.

mod admin;
mod buckets;
mod drives;
mod events;
mod handle;
mod list;
mod objects;
mod open;
mod service;
mod stage;
mod uploads;
mod view;
mod watch;

use std::sync::Arc;

use parking_lot::Mutex;
use terrane_keymap::write::{WriteError, WriteRequest, Written};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;

use crate::collect::Dirty;
use crate::config::ObjectsConfig;
use crate::convert;
use crate::data::{DataStore, StagedExtents};
use crate::driver::Driver;
use crate::drives::LogMirror;
use crate::metrics::Metrics;
use crate::scrub::Scrubber;
use crate::service::{BucketInfo, ObjectError, Result};
use crate::space::SpaceGuard;

/// The object store of one process over its directories. Clones are handles of the same store.
#[derive(Clone)]
pub struct ObjectStore {
    store: Arc<Store>,
}

pub use admin::CheckReport;
pub use open::OpenError;

/// What all handles share.
pub(crate) struct Store {
    pub(crate) driver: Driver,
    pub(crate) data: DataStore,
    /// The log's drives, where there are several.
    pub(crate) mirror: Option<LogMirror>,
    pub(crate) space: Arc<SpaceGuard>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dirty: Arc<Dirty>,
    pub(crate) config: ObjectsConfig,
    buckets: buckets::BucketCache,
    /// Turns true when the store is being closed; background tasks end then.
    pub(crate) closing: Sender<bool>,
    /// Held by whoever collects: rounds do not overlap.
    pub(crate) collecting: tokio::sync::Mutex<()>,
    pub(crate) scrubber: Scrubber,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Has a write done; a refusal in the service's words.
    pub(crate) async fn write(
        &self,
        bucket: &BucketInfo,
        request: WriteRequest,
        staged: Option<StagedExtents>,
    ) -> Result<Box<Written>> {
        let written = self.driver.write(request, staged).await;
        written.map_err(|error| convert::refusal(error, &bucket.name, None))
    }
}

/// The store has stopped.
pub(crate) fn stopped(error: WriteError) -> ObjectError {
    convert::refusal(error, "", None)
}
