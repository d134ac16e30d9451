//! A disk that fills up and empties again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use terrane_objects::ObjectsConfig;
use terrane_objects::service::*;
use terrane_objects::space::SpaceProbe;

use crate::rig::*;

struct Given(AtomicU64);

impl SpaceProbe for Given {
    fn free(&self) -> io::Result<u64> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}

/// Tries until the store has noticed.
async fn until(b: &Bucket, what: &str, bytes: &bytes::Bytes, ok: impl Fn(&Result<Written>) -> bool) {
    for _ in 0..400 {
        if ok(&b.try_put("probe", bytes, ModeRequest::default()).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}");
}

#[test]
fn writes_stop_before_the_reserve_reads_and_deletes_go_on_and_writes_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(Given(AtomicU64::new(1 << 40)));
    run(async {
        let space: Arc<dyn SpaceProbe> = free.clone();
        let store =
            open(ObjectsConfig { space: Some(space), reserve_bytes: 1 << 20, ..config(dir.path()) }).await;
        let b = bucket(store.clone(), "bucket").await;
        let (small, large) = (pattern(100, 1), pattern(300_000, 2));
        b.put("small", &small).await;
        b.put("large", &large).await;
        free.0.store(1 << 20, Ordering::SeqCst);
        let full = |put: &Result<Written>| matches!(put, Err(ObjectError::NoSpace(_)));
        until(&b, "refusal", &small, full).await;
        assert!(full(&b.try_put("more", &large, ModeRequest::default()).await));
        assert!(b.get("large").await.unwrap() == large);
        assert_eq!(b.keys().await, ["large", "probe", "small"]);
        b.delete("large").await;
        assert_eq!(b.keys().await, ["probe", "small"]);
        free.0.store(1 << 40, Ordering::SeqCst);
        until(&b, "recovery", &large, |put| put.is_ok()).await;
        assert!(b.get("probe").await.unwrap() == large);
        store.close().await;
    });
}
