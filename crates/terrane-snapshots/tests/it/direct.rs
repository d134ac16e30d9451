//! Blocks: written, sealed, listed, compared, read, collected.

use std::time::Duration;

use terrane_ec2::service::{BlockPage, Completion, SnapshotService as _, SnapshotState, StartSnapshot};
use terrane_snapshot::objects::Trouble;
use terrane_snapshots::SnapshotsConfig;

use crate::site::{Blocks, Site, block, caller, refusal, wish};

const PAGE: BlockPage<'_> = BlockPage { token: None, first: 0, limit: 1000 };

#[tokio::test]
async fn what_was_written_is_read_back_also_over_parents() {
    let (site, me) = (Site::new().await, caller(1));
    let one = Blocks::from([(0, 1), (5, 2), (6, 3), (1024, 1), (2047, 4)]);
    let first = site.build(&me, None, &one).await;
    assert_eq!(site.read(&me, &first).await.unwrap(), one);
    let snapshot = site.find(&me, &first).await.unwrap();
    assert_eq!((snapshot.progress, snapshot.full_bytes), (100, Some(5 * 524_288)));
    // In any order, twice, and zeros over what the parent has.
    let second = site.begin(&me, Some(&first)).await;
    for (index, seed) in [(7, 9), (5, 8), (7, 7), (6, 0)] {
        site.put(&me, &second, index, seed).await.unwrap();
    }
    let written = Blocks::from([(5, 8), (6, 0), (7, 7)]);
    site.complete(&me, &second, &written).await.unwrap();
    site.until(&me, &second, SnapshotState::Completed).await;
    let two = Blocks::from([(0, 1), (5, 8), (7, 7), (1024, 1), (2047, 4)]);
    assert_eq!(site.read(&me, &second).await.unwrap(), two);
    let changes = site.keeper.list_changed_blocks(&me, &first, &second, PAGE).await.unwrap();
    let seen: Vec<_> =
        changes.blocks.iter().map(|b| (b.index, b.first.is_some(), b.second.is_some())).collect();
    assert_eq!(seen, [(5, true, true), (6, true, false), (7, false, true)]);
    for change in &changes.blocks {
        for (id, token) in [(&first, &change.first), (&second, &change.second)] {
            if let Some(token) = token {
                site.keeper.block(&me, id, change.index, token).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn deleting_any_leaves_the_others_and_in_the_end_nothing() {
    let (site, me) = (Site::new().await, caller(1));
    let one = Blocks::from([(0, 1), (1500, 2)]);
    let first = site.build(&me, None, &one).await;
    let second = site.build(&me, Some(&first), &Blocks::from([(0, 3)])).await;
    // A manifest each, their segments (two and one), a pack each.
    site.until_objects(2 + 3 + 2).await;
    site.keeper.delete_snapshot(&me, &first).await.unwrap();
    // The first pack has what the second snapshot still needs; its manifest and one segment go.
    site.until_objects(1 + 2 + 2).await;
    assert_eq!(site.read(&me, &second).await.unwrap(), Blocks::from([(0, 3), (1500, 2)]));
    assert_eq!(refusal(site.keeper.delete_snapshot(&me, &first).await), "NotFound");
    site.keeper.delete_snapshot(&me, &second).await.unwrap();
    site.until_objects(0).await;
    // What was forgotten is not found again.
    let again = site.build(&me, None, &one).await;
    assert_eq!(site.read(&me, &again).await.unwrap(), one);
}

#[tokio::test]
async fn a_content_is_stored_once_in_an_account() {
    let (site, me) = (Site::new().await, caller(1));
    let blocks = Blocks::from([(0, 1), (1, 2)]);
    site.build(&me, None, &blocks).await;
    site.until_objects(3).await;
    let again = site.build(&me, None, &Blocks::from([(9, 1), (10, 2)])).await;
    // No pack of its own.
    site.until_objects(5).await;
    assert_eq!(site.read(&me, &again).await.unwrap(), Blocks::from([(9, 1), (10, 2)]));
    let other = site.build(&caller(2), None, &blocks).await;
    site.until_objects(8).await;
    assert_eq!(site.read(&caller(2), &other).await.unwrap(), blocks);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let (site, me) = (Site::new().await, caller(1));
    let id = site.begin(&me, None).await;
    site.put(&me, &id, 3, 1).await.unwrap();
    assert_eq!(refusal(site.put(&me, &id, 2048, 1).await), "NoSuchBlock");
    assert_eq!(refusal(site.put(&caller(2), &id, 3, 1).await), "NotFound");
    assert_eq!(refusal(site.keeper.list_blocks(&me, &id, PAGE).await), "IncorrectState");
    let wrong = Completion { blocks: 2, sha256: None };
    assert_eq!(refusal(site.keeper.complete_snapshot(&me, &id, wrong).await), "Mismatch");
    let wrong = Completion { blocks: 1, sha256: Some([0; 32]) };
    assert_eq!(refusal(site.keeper.complete_snapshot(&me, &id, wrong).await), "Mismatch");
    assert_eq!(refusal(site.complete(&caller(2), &id, &Blocks::new()).await), "NotFound");
    // It takes blocks still.
    site.put(&me, &id, 4, 2).await.unwrap();
    let blocks = Blocks::from([(3, 1), (4, 2)]);
    site.complete(&me, &id, &blocks).await.unwrap();
    site.until(&me, &id, SnapshotState::Completed).await;
    assert_eq!(refusal(site.put(&me, &id, 5, 1).await), "IncorrectState");
    assert_eq!(refusal(site.complete(&me, &id, &blocks).await), "IncorrectState");
    let list = site.keeper.list_blocks(&me, &id, PAGE).await.unwrap();
    let token = &list.blocks[0].token;
    assert_eq!(refusal(site.keeper.block(&me, &id, 4, token).await), "BlockToken");
    assert_eq!(refusal(site.keeper.block(&me, &id, 3, "AAAA").await), "BlockToken");
    assert_eq!(refusal(site.keeper.block(&caller(2), &id, 3, token).await), "NotFound");
    let page = BlockPage { token: Some(token), ..PAGE };
    assert_eq!(refusal(site.keeper.list_blocks(&me, &id, page).await), "PageToken");
    let other = site.build(&me, None, &blocks).await;
    assert_eq!(refusal(site.keeper.list_changed_blocks(&me, &id, &other, PAGE).await), "Unrelated");
    let small = StartSnapshot { size_gib: 2, ..wish() };
    let large = site.keeper.start_snapshot(&me, small).await.unwrap();
    let child = StartSnapshot { parent: Some(large.id), ..wish() };
    assert_eq!(refusal(site.keeper.start_snapshot(&me, child).await), "IncorrectState");
}

#[tokio::test]
async fn a_token_makes_starting_idempotent() {
    let (site, me) = (Site::new().await, caller(1));
    let start = StartSnapshot { token: Some("t".into()), ..wish() };
    let one = site.keeper.start_snapshot(&me, start.clone()).await.unwrap();
    assert_eq!(site.keeper.start_snapshot(&me, start.clone()).await.unwrap(), one);
    let other = StartSnapshot { size_gib: 2, ..start.clone() };
    assert_eq!(refusal(site.keeper.start_snapshot(&me, other).await), "TokenMismatch");
    assert_ne!(site.keeper.start_snapshot(&caller(2), start.clone()).await.unwrap().id, one.id);
    site.keeper.delete_snapshot(&me, &one.id).await.unwrap();
    assert_ne!(site.keeper.start_snapshot(&me, start).await.unwrap().id, one.id);
}

#[tokio::test]
async fn a_restart_in_between_loses_nothing() {
    let (mut site, me) = (Site::new().await, caller(1));
    let id = site.begin(&me, None).await;
    site.put(&me, &id, 3, 1).await.unwrap();
    site.restart().await;
    site.put(&me, &id, 4, 2).await.unwrap();
    // The object store fails for a while, and the process ends in the middle of it.
    for call in 0..40 {
        site.objects.trouble(site.objects.calls() + call, Trouble::Fail);
    }
    let blocks = Blocks::from([(3, 1), (4, 2)]);
    assert_eq!(site.complete(&me, &id, &blocks).await.unwrap(), SnapshotState::Pending);
    site.restart().await;
    site.objects.calm();
    site.until(&me, &id, SnapshotState::Completed).await;
    assert_eq!(site.read(&me, &id).await.unwrap(), blocks);
    site.until_objects(3).await;
}

#[tokio::test]
async fn blocks_that_an_object_store_has_lost_make_an_error_and_no_snapshot() {
    let (site, me) = (Site::new().await, caller(1));
    let id = site.begin(&me, None).await;
    site.objects.trouble(site.objects.calls(), Trouble::Lie);
    site.put(&me, &id, 3, 1).await.unwrap();
    site.complete(&me, &id, &Blocks::from([(3, 1)])).await.unwrap();
    let snapshot = site.until(&me, &id, SnapshotState::Error).await;
    assert!(snapshot.message.unwrap().contains("read back"));
    site.keeper.delete_snapshot(&me, &id).await.unwrap();
    site.until_objects(0).await;
}

#[tokio::test]
async fn pending_snapshots_are_bounded() {
    let config =
        SnapshotsConfig { exclusive: true, pending_max: 2, snapshots_max: 3, ..SnapshotsConfig::default() };
    let (site, me) = (Site::with(config).await, caller(1));
    let (one, _) = (site.begin(&me, None).await, site.begin(&me, None).await);
    assert_eq!(refusal(site.keeper.start_snapshot(&me, wish()).await), "TooMany");
    site.begin(&caller(2), None).await;
    site.keeper.delete_snapshot(&me, &one).await.unwrap();
    loop {
        match site.keeper.start_snapshot(&me, wish()).await {
            Ok(_) => break,
            // What was written for the one that was deleted is still being taken away.
            refused => assert_eq!(refusal(refused), "TooMany"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_wrong_checksum_never_reaches_the_keeper_and_a_right_one_is_kept() {
    let (site, me) = (Site::new().await, caller(1));
    let id = site.begin(&me, None).await;
    let put = block(0, 7);
    site.keeper.put_block(&me, &id, put.clone()).await.unwrap();
    site.keeper.put_block(&me, &id, put).await.unwrap();
    let state = site.complete(&me, &id, &Blocks::from([(0, 7)])).await.unwrap();
    assert!(matches!(state, SnapshotState::Completed | SnapshotState::Pending));
}
