//! A store in a directory of its own, and short words for requests.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use prometheus_client::registry::Registry;
use terrane_objects::service::*;
use terrane_objects::{Metrics, ObjectStore, ObjectsConfig};
use terrane_types::AccountId;

pub(crate) fn account() -> AccountId {
    AccountId::root()
}

/// Small bounds, so that a test reaches them.
pub(crate) fn config(dir: &Path) -> ObjectsConfig {
    ObjectsConfig {
        log_segment_bytes: 4 << 20,
        data_segment_bytes: 1 << 20,
        reserve_bytes: 0,
        thresholds: Vec::new(),
        ..ObjectsConfig::new(dir)
    }
}

pub(crate) async fn open(config: ObjectsConfig) -> ObjectStore {
    ObjectStore::open(config, metrics()).await.unwrap()
}

pub(crate) fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

/// Runs a test on a runtime of its own.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

pub(crate) fn explicit(mode: ExplicitMode) -> ModeRequest {
    ModeRequest { explicit: Some(mode), priority: None }
}

pub(crate) fn pattern(len: usize, seed: u64) -> Bytes {
    // SplitMix64: no two seeds have a stretch in common.
    let mix = |x: u64| (x ^ (x >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let state = mix(mix(seed.wrapping_add(1)));
    (0..len as u64).map(|i| (mix(mix(state.wrapping_add(i))) >> 56) as u8).collect()
}

pub(crate) fn body(bytes: &Bytes) -> ByteStream {
    let chunks: Vec<_> = bytes.chunks(60_000).map(Bytes::copy_from_slice).map(Ok).collect();
    stream::iter(chunks).boxed()
}

pub(crate) fn attrs(etag: &str) -> ObjectAttrs {
    ObjectAttrs { etag: etag.into(), ..ObjectAttrs::default() }
}

/// A bucket of some service.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) service: Arc<dyn ObjectService>,
    pub(crate) info: Arc<BucketInfo>,
}

pub(crate) async fn bucket(service: impl ObjectService, name: &str) -> Bucket {
    let service: Arc<dyn ObjectService> = Arc::new(service);
    let info = match service.bucket(name).await {
        Ok(info) => info,
        Err(_) => service.create_bucket(name, &account(), None).await.unwrap(),
    };
    Bucket { service, info }
}

impl Bucket {
    pub(crate) async fn try_put(&self, key: &str, bytes: &Bytes, mode: ModeRequest) -> Result<Written> {
        let staged = self.service.stage(body(bytes), Some(bytes.len() as u64)).await?;
        let put = PutObject {
            bucket: self.info.clone(),
            key: key.into(),
            staged,
            attrs: attrs(&format!("etag-{key}-{}", bytes.len())),
            condition: Condition::default(),
            mode,
        };
        self.service.put_object(put).await
    }

    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) -> Written {
        self.try_put(key, bytes, ModeRequest::default()).await.unwrap()
    }

    pub(crate) async fn open(&self, key: &str) -> Result<Arc<dyn ObjectHandle>> {
        self.service.get_object(&self.info, key, None).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Bytes> {
        read(&*self.open(key).await?).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Written {
        self.delete_as(key, None, ModeRequest::default()).await.unwrap()
    }

    pub(crate) async fn delete_as(
        &self,
        key: &str,
        version: Option<VersionId>,
        mode: ModeRequest,
    ) -> Result<Written> {
        let (bucket, condition) = (self.info.clone(), Condition::default());
        self.service.delete_object(DeleteObject { bucket, key: key.into(), version, condition, mode }).await
    }

    pub(crate) async fn copy(&self, source: &Arc<dyn ObjectHandle>, key: &str) -> Result<Written> {
        let copy = CopyObject {
            source: source.clone(),
            source_bucket: self.info.clone(),
            bucket: self.info.clone(),
            key: key.into(),
            attrs: source.info().attrs.clone(),
            condition: Condition::default(),
            mode: ModeRequest::default(),
        };
        self.service.copy_object(copy).await
    }

    pub(crate) async fn page(&self, start: ListStart, max_keys: usize) -> ListPage {
        let request = ListRequest {
            bucket: self.info.clone(),
            kind: ListKind::Current,
            prefix: String::new(),
            delimiter: None,
            start,
            max_keys,
        };
        self.service.list(request).await.unwrap()
    }

    /// All keys, by pages.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let (mut keys, mut start) = (Vec::new(), ListStart::Beginning);
        loop {
            let page = self.page(start, 1_000).await;
            keys.extend(page.entries.into_iter().map(|entry| match entry {
                ListEntry::Object { key, .. } => key,
                other => panic!("{other:?}"),
            }));
            match page.next {
                Some(token) => start = ListStart::Token(token),
                None => return keys,
            }
        }
    }
}

pub(crate) async fn read(handle: &dyn ObjectHandle) -> Result<Bytes> {
    let chunks: Vec<Bytes> = handle.read(0..handle.info().size).try_collect().await?;
    Ok(chunks.concat().into())
}
