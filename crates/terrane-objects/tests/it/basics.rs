//! What every client does.

use bytes::Bytes;
use futures::{StreamExt, stream};
use terrane_objects::service::*;

use crate::rig::*;

#[test]
fn objects_are_put_listed_read_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        let (small, large) = (pattern(100, 1), pattern(3_000_000, 2));
        let written = b.put("small", &small).await;
        assert_eq!((written.version, written.keymap), (VersionId::Null, KeymapState::Applied));
        b.put("large", &large).await;
        b.put("empty", &Bytes::new()).await;
        assert_eq!(b.keys().await, ["empty", "large", "small"]);
        assert_eq!(b.get("small").await.unwrap(), small);
        assert!(b.get("large").await.unwrap() == large);
        assert_eq!(b.get("empty").await.unwrap(), Bytes::new());
        assert!(matches!(b.get("other").await, Err(ObjectError::NoSuchKey)));
        let handle = b.open("large").await.unwrap();
        assert_eq!(handle.info().attrs.etag, "etag-large-3000000");
        b.delete("large").await;
        assert!(matches!(b.get("large").await, Err(ObjectError::NoSuchKey)));
        assert!(read(&*handle).await.unwrap() == large, "an open handle outlives the key");
        assert!(b.delete("large").await.operation.is_none(), "nothing to delete, nothing to log");
        assert!(matches!(b.service.delete_bucket(&b.info).await, Err(ObjectError::BucketNotEmpty(_))));
        b.delete("small").await;
        b.delete("empty").await;
        b.service.delete_bucket(&b.info).await.unwrap();
        assert!(matches!(
            b.try_put("x", &small, ModeRequest::default()).await,
            Err(ObjectError::NoSuchBucket(_))
        ));
        store.close().await;
    });
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let large = pattern(500_000, 2);
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        for n in 0..200 {
            b.put(&format!("key-{n:03}"), &pattern(n, n as u64)).await;
        }
        b.put("large", &large).await;
        b.delete("key-100").await;
        store.close().await;
    });
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        assert_eq!(b.keys().await.len(), 200);
        assert!(b.get("large").await.unwrap() == large);
        assert!(b.get("key-100").await.is_err());
        assert_eq!(b.get("key-150").await.unwrap(), pattern(150, 150));
        store.close().await;
    });
}

/// A stream need not bear being asked again after its end (`unfold` panics): one chunk that is too large for the log used
/// to be followed by another question, and its connection broke.
#[test]
fn bodies_that_have_ended_are_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = open(config(dir.path())).await;
        let b = bucket(store.clone(), "bucket").await;
        for chunks in [vec![], vec![100], vec![70_000], vec![10, 70_000], vec![70_000, 10], vec![9_000; 3]] {
            let size: usize = chunks.iter().sum();
            let body = stream::unfold(chunks.into_iter(), |mut chunks| async move {
                let chunk = Bytes::from(vec![7; chunks.next()?]);
                Some((Ok(chunk), chunks))
            });
            let staged = b.service.stage(body.boxed(), Some(size as u64)).await.unwrap();
            assert_eq!(staged.size, size as u64);
        }
        store.close().await;
    });
}
