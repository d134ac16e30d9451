//! Leases without wall clocks.
//!
//! A lease is a row `(holder, epoch, counter)`. The holder renews it by raising the counter and
//! counts its time from *sending* the renewal. A challenger may take it only after it has seen the
//! counter unchanged for TTL × margin **on its own monotonic clock**, and takes it with epoch + 1
//! by compare-and-set. No two clocks are ever compared; they only have to run at the same speed
//! within the margin.
//!
//! * Time in which the challenger could not reach the store does not count: the holder may have
//!   been cut off as well ([`Watch`]).
//! * The holder's clock runs while the machine sleeps ([`BootClock`]).
//! * A holder may act late all the same (a pause between its check and its effect). So every effect
//!   carries the epoch and is checked where it lands: with [`Lease::fence`] in the same
//!   transaction, or by the receiver. Check the lease *after* taking the view that is acted on.
//! * The epoch includes the store's incarnation: after a restore nothing old is valid.

mod clock;
mod watch;

pub use clock::{BootClock, Clock, ManualClock};
pub use watch::Watch;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use terrane_types::RandomId;

use crate::table::{decode, encode};
use crate::tuple::Pack;
use crate::{Record, Result, Store, StoreError, Tx};

/// Times of a lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseConfig {
    /// How long a renewal lasts, counted from its sending.
    pub ttl: Duration,
    /// How much longer than `ttl` a challenger waits, in percent of it (at least 100): covers
    /// clocks of different speed.
    pub margin_percent: u32,
    /// How often a challenger looks, and a holder renews. At most a third of `ttl`.
    pub period: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(6), margin_percent: 125, period: Duration::from_millis(1500) }
    }
}

/// Fencing token: later holders have larger numbers; tokens of different incarnations never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The store that granted it.
    pub incarnation: RandomId,
    /// Grows with every change of the holder.
    pub number: u64,
}

/// The row of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Who holds it; empty if it was released.
    pub holder: String,
    /// See [`Epoch::number`].
    pub epoch: u64,
    /// Raised by every renewal.
    pub counter: u64,
}

impl Record for LeaseRow {
    const VERSION: u8 = 1;
}

/// One party's access to a lease.
pub struct Lease {
    store: Store,
    name: String,
    holder: String,
    config: LeaseConfig,
    clock: Arc<dyn Clock>,
}

/// A lease that this party holds, as far as it knows.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    epoch: Epoch,
    valid_until: Duration,
}

impl Held {
    /// What effects must carry.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Lease {
    /// Access to the lease `name` under a holder's name of our own: `label` and a random number, so
    /// that a restarted process is another holder.
    pub fn new(store: Store, name: impl Into<String>, label: &str, config: LeaseConfig) -> Self {
        Self::with_clock(store, name, label, config, Arc::new(BootClock))
    }

    /// As [`Lease::new`] on another clock.
    pub fn with_clock(
        store: Store,
        name: impl Into<String>,
        label: &str,
        config: LeaseConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let holder = format!("{label}-{:016x}", rand::random::<u64>());
        Self { store, name: name.into(), holder, config, clock }
    }

    /// A challenger's memory of what it has seen; one per attempt to get the lease.
    pub fn watch(&self) -> Watch {
        Watch::new(self.config)
    }

    /// Looks at the lease once and takes it if it is free or its holder was quiet for long enough.
    /// Call it every [`LeaseConfig::period`].
    ///
    /// # Errors
    /// The store's; the time until the next successful call then does not count.
    pub async fn try_acquire(&self, watch: &mut Watch) -> Result<Option<Held>> {
        let sent = self.clock.now();
        let found = self.look().await;
        let row = match found {
            Ok(row) => row,
            Err(error) => {
                watch.unreachable();
                return Err(error);
            }
        };
        let free = row.as_ref().is_none_or(|row| row.holder.is_empty() || row.holder == self.holder);
        if let Some(row) = &row {
            watch.observed(row.epoch, row.counter, sent, self.clock.now());
        }
        if !free && !watch.may_take() {
            return Ok(None);
        }
        self.take(row).await
    }

