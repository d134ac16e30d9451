//! Opening pools and copies, making and deleting copies, and what follows when one fails.

use super::ServerError;
use super::clock::{Due, LEASE_MAX, grant_of};
use super::config::{BlockServerConfig, PoolSpec};
use super::drives::HostedPool;
use super::hosted::Hosted;
use super::meta::{Failures, Life, Meta};
use super::reactor::Reactor;
use crate::engine::media::DataPath;
use crate::engine::{
    self, CopyKey, CopyState, Declared, Drive, EngineError, Op, Pool, PoolConfig, PoolUsage,
};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use terrane_block_core::CopyId;
use terrane_block_core::copy::Event;
use terrane_block_wire::control::{CopyIdentity, Media, PoolName, PoolReport, ServerId, StripeId};

/// Room that must be there before a copy that found none begins again. A pool with less takes no new copies.
const ROOM_WANTED: u64 = 64 << 20;

/// A copy that is open.
pub(super) struct Opened {
    engine: Arc<engine::Copy>,
    state: CopyState,
    meta: Meta,
}

type OpenResult = Result<Opened, String>;

/// What came of beginning a life.
enum Next {
    Opened(Box<OpenResult>),
    NoRoom,
    /// There is no such copy any more.
    Gone,
}

type Everything = (Vec<HostedPool>, Vec<(Hosted, OpenResult)>);

/// Opens all pools, and all copies in them. An error only if there were pools to open and none could be.
pub(super) fn open_pools(
    config: &BlockServerConfig,
    me: ServerId,
    boot: &str,
    failures: &Failures,
) -> Result<Everything, ServerError> {
    let (mut pools, mut copies, mut failed) = (Vec::new(), Vec::new(), None);
    let path = match config.data_path {
        Some(DataPath::Ring) if DataPath::best() != DataPath::Ring => {
            let none = || std::io::Error::from(std::io::ErrorKind::Unsupported);
            return Err(ServerError::io("use io_uring, as configured")(none()));
        }
        chosen => chosen.unwrap_or_else(DataPath::best),
    };
    tracing::info!(server = %config.name, path = path.text(), "how drives are used");
    config.metrics.data_path(&config.name, path);
    for spec in &config.pools {
        let hosted = match open_pool(config, spec, me, path) {
            Ok(hosted) => hosted,
            Err(source) => {
                // One broken drive does not take the others with it; its copies are not reported, so they are made
                // anew.
                tracing::error!(dir = %spec.dir.display(), error = %source, "a pool cannot be opened");
                failed = Some(ServerError::Pool { dir: spec.dir.clone(), source });
                continue;
            }
        };
        for (key, state) in hosted.pool.states() {
            let meta = match Meta::decode(&state.record) {
                Ok(meta) => meta.with_blocks(state.blocks),
                Err(error) => {
                    tracing::error!(%key, %error, "a copy that nobody can use");
                    continue;
                }
            };
            let opened = open(&hosted.pool, key, boot, failures, false);
            copies.push((Hosted::new(key, pools.len(), hosted.name(), meta), opened));
        }
        pools.push(hosted);
    }
    match failed.filter(|_| pools.is_empty()) {
        Some(error) => Err(error),
        None => Ok((pools, copies)),
    }
}

fn open_pool(
    config: &BlockServerConfig,
    spec: &PoolSpec,
    me: ServerId,
    path: DataPath,
) -> Result<HostedPool, EngineError> {
    let media = (config.open_media)(spec, path).map_err(EngineError::io("open a pool's directory"))?;
    let free = media.disk().free_space().map_err(EngineError::io("ask for free space"))?;
    let capacity = spec.capacity.unwrap_or_else(|| free.saturating_add(taken(&spec.dir)));
    let drive = match spec.media {
        Media::Ssd => Drive::Ssd,
        Media::Hdd => Drive::Hdd,
    };
    let declared = Declared { drive, capacity, iops: spec.iops, throughput: spec.throughput };
    let mut engine = PoolConfig::new(me.0, declared);
    engine.log_extents = 1 << 16;
    (config.tune)(&mut engine);
    let (pool, report) = Pool::open(media, engine)?;
    if !report.missing.is_empty() {
        tracing::error!(pool = %pool.id(), missing = ?report.missing, "files of copies are missing");
    }
    // What it writes has its place from now on.
    pool.probe()?;
    let device = std::fs::metadata(&spec.dir).map_or(pool.id().0 as u64, |data| data.dev());
    let report = PoolReport {
        pool: PoolName(pool.id().0),
        media: spec.media,
        capacity,
        used: pool.usage()?.data_bytes,
        host_free: free,
        iops: spec.iops,
        throughput: spec.throughput,
        device,
        trouble: None,
    };
    Ok(HostedPool::new(Arc::new(pool), report))
}

/// Bytes that a directory's files take: with what is free, what it may take.
fn taken(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // The unit of `st_blocks` is 512 bytes.
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * 512)).sum()
}

