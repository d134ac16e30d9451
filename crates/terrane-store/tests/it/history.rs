//! Randomised check of strict serialisability, after Elle's list-append histories
//! (Kingsbury & Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020).
//!
//! Every key holds a list of transaction numbers; a transaction reads some lists and appends its
//! number to some. The final lists give the order of writers of each key; what a transaction read
//! is a prefix of the final list and so tells after which writer and before which other it ran. With
//! the real-time order these are the edges of a graph that must have no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use terrane_store::{KeyRange, Store, StoreError};

const KEYS: u8 = 6;

type List = Vec<u64>;

/// One transaction as its client saw it. Times are ticks of a shared counter.
#[derive(Debug, Clone)]
struct Done {
    id: u64,
    begun: u64,
    /// `None` if the client does not know whether it happened.
    ended: Option<u64>,
    reads: BTreeMap<u8, List>,
    appended: BTreeSet<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Recorder {
    ticks: Arc<AtomicU64>,
    ids: Arc<AtomicU64>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Recorder {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Transactions that were surely committed so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.done.lock().iter().filter(|done| done.ended.is_some()).count()
    }

    /// Transactions whose clients do not know whether they happened.
    pub(crate) fn unknown(&self) -> usize {
        self.done.lock().iter().filter(|done| done.ended.is_none()).count()
    }
}

fn key(k: u8) -> Vec<u8> {
    vec![b'h', k]
}

fn decode(bytes: &[u8]) -> List {
    bytes.chunks(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap())).collect()
}

#[derive(Clone, Copy)]
enum Op {
    Read(u8),
    Append(u8),
    ScanAll,
}

fn random_ops(rng: &mut SmallRng) -> Vec<Op> {
    (0..rng.random_range(1..5))
        .map(|_| {
            let k = rng.random_range(0..KEYS);
            match rng.random_range(0..10) {
                0..4 => Op::Read(k),
                4..9 => Op::Append(k),
                _ => Op::ScanAll,
            }
        })
        .collect()
}

type Seen = (BTreeMap<u8, List>, BTreeSet<u8>);

async fn attempt(tx: &terrane_store::Tx, id: u64, ops: &[Op]) -> Result<Seen, StoreError> {
    let (mut reads, mut appended) = (BTreeMap::new(), BTreeSet::new());
    for op in ops {
        match *op {
            Op::Read(k) | Op::Append(k) if appended.contains(&k) => {}
            Op::Read(k) => {
                let list = tx.get(key(k)).await?.map_or(List::new(), |bytes| decode(&bytes));
                reads.insert(k, list);
            }
            Op::Append(k) => {
                let mut bytes = tx.get(key(k)).await?.map_or(Vec::new(), |bytes| bytes.to_vec());
                reads.insert(k, decode(&bytes));
                bytes.extend(id.to_be_bytes());
                tx.put(key(k), bytes).await?;
                appended.insert(k);
            }
            Op::ScanAll if appended.is_empty() => {
                let rows = tx.scan(&KeyRange::prefix(b"h"), 100).await?;
                for k in 0..KEYS {
                    let row = rows.iter().find(|(found, _)| **found == *key(k));
                    reads.insert(k, row.map_or(List::new(), |(_, bytes)| decode(bytes)));
                }
            }
            Op::ScanAll => {}
        }
        tokio::task::yield_now().await;
    }
    Ok((reads, appended))
}

