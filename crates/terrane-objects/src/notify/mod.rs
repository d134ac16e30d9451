//! Webhooks.

use std::sync::Arc;

use crate::store::Store;

pub(crate) async fn run(_store: Arc<Store>) {}
