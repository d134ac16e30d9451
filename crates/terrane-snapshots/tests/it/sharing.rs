//! Copies, permissions, locks, the recycle bin, tags.

use std::time::Duration;

use terrane_ec2::service::{
    LockEnd, LockMode, LockWish, NewSnapshot, PermissionChange, Permissions, Scope, Select,
    SnapshotService as _, SnapshotState, TagRemoval, Tags,
};
use terrane_snapshots::SnapshotsConfig;
use terrane_types::SnapshotId;

use crate::site::{Blocks, Site, caller, refusal};

fn share(number: u8) -> PermissionChange {
    let accounts = [caller(number).account].into();
    PermissionChange { add: Permissions { accounts, public: false }, ..PermissionChange::default() }
}

fn publish(public: bool) -> PermissionChange {
    let all = Permissions { public: true, ..Permissions::default() };
    match public {
        true => PermissionChange { add: all, ..PermissionChange::default() },
        false => PermissionChange { remove: all, ..PermissionChange::default() },
    }
}

async fn listed(site: &Site, number: u8, scope: Scope) -> Vec<SnapshotId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let select = Select::Page { after: after.as_ref(), limit: 2 };
        let found = site.keeper.snapshots(&caller(number), scope, select).await.unwrap();
        ids.extend(found.iter().map(|snapshot| snapshot.id.clone()));
        if found.len() < 2 {
            return ids;
        }
        after = ids.last().cloned();
    }
}

#[tokio::test]
async fn what_is_shared_can_be_read_and_copied_and_nothing_else() {
    let (site, me, friend) = (Site::new().await, caller(1), caller(2));
    let blocks = Blocks::from([(0, 1), (1500, 2)]);
    let id = site.build(&me, None, &blocks).await;
    site.keeper
        .tag_snapshots(&me, std::slice::from_ref(&id), &Tags::from([("k".into(), "v".into())]))
        .await
        .unwrap();
    let copy = NewSnapshot::default();
    assert_eq!(refusal(site.keeper.copy_snapshot(&friend, &id, &copy).await), "NotFound");
    assert_eq!(refusal(site.keeper.change_permissions(&friend, &id, &share(2)).await), "NotFound");
    site.keeper.change_permissions(&me, &id, &share(2)).await.unwrap();
    assert_eq!(site.read(&friend, &id).await.unwrap(), blocks);
    let seen = site.find(&friend, &id).await.unwrap();
    assert!(seen.tags.is_empty() && seen.owner == me.account);
    assert_eq!(listed(&site, 2, Scope::Usable).await, std::slice::from_ref(&id));
    assert!(listed(&site, 2, Scope::Own).await.is_empty());
    assert_eq!(refusal(site.keeper.delete_snapshot(&friend, &id).await), "NotFound");
    assert_eq!(refusal(site.find(&caller(3), &id).await), "NotFound");
    // The copy is the friend's own, with its own key.
    let copied = site.keeper.copy_snapshot(&friend, &id, &copy).await.unwrap();
    site.until(&friend, &copied.id, SnapshotState::Completed).await;
    let own = site.keeper.copy_snapshot(&me, &id, &copy).await.unwrap();
    assert_eq!(own.state, SnapshotState::Completed);
    site.keeper.delete_snapshot(&me, &id).await.unwrap();
    assert_eq!(site.read(&friend, &copied.id).await.unwrap(), blocks);
    assert_eq!(site.read(&me, &own.id).await.unwrap(), blocks);
    assert!(listed(&site, 2, Scope::Usable).await == [copied.id.clone()]);
    site.keeper.delete_snapshot(&friend, &copied.id).await.unwrap();
    site.keeper.delete_snapshot(&me, &own.id).await.unwrap();
    site.until_objects(0).await;
}

#[tokio::test]
async fn public_and_not_any_more() {
    let (site, me) = (Site::new().await, caller(1));
    let mut all = Vec::new();
    for seed in 1..6 {
        all.push(site.build(&me, None, &Blocks::from([(0, seed)])).await);
    }
    for id in &all {
        site.keeper.change_permissions(&me, id, &publish(true)).await.unwrap();
        site.keeper.change_permissions(&me, id, &share(2)).await.unwrap();
    }
    all.sort();
    assert_eq!(listed(&site, 3, Scope::Usable).await, all);
    assert_eq!(listed(&site, 2, Scope::Usable).await, all, "each once");
    site.keeper.change_permissions(&me, &all[0], &publish(false)).await.unwrap();
    assert_eq!(listed(&site, 3, Scope::Usable).await, all[1..]);
    assert_eq!(listed(&site, 2, Scope::Usable).await, all);
    let reset = PermissionChange { reset: true, ..PermissionChange::default() };
    site.keeper.change_permissions(&me, &all[1], &reset).await.unwrap();
    assert_eq!(refusal(site.find(&caller(3), &all[1]).await), "NotFound");
    assert_eq!(refusal(site.find(&caller(2), &all[1]).await), "NotFound");
}