/// Runs `count` random transactions one after the other. Errors are recorded as what they mean:
/// an unknown outcome, or nothing happened.
pub(crate) async fn work(store: Store, recorder: Recorder, seed: u64, count: usize) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..count {
        let id = recorder.ids.fetch_add(1, Ordering::SeqCst) + 1;
        let ops = random_ops(&mut rng);
        let ops = &ops;
        let begun = recorder.tick();
        let result = store.transact(|tx| async move { attempt(&tx, id, ops).await }).await;
        match result {
            Ok((reads, appended)) => {
                let ended = Some(recorder.tick());
                recorder.done.lock().push(Done { id, begun, ended, reads, appended });
            }
            Err(StoreError::UnknownOutcome(_)) => {
                let keys = ops.iter().filter_map(|op| if let Op::Append(k) = op { Some(*k) } else { None });
                let (reads, appended) = (BTreeMap::new(), keys.collect());
                recorder.done.lock().push(Done { id, begun, ended: None, reads, appended });
            }
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// Checks everything recorded against the store's final state; returns how many transactions were
/// acknowledged.
pub(crate) async fn check(store: &Store, recorder: &Recorder) -> usize {
    let rows = store
        .read(|tx| async move { tx.scan(&KeyRange::prefix(b"h"), 100).await })
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"));
    let mut lists: BTreeMap<u8, List> = (0..KEYS).map(|k| (k, List::new())).collect();
    for (key, bytes) in rows {
        lists.insert(key[1], decode(&bytes));
    }
    let done = recorder.done.lock().clone();
    check_durable(&done, &lists);
    let present: BTreeSet<u64> = lists.values().flatten().copied().collect();
    let known: Vec<&Done> =
        done.iter().filter(|done| done.ended.is_some() || present.contains(&done.id)).collect();
    assert_acyclic(&known, &edges(&known, &lists));
    recorder.acknowledged()
}

fn check_durable(done: &[Done], lists: &BTreeMap<u8, List>) {
    let ids: BTreeSet<u64> = done.iter().map(|done| done.id).collect();
    for (k, list) in lists {
        let unique: BTreeSet<u64> = list.iter().copied().collect();
        assert_eq!(unique.len(), list.len(), "a commit happened twice in key {k}: {list:?}");
        for id in list {
            assert!(ids.contains(id), "transaction {id}, which was refused, is in key {k}");
        }
    }
    for done in done {
        let there: Vec<bool> = done.appended.iter().map(|k| lists[k].contains(&done.id)).collect();
        if done.ended.is_some() {
            assert!(there.iter().all(|there| *there), "acknowledged, but lost: {done:?}");
        } else {
            assert!(there.windows(2).all(|pair| pair[0] == pair[1]), "half committed: {done:?}");
        }
    }
}

type Edges = BTreeMap<u64, BTreeSet<u64>>;

fn edges(known: &[&Done], lists: &BTreeMap<u8, List>) -> Edges {
    let mut edges = Edges::new();
    let mut add = |from: u64, to: u64| {
        if from != to {
            edges.entry(from).or_default().insert(to);
        }
    };
    for list in lists.values() {
        list.windows(2).for_each(|pair| add(pair[0], pair[1]));
    }
    for done in known {
        for (k, read) in &done.reads {
            let list = &lists[k];
            assert!(list.starts_with(read), "{} read {read:?} of key {k}, final {list:?}", done.id);
            if let Some(writer) = read.last() {
                add(*writer, done.id);
            }
            if let Some(next) = list.get(read.len()) {
                add(done.id, *next);
            }
        }
        for other in known {
            if done.ended.is_some_and(|ended| ended < other.begun) {
                add(done.id, other.id);
            }
        }
    }
    edges
}

fn assert_acyclic(known: &[&Done], edges: &Edges) {
    let mut incoming: BTreeMap<u64, usize> = known.iter().map(|done| (done.id, 0)).collect();
    for to in edges.values().flatten() {
        *incoming.entry(*to).or_default() += 1;
    }
    let mut free: Vec<u64> = incoming.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).collect();
    let mut ordered = 0;
    while let Some(id) = free.pop() {
        ordered += 1;
        for to in edges.get(&id).into_iter().flatten() {
            let n = incoming.get_mut(to).unwrap();
            *n -= 1;
            if *n == 0 {
                free.push(*to);
            }
        }
    }
    let stuck: Vec<&&Done> = known.iter().filter(|done| incoming[&done.id] > 0).take(6).collect();
    assert_eq!(ordered, incoming.len(), "not strictly serialisable, among these: {stuck:#?}");
}

#[tokio::test]
async fn the_checker_finds_a_lost_update() {
    let store = Store::memory();
    let recorder = Recorder::default();
    crate::conformance::put(&store, &key(0), &[2u64.to_be_bytes()].concat()).await;
    let lost = |id, begun| Done {
        id,
        begun,
        ended: Some(begun + 1),
        reads: BTreeMap::from([(0, List::new())]),
        appended: BTreeSet::from([0]),
    };
    recorder.done.lock().extend([lost(1, 0), lost(2, 2)]);
    let checked = tokio::spawn(async move { check(&store, &recorder).await }).await;
    assert!(checked.is_err());
}

#[tokio::test]
async fn the_checker_finds_a_stale_read() {
    let store = Store::memory();
    let recorder = Recorder::default();
    crate::conformance::put(&store, &key(0), &1u64.to_be_bytes()).await;
    let write = Done {
        id: 1,
        begun: 0,
        ended: Some(1),
        reads: BTreeMap::from([(0, List::new())]),
        appended: BTreeSet::from([0]),
    };
    let stale = Done { id: 2, begun: 2, ended: Some(3), appended: BTreeSet::new(), ..write.clone() };
    recorder.done.lock().extend([write, stale]);
    let checked = tokio::spawn(async move { check(&store, &recorder).await }).await;
    assert!(checked.is_err());
}
