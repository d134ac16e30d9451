use std::sync::Arc;
use std::time::Duration;

use terrane_store::lease::{Clock, Held, Lease, LeaseConfig, ManualClock, Watch};
use terrane_store::{Store, StoreError};

const CONFIG: LeaseConfig =
    LeaseConfig { ttl: Duration::from_secs(10), margin_percent: 120, period: Duration::from_secs(2) };

struct Party {
    clock: Arc<ManualClock>,
    lease: Lease,
    watch: Watch,
}

impl Party {
    fn new(store: &Store, label: &str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let lease =
            Lease::with_clock(store.clone(), "boss", label, CONFIG, Arc::clone(&clock) as Arc<dyn Clock>);
        let watch = lease.watch();
        Self { clock, lease, watch }
    }

    async fn look(&mut self) -> Option<Held> {
        self.lease.try_acquire(&mut self.watch).await.unwrap()
    }

    /// Looks every two seconds for so many seconds of its own clock.
    async fn look_for(&mut self, seconds: u64) -> Option<Held> {
        for _ in 0..seconds / 2 {
            if let Some(held) = self.look().await {
                return Some(held);
            }
            self.clock.advance(Duration::from_secs(2));
        }
        None
    }
}

pub(crate) async fn a_lease_has_one_holder(store: &Store) {
    let (mut a, mut b) = (Party::new(store, "a"), Party::new(store, "b"));
    let held = tokio::join!(a.look(), b.look());
    let winners = [held.0, held.1].into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].epoch().number, 1);
}

pub(crate) async fn a_quiet_holder_is_replaced_and_fenced(store: &Store) {
    let (mut a, mut b) = (Party::new(store, "a"), Party::new(store, "b"));
    let mut old = a.look().await.unwrap();
    // The clocks have nothing in common: b's starts years ahead.
    b.clock.advance(Duration::from_secs(1 << 30));
    assert!(b.look_for(12).await.is_none(), "ten seconds and a fifth more must pass");
    let new = b.look().await.expect("twelve seconds without a renewal");
    assert_eq!(new.epoch().number, old.epoch().number + 1);
    assert!(a.lease.is_valid(&old), "a's own clock stands still: it cannot know, so it is fenced");
    assert!(matches!(a.lease.renew(&mut old).await, Err(StoreError::Fenced { .. })));
    let write = async |party: &Party, held: Held| {
        let lease = &party.lease;
        store
            .transact(|tx| async move {
                lease.fence(&tx, held.epoch()).await?;
                tx.put(&b"effect"[..], held.epoch().number.to_be_bytes().to_vec()).await
            })
            .await
    };
    assert!(matches!(write(&a, old).await, Err(StoreError::Fenced { .. })));
    assert_eq!(super::get(store, b"effect").await, None);
    write(&b, new).await.unwrap();
    b.clock.advance(CONFIG.ttl);
    assert!(!b.lease.is_valid(&new), "without renewal it ends on the holder's clock");
}

pub(crate) async fn renewals_keep_challengers_away(store: &Store) {
    let (mut a, mut b) = (Party::new(store, "a"), Party::new(store, "b"));
    let mut held = a.look().await.unwrap();
    for _ in 0..10 {
        assert!(b.look_for(8).await.is_none());
        a.clock.advance(Duration::from_secs(8));
        a.lease.renew(&mut held).await.unwrap();
        assert!(a.lease.is_valid(&held));
    }
}

pub(crate) async fn released_leases_are_taken_at_once(store: &Store) {
    let (mut a, mut b) = (Party::new(store, "a"), Party::new(store, "b"));
    let held = a.look().await.unwrap();
    assert!(b.look().await.is_none());
    a.lease.release(held).await.unwrap();
    let next = b.look().await.unwrap();
    assert_eq!(next.epoch().number, 2);
    assert!(matches!(a.lease.release(held).await, Err(StoreError::Fenced { .. })));
}
