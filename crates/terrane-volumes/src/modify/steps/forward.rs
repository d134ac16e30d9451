//! The way to what was asked for.

use std::collections::BTreeSet;

use jiff::Timestamp;
use terrane_block_core::CopyId;
use terrane_store::SCAN_ROWS_MAX;

use super::{After, Scene, Trouble};
use crate::db;
use crate::jobs::Rules;
use crate::leader::{Sight, Size};
use crate::modify::Shown;
use crate::placement::{Aim, Map, Replan};
use crate::rows::{
    BLOCK, CopiesChange, DELETIONS, MODIFICATIONS, ModificationStateRow, Phase, SERVERS, StripeRow,
    TraitsRow, hex,
};

/// Modifications of one volume are carried out one after the other.
pub(super) async fn turn(scene: Scene) -> Result<After, Trouble> {
    let prefix = scene.row.volume.as_str().to_owned();
    for ((_, number), row) in MODIFICATIONS.scan_prefix(&scene.tx, &prefix, None, SCAN_ROWS_MAX).await? {
        if number < scene.row.number && !Shown::of(&scene.tx, row).await?.has_ended() {
            return scene.end(After::WAIT).await;
        }
    }
    scene.end(After::Done).await
}

/// Writes into each stripe's row which copies arrive, which leave, and what they take.
pub(super) async fn reserve(mut scene: Scene, rules: Rules) -> Result<After, Trouble> {
    let number = scene.row.number;
    let aim = aim(&scene.row.target);
    let mut note = None;
    for row in scene.stripes.clone() {
        match &row.change {
            Some(change) if change.number == number => continue,
            Some(_) => return scene.end(After::WAIT).await,
            None => {}
        }
        // What the stripe before it has taken counts.
        let map = db::map(&scene.tx).await?;
        let plan = map.replan(&row, &aim, rules.overcommit).map_err(Trouble::Refused)?;
        note = note.or(plan.note.clone());
        let after = with_change(&map, &row, &aim, plan, number);
        scene.put_stripe(&row, after).await?;
    }
    if scene.row.moving.is_none() {
        scene.row.moving = Some(Timestamp::now());
        scene.row.message = note;
        scene.put_row().await?;
    }
    scene.end(After::Done).await
}

/// What the stripes of a volume shall be like.
pub(crate) fn aim(target: &TraitsRow) -> Aim {
    Aim {
        zone: target.zone.clone(),
        media: target.settings.media(),
        demand: target.settings.demand(),
        copies: target.copies as usize,
    }
}

/// The row with what arrives and leaves.
pub(crate) fn with_change(map: &Map, row: &StripeRow, aim: &Aim, plan: Replan, number: u64) -> StripeRow {
    let mut after = row.clone();
    let leaving = row.places.keys().copied().filter(|copy| !plan.keep.contains(copy)).collect();
    let mut arriving = BTreeSet::new();
    for place in plan.places {
        arriving.insert(after.next_copy);
        after.add_place(place);
    }
    let in_zone = |copy: &CopyId| map.zone_of(&after, *copy) == Some(&aim.zone);
    let primary = row.record.as_ref().map(|record| record.now.primary);
    let stays = primary.is_some_and(|primary| plan.keep.contains(&primary) && in_zone(&primary));
    let moves = aim.zone != row.zone && !stays;
    let primary = plan.keep.iter().chain(&arriving).copied().find(|copy| moves && in_zone(copy));
    after.change = Some(CopiesChange {
        number,
        phase: Phase::Joining,
        arriving,
        leaving,
        primary,
        zone: aim.zone.clone(),
        media: aim.media,
        wanted: u32::try_from(aim.copies).unwrap_or(u32::MAX),
        demand: aim.demand,
    });
    after
}

/// Waits until all new copies are in sync.
pub(super) async fn join(scene: Scene, sight: &Sight) -> Result<After, Trouble> {
    let (mut moved, mut total, mut all) = (0u64, 0u64, true);
    for row in &scene.stripes {
        let Some(change) = row.change.as_ref().filter(|change| change.phase == Phase::Joining) else {
            continue;
        };
        let seen = sight.get(&row.id);
        for copy in &change.arriving {
            if !row.places.contains_key(copy) {
                return Err(Trouble::Refused("a new copy was lost before it was in sync".to_owned()));
            }
            if is_in_sync(row, *copy) {
                continue;
            }
            all = false;
            if let Some(reason) = seen.and_then(|seen| seen.lost.get(copy)) {
                return Err(Trouble::Refused(format!("a new copy comes to nothing: {reason}")));
            }
            // Equal blocks do not move: what is left tells how far it is.
            let size = row.identity.blocks.saturating_mul(BLOCK);
            let told = seen.and_then(|seen| seen.resync.get(copy)).filter(|told| **told != (0, 0));
            moved = moved.saturating_add(told.map_or(0, |(_, left)| size.saturating_sub(*left)));
            total = total.saturating_add(size);
        }
    }
    scene.end(if all { After::Done } else { After::Wait { done: moved, total } }).await
}

