//! Real captures, a real store (in memory), and the collector in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use terrane_snapshot::gc::{MemoryLedger, RootId, RootKind, collect};
use terrane_snapshot::objects::{MemoryObjects, Trouble};
use terrane_snapshot::{Content, ObjectRef, Vault, Writer, WriterConfig};

use crate::site::{compare, content, reader, vault};

type Model = BTreeMap<u64, u8>;

fn snapshot(id: &str) -> RootId {
    RootId { kind: RootKind::Snapshot, id: id.into() }
}

/// Captures and commits.
async fn take(
    vault: &Vault,
    ledger: &MemoryLedger,
    id: &str,
    parent: Option<&str>,
    writes: &Model,
) -> ObjectRef {
    let capture = ledger.0.lock().begin(parent.map(snapshot).as_ref(), 7).unwrap();
    let above = ledger.0.lock().parent(capture).unwrap();
    let above = match above {
        Some(reference) => Some(vault.manifest(&reference).await.unwrap()),
        None => None,
    };
    let dedup = Arc::new(ledger.dedup(capture));
    let (_, reference, _) = crate::site::take(vault, capture, 1500, above, writes, dedup).await.unwrap();
    ledger.0.lock().commit(capture, snapshot(id), reference).unwrap();
    reference
}

async fn cycle(vault: &Vault, ledger: &MemoryLedger) -> terrane_snapshot::gc::Report {
    let ms = Duration::from_millis;
    collect(vault, ledger, ms(1), ms(1)).await.unwrap()
}

#[tokio::test]
async fn deleting_any_snapshot_of_a_chain_leaves_the_others_and_in_the_end_nothing() {
    let (one, two) = (Model::from([(0, 1), (1, 2), (1100, 3)]), Model::from([(1, 4), (7, 1)]));
    let model_two = Model::from([(0, 1), (1, 4), (7, 1), (1100, 3)]);
    for first_to_go in ["one", "two"] {
        let objects = MemoryObjects::new();
        let (vault, ledger) = (vault(&objects), MemoryLedger::default());
        let first = take(&vault, &ledger, "one", None, &one).await;
        let second = take(&vault, &ledger, "two", Some("one"), &two).await;
        let report = cycle(&vault, &ledger).await;
        assert!(report.complete && report.condemned == 0, "{report:?}");
        ledger.0.lock().drop_root(&snapshot(first_to_go)).unwrap();
        let report = cycle(&vault, &ledger).await;
        assert!(report.deleted > 0 && report.failed == 0, "{report:?}");
        let (left, model) = if first_to_go == "one" { (second, &model_two) } else { (first, &one) };
        let manifest = vault.manifest(&left).await.unwrap();
        compare(&reader(&vault, &manifest), model).await.unwrap();
        ledger.0.lock().drop_root(&snapshot(if first_to_go == "one" { "two" } else { "one" })).unwrap();
        cycle(&vault, &ledger).await;
        assert!(objects.names().is_empty(), "{:?}", objects.names());
        // What was deleted is not found again: the same content is stored anew.
        let again = take(&vault, &ledger, "three", None, &one).await;
        let manifest = vault.manifest(&again).await.unwrap();
        compare(&reader(&vault, &manifest), &one).await.unwrap();
    }
}

#[tokio::test]
async fn a_capture_that_began_before_is_waited_for_and_keeps_what_it_found() {
    let objects = MemoryObjects::new();
    let (vault, ledger) = (vault(&objects), MemoryLedger::default());
    let writes = Model::from([(0, 1), (1, 2)]);
    take(&vault, &ledger, "one", None, &writes).await;
    let capture = ledger.0.lock().begin(None, 7).unwrap();
    let dedup = Arc::new(ledger.dedup(capture));
    let mut writer =
        Writer::new(vault.clone(), capture, 1500, None, dedup, WriterConfig::default()).await.unwrap();
    writer.chunk(0, Content::Data(&content(1))).await.unwrap();
    assert_eq!(writer.stats().known, 1);
    ledger.0.lock().drop_root(&snapshot("one")).unwrap();
    let collecting = {
        let (vault, ledger) = (vault.clone(), ledger.clone());
        tokio::spawn(async move { cycle(&vault, &ledger).await })
    };
    while ledger.0.lock().view().condemned.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A capture that begins now does not find it.
    let late = ledger.0.lock().begin(None, 7).unwrap();
    let hash = terrane_snapshot::ChunkHash::of(&content(1));
    assert_eq!(ledger.0.lock().find(late, &hash).unwrap(), None);
    ledger.0.lock().abort(late);
    let (manifest, reference, _) = writer.finish().await.unwrap();
    ledger.0.lock().commit(capture, snapshot("two"), reference).unwrap();
    let report = collecting.await.unwrap();
    assert_eq!(report.rescued, 1, "the pack: {report:?}");
    compare(&reader(&vault, &manifest), &Model::from([(0, 1)])).await.unwrap();
}

#[tokio::test]
async fn what_an_aborted_capture_has_stored_goes() {
    let objects = MemoryObjects::new();
    let (vault, ledger) = (vault(&objects), MemoryLedger::default());
    let capture = ledger.0.lock().begin(None, 7).unwrap();
    let dedup = Arc::new(ledger.dedup(capture));
    let (_, reference, _) =
        crate::site::take(&vault, capture, 1500, None, &Model::from([(0, 1)]), dedup).await.unwrap();
    ledger.0.lock().abort(capture);
    assert!(ledger.0.lock().commit(capture, snapshot("one"), reference).is_err());
    let report = cycle(&vault, &ledger).await;
    assert_eq!((report.deleted, objects.names().len()), (3, 0));
}

#[tokio::test]
async fn trouble_at_any_call_of_a_cycle_deletes_nothing_that_is_needed() {
    let (one, two) = (Model::from([(0, 1), (1, 2), (1100, 3)]), Model::from([(1, 4)]));
    for trouble in [Trouble::Fail, Trouble::FailAfter, Trouble::Tear, Trouble::Lie, Trouble::Stall] {
        for call in 0..12 {
            let objects = MemoryObjects::new();
            let (vault, ledger) = (vault(&objects), MemoryLedger::default());
            take(&vault, &ledger, "one", None, &one).await;
            let second = take(&vault, &ledger, "two", Some("one"), &two).await;
            ledger.0.lock().drop_root(&snapshot("one")).unwrap();
            objects.trouble(objects.calls() + call, trouble);
            cycle(&vault, &ledger).await;
            objects.calm();
            let manifest = vault.manifest(&second).await.unwrap();
            assert!(reader(&vault, &manifest).verify().await.is_ok(), "{trouble:?} at call {call}");
            let report = cycle(&vault, &ledger).await;
            assert!(report.complete && report.failed == 0, "{report:?}");
            if trouble != Trouble::Lie {
                let reached = 1 + manifest.segments.len() + 2;
                assert_eq!(objects.names().len(), reached, "{trouble:?} at call {call}");
            }
        }
    }
}
