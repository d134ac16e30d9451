//! Who decides. With a store of its own a manager is in office at once; several managers on one store elect one.
//! Every transaction of the manager in office checks that it still is.

use std::sync::Arc;
use std::time::Duration;

use terrane_store::lease::{BootClock, Clock as _, Epoch, Held, Lease, LeaseConfig, Watch};
use terrane_store::{Result, Store, StoreError, Tx};

use crate::liveness::{Millis, millis};
use crate::rows::{OFFICE, OfficeRow, TERM};

/// The name of the lease.
const LEASE: &str = "volumes";

/// An office that is held.
#[derive(Clone, Debug)]
pub(crate) enum Office {
    /// The store is ours alone. The number tells of a successor in the same store all the same.
    Alone { epoch: u64 },
    /// We were elected.
    Elected { lease: Arc<Lease>, epoch: Epoch },
}

/// Now, by a clock that runs while the machine sleeps.
pub(crate) fn now() -> Millis {
    millis(BootClock.now())
}

impl Office {
    /// Takes office over a store that is this process's alone.
    pub(crate) async fn alone(store: &Store) -> Result<Self> {
        let epoch = store
            .transact(|tx| async move {
                let epoch = OFFICE.get(&tx, &TERM.to_owned()).await?.map_or(0, |row| row.epoch) + 1;
                OFFICE.put(&tx, &TERM.to_owned(), &OfficeRow { epoch }).await?;
                Ok::<_, StoreError>(epoch)
            })
            .await?;
        Ok(Self::Alone { epoch })
    }

    /// Names this term; later ones have higher numbers.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Self::Alone { epoch } => *epoch,
            Self::Elected { epoch, .. } => epoch.number,
        }
    }

    /// Makes a transaction fail if somebody else is in office when it commits.
    pub(crate) async fn fence(&self, tx: &Tx) -> Result<()> {
        match self {
            Self::Alone { epoch } => {
                let row = OFFICE.get(tx, &TERM.to_owned()).await?;
                let fenced = StoreError::Fenced { lease: LEASE.to_owned(), epoch: *epoch };
                if row.is_some_and(|row| row.epoch == *epoch) { Ok(()) } else { Err(fenced) }
            }
            Self::Elected { lease, epoch } => lease.fence(tx, *epoch).await.map(|_| ()),
        }
    }
}

/// A candidate among several managers.
#[derive(Debug)]
pub(crate) struct Candidate {
    lease: Arc<Lease>,
    watch: Watch,
    config: LeaseConfig,
}

/// How often the holder renews.
pub(crate) fn renewal(term: Duration) -> Duration {
    term / 4
}

impl Candidate {
    /// A candidate looks twice as often as the holder renews: what passes between two looks is added to the time that
    /// the office is empty.
    pub(crate) fn new(store: Store, term: Duration) -> Self {
        let config = LeaseConfig { ttl: term, margin_percent: 125, period: renewal(term) / 2 };
        let lease = Arc::new(Lease::new(store, LEASE, "manager", config));
        Self { watch: lease.watch(), lease, config }
    }

    /// How often to look.
    pub(crate) fn period(&self) -> Duration {
        self.config.period
    }

    /// The holder has missed a renewal: perhaps the office will be free soon.
    pub(crate) fn expects(&self) -> bool {
        self.watch.quiet() > renewal(self.config.ttl) + self.config.period
    }

    /// Looks once whether the office is free, and takes it.
    pub(crate) async fn try_take(&mut self) -> Result<Option<Term>> {
        let sent = now();
        let held = self.lease.try_acquire(&mut self.watch).await?;
        Ok(held.map(|held| {
            self.watch = self.lease.watch();
            let until = sent + millis(self.config.ttl);
            Term { lease: self.lease.clone(), held, until, ttl: millis(self.config.ttl) }
        }))
    }
}

/// The office of an elected manager, to be renewed.
#[derive(Debug)]
pub(crate) struct Term {
    lease: Arc<Lease>,
    held: Held,
    /// Nobody else is in office before then.
    pub(crate) until: Millis,
    ttl: Millis,
}

impl Term {
    pub(crate) fn office(&self) -> Office {
        Office::Elected { lease: self.lease.clone(), epoch: self.held.epoch() }
    }

    /// Stays in office.
    pub(crate) async fn renew(&mut self) -> Result<()> {
        let sent = now();
        self.lease.renew(&mut self.held).await?;
        self.until = sent + self.ttl;
        Ok(())
    }

    /// Goes, so that the next one need not wait.
    pub(crate) async fn release(self) {
        if let Err(error) = self.lease.release(self.held).await {
            tracing::debug!(%error, "the office was not given back");
        }
    }
}