#[tokio::test]
async fn locks_protect() {
    let (site, me) = (Site::new().await, caller(1));
    let id = site.build(&me, None, &Blocks::from([(0, 1)])).await;
    let wish = |mode, cool_off_hours, days| LockWish { mode, cool_off_hours, until: LockEnd::Days(days) };
    let lock = |wish| site.keeper.lock_snapshot(&me, &id, wish);
    assert_eq!(refusal(site.keeper.unlock_snapshot(&me, &id).await), "LockRefused");
    assert_eq!(refusal(lock(wish(LockMode::Governance, None, 0)).await), "LockRefused");
    lock(wish(LockMode::Governance, None, 1)).await.unwrap();
    assert_eq!(refusal(site.keeper.delete_snapshot(&me, &id).await), "Locked");
    site.keeper.unlock_snapshot(&me, &id).await.unwrap();
    lock(wish(LockMode::Compliance, Some(1), 2)).await.unwrap();
    site.keeper.unlock_snapshot(&me, &id).await.unwrap();
    let locked = lock(wish(LockMode::Compliance, None, 2)).await.unwrap().lock.unwrap();
    assert_eq!(locked.expires.unwrap().duration_since(locked.duration_start.unwrap()).as_hours(), 48);
    assert_eq!(refusal(site.keeper.unlock_snapshot(&me, &id).await), "LockRefused");
    assert_eq!(refusal(lock(wish(LockMode::Compliance, None, 1)).await), "LockRefused");
    assert_eq!(refusal(lock(wish(LockMode::Governance, None, 9)).await), "LockRefused");
    lock(wish(LockMode::Compliance, None, 3)).await.unwrap();
    assert_eq!(refusal(site.keeper.delete_snapshot(&me, &id).await), "Locked");
    // The days of one that is pending begin with its completion.
    let pending = site.begin(&me, None).await;
    let early = site.keeper.lock_snapshot(&me, &pending, wish(LockMode::Governance, None, 1)).await.unwrap();
    assert_eq!(early.lock.unwrap().expires, None);
    site.complete(&me, &pending, &Blocks::new()).await.unwrap();
    let done = site.until(&me, &pending, SnapshotState::Completed).await;
    assert!(done.lock.unwrap().expires.is_some());
}

#[tokio::test]
async fn the_recycle_bin_keeps_for_a_while() {
    let config = SnapshotsConfig {
        exclusive: true,
        recycle: Duration::from_secs(1),
        collect_interval: Duration::from_millis(20),
        grace: Duration::from_millis(1),
        ..SnapshotsConfig::default()
    };
    let (site, me) = (Site::with(config).await, caller(1));
    let blocks = Blocks::from([(0, 1)]);
    let id = site.build(&me, None, &blocks).await;
    site.keeper.change_permissions(&me, &id, &share(2)).await.unwrap();
    site.keeper.delete_snapshot(&me, &id).await.unwrap();
    assert_eq!(refusal(site.find(&me, &id).await), "NotFound");
    assert_eq!(refusal(site.find(&caller(2), &id).await), "NotFound");
    let bin = site.keeper.recycled(&me, Select::Page { after: None, limit: 5 }).await.unwrap();
    assert!(bin.len() == 1 && bin[0].recycled.is_some());
    assert_eq!(refusal(site.keeper.restore_snapshot(&caller(2), &id).await), "NotFound");
    site.keeper.restore_snapshot(&me, &id).await.unwrap();
    assert_eq!(site.read(&caller(2), &id).await.unwrap(), blocks);
    assert_eq!(refusal(site.keeper.restore_snapshot(&me, &id).await), "NotFound");
    site.keeper.delete_snapshot(&me, &id).await.unwrap();
    site.until_objects(0).await;
    assert_eq!(refusal(site.keeper.restore_snapshot(&me, &id).await), "NotFound");
}

#[tokio::test]
async fn tags_are_of_all_that_are_named_or_of_none() {
    let (site, me) = (Site::new().await, caller(1));
    let id = site.begin(&me, None).await;
    let tags = Tags::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
    let nobody = SnapshotId::from_bits(1);
    assert_eq!(refusal(site.keeper.tag_snapshots(&me, &[id.clone(), nobody], &tags).await), "NotFound");
    assert!(site.find(&me, &id).await.unwrap().tags.is_empty());
    let ids = std::slice::from_ref(&id);
    site.keeper.tag_snapshots(&me, ids, &tags).await.unwrap();
    let other = TagRemoval { key: "a".into(), value: Some("9".into()) };
    site.keeper.untag_snapshots(&me, ids, &[other]).await.unwrap();
    assert_eq!(site.find(&me, &id).await.unwrap().tags, tags);
    let this = TagRemoval { key: "a".into(), value: None };
    site.keeper.untag_snapshots(&me, ids, &[this]).await.unwrap();
    assert_eq!(site.find(&me, &id).await.unwrap().tags.len(), 1);
    let many: Tags = (0..50).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(refusal(site.keeper.tag_snapshots(&me, ids, &many).await), "TagLimit");
}
