//! The whole object store over a real directory, with real threads, seen from outside only: what its clients saw must
//! be linearizable, whatever the queues, the modes and restarts did behind their backs.
//!
//! (World `keymap` decides the schedule and knows what happens inside; here the schedule is whatever the machine makes
//! of it, and nothing is known but answers.)

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use terrane_objects::service::*;
use terrane_objects::{Metrics, ObjectStore, ObjectsConfig};
use terrane_sim::oracle::{History, Register, RegisterOp, RegisterRet, Scan};
use terrane_sim::rng::SimRng;
use terrane_sim::runner::fresh_seed;
use terrane_types::AccountId;

type Seen = History<Register<String>>;

const KEYS: usize = 8;
const CLIENTS: usize = 12;
const STEPS: usize = 120;
/// The store is opened, used and closed while in use so many times.
const LIVES: usize = 4;

#[test]
fn what_clients_of_the_store_see_is_linearizable() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let dir = tempfile::tempdir().expect("a directory");
    let history = Arc::new(Mutex::new(Seen::default()));
    let values = Arc::new(AtomicU64::new(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut rng = SimRng::new(seed);
        for _ in 0..LIVES {
            live(dir.path(), &history, &values, &mut rng).await;
            // What was under way when the store was closed has happened by now or never will.
            history.lock().lost_all();
        }
    });
    let history = history.lock();
    assert!(history.len() > 2_000, "only {} calls", history.len());
    if let Err(violation) = history.check() {
        panic!("{violation}");
    }
}

/// One life of the store: clients at work, somebody who pauses and drains queues, and an end in the middle of it.
async fn live(dir: &Path, history: &Arc<Mutex<Seen>>, values: &Arc<AtomicU64>, rng: &mut SimRng) {
    let config = ObjectsConfig { reserve_bytes: 0, log_segment_bytes: 4 << 20, ..ObjectsConfig::new(dir) };
    let store = ObjectStore::open(config, Metrics::register(&mut Registry::default())).await;
    let store = store.expect("the store opens");
    let bucket = match store.bucket("bucket").await {
        Ok(bucket) => bucket,
        Err(_) => store.create_bucket("bucket", &AccountId::root(), None).await.expect("a bucket"),
    };
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client {
                store: Arc::new(store.clone()),
                bucket: bucket.clone(),
                history: history.clone(),
                values: values.clone(),
                rng: rng.fork(),
                known: BTreeMap::new(),
                lists: number < 2,
            };
            let done = done.clone();
            tokio::spawn(client.work(done))
        })
        .collect();
    let most = (CLIENTS * STEPS * 4 / 5) as u64;
    while done.load(Ordering::Relaxed) < most {
        let paused = rng.one_in(2);
        let class = *rng.pick(&[None, Some("high"), Some("low"), Some("delay")]);
        store.pause_queue(class, paused).await.expect("a queue");
        if rng.one_in(4) {
            store.pause_queue(None, false).await.expect("queues");
            store.drain_queue(None).await.expect("queues");
        }
        tokio::task::yield_now().await;
    }
    store.pause_queue(None, false).await.expect("queues");
    store.close().await;
    for client in clients {
        client.await.expect("no client panics");
    }
}

struct Client {
    store: Arc<dyn ObjectService>,
    bucket: Arc<BucketInfo>,
    history: Arc<Mutex<Seen>>,
    values: Arc<AtomicU64>,
    rng: SimRng,
    /// The value last seen at a key, for conditions that have a chance to hold.
    known: BTreeMap<String, u64>,
    lists: bool,
}

