//! What takes longer than a call: one process at a time does it.

mod jobs;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use terrane_store::lease::{Epoch, Lease, LeaseConfig};
use terrane_store::{Result, Store, StoreError, Tx};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::rows::{JOBS, Key};
use crate::site::{Snapshots, now_ms};

/// How often work is looked for that nobody told of.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether snapshots that nobody writes to are to be given up.
const SWEEP: Duration = Duration::from_secs(5);
/// Jobs of one look.
const PAGE: usize = 1000;

/// The right to do the work; every effect on the store checks it.
#[derive(Clone)]
pub(crate) enum Office {
    /// There is nobody else.
    Exclusive,
    /// By a lease.
    Lease { lease: Arc<Lease>, epoch: Epoch },
}

impl Office {
    pub(crate) async fn fence(&self, tx: &Tx) -> Result<()> {
        match self {
            Self::Exclusive => Ok(()),
            Self::Lease { lease, epoch } => lease.fence(tx, *epoch).await.map(|_| ()),
        }
    }
}

/// Works until it is told to end.
pub(crate) async fn run(snapshots: Snapshots, closing: CancellationToken) {
    if snapshots.0.config.exclusive {
        let term = term(&snapshots, Office::Exclusive);
        tokio::select! {
            () = closing.cancelled() => {}
            () = term => {}
        }
        return;
    }
    let config = LeaseConfig::default();
    let lease = Arc::new(Lease::new(snapshots.0.store.clone(), "snapshots", "snapshots", config));
    while !closing.is_cancelled() {
        let mut held = tokio::select! {
            () = closing.cancelled() => return,
            held = lease.acquire() => held,
        };
        let office = Office::Lease { lease: lease.clone(), epoch: held.epoch() };
        let renewal = async {
            loop {
                tokio::time::sleep(config.period).await;
                match lease.renew(&mut held).await {
                    Ok(()) => {}
                    Err(StoreError::Fenced { .. }) => return,
                    Err(_) if !lease.is_valid(&held) => return,
                    Err(error) => tracing::warn!(%error, "the lease of snapshots is not renewed"),
                }
            }
        };
        tokio::select! {
            () = closing.cancelled() => {}
            () = renewal => tracing::warn!("another process does the work of snapshots now"),
            () = term(&snapshots, office) => {}
        }
        if closing.is_cancelled() {
            let _ = lease.release(held).await;
        }
    }
}

/// A time in office. Dropped, it leaves nothing behind that the next one would not put right.
async fn term(snapshots: &Snapshots, office: Office) {
    let site = &snapshots.0;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut jobs: JoinSet<Key> = JoinSet::new();
    let mut busy: BTreeSet<Key> = BTreeSet::new();
    let mut collection: JoinSet<()> = JoinSet::new();
    let mut swept = Instant::now();
    let mut collected: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = site.wake.notified() => {}
            Some(ended) = jobs.join_next() => match ended {
                Ok(key) => _ = busy.remove(&key),
                Err(error) => {
                    tracing::error!(%error, "a job of snapshots ended");
                    busy.clear();
                    jobs.abort_all();
                    while jobs.join_next().await.is_some() {}
                }
            },
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            if let Err(error) = sweep::expire(snapshots, &office).await {
                tracing::warn!(%error, "snapshots that nobody completes are not looked for");
            }
        }
        match due(&site.store).await {
            Ok((due, waiting)) => {
                site.metrics.jobs.set(i64::try_from(waiting).unwrap_or(i64::MAX));
                for key in due {
                    if jobs.len() < site.config.jobs_max && busy.insert(key.clone()) {
                        let (snapshots, office) = (snapshots.clone(), office.clone());
                        jobs.spawn(async move {
                            jobs::run(&snapshots, &office, &key).await;
                            key
                        });
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "work of snapshots is not looked for"),
        }
        while collection.try_join_next().is_some() {}
        let is_time = collected.is_none_or(|last| last.elapsed() >= site.config.collect_interval);
        if collection.is_empty() && is_time {
            collected = Some(Instant::now());
            let (snapshots, office) = (snapshots.clone(), office.clone());
            collection.spawn(async move { sweep::collect(&snapshots, &office).await });
        }
    }
}

/// Jobs whose time has come, and how many there are.
async fn due(store: &Store) -> Result<(Vec<Key>, usize)> {
    let now = now_ms();
    let rows = store.read(|tx| async move { JOBS.scan(&tx, None, PAGE).await }).await?;
    let count = rows.len();
    Ok((rows.into_iter().filter(|(_, row)| row.due_ms <= now).map(|(key, _)| key).collect(), count))
}