    /// Waits until the lease could be taken. A store that cannot be reached is tried again.
    pub async fn acquire(&self) -> Held {
        let mut watch = self.watch();
        loop {
            match self.try_acquire(&mut watch).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "cannot look at the lease");
                }
            }
            tokio::time::sleep(self.config.period).await;
        }
    }

    /// Compare-and-set from the row that was seen.
    async fn take(&self, seen: Option<LeaseRow>) -> Result<Option<Held>> {
        let sent = self.clock.now();
        let next = LeaseRow {
            holder: self.holder.clone(),
            epoch: seen.as_ref().map_or(0, |row| row.epoch) + 1,
            counter: 0,
        };
        let (seen, next) = (&seen, &next);
        let taken = self
            .store
            .transact(|tx| async move {
                if self.row(&tx).await? != *seen {
                    return Ok(false);
                }
                tx.put(self.key(), encode(&self.name, next)?).await?;
                Ok::<_, StoreError>(true)
            })
            .await?;
        Ok(taken.then(|| Held { epoch: self.epoch(next.epoch), valid_until: sent + self.config.ttl }))
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if another holder has it; the store's, with which the lease goes on
    /// until its time is over.
    pub async fn renew(&self, held: &mut Held) -> Result<()> {
        let sent = self.clock.now();
        let epoch = held.epoch;
        self.store
            .transact(|tx| async move {
                let mut row = self.fence(&tx, epoch).await?;
                row.counter += 1;
                tx.put(self.key(), encode(&self.name, &row)?).await
            })
            .await?;
        held.valid_until = sent + self.config.ttl;
        Ok(())
    }

    /// Gives the lease back, so that the next holder need not wait.
    ///
    /// # Errors
    /// As [`Lease::renew`].
    pub async fn release(&self, held: Held) -> Result<()> {
        self.store
            .transact(|tx| async move {
                let mut row = self.fence(&tx, held.epoch).await?;
                row.holder.clear();
                tx.put(self.key(), encode(&self.name, &row)?).await
            })
            .await
    }

    /// Whether the holder may still assume that nobody else holds the lease. For effects outside
    /// of the store, which must carry the epoch all the same.
    pub fn is_valid(&self, held: &Held) -> bool {
        self.clock.now() < held.valid_until
    }

    /// Makes the transaction fail unless the lease is held with this epoch when it commits.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    pub async fn fence(&self, tx: &Tx, epoch: Epoch) -> Result<LeaseRow> {
        let fenced = || StoreError::Fenced { lease: self.name.clone(), epoch: epoch.number };
        if epoch.incarnation != self.store.incarnation() {
            return Err(fenced());
        }
        let row = self.row(tx).await?.ok_or_else(fenced)?;
        if row.epoch == epoch.number && row.holder == self.holder { Ok(row) } else { Err(fenced()) }
    }

    /// The lease as it is, for status displays.
    ///
    /// # Errors
    /// The store's.
    pub async fn look(&self) -> Result<Option<LeaseRow>> {
        self.store.read(|tx| async move { self.row(&tx).await }).await
    }

    async fn row(&self, tx: &Tx) -> Result<Option<LeaseRow>> {
        tx.get(self.key()).await?.map(|bytes| decode(&self.name, &bytes)).transpose()
    }

    fn epoch(&self, number: u64) -> Epoch {
        Epoch { incarnation: self.store.incarnation(), number }
    }

    fn key(&self) -> Vec<u8> {
        ("l", &self.name).pack()
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_pinned() {
        let row = LeaseRow { holder: "a".into(), epoch: 2, counter: 300 };
        assert_eq!(encode("l", &row).unwrap(), [1, 1, b'a', 2, 0xac, 2]);
    }
}
