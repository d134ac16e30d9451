//! The way back.

use jiff::Timestamp;

use super::{After, Scene, Trouble};
use crate::rows::{CopiesChange, ModificationStateRow, Phase};

/// What a run says that was cancelled.
const CANCELLED: &str = "cancelled";

/// It has come to nothing. The last thing that is taken back.
pub(super) async fn turn(mut scene: Scene, cause: Option<String>) -> Result<After, Trouble> {
    if scene.row.ended.is_none() {
        let cancelled = cause.as_deref() == Some(CANCELLED);
        scene.row.state =
            if cancelled { ModificationStateRow::Cancelled } else { ModificationStateRow::Failed };
        scene.row.message = cause.or(scene.row.message.take());
        scene.row.ended = Some(Timestamp::now());
        scene.put_row().await?;
    }
    scene.end(After::Done).await
}

/// New copies go: those that are in sync, when enough others are. They are out of the rows when this is done.
pub(super) async fn reserve(mut scene: Scene) -> Result<After, Trouble> {
    let mut left = 0;
    for row in scene.stripes.clone() {
        let change = row.change.as_ref().filter(|change| change.number == scene.row.number);
        let Some(change) = change else { continue };
        if change.phase == Phase::Over {
            return Err(Trouble::Failed("it has taken effect".to_owned()));
        }
        let there = change.arriving.iter().filter(|copy| row.places.contains_key(copy)).count() as u64;
        left += there;
        let back = CopiesChange { phase: Phase::Back, primary: None, ..change.clone() };
        let mut after = row.clone();
        after.change = (there > 0).then_some(back);
        scene.put_stripe(&row, after).await?;
    }
    scene.end(if left == 0 { After::Done } else { After::WAIT }).await
}

/// The stripes are as large as the volume. Copies that are larger already stay so: nobody addresses the rest.
pub(super) async fn resize(mut scene: Scene) -> Result<After, Trouble> {
    let blocks = scene.volume.blocks_of_stripe(scene.volume.settings.size_gib);
    for row in scene.stripes.clone() {
        let mut after = row.clone();
        after.identity.blocks = blocks;
        scene.put_stripe(&row, after).await?;
    }
    scene.end(After::Done).await
}
