//! Rows as they were first stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use terrane_block_core::{AttachmentEpoch, LayoutEpoch};
use terrane_block_wire::control::StripeId;
use terrane_types::{AccountId, VolumeId, Zone};

use super::{AttachmentRow, LifeRow, SettingsRow};

/// A modification was always complete.
#[derive(Debug, Deserialize)]
struct ModificationRow {
    original: SettingsRow,
    target: SettingsRow,
    started: Timestamp,
    ended: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct VolumeRow {
    version: u64,
    account: AccountId,
    id: VolumeId,
    zone: Zone,
    settings: SettingsRow,
    created: Timestamp,
    life: LifeRow,
    layout: LayoutEpoch,
    stripes: Vec<StripeId>,
    stripe_bytes: u64,
    epoch: AttachmentEpoch,
    attachments: Vec<AttachmentRow>,
    modification: Option<ModificationRow>,
    tags: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl From<ModificationRow> for super::v2::ModificationRow {
    fn from(row: ModificationRow) -> Self {
        let ModificationRow { original, target, started, ended } = row;
        Self { original, target, started, ended: Some(ended), failed: None }
    }
}

impl From<VolumeRow> for super::v2::VolumeRow {
    fn from(row: VolumeRow) -> Self {
        Self {
            version: row.version,
            account: row.account,
            id: row.id,
            zone: row.zone,
            settings: row.settings,
            created: row.created,
            life: row.life,
            layout: row.layout,
            stripes: row.stripes,
            stripe_bytes: row.stripe_bytes,
            epoch: row.epoch,
            attachments: row.attachments,
            modification: row.modification.map(Into::into),
            tags: row.tags,
            notes: row.notes,
        }
    }
}
