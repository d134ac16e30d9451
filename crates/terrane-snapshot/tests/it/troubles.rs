//! An object store that fails, stalls, lies and tears, at every call of a capture and of a read.

use std::collections::BTreeMap;
use std::sync::Arc;

use terrane_snapshot::objects::{MemoryObjects, ObjectError, Trouble};
use terrane_snapshot::{NoDedup, SnapshotError};

use crate::site::{capture, compare, reader, take, vault};

const TROUBLES: [Trouble; 6] =
    [Trouble::Fail, Trouble::FailAfter, Trouble::Tear, Trouble::Lie, Trouble::LieTorn, Trouble::Stall];

fn writes() -> BTreeMap<u64, u8> {
    BTreeMap::from([(0, 1), (1, 2), (1500, 3)])
}

#[tokio::test]
async fn trouble_at_any_call_of_a_capture_is_overcome_or_found() {
    let calm = MemoryObjects::new();
    let (parent, _, _) =
        take(&vault(&calm), capture(0), 2000, None, &BTreeMap::from([(1, 9), (1501, 8)]), Arc::new(NoDedup))
            .await
            .unwrap();
    let before = calm.calls();
    take(&vault(&calm), capture(1), 2000, Some(parent.clone()), &writes(), Arc::new(NoDedup)).await.unwrap();
    let calls = calm.calls() - before;
    assert!(calls >= 6, "two segments read and written, a pack, a manifest: {calls}");
    let model = BTreeMap::from([(0, 1), (1, 2), (1500, 3), (1501, 8)]);
    let mut found = 0;
    for trouble in TROUBLES {
        for call in 0..calls {
            let objects = MemoryObjects::new();
            let vault = vault(&objects);
            let first = BTreeMap::from([(1, 9), (1501, 8)]);
            let (parent, _, _) =
                take(&vault, capture(0), 2000, None, &first, Arc::new(NoDedup)).await.unwrap();
            objects.trouble(objects.calls() + call, trouble);
            let taken = take(&vault, capture(1), 2000, Some(parent), &writes(), Arc::new(NoDedup)).await;
            match (taken, trouble) {
                (Ok((_, reference, _)), Trouble::Lie | Trouble::LieTorn) => {
                    // The store said that it has what it does not have: a verification finds it.
                    let manifest = vault.manifest(&reference).await;
                    let verified = match manifest {
                        Ok(manifest) => reader(&vault, &manifest).verify().await.map(drop),
                        Err(error) => Err(error),
                    };
                    assert!(verified.unwrap_err().is_corrupt(), "{trouble:?} at call {call}");
                    found += 1;
                }
                (Ok((manifest, _, _)), _) => compare(&reader(&vault, &manifest), &model).await.unwrap(),
                // Reading the parent's segment gave other bytes.
                (Err(error), Trouble::Lie | Trouble::LieTorn | Trouble::Tear) => {
                    assert!(error.is_corrupt(), "{trouble:?} at call {call}: {error}");
                }
                (Err(error), _) => panic!("{trouble:?} at call {call}: {error}"),
            }
        }
    }
    assert!(found > 0);
}

#[tokio::test]
async fn trouble_at_any_call_of_a_read_is_overcome_or_found() {
    let objects = MemoryObjects::new();
    let vault = vault(&objects);
    let (manifest, _, _) = take(&vault, capture(0), 2000, None, &writes(), Arc::new(NoDedup)).await.unwrap();
    for trouble in TROUBLES {
        for call in 0..5 {
            objects.trouble(objects.calls() + call, trouble);
            let read = compare(&reader(&vault, &manifest), &writes()).await;
            match trouble {
                Trouble::Fail | Trouble::FailAfter | Trouble::Stall => read.unwrap(),
                _ => assert!(read.unwrap_err().is_corrupt(), "{trouble:?} at call {call}"),
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_and_not_damage() {
    let objects = MemoryObjects::new();
    let vault = vault(&objects);
    let (manifest, _, _) = take(&vault, capture(0), 2000, None, &writes(), Arc::new(NoDedup)).await.unwrap();
    for call in 0..3 {
        objects.trouble(objects.calls() + call, if call == 1 { Trouble::Stall } else { Trouble::Fail });
    }
    let error = reader(&vault, &manifest).chunk(0).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Objects(ObjectError::Unavailable { .. })), "{error}");
    assert!(!error.is_corrupt());
}