impl Client {
    async fn work(mut self, done: Arc<AtomicU64>) {
        for _ in 0..STEPS {
            if self.lists && self.rng.one_in(4) {
                self.list().await;
            } else {
                let key = format!("key-{}", self.rng.below(KEYS));
                match self.rng.weighted(&[4, 1, 2, 6, 2]) {
                    0 => self.put(key, RegisterOp::Put).await,
                    1 => self.put(key, RegisterOp::PutIfNone).await,
                    2 => {
                        let expected = self.known.get(&key).copied().unwrap_or(0);
                        self.put(key, |value| RegisterOp::PutIf { expected, value }).await;
                    }
                    3 => self.get(key).await,
                    _ => self.delete(key).await,
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn mode(&mut self) -> ModeRequest {
        let week = Duration::from_secs(7 * 24 * 3600);
        let explicit = *self.rng.pick(&[
            None,
            Some(ExplicitMode::Async),
            Some(ExplicitMode::Sync),
            Some(ExplicitMode::Delay(Duration::from_secs(1))),
            Some(ExplicitMode::Delay(week)),
        ]);
        let priority = *self.rng.pick(&[None, Some(Priority::High), Some(Priority::Low)]);
        ModeRequest { explicit, priority }
    }

    async fn put(&mut self, key: String, op: impl FnOnce(u64) -> RegisterOp) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let op = op(value);
        // Some are stored in the log's record, some beside it.
        let body = content(value, *self.rng.pick(&[20, 3_000, 40_000]));
        let size = Some(body.len() as u64);
        let Ok(staged) = self.store.stage(stream::iter([Ok(body)]).boxed(), size).await else { return };
        let any = Some(EtagSet::Any);
        let condition = match &op {
            RegisterOp::PutIfNone(_) => Condition { if_none_match: any, ..Condition::default() },
            RegisterOp::PutIf { expected, .. } => {
                let tags = Some(EtagSet::Tags(vec![expected.to_string()]));
                Condition { if_match: tags, ..Condition::default() }
            }
            _ => Condition::default(),
        };
        let attrs = ObjectAttrs { etag: value.to_string(), ..ObjectAttrs::default() };
        let (bucket, mode) = (self.bucket.clone(), self.mode());
        let put = PutObject { bucket, key: key.clone(), staged, attrs, condition, mode };
        let id = self.history.lock().invoke(key.clone(), op);
        let answer = self.store.put_object(put).await;
        if answer.is_ok() {
            self.known.insert(key, value);
        }
        self.answered(id, answer);
    }

    async fn delete(&mut self, key: String) {
        let (bucket, mode) = (self.bucket.clone(), self.mode());
        let condition = Condition::default();
        let delete = DeleteObject { bucket, key: key.clone(), version: None, condition, mode };
        let id = self.history.lock().invoke(key, RegisterOp::Delete);
        let answer = self.store.delete_object(delete).await;
        self.answered(id, answer);
    }

    fn answered(&self, id: terrane_sim::oracle::Id, answer: Result<Written>) {
        let mut history = self.history.lock();
        match answer {
            Ok(_) => history.returns(id, RegisterRet::Done),
            // S3 answers a condition on a missing key with NoSuchKey.
            Err(ObjectError::PreconditionFailed(_) | ObjectError::NoSuchKey) => {
                history.returns(id, RegisterRet::Failed);
            }
            // These promise that nothing was done.
            Err(ObjectError::SlowDown { .. } | ObjectError::ConditionalConflict) => history.refused(id),
            Err(ObjectError::Unavailable(_)) => history.forgets(id),
            Err(error) => panic!("{error}"),
        }
    }

    async fn get(&mut self, key: String) {
        let id = self.history.lock().invoke(key.clone(), RegisterOp::Get);
        let value = match self.store.get_object(&self.bucket, &key, None).await {
            Ok(handle) => {
                let info = handle.info();
                let value: u64 = info.attrs.etag.parse().expect("an ETag of ours");
                self.known.insert(key, value);
                let bytes: Result<Vec<Bytes>, _> = handle.read(0..info.size).try_collect().await;
                match bytes {
                    Ok(bytes) => check_content(&bytes.concat(), value, info),
                    // The store closed in between.
                    Err(_) => return self.history.lock().forgets(id),
                }
                Some(value)
            }
            Err(ObjectError::NoSuchKey) => None,
            Err(ObjectError::Unavailable(_)) => return self.history.lock().forgets(id),
            Err(error) => panic!("{error}"),
        };
        self.history.lock().returns(id, RegisterRet::Value(value));
    }

    /// One page from anywhere: it is true of one instant.
    async fn list(&mut self) {
        let after = (!self.rng.one_in(2)).then(|| format!("key-{}", self.rng.below(KEYS)));
        let request = ListRequest {
            bucket: self.bucket.clone(),
            kind: ListKind::Current,
            prefix: String::new(),
            delimiter: None,
            start: after.clone().map_or(ListStart::Beginning, ListStart::AfterKey),
            max_keys: 1 + self.rng.below(KEYS + 2),
        };
        let id = self.history.lock().invoke_scan();
        let page = match self.store.list(request).await {
            Ok(page) => page,
            Err(ObjectError::Unavailable(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let items: BTreeMap<String, u64> = page
            .entries
            .into_iter()
            .map(|entry| match entry {
                ListEntry::Object { key, etag, .. } => (key, etag.parse().expect("an ETag of ours")),
                other => panic!("{other:?}"),
            })
            .collect();
        let upto = page.next.and(items.last_key_value().map(|(key, _)| key.clone()));
        self.history.lock().returns_scan(id, Scan { after, upto, items });
    }
}

fn check_content(found: &[u8], value: u64, info: &ObjectInfo) {
    let expected = content(value, info.size as usize);
    let longest = expected.len().max(found.len());
    let Some(at) = (0..longest).find(|at| found.get(*at) != expected.get(*at)) else { return };
    let start = at / 8 * 8;
    let piece = found.get(start..found.len().min(start + 8));
    panic!("value {value} of {} bytes ({} found): from {at} on {piece:?}", info.size, found.len());
}

/// The bytes of a value: no two values have the same.
fn content(value: u64, len: usize) -> Bytes {
    value.to_be_bytes().into_iter().cycle().take(len).collect()
}