fn is_in_sync(row: &StripeRow, copy: CopyId) -> bool {
    row.record.as_ref().is_some_and(|record| record.active && record.now.in_sync.contains_key(&copy))
}

/// A larger size is in the stripes' rows; now all copies that take part must have it.
pub(super) async fn resize(mut scene: Scene, sight: &Sight) -> Result<After, Trouble> {
    let (size, now) = (scene.row.target.settings.size_gib, scene.volume.settings.size_gib);
    if size <= now {
        return scene.end(After::Done).await;
    }
    let blocks = scene.volume.blocks_of_stripe(size);
    let mut done = 0;
    for row in scene.stripes.clone() {
        if row.identity.blocks < blocks {
            let mut after = row.clone();
            after.identity.blocks = blocks;
            scene.put_stripe(&row, after).await?;
            continue;
        }
        match sight.get(&row.id).filter(|seen| seen.version >= row.version).map(|seen| &seen.size) {
            Some(Size::Reached) => done += 1,
            Some(Size::Stays(reason)) => return Err(Trouble::Refused(reason.clone())),
            Some(Size::Smaller) | None => {}
        }
    }
    let total = scene.stripes.len() as u64;
    scene.end(if done == total { After::Done } else { After::Wait { done, total } }).await
}

/// What was asked for holds from here on.
pub(super) async fn switch(mut scene: Scene) -> Result<After, Trouble> {
    if scene.row.state != ModificationStateRow::Modifying {
        return scene.end(After::Done).await;
    }
    let lost = || Trouble::Refused("a new copy was lost before it could take over".to_owned());
    for row in scene.stripes.clone() {
        let change = row.change.as_ref().filter(|change| change.number == scene.row.number);
        let change = change.ok_or_else(lost)?;
        if !change.arriving.iter().all(|copy| is_in_sync(&row, *copy)) {
            return Err(lost());
        }
        let mut after = row.clone();
        after.zone = change.zone.clone();
        after.media = change.media;
        after.wanted = change.wanted;
        after.change = Some(CopiesChange { phase: Phase::Over, ..change.clone() });
        scene.put_stripe(&row, after).await?;
    }
    let mut volume = scene.volume.clone();
    volume.settings = scene.row.target.settings;
    volume.zone = scene.row.target.zone.clone();
    scene.put_volume(volume).await?;
    scene.row.state = ModificationStateRow::Optimizing;
    scene.put_row().await?;
    scene.end(After::Done).await
}

/// Waits until no stripe's primary is a copy that leaves, nor another one than was chosen, if that is there.
pub(super) async fn hand_over(scene: Scene) -> Result<After, Trouble> {
    let settled = |row: &&StripeRow| {
        let Some(change) = &row.change else { return true };
        let Some(record) = &row.record else { return false };
        let chosen = change.primary.filter(|copy| record.now.in_sync.contains_key(copy));
        let rules = record.now.primary;
        record.active && !change.leaving.contains(&rules) && chosen.is_none_or(|chosen| chosen == rules)
    };
    let (done, total) = (scene.stripes.iter().filter(settled).count() as u64, scene.stripes.len() as u64);
    scene.end(if done == total { After::Done } else { After::Wait { done, total } }).await
}

/// Waits until the copies that leave are out of the rows, which is when their deletion is written down.
pub(super) async fn retire(scene: Scene) -> Result<After, Trouble> {
    let (mut left, mut total) = (0, 0);
    for row in &scene.stripes {
        for copy in row.change.iter().flat_map(|change| &change.leaving) {
            total += 1;
            left += u64::from(row.places.contains_key(copy));
        }
    }
    scene.end(if left == 0 { After::Done } else { After::Wait { done: total - left, total } }).await
}

/// Waits until servers that answer have deleted what left; those that do not, do it when they come back. Then it is
/// complete.
pub(super) async fn free(mut scene: Scene) -> Result<After, Trouble> {
    if scene.row.ended.is_some() {
        return scene.end(After::Done).await;
    }
    for ((server, stripe, _), _) in db::all(&DELETIONS, &scene.tx).await? {
        let is_ours = scene.volume.stripes.iter().any(|id| hex(id.0) == stripe);
        if is_ours && SERVERS.get(&scene.tx, &server).await?.is_some_and(|row| row.up) {
            return scene.end(After::WAIT).await;
        }
    }
    for row in scene.stripes.clone() {
        let change = row.change.as_ref().filter(|change| change.number == scene.row.number);
        if let Some(change) = change {
            let after = StripeRow { demand: change.demand, change: None, ..row.clone() };
            scene.put_stripe(&row, after).await?;
        }
    }
    scene.row.state = ModificationStateRow::Completed;
    scene.row.ended = Some(Timestamp::now());
    scene.put_row().await?;
    scene.end(After::Done).await
}
