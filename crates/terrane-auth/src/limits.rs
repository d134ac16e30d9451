//! Request rate limits per account: one GCRA cell each ("generic cell rate algorithm", ITU-T I.371 Annex A),
//! equivalent to a token bucket, without locks on the way of a request.
//!
//! The number of tracked accounts is bounded. An account that falls out starts again with a full bucket,
//! which is exact when its bucket had filled up meanwhile and generous otherwise.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use serde::{Deserialize, Serialize};

/// How many requests an account may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Sustained requests per second, at least 1.
    pub per_second: u32,
    /// Requests that may come at once after a pause, at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// Whether both numbers are at least 1.
    pub fn is_valid(&self) -> bool {
        self.per_second > 0 && self.burst > 0
    }

    fn nanos_per_request(self) -> u64 {
        (NANOS / u64::from(self.per_second.max(1))).max(1)
    }
}

const NANOS: u64 = 1_000_000_000;

/// The account's bucket is empty (S3: 503 `SlowDown`, native: 429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request rate limit of the account reached; retry after {} ms", retry_after.as_millis())]
pub struct Throttled {
    /// When the same request would pass if nothing else came.
    pub retry_after: Duration,
}

/// Token buckets, one per account (or whatever else is limited).
pub(crate) struct RateLimits<K> {
    default: Option<RateLimit>,
    cells: Cache<K, Arc<Cell>>,
    started: Instant,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> RateLimits<K> {
    /// `default` applies to accounts without an override; `None` lets them pass unlimited.
    pub(crate) fn new(default: Option<RateLimit>, keys_max: u64) -> Self {
        Self { default, cells: Cache::new(keys_max), started: Instant::now() }
    }

    /// Takes over what the store says of one; called whenever one of its credentials is loaded.
    pub(crate) fn configure(&self, key: &K, own: Option<RateLimit>) {
        match (own.or(self.default), self.cells.get(key)) {
            (None, Some(_)) => self.cells.invalidate(key),
            (Some(limit), Some(cell)) => cell.configure(limit),
            (Some(limit), None) if own.is_some() => {
                self.cells.get_with_by_ref(key, || Arc::new(Cell::new(limit))).configure(limit);
            }
            (_, None) => {}
        }
    }

    /// Takes `cost` requests out of the bucket, or says when they could be taken.
    pub(crate) fn admit(&self, key: &K, cost: u32) -> Result<(), Throttled> {
        let cell = match (self.cells.get(key), self.default) {
            (Some(cell), _) => cell,
            (None, None) => return Ok(()),
            (None, Some(limit)) => self.cells.get_with_by_ref(key, || Arc::new(Cell::new(limit))),
        };
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        cell.take(now, cost)
    }
}

/// One bucket. Times are nanoseconds since the process's start.
#[derive(Debug)]
struct Cell {
    /// When the bucket will be full again ("theoretical arrival time").
    full_at: AtomicU64,
    nanos_per_request: AtomicU64,
    burst: AtomicU64,
}

impl Cell {
    fn new(limit: RateLimit) -> Self {
        Self {
            full_at: AtomicU64::new(0),
            nanos_per_request: AtomicU64::new(limit.nanos_per_request()),
            burst: AtomicU64::new(limit.burst.max(1).into()),
        }
    }

    /// A changed limit starts with a full bucket.
    fn configure(&self, limit: RateLimit) {
        let step = self.nanos_per_request.swap(limit.nanos_per_request(), Ordering::Relaxed);
        let burst = self.burst.swap(limit.burst.max(1).into(), Ordering::Relaxed);
        if (step, burst) != (limit.nanos_per_request(), limit.burst.max(1).into()) {
            self.full_at.store(0, Ordering::Relaxed);
        }
    }

    /// A cost above the burst is taken from a full bucket: it passes alone, and then the bucket stays empty
    /// for as long as the whole cost takes. Otherwise such a request could never pass.
    fn take(&self, now: u64, cost: u32) -> Result<(), Throttled> {
        let step = self.nanos_per_request.load(Ordering::Relaxed);
        let room = step.saturating_mul(self.burst.load(Ordering::Relaxed));
        let price = step.saturating_mul(cost.into());
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let base = full_at.max(now);
            let emptied_until = base.saturating_add(price.min(room));
            if emptied_until > now.saturating_add(room) {
                let retry_after = Duration::from_nanos(emptied_until - now.saturating_add(room));
                return Err(Throttled { retry_after });
            }
            let next = base.saturating_add(price);
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