/// Opens a copy in a new life, durably. `lost`: a write or a flush failed in the last one.
fn open(pool: &Pool, key: CopyKey, boot: &str, failures: &Failures, lost: bool) -> OpenResult {
    let open = || -> Result<(Arc<engine::Copy>, CopyState), EngineError> {
        let engine = pool.open_copy(key)?;
        let state = engine.state()?;
        Ok((engine, state))
    };
    let (engine, state) = open().map_err(|error| error.to_string())?;
    let mut meta = Meta::decode(&state.record).map_err(|error| error.to_string())?.with_blocks(state.blocks);
    meta.life = meta.life.next(boot, lost || failures.has(key));
    engine.commit(vec![Op::Record(meta.encode())]).map_err(|error| error.to_string())?;
    failures.clear(key);
    Ok(Opened { engine, state, meta })
}

impl Reactor {
    /// A copy was opened, or was not.
    pub(super) fn opened(&mut self, slot: usize, opened: OpenResult) {
        let now = self.now;
        let name = self.name(slot);
        let Some(hosted) = self.copy(slot) else { return };
        match opened {
            Ok(Opened { engine, state, meta }) => {
                hosted.start(engine, &state, meta);
                let (life, pool) = (hosted.life, hosted.pool);
                self.pools[pool].trouble = None;
                // What an earlier life granted: nobody knows any more, so as if it had just granted the longest.
                self.deadlines.add(now.after(grant_of(LEASE_MAX)), slot, life, Due::Settled);
                self.push(slot, Event::Resend);
            }
            Err(trouble) => {
                tracing::error!(copy = ?name, %trouble, "a copy cannot be opened");
                hosted.end(trouble);
                self.retry_later(slot, true);
            }
        }
        self.unreported.insert(slot);
    }

    /// A copy cannot go on: a write or a flush failed, or there was no room. It ends this life, which takes it out of
    /// the set (by the manager), and begins another one when it can.
    pub(super) fn lose(&mut self, slot: usize, error: &EngineError) {
        let pool = self.copy(slot).map(|hosted| hosted.pool);
        self.lose_one(slot, error);
        if let Some(pool) = pool.filter(|_| error.fails_pool()) {
            // None of them can change anything any more. The first that begins anew recovers the pool.
            self.running_in(pool).into_iter().for_each(|slot| self.lose_one(slot, error));
        }
    }

    fn lose_one(&mut self, slot: usize, error: &EngineError) {
        let name = self.name(slot);
        let Some(hosted) = self.copy(slot) else { return };
        let full = error.is_no_space();
        tracing::error!(copy = ?name, %error, "a copy fails");
        hosted.fail(error);
        let (key, pool, waits) = (hosted.key, hosted.pool, hosted.waits_for_room());
        self.pools[pool].trouble = Some(error.to_string());
        self.metrics.failed_lives.inc();
        self.unreported.insert(slot);
        if full && waits {
            self.retry_later(slot, false);
        } else if full {
            self.reopen(slot, false);
        } else {
            self.failures.note(key);
            self.reopen(slot, true);
        }
    }

    fn retry_later(&mut self, slot: usize, lost: bool) {
        let (Some(handle), Some(life)) = (self.handle(), self.copy(slot).map(|hosted| hosted.life)) else {
            return;
        };
        let pause = self.pace.retry;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            handle.enter(|reactor| {
                if reactor.alive(slot, life).is_some() {
                    reactor.reopen(slot, lost);
                }
            });
        });
    }

    /// Begins the next life. One that found no room waits until there is some, unless nobody else may be there.
    pub(super) fn reopen(&mut self, slot: usize, lost: bool) {
        let Some(hosted) = self.copy(slot) else { return };
        let (life, key, pool, ended) = (hosted.life, hosted.key, hosted.pool, hosted.ended.take());
        let anyway = lost || !hosted.waits_for_room();
        let hosted_pool = self.pools[pool].pool.clone();
        let (boot, failures) = (self.boot.clone(), self.failures.clone());
        let work = move || {
            let pool = hosted_pool;
            if let Some((engine, reason)) = ended {
                // Nothing that the last life began may land in the next one.
                engine.end(reason);
            }
            let recovered = pool.recover().map_err(|error| error.to_string());
            if !pool.has(key) {
                return Next::Gone;
            }
            let room = || pool.usage().is_ok_and(|usage| room_of(&usage) >= room_wanted(&usage));
            match recovered {
                Err(trouble) => Next::Opened(Box::new(Err(trouble))),
                Ok(recovered) if recovered || anyway || room() => {
                    Next::Opened(Box::new(open(&pool, key, &boot, &failures, recovered || lost)))
                }
                Ok(_) => Next::NoRoom,
            }
        };
        self.spawn_on(pool, work, move |reactor, next| {
            if reactor.alive(slot, life).is_none() {
                return;
            }
            match next {
                Next::Opened(opened) => reactor.opened(slot, *opened),
                Next::NoRoom => {
                    if let Some(hosted) = reactor.copy(slot) {
                        hosted.waited += 1;
                    }
                    reactor.retry_later(slot, false);
                }
                Next::Gone => reactor.forget(slot),
            }
        });
    }

    /// A copy that was being deleted when the pool's journal failed is gone.
    fn forget(&mut self, slot: usize) {
        if let Some(hosted) = self.copies[slot].take() {
            self.index.remove(&(hosted.meta.stripe, hosted.meta.copy));
            self.leave_device(hosted.pool, hosted.client);
        }
        self.unreported.remove(&slot);
        self.metrics.copies.set(self.index.len() as i64);
    }

    /// Makes a copy; `done` hears of it. One that is there already is made.
    pub(super) fn create(
        &mut self,
        stripe: StripeId,
        copy: CopyId,
        pool: PoolName,
        identity: CopyIdentity,
        done: impl FnOnce(&mut Reactor, Result<(), String>) + 'static,
    ) {
        if let Some(hosted) = self.index.get(&(stripe, copy)).and_then(|slot| self.copies[*slot].as_ref()) {
            // It may have another size by now, or is about to have it.
            let identity = CopyIdentity { blocks: hosted.meta.identity.blocks, ..identity };
            let same = hosted.pool_name == pool && hosted.meta.identity == identity;
            let result = if same { Ok(()) } else { Err("another copy of that name is there".to_owned()) };
            return done(self, result);
        }
        let Some(pool_at) = self.pool_of(pool) else { return done(self, Err("no such pool".to_owned())) };
        let meta = Meta { stripe, copy, identity, life: Life::first(&self.boot), record: None };
        let hosted = self.pools[pool_at].pool.clone();
        let key = CopyKey(rand::random());
        let made = meta.clone();
        let work = move || {
            hosted.recover()?;
            let engine = hosted.create_copy(key, made.identity.blocks, made.encode())?;
            let state = engine.state()?;
            Ok::<_, EngineError>(Opened { engine, state, meta: made })
        };
        self.spawn_on(pool_at, work, move |reactor, opened| match opened {
            // The same command came twice, before the first was done.
            Ok(_) if reactor.index.contains_key(&(stripe, copy)) => {
                let pool = reactor.pools[pool_at].pool.clone();
                reactor.spawn_on(pool_at, move || pool.delete_copy(key), |_, deleted| log_if(deleted));
                done(reactor, Ok(()));
            }
            Ok(opened) => {
                let slot = reactor.host(Hosted::new(key, pool_at, pool, meta));
                reactor.opened(slot, Ok(opened));
                done(reactor, Ok(()));
            }
            Err(error) => {
                if error.fails_pool() {
                    reactor.pools[pool_at].trouble = Some(error.to_string());
                }
                done(reactor, Err(error.to_string()));
            }
        });
    }

    /// Deletes a copy for good; `done` hears of it. One that is not there is deleted.
    pub(super) fn delete(
        &mut self,
        stripe: StripeId,
        copy: CopyId,
        done: impl FnOnce(&mut Reactor, Result<(), String>) + 'static,
    ) {
        let Some(slot) = self.index.remove(&(stripe, copy)) else { return done(self, Ok(())) };
        let Some(hosted) = self.copies[slot].take() else { return done(self, Ok(())) };
        self.unreported.remove(&slot);
        self.metrics.copies.set(self.index.len() as i64);
        self.leave_device(hosted.pool, hosted.client);
        let pool = self.pools[hosted.pool].pool.clone();
        let (key, failures) = (hosted.key, self.failures.clone());
        let (pool_at, pool_name, meta) = (hosted.pool, hosted.pool_name, hosted.meta);
        let work = move || {
            let result = pool.recover().and_then(|_| pool.delete_copy(key));
            failures.clear(key);
            result
        };
        self.spawn_on(pool_at, work, move |reactor, deleted| {
            let result = match deleted {
                Err(EngineError::NoCopy(_)) | Ok(()) => Ok(()),
                Err(error) => {
                    // Perhaps it is still there: looked at again, and deleted when asked for again.
                    let slot = reactor.host(Hosted::new(key, pool_at, pool_name, meta));
                    reactor.retry_later(slot, true);
                    Err(error.to_string())
                }
            };
            done(reactor, result);
        });
    }

    /// What to call a copy in the log.
    pub(super) fn name(&self, slot: usize) -> Option<(StripeId, CopyId)> {
        let hosted = self.copies.get(slot)?.as_ref()?;
        Some((hosted.meta.stripe, hosted.meta.copy))
    }
}

/// Bytes that a pool can still take.
pub(super) fn room_of(usage: &PoolUsage) -> u64 {
    usage.declared.capacity.saturating_sub(usage.data_bytes).min(usage.host_free)
}

/// Bytes that it should be able to take.
pub(super) fn room_wanted(usage: &PoolUsage) -> u64 {
    ROOM_WANTED.min(usage.declared.capacity / 8)
}

fn log_if(deleted: Result<(), EngineError>) {
    if let Err(error) = deleted {
        tracing::warn!(%error, "cannot delete a copy that was made twice");
    }
}
